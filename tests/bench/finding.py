"""Who saw a subject, by the index on each database; and the sealed segments: made, and looked up in, warm and cold.

The index is bulk-loaded: its rows are written straight into its tables, for ten million releases do not go through a
sequencer in an afternoon. The control does: the same releases, appended and followed, must give the same sightings.
"""

import os
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Engine

from exchange.audit import index_tables as t
from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.entries import Entry, entry_id, make
from exchange.audit.log import AuditLog, create
from exchange.audit.segments import Sealed, look_in, opened, seal, span_of
from exchange.audit.subjects import SubjectIndex
from exchange.control.database import open_engine, upgrade
from exchange.names import canonical, digest
from exchange.signing.keys import new_signing_key
from tests.bench.clock import folder, percentile
from tests.bench.sequencing import database_bytes, kept_bytes

PARTITIONS: Final = 32
AGREEMENTS: Final = 5
EACH: Final = 770  # positions of a subject
_NOW: Final = 1_795_420_800_000_000_000
_DIGEST: Final = digest("bench")
_FIELDS: Final = canonical([{"path": f"field_{number}", "mask": {"kind": "keep"}} for number in range(9)]).decode()
_SPREAD: Final = 2_654_435_761  # a prime


class Layout:
    """Which positions are whose, and what each release showed: every agreement's releases cover each partition once."""

    def __init__(self, releases: int, positions: int) -> None:
        self.subjects = max(positions // EACH, 1)
        self.length = -(-positions // PARTITIONS)
        self.streams = PARTITIONS * AGREEMENTS
        self.each = max(releases // self.streams, 1)
        self.span = -(-self.length // self.each)

    def tag(self, partition: int, position: int) -> bytes:
        """Whose record it is: subjects are spread evenly over partitions."""
        return _tag((partition * self.length + position) * _SPREAD % self.subjects)

    def seen(self) -> Iterator[tuple[bytes, int, int]]:
        """Rows of `index_seen` in the order of its key, which a database takes many times faster than any other."""
        total, inverse = PARTITIONS * self.length, pow(_SPREAD, -1, self.subjects)
        for tag, subject in sorted((_tag(number), number) for number in range(self.subjects)):
            # Those numbers of records that `tag` gives this subject.
            for number in range(subject * inverse % self.subjects, total, self.subjects):
                yield tag, number // self.length + 1, number % self.length

    def ranges(self) -> Iterator[tuple[int, int, int, int]]:
        """(stream, lo, hi, index) of each release."""
        for number in range(self.each):
            lo = number * self.span
            for stream in range(self.streams):
                yield stream + 1, lo, lo + self.span, number * self.streams + stream


def measured(url: str | None, sizes: Sequence[int], rounds: int, control: int) -> dict[str, Any]:
    """Milliseconds of one who-saw with all its sightings, by how many releases the index holds: warm, which is asked a
    second time, and what the first time took.
    """
    rows: dict[str, Any] = {}
    for releases in sizes:
        with _engine(url) as engine:
            layout, index = Layout(releases, min(2 * releases, 20_000_000)), SubjectIndex(engine)
            begun = time.perf_counter()
            _load(engine, layout)
            name = f"{releases:,} releases, bulk-loaded in {time.perf_counter() - begun:.0f} s"
            rows[name] = _asked(index, layout, rounds) | _sizes(engine, releases, None)
            _emptied(engine)
    if control:
        with _engine(url) as engine, folder() as place:
            layout = Layout(control, 2 * control)
            index = SubjectIndex(engine)
            begun = time.perf_counter()
            kept = _appended(place, index, layout)
            name = f"{control:,} releases, appended and followed in {time.perf_counter() - begun:.0f} s (control)"
            rows[name] = _asked(index, layout, rounds) | _sizes(engine, control, kept)
            _emptied(engine)
    return rows


def segments(rows: int, count: int, each: int, rounds: int) -> dict[str, Any]:
    """Seconds to seal one segment, milliseconds of a look-up over many, from memory and from the disk, and the proofs
    of all of them.
    """
    choice = random.Random(1)
    with folder() as place:
        one = [choice.randbytes(24) for _ in range(rows)]
        begun = time.perf_counter()
        seal(place / "one", one, 24)
        sealed_s = time.perf_counter() - begun
        del one
        tags = [choice.randbytes(16) for _ in range(each // 10)]
        made = [(place / str(number), _sealed(place / str(number), tags, each, choice)) for number in range(count)]
        asked = choice.choices(tags, k=rounds)
        warm = [_look(made, tag, cold=False) for tag in [tags[0], *asked]][1:]
        cold = [_look(made, tag, cold=True) for tag in asked]
        proved = [_prove(made, tag) for tag in asked]
    title = f"look-up over {count} segments of {each:,} rows"
    return {
        f"seal {rows:,} rows": {"p50": f"{sealed_s * 1e3:.0f}", "p99": "-"},
        f"{title}, warm": _told(warm),
        f"{title}, cold": _told(cold),
        f"{title}, with proofs": _told(proved),
    }


def _sealed(file: Path, tags: Sequence[bytes], each: int, choice: random.Random) -> Sealed:
    rows = {choice.choice(tags) + at.to_bytes(8, "big") for at in range(each)}
    return seal(file, rows, 24)


def _look(made: Sequence[tuple[Path, Sealed]], tag: bytes, *, cold: bool) -> float:
    if cold:
        for file, _ in made:
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
    begun = time.perf_counter()
    look_in(made, 24, *span_of(tag))
    return (time.perf_counter() - begun) * 1e3


def _prove(made: Sequence[tuple[Path, Sealed]], tag: bytes) -> float:
    begun = time.perf_counter()
    for file, sealed in made:
        with opened(file, 24, sealed) as segment:
            segment.pages([span_of(tag)])
    return (time.perf_counter() - begun) * 1e3


@contextmanager
def _engine(url: str | None) -> Iterator[Engine]:
    with folder() as place:
        engine = open_engine(url or f"sqlite:///{place / 'index.db'}")
        try:
            yield engine
        finally:
            engine.dispose()


def _asked(index: SubjectIndex, layout: Layout, rounds: int) -> dict[str, Any]:
    found: dict[str, list[float]] = {"first": [], "again": []}
    sightings = 0
    for number in range(rounds + 3):
        for times in found.values():
            begun = time.perf_counter()
            sightings = len(index.who_saw(_tag(number % layout.subjects)))
            if number >= 3:
                times.append((time.perf_counter() - begun) * 1e3)
    first = {"first asked p50": _told(found["first"])["p50"]}
    return {**_told(found["again"]), **first, "sightings": sightings}


def _sizes(engine: Engine, releases: int, kept: int | None) -> dict[str, Any]:
    """Bytes of the index for each release, two of whose records are in it, and of the log with its control rows."""
    log = {"log bytes/release": "-" if kept is None else kept // releases}
    return {"index bytes/release": database_bytes(engine, "index_") // releases, **log}


def _told(found: Sequence[float]) -> dict[str, Any]:
    return {"p50": f"{percentile(found, 0.5):.1f}", "p99": f"{percentile(found, 0.99):.1f}"}


def _load(engine: Engine, layout: Layout) -> None:
    parts = [(number + 1, "bench.topic", number) for number in range(PARTITIONS)]
    streams = [
        (number + 1, number // AGREEMENTS + 1, f"agr-{number % AGREEMENTS}", layout.each * layout.span)
        for number in range(layout.streams)
    ]
    facts = [
        (number + 1, bytes([number]) * 16, "release", f'{{"agreement":"agr-{number}","kind":"release"}}')
        for number in range(AGREEMENTS)
    ]
    _copy(engine, t.PART, ("id", "topic", "part"), parts)
    _copy(engine, t.STREAM, ("id", "part", "agreement", "hi"), streams)
    _copy(engine, t.FACTS, ("id", "digest", "kind", "text"), facts)
    ranges = ((*row, _NOW + row[3], (row[0] - 1) % AGREEMENTS + 1) for row in layout.ranges())
    _copy(engine, t.RANGE, ("stream", "lo", "hi", "idx", "time_ns", "facts"), ranges)
    entries = ((index, _NOW + index, (stream - 1) % AGREEMENTS + 1) for stream, _, _, index in layout.ranges())
    _copy(engine, t.ENTRY, ("idx", "time_ns", "facts"), entries)
    _copy(engine, t.SEEN, ("tag", "part", "position"), layout.seen())
    if engine.dialect.name == "postgresql":  # where autovacuum does it; nobody does on SQLite
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))


def _copy(engine: Engine, table: sa.Table, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Writes rows as fast as the database takes them."""
    names = ", ".join(columns)
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        if engine.dialect.name == "postgresql":
            with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join("?" * len(columns))
            cursor.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", rows)  # type: ignore[arg-type]
        connection.commit()
    finally:
        connection.close()


def _emptied(engine: Engine) -> None:
    """The server's database is used again."""
    if engine.dialect.name == "postgresql":
        t.METADATA.drop_all(engine)


def _appended(place: Path, index: SubjectIndex, layout: Layout) -> int:
    """Appends the releases to a log on SQLite and files, and follows it; the bytes of that log."""
    engine = open_engine(f"sqlite:///{place / 'control.db'}")
    upgrade(engine)
    key = new_signing_key(place / "log.key")
    create(EmbeddedAuditStore(place / "log", engine), "bench.invalid/index", key, time.time_ns)
    log = AuditLog(EmbeddedAuditStore(place / "log", engine), key, time.time_ns)
    batch: list[Entry] = []
    for stream, lo, hi, number in layout.ranges():
        batch.append(_release(stream - 1, lo, hi, number))
        if len(batch) == 5_000:
            log.submit(batch)
            log.wait(batch[-1].id)
            batch = []
    if batch:
        log.submit(batch)
        log.wait(batch[-1].id)

    def read(_: str, partition: int, position: int, limit: int) -> tuple[list[bytes], list[int], int]:
        places = list(range(position, min(position + limit, layout.length)))
        return [layout.tag(partition, at) for at in places], places, position + len(places)

    index.follow({"bench.topic": PARTITIONS}, read, log)
    kept = kept_bytes(place / "log", engine)
    log.close()
    engine.dispose()
    return kept


def _release(stream: int, lo: int, hi: int, number: int) -> Entry:
    return make(
        *("release", entry_id("bench", number), _NOW + number),
        agreement=f"agr-{stream % AGREEMENTS}",
        agreement_revision=1,
        actor="0" * 32,
        zone="extranet",
        format="avro",
        fields=_FIELDS,
        decision=bytes(16),
        policy_revision=_DIGEST,
        epochs={},
        dataset="bench.topic",
        recipient="bench",
        purpose="bench",
        action="read",
        topic="bench.topic",
        partition=stream // AGREEMENTS,
        lo=lo,
        hi=hi,
        released=hi - lo,
        excluded_count=0,
        withheld=0,
        schema=_DIGEST,
        view_schema=_DIGEST,
        payload_digest=_DIGEST,
        payload_bytes=1_000,
        run=bytes(16),
        counter=number + 1,
        attempt=0,
        expires_ns=2 * _NOW,
    )


@cache
def _tag(number: int) -> bytes:
    """Even like an HMAC's, so that rows lie scattered."""
    return random.Random(number).randbytes(16)
