"""What it costs to have an entry in a signed checkpoint: one at a time, and a hundred in flight."""

import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

from exchange.audit.entries import Entry, make
from exchange.audit.log import AuditLog
from exchange.audit.verify import verify
from exchange.names import canonical
from tests.audit import building
from tests.bench import site
from tests.bench.clock import folder, percentile, unpin

IN_FLIGHT: Final = 100
_FIELDS: Final = canonical([{"path": f"field_{number}", "mask": {"kind": "keep"}} for number in range(9)]).decode()


def measured(entries: int) -> dict[str, Any]:
    """Milliseconds from an append to its receipt (median, 99 %), and entries per second."""
    with folder() as place:
        site.make(place / "site")
        plain = _latencies(_committer(place / "plain.db"), entries, 1)
        with site.opened(place / "site") as exchange:
            alone = _latencies(_appender(exchange.audit), entries, 1)
            together = _latencies(_appender(exchange.audit), entries * 10, IN_FLIGHT)
    return {"one SQLite commit (baseline)": plain, "alone": alone, f"{IN_FLIGHT} in flight": together}


def verified(entries: int) -> dict[str, Any]:
    """Entries a second that the offline verifier judges: their hashes alone, and by all rules, alone and with a process
    for each core to read them. The log is of releases, written straight into its tiles.
    """
    unpin()
    rows: dict[str, Any] = {}
    cores = os.cpu_count() or 1
    with folder() as place:
        releases = (building.release(number, fields=_FIELDS, format="avro") for number in range(1, entries + 1))
        story = [building.control(1), *building.grounds(committed=10 * entries + 10), *releases]
        log = building.write_log(place / "log", building.leaves_of(story))
        for title, told in (
            ("hashes alone", {"rules": False}),
            ("all rules", {}),
            (f"all rules, {cores} processes beside", {"jobs": cores}),
        ):
            begun, spent = time.perf_counter(), time.process_time()
            verdict = verify(log, building.VKEY, **told)
            wall, cpu = time.perf_counter() - begun, time.process_time() - spent
            if not verdict.ok:
                raise AssertionError(verdict.findings[:3])
            rows[title] = {"entries/s": round(verdict.size / wall), "per CPU second": round(verdict.size / cpu)}
    return rows


def _latencies(append: Callable[[], object], count: int, threads: int) -> dict[str, float]:
    def one(_: int) -> float:
        begun = time.perf_counter()
        append()
        return (time.perf_counter() - begun) * 1e3

    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        found = list(pool.map(one, range(count)))
        seconds = time.perf_counter() - begun
    median, most = percentile(found, 0.5), percentile(found, 0.99)
    return {"median": round(median, 2), "99 %": round(most, 2), "per second": round(count / seconds)}


def _appender(audit: AuditLog) -> Callable[[], object]:
    return lambda: audit.append(_entry())


def _entry() -> Entry:
    return make("refusal", token_bytes(16), time.time_ns(), reasons=["bench"], action="read", dataset="ps.hukou_person")


def _committer(file: Path) -> Callable[[], object]:
    """A durable commit (WAL, FULL) of one row as large as an entry: no tree, no signature, no files."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE entry (id BLOB PRIMARY KEY, leaf BLOB)")
    return lambda: connection.execute("INSERT INTO entry VALUES (?, ?)", (token_bytes(16), bytes(120)))
