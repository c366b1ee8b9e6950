"""The index over both logs: who saw a subject, and which entries concern an officer, a department, a dataset, a case.

It is derived, and rebuilt at any time. It only finds: what an answer says is read from the audit log itself, by index.

A release of a range shows a subject when one of the subject's positions lies in it and is not among the excluded. To
find these, the releases of one partition under one agreement are laid into streams whose ranges do not overlap and
rise (a replay opens another stream), so for each position and stream one backward probe does: the last range that
begins at or before the position (audit-log.md, "Subject query").
"""

import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from exchange.audit import index_tables as t
from exchange.audit.log import AuditLog
from exchange.audit.sealing import ReadTags, Segmented
from exchange.audit.segments import Sealed
from exchange.audit.taking import Taking, put
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log.server import is_server, place, server_fault

FORMAT: Final = 3
_BATCH: Final = 5_000
_MAKING: Final = 0x45585349  # "EXSI", the key of the lock under which the tables are made on a server
_PLAIN: Final = ("dataset", "purpose", "policy_revision", "agreement", "actor", "case")
# The backward probe: of each stream of the position's partition the last range that begins at or before it.
_PROBE: Final = """
SELECT r.idx, r.time_ns, r.facts, s.position, r.lo, r.hi, r.excluded FROM index_seen AS s
JOIN index_stream AS t ON t.part = s.part
JOIN index_range AS r ON r.stream = t.id AND r.lo = (
    SELECT e.lo FROM index_range AS e WHERE e.stream = t.id AND e.lo <= s.position ORDER BY e.lo DESC LIMIT 1)
WHERE s.tag = :tag AND r.hi > s.position
"""
# The same for PostgreSQL, which would read all of index_range for the join above; SQLite has no LATERAL.
_PROBE_ON_SERVER: Final = """
SELECT r.idx, r.time_ns, r.facts, s.position, r.lo, r.hi, r.excluded FROM index_seen AS s
JOIN index_stream AS t ON t.part = s.part
CROSS JOIN LATERAL (
    SELECT e.idx, e.time_ns, e.facts, e.lo, e.hi, e.excluded FROM index_range AS e
    WHERE e.stream = t.id AND e.lo <= s.position ORDER BY e.lo DESC LIMIT 1) AS r
WHERE s.tag = :tag AND r.hi > s.position
"""
# SQLite's primary result codes for "not now".
_PASSING: Final = frozenset({"BUSY", "LOCKED", "IOERR", "FULL", "CANTOPEN", "READONLY", "NOMEM", "PERM", "INTERRUPT"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries are looked for: of one of these kinds, and whatever else is given. `officer` is a pseudonym,
    `department` the one that it concerns, `field` a path that a release showed, `aggregate` what a control event is of
    (agreement, case); `unconfirmed` releases are those of which their recipient has said nothing. Times in nanoseconds,
    from and before. With `size` only the first so many entries of the log count, also of what a recipient has said.
    """

    kinds: Sequence[str]
    officer: str | None = None
    department: str | None = None
    dataset: str | None = None
    case: str | None = None
    purpose: str | None = None
    field: str | None = None
    aggregate: str | None = None
    unconfirmed: bool = False
    from_ns: int | None = None
    until_ns: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """One entry that concerns a subject. `kind` is release, refusal or audit_query; `positions` are those of the
    subject's records that a release showed, none when it told that there is no record. `fields` lists path and mask
    of what was shown. Absent facts are None.
    """

    index: int
    kind: str
    time_ns: int
    positions: tuple[int, ...]
    dataset: str | None
    fields: tuple[Mapping[str, Any], ...] | None
    purpose: str | None
    policy_revision: str | None
    agreement: str | None
    recipient: str | None
    actor: str | None
    case: str | None
    action: str | None
    reasons: tuple[str, ...]


class SubjectIndex:
    """The index in a database: a file of its own, or the control database on a server, where gateways share it.

    Any thread may use it; two that follow at once wait for each other.

    Raises `Tampered("subject_index_damaged")` when the file is no index or does not fit the logs,
    `Unavailable("subject_index_unavailable")` when it is busy, full or not reachable, and
    `Invalid("subject_index_format")` when a later version made it: delete it, it is made again from them. One of an
    earlier version is made anew at once.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._check_file()
        with self._guarded(), engine.begin() as connection:
            begin = f"SELECT pg_advisory_xact_lock({_MAKING}, hashtext(current_schema()))"
            connection.execute(sa.text(begin if is_server(engine) else "BEGIN IMMEDIATE"))
            found = self._format(connection)
            if found > FORMAT:
                raise Invalid("subject_index_format", where=self._where, found=found, needed=FORMAT)
            if found < FORMAT:
                self._drop(connection)
                t.METADATA.create_all(connection)
                put(connection, t.FOLLOWED, [{"name": "format", "position": FORMAT}])
                if not is_server(engine):
                    connection.execute(sa.text(f"PRAGMA user_version = {FORMAT}"))
            # A crash here: the tables are there or not; nothing is in them yet.

    def follow(self, topics: Mapping[str, int], read: ReadTags, audit: AuditLog) -> None:
        """Takes in what both logs have: each topic (with its number of partitions) to its end, then the audit log.

        A crash costs nothing: each batch is one transaction with the place to go on from.
        """
        for topic, partitions in topics.items():
            for partition in range(partitions):
                self._follow_records(topic, partition, read)
        self._follow_audit(audit)

    def followed(self) -> int:
        """Up to which size of the audit log the index knows."""
        return self._followed("audit")

    def who_saw(self, tag: bytes) -> list["Sighting"]:
        """Every release, refusal and auditor's question that concerns the subject, in the order of the audit log.

        A bitmap of excluded positions that cannot be read counts as none: rather too many sightings than too few.
        """
        found: dict[int, tuple[int, int, set[int]]] = {}  # index → time, facts, positions
        probe = sa.text(_PROBE_ON_SERVER if is_server(self._engine) else _PROBE)
        named = sa.select(t.NAMED.c.idx, t.ENTRY.c.time_ns, t.ENTRY.c.facts, t.NAMED.c.position)
        named = named.join(t.ENTRY, t.ENTRY.c.idx == t.NAMED.c.idx).where(t.NAMED.c.tag == tag)
        with self._guarded(), self._engine.connect() as connection:
            for idx, time_ns, facts, position, lo, hi, excluded in connection.execute(probe, {"tag": tag}).all():
                if excluded is None or not _is_excluded(excluded, position - lo, hi - lo):
                    found.setdefault(idx, (time_ns, facts, set()))[2].add(position)
            for idx, time_ns, facts, position in connection.execute(named).all():
                found.setdefault(idx, (time_ns, facts, set()))[2].update(() if position is None else (position,))
            texts = _texts(connection, {facts for _, facts, _ in found.values()})
            told = {number: _told(text) for number, text in texts.items()}
            return [
                Sighting(index=idx, time_ns=time_ns, positions=tuple(sorted(positions)), **told[facts])
                for idx, (time_ns, facts, positions) in sorted(found.items())
            ]

    def find(self, wanted: Wanted, after: int, most: int, before: int | None = None) -> dict[int, Mapping[str, Any]]:
        """The first `most` entries behind index `after` that are wanted, or with `before` the last ones before that; in
        the order of the log: index → what the entry is about.
        """
        asked = (wanted.officer, wanted.department, wanted.dataset, wanted.case, wanted.purpose, wanted.field)
        if any("\x00" in one for one in asked if one):  # no entry has it, and PostgreSQL takes no text with it
            return {}
        query = _found(sa.select(t.ENTRY.c.idx, t.FACTS.c.text), wanted, after, before)
        query = query.order_by(t.ENTRY.c.idx if before is None else t.ENTRY.c.idx.desc()).limit(most)
        with self._guarded(), self._engine.connect() as connection:
            rows = connection.execute(query).all()
            return {int(idx): json.loads(text) for idx, text in (rows if before is None else rows[::-1])}

    def count(self, wanted: Wanted, after: int, most: int, before: int | None = None) -> int:
        """How many of them there are, counted no further than to `most`."""
        query = _found(sa.select(t.ENTRY.c.idx), wanted, after, before).limit(most).subquery()
        with self._guarded(), self._engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(query)).scalar_one())

    def period(self, from_ns: int | None, until_ns: int | None, below: int) -> tuple[int | None, int | None]:
        """The first of the indexed entries below an index that states a time from `from_ns` on, and the last one that
        states one before `until_ns`; None where there is none.
        """
        early, late = sa.select(sa.func.min(t.ENTRY.c.idx)), sa.select(sa.func.max(t.ENTRY.c.idx))
        early = early.where(t.ENTRY.c.idx < below, t.ENTRY.c.time_ns >= (from_ns or 0))
        late = late.where(t.ENTRY.c.idx < below, t.ENTRY.c.time_ns < (until_ns if until_ns is not None else 1 << 62))
        with self._guarded(), self._engine.connect() as connection:
            return connection.execute(early).scalar(), connection.execute(late).scalar()

    def segments(self) -> list[Segmented]:
        """The segments that the log names."""
        with self._guarded(), self._engine.connect() as connection:
            return [
                Segmented(one.idx, one.topic, one.part, one.lo, one.hi, Sealed(one.rows, bytes(one.root), one.digest))
                for one in connection.execute(sa.select(*t.SEGMENT.c).order_by(t.SEGMENT.c.idx))
            ]

    def close(self) -> None:
        """Gives back the file; on a server the connections are the control database's."""
        if not is_server(self._engine):
            self._engine.dispose()

    def _follow_records(self, topic: str, partition: int, read: ReadTags) -> None:
        name = f"records/{topic}/{partition}"
        while True:
            position = self._followed(name)  # each time: another gateway may be following, too
            tags, positions, following = read(topic, partition, position, _BATCH)
            if following <= position:
                return
            with self._guarded(), self._engine.begin() as connection:
                if self._go_on(connection, name, position, following):
                    taking = Taking(connection)
                    taking.records(taking.part(topic, partition), tags, positions)
            # A crash here: this batch is in, the next one is read again from its place.

    def _follow_audit(self, audit: AuditLog) -> None:
        size = audit.size
        if self._followed("audit") > size and not is_server(self._engine):  # there another gateway may have seen more
            raise Tampered("subject_index_damaged", where=self._where, detail="it is ahead of the audit log")
        while (at := self._followed("audit")) < size:
            until = min(at + _BATCH, size)
            entries = list(audit.entries(at, until))
            with self._guarded(), self._engine.begin() as connection:
                if self._go_on(connection, "audit", at, until):
                    taking = Taking(connection)
                    for index, kind, body in entries:
                        taking.take(index, kind, body)
                    taking.write()
            # A crash here: as above.

    def _followed(self, name: str) -> int:
        with self._guarded(), self._engine.connect() as connection:
            return int(
                connection.execute(sa.select(t.FOLLOWED.c.position).where(t.FOLLOWED.c.name == name)).scalar() or 0
            )

    def _go_on(self, connection: Connection, name: str, position: int, following: int) -> bool:
        """Raises the place of what is followed, which locks it; False where somebody else has been here meanwhile."""
        put(connection, t.FOLLOWED, [{"name": name, "position": 0}])
        here = sa.and_(t.FOLLOWED.c.name == name, t.FOLLOWED.c.position == position)
        return connection.execute(sa.update(t.FOLLOWED).where(here).values(position=following)).rowcount == 1

    def _format(self, connection: Connection) -> int:
        """The number of the tables' form; 0 where there are none."""
        if not is_server(self._engine):
            return int(connection.execute(sa.text("PRAGMA user_version")).scalar_one())
        if not sa.inspect(connection).has_table(t.FOLLOWED.name):
            return 0
        found = sa.select(t.FOLLOWED.c.position).where(t.FOLLOWED.c.name == "format")
        return int(connection.execute(found).scalar_one())

    def _drop(self, connection: Connection) -> None:
        old = sa.MetaData()
        old.reflect(connection, only=lambda name, _: name.startswith("index_") or not is_server(self._engine))
        old.drop_all(connection)

    def _check_file(self) -> None:
        """Leaves a file of a later version as it is: SQLite itself would change it on opening."""
        if is_server(self._engine) or not self._engine.url.database:
            return
        file = Path(self._engine.url.database)
        with suppress(FileNotFoundError), file.open("rb") as head:
            begin = head.read(64)  # https://www.sqlite.org/fileformat.html, 1.3
            found = int.from_bytes(begin[60:], "big")
            if begin.startswith(b"SQLite format 3\x00") and found > FORMAT:
                raise Invalid("subject_index_format", where=str(file), found=found, needed=FORMAT)

    @property
    def _where(self) -> str:
        return place(self._engine)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            if is_server(self._engine):
                passing, name = server_fault(error)
            else:
                name = getattr(getattr(error, "orig", None), "sqlite_errorname", "") or type(error).__name__
                passing = isinstance(error, DBAPIError) and name.removeprefix("SQLITE_").split("_")[0] in _PASSING
            if passing:
                raise Unavailable("subject_index_unavailable", where=self._where, detail=name) from None
            raise Tampered("subject_index_damaged", where=self._where, detail=name) from None
        except (ValueError, KeyError, TypeError) as error:
            raise Tampered("subject_index_damaged", where=self._where, detail=type(error).__name__) from None


