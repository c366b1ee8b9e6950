"""Runs the benchmarks and prints their figures as tables."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from secrets import token_hex
from typing import Any, Final

from tests.bench import servers
from tests.bench.clock import folder, in_child
from tests.bench.machine import described

Figures = Mapping[str, Mapping[str, Any]]


def main() -> int:
    """Runs all of them, or those named."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--quick", action="store_true", help="fewer records and rounds: two minutes, not ten")
    parser.add_argument("name", nargs="*", choices=[[], *_ALL], metavar="NAME", help=", ".join(_ALL))
    parser.add_argument("--full", action="store_true", help="index: 10^6 and 10^7 releases too, half an hour and 20 GB")
    chosen = parser.parse_args()
    for line in described():
        print(line)
    for name in chosen.name or _ALL:
        print(flush=True)
        if name == "index":
            index(chosen.quick, full=chosen.full)
        else:
            _ALL[name](chosen.quick)
    return 0


def publish(quick: bool) -> None:
    """Records per second on one core; 40,000 is the goal."""
    for partitions in (1, 8):
        figures = in_child(
            "publishing.measured", partitions=partitions, batches=3 if quick else 10, rounds=3 if quick else 5
        )
        title = f"publish, {partitions} partition{'s' * (partitions > 1)}, batches of 10,000 (goal: 40,000 records/s)"
        _rates(title, figures, baseline="fastavro strict + SQLite WAL FULL")


def read(quick: bool) -> None:
    """Records per second on one core; 30,000 is the goal."""
    figures = in_child("reading.measured", batches=3 if quick else 10, rounds=3 if quick else 5)
    _rates("read through the reference view (goal: 30,000 records/s)", figures, baseline="log read + fastavro decode")


def memory(quick: bool) -> None:
    """Megabytes at 10^4, 10^5 and 10^6 records."""
    figures = in_child("memory.measured", sizes=[10_000, 100_000] if quick else [10_000, 100_000, 1_000_000])
    _table("peak memory, MB (goal: flat)", {f"{int(size):,} records": row for size, row in figures.items()})


def audit(quick: bool) -> None:
    """Latency until an entry is in a signed checkpoint."""
    _table("audit: append to receipt, ms", in_child("auditing.measured", entries=100 if quick else 500))
    figures = in_child("auditing.verified", entries=20_000 if quick else 200_000)
    _table("verify (goal: 500,000/s a core for the hashes; CPU of the judging process)", figures)


def start(quick: bool) -> None:
    """What a short command costs."""
    _table(
        "start of a command, s (goal: help, view, verify < 0.2)",
        in_child("starting.measured", rounds=5 if quick else 15),
    )


def decide(quick: bool) -> None:
    """What a decision costs."""
    _table("policy decision, ms", in_child("deciding.measured", decisions=200 if quick else 1_000))


def http(quick: bool) -> None:
    """The exchange over HTTP, on both cores, its client among them."""
    figures = in_child(
        "serving.measured", seconds=3 if quick else 10, connections=[1, 64, 1_000], rounds=1 if quick else 3
    )
    _table("look-ups over HTTP, audited (goal: 1,000/s, p99 50 ms at 64)", figures["look-ups"])
    _table("batches of 1,000 records over HTTP", figures["reads"])
    _table("start to ready (goal: 2 s; for --help see start)", figures["start to ready"])


def logs(quick: bool) -> None:
    """Each record log against its raw client, on one core beside the server's."""
    sizes = {"batch": 1_000, "batches": 10 if quick else 30, "rounds": 3 if quick else 5}
    _logs("sqlite", in_child("logs.measured", engine="sqlite", **sizes))
    with _skipping(), servers.kafka() as found:
        for engine in ("kafka", "kafka+librdkafka"):
            given = servers.kafka_settings(found, f"b{token_hex(4)}")
            _logs(engine, in_child("logs.measured", engine=engine, server=given, **sizes))


def sequencer(quick: bool) -> None:
    """How long entries wait for their checkpoint, on both stores, by how many append at once."""
    _sequencer("SQLite and files", None, 3 if quick else 10)
    with _skipping(), servers.database() as url:
        _sequencer("PostgreSQL", url, 3 if quick else 10)


