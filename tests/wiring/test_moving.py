"""A site moved by `exchange export` and `import`: the same site on other engines, or nothing."""

import hashlib
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.cli.main import main
from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable
from exchange.names import canonical
from exchange.settings import read_settings
from exchange.wiring import archive, contents, moving_in, moving_out
from exchange.wiring.archive import HEADER
from exchange.wiring.backup import take
from exchange.wiring.moving_in import BroughtIn, bring_in
from exchange.wiring.moving_out import TakenOut, take_out, trailer
from tests.access.oracle import judge
from tests.access.test_paths import amounts, of_members
from tests.access.town import DATASET, ENVIRONMENT, START_NS, Clock, KeptEngine, copied, opened
from tests.control.failing import fails

DAY = 86_400 * 1_000_000_000


def export(root: Path, file: Path, environment: Mapping[str, str] = ENVIRONMENT, *, keys: bool = True) -> TakenOut:
    """The site as a file."""
    with file.open("wb") as out:
        return take_out(
            root,
            out,
            file.parent,
            environment,
            Clock(START_NS + 10 * DAY),
            os.urandom,
            keys=keys,
            progress=lambda _: None,
        )


def bring(file: Path, root: Path, given: Mapping[str, str] | None = None, keys: Path | None = None) -> BroughtIn:
    """A site from the file."""
    return bring_in(
        file,
        root,
        given=given or {},
        keys=keys,
        now_ns=Clock(START_NS + DAY),
        random_bytes=os.urandom,
        progress=lambda _: None,
    )


def stores_of(file: Path) -> dict[str, tuple[int, str]]:
    """Length and digest of every member that is of the stores."""
    with file.open("rb") as stream:
        found = {}
        for member in archive.read_members(stream):
            for _ in member.portions():
                pass
            if member.name != HEADER and not member.name.startswith("site/"):
                found[member.name] = member.found
    return found