def _found(query: "sa.Select[Any]", wanted: Wanted, after: int, before: int | None) -> "sa.Select[Any]":
    """The query over the entries that are wanted between two indexes."""
    query = query.join(t.FACTS, t.FACTS.c.id == t.ENTRY.c.facts)
    query = query.where(t.ENTRY.c.idx > after, t.FACTS.c.kind.in_(wanted.kinds), *_conditions(wanted))
    return query if before is None else query.where(t.ENTRY.c.idx < before)


def _conditions(wanted: Wanted) -> Iterator[sa.ColumnElement[bool]]:
    equal = {
        t.FACTS.c.actor: wanted.officer,
        t.FACTS.c.department: wanted.department,
        t.FACTS.c.dataset: wanted.dataset,
        t.FACTS.c.matter: wanted.case,
        t.FACTS.c.purpose: wanted.purpose,
    }
    yield from (column == value for column, value in equal.items() if value is not None)
    if wanted.field is not None:
        yield t.FACTS.c.id.in_(sa.select(t.SHOWN.c.facts).where(t.SHOWN.c.path == wanted.field))
    if wanted.aggregate is not None:
        yield t.FACTS.c.text.contains(f'"aggregate":"{wanted.aggregate}/', autoescape=True)
    if wanted.from_ns is not None:
        yield t.ENTRY.c.time_ns >= wanted.from_ns
    if wanted.until_ns is not None:
        yield t.ENTRY.c.time_ns < wanted.until_ns
    if wanted.unconfirmed:
        said = sa.exists().where(t.ACKED.c.release == t.ENTRY.c.idx)
        yield ~(said if wanted.size is None else said.where(t.ACKED.c.idx < wanted.size))
    if wanted.size is not None:
        yield t.ENTRY.c.idx < wanted.size


