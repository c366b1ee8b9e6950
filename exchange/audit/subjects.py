"""Who saw a subject: an index, by tag, over the record log and the audit log. It is derived, and rebuilt at any time.

A release of a range shows a subject when one of the subject's positions lies in it and is not among the excluded. To
find these, the releases of one partition under one agreement are laid into streams whose ranges do not overlap and
rise (a replay opens another stream), so for each position and stream one backward probe does: the last range that
begins at or before the position (audit-log.md, "Subject query").
"""

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exchange.audit.log import AuditLog
from exchange.errors import Invalid, Tampered
from exchange.names import canonical

# (topic, partition, position, limit) → tags, their positions, and where to go on
ReadTags = Callable[[str, int, int, int], tuple[Sequence[bytes], Sequence[int], int]]

FORMAT: Final = 1
_BATCH: Final = 5_000
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS followed (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS part (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, part INTEGER NOT NULL, UNIQUE (topic, part));
CREATE TABLE IF NOT EXISTS seen (
    tag BLOB, part INTEGER, position INTEGER, PRIMARY KEY (tag, part, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS event (idx INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, facts INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS stream (
    id INTEGER PRIMARY KEY, part INTEGER NOT NULL, agreement TEXT NOT NULL, hi INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS stream_part ON stream (part, agreement);
CREATE TABLE IF NOT EXISTS range (
    stream INTEGER, lo INTEGER, hi INTEGER NOT NULL, idx INTEGER NOT NULL, excluded BLOB,
    PRIMARY KEY (stream, lo)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS named (tag BLOB, idx INTEGER, position INTEGER, PRIMARY KEY (tag, idx)) WITHOUT ROWID;
"""
_PROBE: Final = """
SELECT range.idx, seen.position, range.lo, range.hi, range.excluded FROM seen
JOIN stream ON stream.part = seen.part
JOIN range ON range.stream = stream.id AND range.lo = (
    SELECT max(lo) FROM range AS earlier WHERE earlier.stream = stream.id AND earlier.lo <= seen.position)
WHERE seen.tag = ? AND range.hi > seen.position
"""
_FACTS: Final = (
    *("action", "actor", "agreement", "case", "consumer", "dataset", "department", "fields", "on_behalf_of"),
    *("policy_revision", "purpose", "query", "reasons", "recipient"),
)

_PLAIN: Final = ("kind", "dataset", "purpose", "policy_revision", "agreement", "actor", "case")


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
    """The index in a file of its own. One thread at a time.

    Raises `Tampered("subject_index_damaged")` when the file is no index or does not fit the logs, and
    `Invalid("subject_index_format")` when a later version made it: delete it, it is made again from them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._guarded():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            (found,) = self._connection.execute("PRAGMA user_version").fetchone()
            if found > FORMAT:
                self._connection.close()
                raise Invalid("subject_index_format", where=str(path), found=found, needed=FORMAT)
            self._connection.execute("PRAGMA journal_mode=WAL").close()
            self._connection.executescript(f"{_TABLES} PRAGMA user_version = {FORMAT};")

    def follow(self, topics: Mapping[str, int], read: ReadTags, audit: AuditLog) -> None:
        """Takes in what both logs have: each topic (with its number of partitions) to its end, then the audit log.

        A crash costs nothing: each batch is one transaction with the place to go on from.
        """
        for topic, partitions in topics.items():
            for partition in range(partitions):
                self._follow_records(topic, partition, read)
        self._follow_audit(audit)

    def who_saw(self, tag: bytes) -> list[Sighting]:
        """Every release, refusal and auditor's question that concerns the subject, in the order of the audit log.

        A bitmap of excluded positions that cannot be read counts as none: rather too many sightings than too few.
        """
        found: dict[int, set[int]] = {}
        with self._guarded():
            for idx, position, lo, hi, excluded in self._connection.execute(_PROBE, (tag,)):
                if not _is_excluded(excluded, position - lo, hi - lo):
                    found.setdefault(idx, set()).add(position)
            for idx, position in self._connection.execute("SELECT idx, position FROM named WHERE tag = ?", (tag,)):
                found.setdefault(idx, set()).update(() if position is None else (position,))
            return [self._sighting(idx, tuple(sorted(found[idx]))) for idx in sorted(found)]

    def close(self) -> None:
        """Gives back the file."""
        self._connection.close()

    def _follow_records(self, topic: str, partition: int, read: ReadTags) -> None:
        name = f"records/{topic}/{partition}"
        while True:
            position = self._position(name)
            tags, positions, following = read(topic, partition, position, _BATCH)
            if following <= position:
                return
            with self._transaction():
                part = self._part(topic, partition)
                rows = [(tag, part, at) for tag, at in zip(tags, positions, strict=True)]
                self._connection.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", rows)
                self._go_on(name, following)
            # A crash here: this batch is in, the next one is read again from its place.

    def _follow_audit(self, audit: AuditLog) -> None:
        at, size = self._position("audit"), audit.size
        if at > size:
            raise Tampered("subject_index_damaged", where=str(self._path), detail="it is ahead of the audit log")
        while at < size:
            until = min(at + _BATCH, size)
            with self._transaction():
                for index, kind, body in audit.entries(at, until):
                    self._take(index, kind, body)
                self._go_on("audit", until)
            # A crash here: as above.
            at = until

    def _take(self, index: int, kind: str, body: Mapping[str, Any]) -> None:
        if kind not in ("release", "refusal", "audit_query"):
            return
        facts = {"kind": kind, **{name: body[name] for name in _FACTS if body.get(name) is not None}}
        text = canonical(facts).decode()
        self._connection.execute("INSERT OR IGNORE INTO facts (text) VALUES (?)", (text,))
        self._connection.execute(
            "INSERT INTO event SELECT ?, ?, id FROM facts WHERE text = ?", (index, body["time_ns"], text)
        )
        places = body.get("positions") or [None] * len(body["tags"])
        named = [(tag, index, place) for tag, place in zip(body["tags"], places, strict=False)]
        self._connection.executemany("INSERT OR IGNORE INTO named VALUES (?, ?, ?)", named)
        if kind == "release" and body["lo"] is not None and body["hi"] > body["lo"]:
            self._take_range(index, body)

    def _take_range(self, index: int, body: Mapping[str, Any]) -> None:
        part = self._part(body["topic"], body["partition"])
        agreement, lo, hi = body["agreement"] or "", body["lo"], body["hi"]
        fitting = "SELECT id FROM stream WHERE part = ? AND agreement = ? AND hi <= ? ORDER BY id LIMIT 1"
        row = self._connection.execute(fitting, (part, agreement, lo)).fetchone()
        if row is None:
            insert = "INSERT INTO stream (part, agreement, hi) VALUES (?, ?, ?) RETURNING id"
            row = self._connection.execute(insert, (part, agreement, hi)).fetchone()
        self._connection.execute("UPDATE stream SET hi = ? WHERE id = ?", (hi, row[0]))
        self._connection.execute("INSERT INTO range VALUES (?, ?, ?, ?, ?)", (row[0], lo, hi, index, body["excluded"]))

    def _part(self, topic: str, partition: int) -> int:
        self._connection.execute("INSERT OR IGNORE INTO part (topic, part) VALUES (?, ?)", (topic, partition))
        found = self._connection.execute("SELECT id FROM part WHERE topic = ? AND part = ?", (topic, partition))
        return int(found.fetchone()[0])

    def _position(self, name: str) -> int:
        with self._guarded():
            row = self._connection.execute("SELECT position FROM followed WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _go_on(self, name: str, position: int) -> None:
        self._connection.execute("INSERT OR REPLACE INTO followed VALUES (?, ?)", (name, position))

    def _sighting(self, idx: int, positions: tuple[int, ...]) -> Sighting:
        query = "SELECT event.time_ns, facts.text FROM event JOIN facts ON facts.id = event.facts WHERE idx = ?"
        time_ns, text = self._connection.execute(query, (idx,)).fetchone()
        facts = json.loads(text)
        fields = tuple(json.loads(facts["fields"])) if "fields" in facts else None
        recipient = facts.get("recipient") or facts.get("consumer") or facts.get("department")
        return Sighting(
            index=idx,
            time_ns=time_ns,
            positions=positions,
            fields=fields,
            recipient=recipient,
            action=facts.get("action") or facts.get("query"),
            reasons=tuple(facts.get("reasons", ())),
            **{name: facts.get(name) for name in _PLAIN},
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._guarded():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            raise Tampered("subject_index_damaged", where=str(self._path), detail=name) from None


def _is_excluded(excluded: bytes | None, offset: int, length: int) -> bool:
    if excluded is None:
        return False
    try:
        bits = zlib.decompressobj().decompress(excluded, (length + 7) // 8)
    except zlib.error:
        return False
    return offset >> 3 < len(bits) and bool(bits[offset >> 3] >> (offset & 7) & 1)
