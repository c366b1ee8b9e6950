"""The state in one SQLite file (engine `sqlite:`). It holds nothing that the log does not: it can be rebuilt."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from exchange.envelope import Stored
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log.blocks import row_digest
from exchange.log.database import Database, Kind
from exchange.state import Latest
from exchange.state.sums import EMPTY, bucket, last, number, packed

_TABLES: Final = """
CREATE TABLE latest (
  topic TEXT NOT NULL, tag BLOB NOT NULL, part INTEGER NOT NULL, position INTEGER NOT NULL,
  schema_id INTEGER NOT NULL, value BLOB NOT NULL, digest BLOB NOT NULL,
  PRIMARY KEY (topic, tag)
) WITHOUT ROWID;
CREATE TABLE bucket (topic TEXT NOT NULL, prefix BLOB NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (topic, prefix))
  WITHOUT ROWID;
CREATE TABLE current (
  topic TEXT NOT NULL, part INTEGER NOT NULL, position INTEGER NOT NULL, digest BLOB NOT NULL,
  PRIMARY KEY (topic, part)
) WITHOUT ROWID"""
KIND: Final = Kind(
    application_id=0x45585354,  # "EXST"
    format_number=1,
    tables=_TABLES,
    damaged=lambda file, detail: Tampered("state_damaged", where=file, detail=detail),
    unavailable=lambda file, detail: Unavailable("state_unavailable", where=file, detail=detail),
    other_format=lambda file, found: Invalid("state_format", where=file, found=found, needed=1),
)
_UPSERT: Final = "INSERT OR REPLACE INTO latest VALUES (?,?,?,?,?,?,?)"
_PORTION: Final = 500
_PLACES: Final = "SELECT tag, position, part, digest FROM latest WHERE topic = ? AND tag IN"
_SUMS: Final = "SELECT prefix, sum FROM bucket WHERE topic = ? AND prefix IN"
_DIGESTS: Final = "SELECT tag, digest FROM latest WHERE topic = ? AND tag >= ? AND tag <= ?"


class SqliteStateStore:
    """A `StateStore` in the file `path`, made when it is not there; it may be used from any thread.

    Each row carries a digest over its content, each bucket of tags (equal first 12 bits) the sum (XOR) of its rows'
    tags and digests: a row that was lost, changed or put back to an older one is found when its bucket is asked.

    Raises:
        Tampered: `state_damaged`, from any method.
        Unavailable: `state_unavailable`: locked for more than `patience_s`, disk full or failing, closed.
        Invalid: `state_format`: written by another version of this software.
    """

    def __init__(self, path: Path, *, patience_s: float = 5.0) -> None:
        self._database = Database(path, KIND, patience_s)

    def current_to(self, topic: str, partition: int) -> int:
        """See `StateStore.current_to`; 0 when nothing was taken in."""
        with self._database.reading() as connection:
            return self._current(connection, topic, partition)

    def apply(self, records: Stored) -> None:
        """See `StateStore.apply`. Of one subject's records the one with the highest position stays."""
        newest = {tag: index for index, tag in enumerate(records.tags)}
        in_order = [newest[tag] for tag in sorted(newest)]  # as the table lies
        topic, part, end = records.topic, records.partition, records.next_position
        with self._database.writing() as connection:
            sums: dict[bytes, int] = {}
            connection.executemany(_UPSERT, list(self._newer(connection, records, in_order, sums)))
            self._add_up(connection, topic, sums)
            if end > self._current(connection, topic, part):
                digest = row_digest("current", topic, part, end)
                connection.execute("INSERT OR REPLACE INTO current VALUES (?,?,?,?)", (topic, part, end, digest))
        # A crash after the commit: records and position are durable together; the follower goes on from there.

    def get(self, topic: str, tags: Sequence[bytes]) -> Mapping[bytes, Latest]:
        """See `StateStore.get`."""
        found = {}
        with self._database.reading() as connection:
            connection.execute("BEGIN")  # rows and sums of one moment
            try:
                for prefix in {bucket(tag) for tag in tags}:
                    self._check_bucket(connection, topic, prefix)
                for tag in tags:
                    latest = self._latest(connection, topic, tag)
                    if latest is not None:
                        found[tag] = latest
            finally:
                connection.execute("COMMIT")
        return found

    def drop(self, topic: str) -> None:
        """See `StateStore.drop`."""
        with self._database.writing() as connection:
            for table in ("latest", "bucket", "current"):
                connection.execute(f"DELETE FROM {table} WHERE topic = ?", (topic,))  # noqa: S608 - our own names

    def close(self) -> None:
        """See `StateStore.close`."""
        self._database.close()

    def _current(self, connection: sqlite3.Connection, topic: str, partition: int) -> int:
        query = "SELECT position, digest FROM current WHERE topic = ? AND part = ?"
        row = connection.execute(query, (topic, partition)).fetchone()
        if row is None:
            return 0
        if row[1] != row_digest("current", topic, partition, row[0]):
            raise self._database.damaged(f"{topic}/{partition}")
        return int(row[0])

    def _newer(
        self, connection: sqlite3.Connection, records: Stored, indexes: Sequence[int], sums: dict[bytes, int]
    ) -> Iterator[tuple[object, ...]]:
        """The rows to write: records that are newer than what is there; `sums` becomes the change of each bucket."""
        topic, part = records.topic, records.partition
        old = _rows(connection, _PLACES, topic, [records.tags[index] for index in indexes])
        for index in indexes:
            tag, position = records.tags[index], records.positions[index]
            # A subject without a row: its digest is taken as its tag, so that its term of the sum is nothing.
            _, old_position, old_part, old_digest = old.get(tag, (tag, -1, -1, tag))
            if not (isinstance(old_position, int) and isinstance(old_part, int)):
                raise self._database.damaged(topic)
            if (old_position, old_part) >= (position, part):
                continue
            content = (topic, tag, part, position, records.schema_ids[index], records.values[index])
            digest = row_digest(*content)
            change = number(digest) ^ number(self._own(old_digest))
            sums[bucket(tag)] = sums.get(bucket(tag), 0) ^ change
            yield (*content, digest)

    def _add_up(self, connection: sqlite3.Connection, topic: str, changes: Mapping[bytes, int]) -> None:
        old = _rows(connection, _SUMS, topic, sorted(changes))
        rows = [
            (topic, prefix, packed(number(self._own(old.get(prefix, (prefix, EMPTY))[1])) ^ change))
            for prefix, change in changes.items()
        ]
        connection.executemany("INSERT OR REPLACE INTO bucket VALUES (?,?,?)", rows)

    def _check_bucket(self, connection: sqlite3.Connection, topic: str, prefix: bytes) -> None:
        total = 0
        for tag, digest in connection.execute(_DIGESTS, (topic, prefix, last(prefix))):
            if not isinstance(tag, bytes):
                raise self._database.damaged(topic)
            total ^= number(tag) ^ number(self._own(digest))
        kept = _rows(connection, _SUMS, topic, [prefix]).get(prefix, (prefix, EMPTY))[1]
        if total != number(self._own(kept)):
            raise self._database.damaged(topic)

    def _latest(self, connection: sqlite3.Connection, topic: str, tag: bytes) -> Latest | None:
        query = "SELECT part, position, schema_id, value, digest FROM latest WHERE topic = ? AND tag = ?"
        row = connection.execute(query, (topic, tag)).fetchone()
        if row is None:
            return None
        *content, digest = row
        if digest != row_digest(topic, tag, *content):
            raise self._database.damaged(topic)
        return Latest(tag, *content)

    def _own(self, digest: object) -> bytes:
        if not isinstance(digest, bytes) or len(digest) != len(EMPTY):
            raise self._database.damaged("digest")
        return digest


def _rows(
    connection: sqlite3.Connection, query: str, topic: str, keys: Sequence[bytes]
) -> dict[bytes, tuple[Any, ...]]:
    """The rows of many keys by their first column, asked for in portions that every SQLite takes."""
    found: dict[bytes, tuple[Any, ...]] = {}
    for start in range(0, len(keys), _PORTION):
        portion = keys[start : start + _PORTION]
        marks = ",".join("?" * len(portion))
        found.update((row[0], row) for row in connection.execute(f"{query} ({marks})", (topic, *portion)))
    return found
