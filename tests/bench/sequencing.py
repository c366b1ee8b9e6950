"""The sequencer on its two stores: how long entries wait for a signed checkpoint with 1, 16 and 64 who append."""

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from secrets import token_bytes, token_hex
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy import Engine

from exchange.access.decisions import Decided
from exchange.access.flight import Flight
from exchange.access.parts import Release
from exchange.audit.access_entries import Access
from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.entries import make
from exchange.audit.log import AuditLog, create
from exchange.audit.postgresql import PostgresAuditStore
from exchange.audit.store import AuditStore
from exchange.control.database import open_engine, upgrade
from exchange.names import digest
from exchange.signing.keys import new_signing_key
from exchange.signing.pseudonyms import Actors
from tests.bench.clock import folder, percentile, unpin

_DIGEST: Final = digest("bench")


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


def fifties(url: str | None, seconds: float) -> dict[str, Any]:
    """Milliseconds until fifty entries that one brings together are in a signed checkpoint; and what this disk takes
    to make bytes durable, by itself.
    """
    unpin()
    with folder() as place, _log(url, place) as (log, _):

        def commit() -> None:
            entries = [_entry() for _ in range(50)]
            log.submit(entries)
            log.wait(entries[-1].id)

        rows = {name: _told(found) for name, found in _disk(place).items()}
        return {**rows, "commit of 50 entries": _told(_timed(commit, seconds))}


def releases(url: str | None, readers: int, in_flight: int, seconds: float) -> dict[str, Any]:
    """How many releases a second so many readers hand over, each with so many in flight: steps 6 and 7 of the access
    path as it makes them, without the records; and the bare append of the same entries, one at a time.
    """
    unpin()
    rows: dict[str, Any] = {}
    for title, work in (("handed over, steps 6 and 7", _hand_over), ("appended one at a time", _append)):
        with folder() as place, _log(url, place) as (log, engine):
            found: list[float] = []
            times: set[int] = set()
            until, spent = time.perf_counter() + seconds, time.process_time()
            _together(partial(work, log, in_flight, until, found, times), readers)
            cpu = time.process_time() - spent
            rows[f"{readers} readers, {in_flight} in flight: {title}"] = {
                "releases/s": round(len(found) / seconds),
                "commits/s": round(len(times) / seconds),
                "CPU us each": round(cpu / len(found) * 1e6),
                "bytes each": kept_bytes(place / "log", engine) // log.size,
                **_told(found),
            }
    return rows


def _hand_over(log: AuditLog, in_flight: int, until: float, found: list[float], times: set[int]) -> None:
    """One reader, with a gateway of his own."""
    parts: Any = SimpleNamespace(
        audit=log, now_ns=time.time_ns, random_bytes=token_bytes, start_run=lambda _: None, in_flight=in_flight
    )
    flight, decided, position = Flight(parts), _decided(), 0
    begun: deque[float] = deque()
    while (now := time.perf_counter()) < until or flight:
        filling = now < until and 2 * len(flight) <= in_flight
        while filling and len(flight) < in_flight:
            release = Release(-1, b"", 0, position, b"", bytes(4_000), 100, 0, 0)
            what = {"topic": "bench.topic", "partition": 0, "lo": position, "hi": position + 100}
            flight.put(decided, release, attempt=0, format="avro", excluded=None, **what)
            begun.append(time.perf_counter())
            position += 100
        handed = flight.handed_over()
        if handed is None:
            raise AssertionError("a release was refused or late")
        found.append((time.perf_counter() - begun.popleft()) * 1e3)
        times.add(hash(handed.checkpoint))


def _append(log: AuditLog, _: int, until: float, found: list[float], times: set[int]) -> None:
    access, run, counter = _decided().access, token_bytes(16), 0
    what = {"released": 100, "excluded_count": 0, "withheld": 0, "view_schema": _DIGEST, "format": "avro"}
    while (begun := time.perf_counter()) < until:
        counter += 1
        entry = access.release_entry(time.time_ns(), bytes(4_000), run=run, counter=counter, attempt=0, **what)
        times.add(log.append(entry).at_ns)
        found.append((time.perf_counter() - begun) * 1e3)


