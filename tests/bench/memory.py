"""Peak memory (resident, MB) of publishing and reading, each in a process of its own: it may not grow with the data."""

import csv
import shutil
import sys
from pathlib import Path
from typing import Final

from exchange.wiring.desk import LocalDesk
from exchange.wiring.sources import files_adapter
from tests.bench import county, site
from tests.bench.clock import folder, in_child
from tests.bench.reading import read

_CONFIG: Final = """\
source = "ny.gongan/files"
dataset = "ps.hukou_person"
encoding = "utf-8"
key = ["person_id"]

[columns]
person_id = { field = "person_id", type = "id" }
name = { field = "name", type = "name" }
sex = { field = "sex", type = "enum", values = { M = "M", F = "F" } }
birth_date = { field = "birth_date", type = "date" }
household_id = { field = "household_id", type = "id", form = "code" }
relation_to_head = { field = "relation_to_head", type = "text" }
hukou_region = { field = "hukou_region", type = "id", form = "code" }
status = { field = "status", type = "text" }
status_date = { field = "status_date", type = "date" }
ethnicity = { field = "ethnicity", type = "text" }
photo_ref = { field = "photo_ref", type = "text" }
"""


def measured(sizes: list[int]) -> dict[int, dict[str, float]]:
    """Megabytes by number of records."""
    found = {}
    with folder() as place:
        site.make(place / "empty")
        (place / "adapter.toml").write_text(_CONFIG, "utf-8")
        for records in sizes:
            root = {"root": str(place / "site"), "records": records}
            shutil.copytree(place / "empty", place / "site")
            publishing_mb = in_child("memory.publishing", **root)
            reading_mb = in_child("memory.reading", **root)
            shutil.rmtree(place / "site")
            shutil.copytree(place / "empty", place / "site")
            _write_csv(place / "people.csv", records)
            files_mb = in_child("memory.files", **root)
            shutil.rmtree(place / "site")
            found[records] = {"publish": publishing_mb, "publish a CSV file": files_mb, "read": reading_mb}
    return found


def publishing(root: str, records: int) -> float:
    """Publishes that many records into the site, made as they are asked for."""
    with site.opened(Path(root)) as exchange:
        system = site.who(exchange, f"svc.{site.PROVIDER}")
        exchange.publish(system, county.Stream(records), county.DATASET, lambda _: None)
    return _peak()


def files(root: str, records: int) -> float:
    """Publishes that many rows of a CSV file through the files adapter."""
    place = Path(root).parent
    with site.opened(Path(root)) as exchange:
        desk = LocalDesk(exchange, site.who(exchange, f"svc.{site.PROVIDER}"))
        adapter, dataset = files_adapter(place / "adapter.toml", [place / "people.csv"], place, desk)
        published = desk.publish(adapter, dataset, lambda _: None)
        if (published.taken, published.rejected) != (records, 0):
            raise AssertionError(published)
    return _peak()


def reading(root: str, records: int) -> float:
    """Reads all of the site's records as JSON lines; four in five are released."""
    with site.opened(Path(root)) as exchange:
        released = read(exchange, site.FREE, "jsonl")
        if released != records // 5 * 4:
            raise AssertionError(released)
    return _peak()


def _write_csv(file: Path, records: int) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(county.value(0)), lineterminator="\n")
        writer.writeheader()
        for number in range(records):
            writer.writerow(county.value(number))


def _peak() -> float:
    """Megabytes (10^6 bytes)."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
