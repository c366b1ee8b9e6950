"""What it costs to have an entry in a signed checkpoint: one at a time, and a hundred in flight."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

from exchange.audit.entries import Entry, make
from exchange.audit.log import AuditLog
from tests.bench import site
from tests.bench.clock import folder, percentile

IN_FLIGHT: Final = 100


def measured(entries: int) -> dict[str, Any]:
    """Milliseconds from an append to its receipt (median, 99 %), and entries per second."""
    with folder() as place:
        site.make(place / "site")
        plain = _latencies(_committer(place / "plain.db"), entries, 1)
        with site.opened(place / "site") as exchange:
            alone = _latencies(_appender(exchange.audit), entries, 1)
            together = _latencies(_appender(exchange.audit), entries * 10, IN_FLIGHT)
    return {"one SQLite commit (baseline)": plain, "alone": alone, f"{IN_FLIGHT} in flight": together}


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
