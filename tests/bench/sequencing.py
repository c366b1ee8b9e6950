"""The sequencer on its two stores: how long entries wait for a signed checkpoint with 1, 16 and 64 who append."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_bytes
from typing import Any

from sqlalchemy import Engine

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.entries import make
from exchange.audit.log import AuditLog, create
from exchange.audit.postgresql import PostgresAuditStore
from exchange.audit.store import AuditStore
from exchange.control.database import open_engine, upgrade
from exchange.signing.keys import new_signing_key
from tests.bench.clock import folder, percentile, unpin


def measured(url: str | None, readers: Sequence[int], seconds: float) -> dict[str, Any]:
    """By how many append at once: entries and commits per second, milliseconds from append to receipt; and, as the
    baseline, what one durable commit of as many rows' bytes takes on the same database.
    """
    unpin()
    rows: dict[str, Any] = {}
    with folder() as place:
        engine = open_engine(url or f"sqlite:///{place / 'control.db'}")
        if url is None:
            upgrade(engine)
        rows["one durable commit of a row (baseline)"] = _commits(engine, seconds / 2)
        for count in readers:
            rows[f"{count} who append"] = _appends(engine, place / f"audit-{count}", count, seconds, url is not None)
            if url is not None:
                _cleared(engine)
        engine.dispose()
    return rows


def _commits(engine: Engine, seconds: float) -> dict[str, Any]:
    from sqlalchemy import text

    with engine.begin() as connection:
        kind = "BYTEA" if engine.dialect.name == "postgresql" else "BLOB"
        connection.execute(text(f"CREATE TABLE bench (id {kind} PRIMARY KEY, leaf {kind})"))
    found, until = [], time.perf_counter() + seconds
    while (begun := time.perf_counter()) < until:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO bench VALUES (:i, :l)"), {"i": token_bytes(16), "l": bytes(400)})
        found.append((time.perf_counter() - begun) * 1e3)
    return _told(found, seconds, len(found))


def _appends(engine: Engine, place: Path, count: int, seconds: float, server: bool) -> dict[str, Any]:
    place.mkdir()
    key = new_signing_key(place / "log.key")

    def store() -> AuditStore:
        return PostgresAuditStore(engine) if server else EmbeddedAuditStore(place / "log", engine)

    if not server:
        _cleared(engine)
    create(store(), f"bench.invalid/{count}", key, time.time_ns)
    sizes: set[int] = set()
    log = AuditLog(store(), key, time.time_ns)
    found: list[float] = []
    until = time.perf_counter() + seconds

    def run() -> None:
        while (begun := time.perf_counter()) < until:
            receipt = log.append(_entry())
            found.append((time.perf_counter() - begun) * 1e3)
            sizes.add(receipt.at_ns)  # one for each commit

    _together(run, count)
    log.close()
    return _told(found, seconds, len(sizes))


def _together(run: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=run) for _ in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def _cleared(engine: Engine) -> None:
    """The database without its log, for the next one."""
    from sqlalchemy import inspect, text

    with engine.begin() as connection:
        for name in inspect(engine).get_table_names():
            if name.startswith("audit_"):
                connection.execute(text(f"DELETE FROM {name}"))


def _entry() -> Any:
    return make(
        "refusal", token_bytes(16), time.time_ns(), reasons=["bench"] * 30, action="read", dataset="ps.hukou_person"
    )


def _told(found: list[float], seconds: float, commits: int) -> dict[str, Any]:
    return {
        "entries/s": round(len(found) / seconds),
        "commits/s": round(commits / seconds),
        "p50 ms": round(percentile(found, 0.5), 2),
        "p99 ms": round(percentile(found, 0.99), 2),
    }