def _decided() -> Any:
    """A decision that allows nine fields under an agreement, as the access path has it."""
    fields = [SimpleNamespace(path=f"field_{number}", mask={"kind": "keep"}) for number in range(9)]
    epochs = {"policy": 1, "agreement/agr-1": 1, "principal/svc.bench": 1, "dataset/bench.topic": 1}
    plan: Any = SimpleNamespace(
        dataset="bench.topic",
        reasons=({"code": "agreement", "agreement": f"agr-{token_hex(3)}", "revision": 1},),
        policy_revision=_DIGEST,
        schema=_DIGEST,
        fields=fields,
        expires_ns=time.time_ns() + 10**13,
        epochs=epochs,
    )
    asked: dict[str, Any] = {
        "dataset": {"name": "bench.topic"},
        "principal": {"id": "svc.bench", "department": "bench"},
        "purpose": "bench",
        "case": None,
        "action": "read",
        "zone": "extranet",
        "agreements": [],
    }
    question: Any = SimpleNamespace(document=asked, digest=_DIGEST)
    access = Access(question, plan, token_bytes(16), (), Actors(bytes(32)))
    view: Any = SimpleNamespace(fingerprint=_DIGEST)
    return Decided(access, view, time.time_ns())


@contextmanager
def _log(url: str | None, place: Path) -> Iterator[tuple[AuditLog, Engine]]:
    """A new log, open, with the epochs that `_decided` rests on."""
    engine = open_engine(url or f"sqlite:///{place / 'control.db'}")
    if url is None:
        upgrade(engine)
    key = new_signing_key(place / "log.key")

    def store() -> AuditStore:
        return EmbeddedAuditStore(place / "log", engine) if url is None else PostgresAuditStore(engine)

    create(store(), "bench.invalid/log", key, time.time_ns)
    log = AuditLog(store(), key, time.time_ns)
    raised = Actors(bytes(32)).epochs(dict(_decided().access.plan.epochs))
    control = {"type": "bench/1", "aggregate": "bench", "version": 1, "data": "{}", "data_digest": _DIGEST}
    log.append(make("control", token_bytes(16), time.time_ns(), **control, raises=dict(raised)))
    try:
        yield log, engine
    finally:
        log.close()
        if url is not None:
            _cleared(engine)
        engine.dispose()


def kept_bytes(log: Path, engine: Engine) -> int:
    """What a log takes on disk, with its rows of the control database."""
    files = sum(file.stat().st_size for file in log.rglob("*") if file.is_file())
    return files + database_bytes(engine, "audit_")


def database_bytes(engine: Engine, prefix: str) -> int:
    """What the tables of this prefix and their indexes take on disk; on SQLite the whole file."""
    from sqlalchemy import text

    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            total = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE :p"
            return int(connection.execute(text(total), {"p": f"{prefix}%"}).scalar_one())
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).close()
    return Path(str(engine.url.database)).stat().st_size


def _disk(place: Path) -> dict[str, list[float]]:
    """Milliseconds of one fdatasync of 4 KB within a file, and of a new file of 20 KB with its fsync."""
    numbers = itertools.count()
    descriptor = os.open(place / "within", os.O_RDWR | os.O_CREAT)

    def within() -> None:
        os.pwrite(descriptor, token_bytes(4_096), next(numbers) % 256 * 4_096)
        os.fdatasync(descriptor)

    def anew() -> None:
        other = os.open(place / f"new{next(numbers)}", os.O_WRONLY | os.O_CREAT)
        os.write(other, bytes(20_000))
        os.fsync(other)
        os.close(other)

    os.write(descriptor, bytes(1 << 20))
    os.fsync(descriptor)
    found = {"this disk: fdatasync of 4 KB": _timed(within, 1), "this disk: a new file of 20 KB": _timed(anew, 1)}
    os.close(descriptor)
    return found


def _timed(work: Callable[[], object], seconds: float) -> list[float]:
    found, until = [], time.perf_counter() + seconds
    while (begun := time.perf_counter()) < until:
        work()
        found.append((time.perf_counter() - begun) * 1e3)
    return found


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
    return _rates(found, seconds, len(found))


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
    return _rates(found, seconds, len(sizes))


def _together(run: Callable[[], None], count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        for one in [pool.submit(run) for _ in range(count)]:
            one.result()


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


def _rates(found: list[float], seconds: float, commits: int) -> dict[str, Any]:
    return {"entries/s": round(len(found) / seconds), "commits/s": round(commits / seconds), **_told(found)}


def _told(found: list[float]) -> dict[str, Any]:
    return {"p50 ms": round(percentile(found, 0.5), 2), "p99 ms": round(percentile(found, 0.99), 2)}