def _sequencer(store: str, url: str | None, seconds: int) -> None:
    figures = in_child("sequencing.measured", url=url, readers=[1, 16, 64], seconds=seconds)
    _table(f"sequencer on {store}", figures)
    title = f"commit on {store} (goal: 50 entries 5 ms where fdatasync takes 0.15)"
    _table(title, in_child("sequencing.fifties", url=url, seconds=seconds))
    figures = in_child("sequencing.releases", url=url, readers=64, in_flight=8, seconds=seconds)
    _table(f"releases on {store} (goal: {'10,000' if url is None else '1,500'}/s)", figures)


def latency(quick: bool) -> None:
    """From publish to release at 100 records/s; and what log and audit cost a record."""
    title = "log and audit, batches of 1,000 (goal: 1.5 us a record together)"
    _table(title, in_child("delays.cost", batches=100 if quick else 500, rounds=3 if quick else 5))
    seconds = 5 if quick else 20
    _table("publish to release at 100 records/s, embedded, ms", in_child("delays.measured", seconds=seconds))
    with _skipping(), servers.kafka() as found, servers.database() as url, folder() as place:
        given = servers.site_settings(found, url, f"b{token_hex(4)}", place)
        figures = in_child("delays.measured", seconds=seconds, engines=given)
        _table("publish to release at 100 records/s, Kafka and PostgreSQL, ms", figures)


def index(quick: bool, *, full: bool = False) -> None:
    """Who saw a subject, on both databases, and the sealed segments."""
    sizes = [10_000] if quick else [100_000, *([1_000_000, 10_000_000] if full else [])]
    told: dict[str, Any] = {"sizes": sizes, "rounds": 20 if quick else 200, "control": 10_000 if quick else 100_000}
    _table("who-saw on SQLite, warm, ms", in_child("finding.measured", url=None, **told))
    with _skipping(), servers.database() as url:
        _table("who-saw on PostgreSQL, warm, ms", in_child("finding.measured", url=url, **told))
    each = 1_000_000 if full else 20_000 if quick else 100_000
    rows = 100_000 if quick else 1_000_000
    _table("segments, ms", in_child("finding.segments", rows=rows, count=100, each=each, rounds=20 if quick else 100))


@contextmanager
def _skipping() -> Iterator[None]:
    """Says which server is not here, and goes on with the rest."""
    try:
        yield
    except servers.NOT_HERE as missing:
        print(f"not measured: {missing}")


def _logs(engine: str, figures: Figures) -> None:
    publish, read = ({"baseline": figures[f"raw {name}"], engine: figures[name]} for name in ("publish", "read"))
    _rates(f"{engine}: publish ready bytes, batches of 1,000", publish, baseline="the client alone")
    _rates(f"{engine}: read and decode", read, baseline="the client alone")


_ALL: Final[Mapping[str, Callable[[bool], None]]] = {
    "publish": publish,
    "read": read,
    "memory": memory,
    "audit": audit,
    "start": start,
    "decide": decide,
    "http": http,
    "logs": logs,
    "sequencer": sequencer,
    "latency": latency,
    "index": index,
}


def _rates(title: str, figures: Figures, *, baseline: str) -> None:
    plain = figures["baseline"]
    rows = {f"{baseline} (baseline)": plain, **{name: row for name, row in figures.items() if name != "baseline"}}
    _table(
        title,
        {
            name: {
                "records/s": f"{row['wall']:,}",
                "per CPU second": f"{row['cpu']:,}",
                "x baseline": f"{row['cpu'] / plain['cpu']:.2f}",
            }
            for name, row in rows.items()
        },
    )


def _table(title: str, rows: Figures) -> None:
    columns = list(next(iter(rows.values())))
    width = max(len(name) for name in [title, *rows])
    print(f"{title:{width}}  " + "  ".join(f"{column:>14}" for column in columns))
    for name, row in rows.items():
        print(f"  {name:{width - 2}}  " + "  ".join(f"{row[column]!s:>14}" for column in columns), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", os.getcwd())  # noqa: PTH109  # the children are modules of this folder
    sys.exit(main())