def _texts(connection: Connection, numbers: Collection[int]) -> dict[int, str]:
    """Facts by number, as they are kept."""
    found: dict[int, str] = {}
    wanted = sorted(numbers)
    for first in range(0, len(wanted), 500):
        query = sa.select(t.FACTS.c.id, t.FACTS.c.text).where(t.FACTS.c.id.in_(wanted[first : first + 500]))
        found.update((int(number), str(text)) for number, text in connection.execute(query))
    return found


def _told(text: str) -> dict[str, Any]:
    """What all sightings with these facts have in common."""
    facts = json.loads(text)
    return {
        "kind": str(facts["kind"]),
        "fields": tuple(json.loads(facts["fields"])) if "fields" in facts else None,
        "recipient": facts.get("recipient") or facts.get("consumer") or facts.get("department"),
        "action": facts.get("action") or facts.get("query"),
        "reasons": tuple(facts.get("reasons", ())),
        **{name: facts.get(name) for name in _PLAIN},
    }


def _is_excluded(excluded: bytes | None, offset: int, length: int) -> bool:
    if excluded is None:
        return False
    try:
        bits = zlib.decompressobj().decompress(excluded, (length + 7) // 8)
    except zlib.error:
        return False
    return offset >> 3 < len(bits) and bool(bits[offset >> 3] >> (offset & 7) & 1)