@pytest.fixture(scope="module")
def exported(made_town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the town: look, do not touch."""
    folder = tmp_path_factory.mktemp("moving")
    export(copied(made_town, folder / "site"), folder / "town.export")
    return folder / "town.export"


def test_the_same_site_comes_out_again(exported: Path, folder: Path, engine: KeptEngine) -> None:
    """Its stores give the same members, its readers go on, its publishers at their marks; nothing is recovered."""
    brought = bring(exported, folder / "new")
    assert brought.records == 24
    assert [one.name for one in folder.iterdir()] == ["new"]
    export(folder / "new", folder / "again")
    assert stores_of(folder / "again") == stores_of(exported)
    with opened(folder / "new", engine, Clock(START_NS + 2 * DAY)) as town:
        assert sorted(amounts(*town.read())) == of_members(*range(1, 25))
        town.publish(20, 8)  # of which five are not new
        releases = town.read()
        assert sorted(amounts(*releases)) == of_members(*range(1, 28))
        judge(town, releases)


def nothing_made(folder: Path, *kept: str) -> None:
    """The folder holds these and nothing else, hidden things included."""
    assert sorted(one.name for one in folder.iterdir()) == sorted(kept)


def rewritten(exported: Path, to: Path, change: Callable[[str, bytes], bytes | None], form: str | None = None) -> Path:
    """A whole export with changed members and fitting digests: what only somebody with a purpose makes."""
    inner = BytesIO()
    with exported.open("rb") as stream, archive.Writer(inner, 0, compress=False) as writer:
        for member in archive.read_members(stream):
            data = change(member.name, b"".join(member.portions()))
            if data is not None:
                writer.add_bytes(member.name, data)
    content = inner.getvalue()
    line = trailer(hashlib.sha256(content).hexdigest())
    to.write_bytes(content + (line if form is None else form.encode()))
    return to


def test_any_flipped_bit_and_any_cut_is_found(exported: Path, tmp_path: Path) -> None:
    """Wherever it is, before anything is made."""
    content, chance = exported.read_bytes(), random.Random(5)
    file = tmp_path / "town.export"
    places = [chance.randrange(len(content)) for _ in range(200)] + [0, 257, 148, 511, 512, len(content) - 1]
    for at in places:
        broken = bytearray(content)
        broken[at] ^= 1 << chance.randrange(8)
        file.write_bytes(broken)
        with pytest.raises((Invalid, Tampered)) as caught:
            moving_in.check_file(file, lambda _: None)
        assert caught.value.code in {"backup_changed", "backup_cut_off", "backup_unreadable", "export_unreadable"}, at
    for at in [chance.randrange(len(content)) for _ in range(20)] + [0, 1, len(content) - 1]:
        file.write_bytes(content[:at])
        with pytest.raises((Invalid, Tampered)):
            bring(file, tmp_path / "new")
    file.write_bytes(content + b"x")
    with pytest.raises((Invalid, Tampered)):
        bring(file, tmp_path / "new")
    nothing_made(tmp_path, "town.export")


def test_other_forms_are_refused(exported: Path, folder: Path) -> None:
    """A newer format, a newer revision, a backup, another header, text: each with what it is."""

    def headed(**changes: object) -> Callable[[str, bytes], bytes]:
        return lambda name, data: canonical({**json.loads(data), **changes}) if name == HEADER else data

    file = folder / "other"
    for changes, code in (
        ({"format": "exchange.export/2"}, "export_format"),
        ({"revision": "9999_later"}, "export_format"),
        ({"format": "exchange.backup/1"}, "export_format"),
        ({"format": 1}, "export_unreadable"),
        ({"left_out": None}, "export_unreadable"),
    ):
        with fails(Invalid, code, HEADER):
            bring(rewritten(exported, file, headed(**changes)), folder / "new")
    file.write_bytes(b"id,name\n")
    with fails(Invalid, "export_unreadable"):
        bring(file, folder / "new")
    with tarfile.open(file, "w") as tar:
        tar.add(exported, "site.export")
    with fails(Invalid, "export_unreadable"):
        bring(file, folder / "new")
    nothing_made(folder, "other")


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _moved(data: bytes) -> bytes:
    head, _, rest = data.partition(b"\n")
    document = json.loads(head)
    document["runs"][0][0] += 1
    return canonical(document) + b"\n" + rest


MEMBERS = {
    "rows that are cut": ("control/events/00000001.jsonl", _cut, "export_unreadable"),
    "a row too short": ("control/events/00000001.jsonl", lambda _: b"[1]\n", "export_unreadable"),
    "a row of other types": ("control/audit_epochs/00000001.jsonl", lambda _: b'["a","b"]\n', "export_unreadable"),
    "no base64": ("control/documents/00000001.jsonl", lambda _: b'["a","*"]\n', "export_unreadable"),
    "topics that are none": ("log/topics.json", lambda _: b"[1]", "export_unreadable"),
    "ends that are none": ("log/topics.json", lambda _: b'{"a":[-1]}', "export_unreadable"),
    "marks that are none": ("log/marks/00000001.jsonl", lambda _: b'["a"]\n', "export_unreadable"),
    "records that are cut": (f"log/records/{DATASET}/0/00000001.records", _cut, "export_unreadable"),
    "records that are text": (f"log/records/{DATASET}/0/00000001.records", lambda _: b"{}", "export_unreadable"),
    "records elsewhere": (f"log/records/{DATASET}/0/00000001.records", _moved, "export_unreadable"),
    "no settings": ("site/exchange.toml", lambda _: None, "export_unreadable"),
    "an unknown table": ("control/events/00000001.jsonl", None, "export_unreadable"),
    "another value": (f"log/records/{DATASET}/0/00000001.records", lambda data: data[:-1] + b"\0", "log_differs"),
    "another mark's member": (
        "log/marks/00000001.jsonl",
        lambda data: data.replace(b"24", b"024"),
        "export_unreadable",
    ),
    "another document": (
        "control/documents/00000001.jsonl",
        lambda data: data.replace(b'","', b'","AAAA', 1),
        "document_damaged",
    ),
    "another event": (
        "control/events/00000001.jsonl",
        lambda data: data.replace(b"ny.renshe", b"ny.rensho", 1),
        "events_differ",
    ),
    "a tile less": ("audit/tile/0/000.p/", lambda _: None, "a tile is missing"),
}


@pytest.mark.parametrize("what", MEMBERS)
def test_an_altered_export_makes_no_site(exported: Path, folder: Path, what: str) -> None:
    """Though its digests fit: what it says must hold together with the audit log and the seals."""
    place, change, code = MEMBERS[what]

    def altered(name: str, data: bytes) -> bytes | None:
        return change(data) if change is not None and name.startswith(place) else data

    if change is None:
        inner = BytesIO()
        with exported.open("rb") as stream, archive.Writer(inner, 0, compress=False) as writer:
            for member in archive.read_members(stream):
                data = b"".join(member.portions())
                writer.add_bytes(member.name.replace("control/events/", "control/sqlite_master/"), data)
        content = inner.getvalue()
        (folder / "file").write_bytes(content + trailer(hashlib.sha256(content).hexdigest()))
    else:
        rewritten(exported, folder / "file", altered)
    with pytest.raises(ExchangeError) as caught:
        bring(folder / "file", folder / "new")
    assert code in f"{caught.value.code} {caught.value.facts}"
    nothing_made(folder, "file")


def test_an_import_goes_into_empty_engines_only(exported: Path, made_town: Path, folder: Path) -> None:
    """A database or a log that holds something is refused and left as it is."""
    other = copied(made_town, folder / "other")
    before = {path: path.read_bytes() for path in (other / "data").rglob("*.db")}
    for name, file in (("engines.control", "control.db"), ("engines.log", "records.db")):
        with fails(Invalid, "import_not_empty"):
            bring(exported, folder / "new", {name: f"sqlite:{other}/data/{file}"})
    assert {path: path.read_bytes() for path in before} == before
    with fails(Invalid, "site_exists"):
        bring(exported, other)
    nothing_made(folder, "other")


def test_an_import_is_gone_on_with_by_its_own_command_only(exported: Path, folder: Path) -> None:
    """What a killed one has left is told from another one's."""
    with (
        mock.patch.object(moving_in._Moving, "compare", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        bring(exported, folder / "new", {"engines.log": f"sqlite:{folder}/elsewhere.db"})
    nothing_made(folder, ".new.importing", "elsewhere.db")
    with fails(Invalid, "import_other"):
        bring(exported, folder / "new")
    bring(exported, folder / "new", {"engines.log": f"sqlite:{folder}/elsewhere.db"})
    nothing_made(folder, "elsewhere.db", "new")


def test_what_another_has_put_into_the_new_stores_is_found(exported: Path, folder: Path) -> None:
    """The comparison with the file is of all that is there."""
    finish = moving_in._Moving._finish

    def disturbed(moving: Any) -> None:
        finish(moving)
        moving.site.stores.log.append("somebody", 5, [])

    with mock.patch.object(moving_in._Moving, "_finish", disturbed), fails(Tampered, "import_differs"):
        bring(exported, folder / "new")


def test_an_export_without_keys_asks_for_them(made_town: Path, folder: Path) -> None:
    """Not a byte of them is in it."""
    site = copied(made_town, folder / "site")
    taken = export(site, folder / "file", keys=False)
    assert "keys/audit.key" in taken.left_out
    content = (folder / "file").read_bytes()
    for key in (site / "keys").glob("*.key"):
        assert max(key.read_bytes().splitlines(), key=len) not in content
    with fails(Invalid, "backup_keys_needed"):
        bring(folder / "file", folder / "new")
    shutil.copytree(site / "keys", folder / "wrong")
    shutil.copy(next((site / "keys").glob("seal-*.key")), folder / "wrong" / "audit.key")
    with fails(Invalid, "backup_key_differs"):
        bring(folder / "file", folder / "new", keys=folder / "wrong")
    bring(folder / "file", folder / "new", keys=site / "keys")
    assert (folder / "new" / "keys" / "audit.key").stat().st_mode & 0o777 == 0o600


def test_nobody_may_write_during_an_export(made_town: Path, folder: Path) -> None:
    """Another gateway with the sequencer's place, and anything written meanwhile: then there is no export."""
    site = copied(made_town, folder / "site")
    led = [True, True, False]  # by the log's opening and its thread, and then no more
    with mock.patch.object(EmbeddedAuditStore, "lead", side_effect=led), fails(Unavailable, "export_in_use"):
        export(site, folder / "file")
    stood = contents.members

    def disturbed(stores: Any) -> Iterator[tuple[str, bytes]]:
        yield from stood(stores)
        stores.log.append("somebody", 5, [])

    with mock.patch.object(moving_out, "members", disturbed), fails(Unavailable, "export_moved"):
        export(site, folder / "file")


def test_the_reserve_of_the_disk_is_kept(exported: Path, made_town: Path, folder: Path) -> None:
    """An export and an import stop where the data's disk has no more than its reserve."""
    huge = str(1 << 29)
    with fails(Unavailable, "disk_reserve"):
        bring(exported, folder / "new", {"storage.reserve_mb": huge})
    site = copied(made_town, folder / "site")
    with fails(Unavailable, "disk_reserve"):
        export(site, folder / "file", {**ENVIRONMENT, "EXCHANGE_STORAGE_RESERVE_MB": huge})


def test_settings_are_kept_but_for_the_engines(exported: Path, folder: Path) -> None:
    """Those of the file, changed by those given; which site it is nobody changes."""
    bring(exported, folder / "new", {"http.port": "9999", "engines.log": "sqlite:data/log.db"})
    found = read_settings(folder / "new", {})
    assert (found.text("origin"), found.number("http.port")) == ("exchange.invalid/test", 9999)
    assert (folder / "new" / "data" / "log.db").is_file()
    for given, code in (
        ({"origin": "x"}, "command_line"),
        ({"engines.log": "sqlite"}, "setting_wrong"),
        ({"enginse.log": "sqlite:x"}, "setting_unknown"),
    ):
        with fails(Invalid, code):
            bring(exported, folder / "newer", given)


@pytest.mark.parametrize("name", ["control", "log", "state", "audit"])
def test_a_backup_of_servers_says_what_to_do(made_town: Path, folder: Path, name: str) -> None:
    """One file of this folder cannot hold what others write to at the same time."""
    url = "kafka://127.0.0.1:9092" if name == "log" else "postgresql://exchange@db.example/exchange"
    environment = {f"EXCHANGE_ENGINES_{name.upper()}": url}
    with (folder / "backup").open("wb") as out, fails(Invalid, "backup_servers", f"engines.{name}"):
        take(made_town, out, folder, environment, START_NS, keys=True, compress=False, progress=lambda _: None)


def test_the_commands(made_town: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`exchange export` and `import` say what they did, where the keys are, and that the old site must rest."""
    site, file, new = copied(made_town, folder / "site"), folder / "file", folder / "new"
    now_ns = Clock(START_NS + 10 * DAY)
    assert main(["export", str(file), "--site", str(site), "--json", "--lang", "en"], now_ns) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["records"] == 24
    assert "KEYS" in told.err
    assert file.stat().st_mode & 0o777 == 0o600
    command = ["import", str(file), str(new), "--set", "engines.log=sqlite:data/log.db", "--json", "--lang", "en"]
    assert main(command, now_ns) == 0
    again = capsys.readouterr()
    assert json.loads(again.out)["root"] == json.loads(told.out)["root"]
    assert "never open the site that it came from again" in again.err
    assert main(command, now_ns) == 2
    assert main(["import", str(folder / "none"), str(folder / "newer"), "--json"], now_ns) == 2
    capsys.readouterr()
    nothing_made(folder, "file", "new", "site")
