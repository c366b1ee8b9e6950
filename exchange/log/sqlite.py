"""The record log in one SQLite file (engine `sqlite:`): for a single machine, with no server."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from exchange.envelope import Batch, Stored
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log import blocks
from exchange.log.blocks import MOST_PARTITIONS, Block, rfc3339, row_digest
from exchange.log.database import Database, Kind
from exchange.names import check, nearest

_TABLES: Final = """
CREATE TABLE topic (name TEXT NOT NULL PRIMARY KEY, partitions INTEGER NOT NULL, digest BLOB NOT NULL);
CREATE TABLE part (
  id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL, stop INTEGER NOT NULL, digest BLOB NOT NULL,
  UNIQUE (topic, number)
);
CREATE TABLE mark (source TEXT NOT NULL PRIMARY KEY, mark INTEGER NOT NULL, digest BLOB NOT NULL);
CREATE TABLE block (
  part INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, source TEXT NOT NULL, seal TEXT NOT NULL,
  schema_id INTEGER NOT NULL, time_ns INTEGER NOT NULL, sequences BLOB NOT NULL, tags BLOB NOT NULL,
  ends BLOB NOT NULL, bodies BLOB NOT NULL, digest BLOB NOT NULL,
  PRIMARY KEY (part, first)
)"""
_BLOCK: Final = "first, count, source, seal, schema_id, time_ns, sequences, tags, ends, bodies, digest"
_INSERT: Final = f"INSERT INTO block (part, {_BLOCK}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608 - constants
# From the block that holds the position on.
_BLOCKS: Final = (
    f"SELECT {_BLOCK} FROM block WHERE part = ?1 AND first < ?3 AND first >="  # noqa: S608 - constants
    " (SELECT max(first) FROM block WHERE part = ?1 AND first <= ?2) ORDER BY first"
)
_WITH_GAPS: Final = 2  # the number of a file with positions that hold no record: programs before this do not read it
KIND: Final = Kind(
    application_id=0x45584C47,  # "EXLG"
    format_number=1,
    tables=_TABLES,
    also=frozenset({_WITH_GAPS}),
    damaged=lambda file, detail: Tampered("log_damaged", where=file, detail=detail),
    unavailable=lambda file, detail: Unavailable("log_unavailable", where=file, detail=detail),
    other_format=lambda file, found: Invalid("log_format", where=file, found=found, needed=1),
)


class SqliteRecordLog:
    """A `RecordLog` in the file `path`, made when it is not there; it may be used from any thread.

    A missing file is an empty log: who has kept commit marks beside it (`exchange.publish.recover`) finds that out.
    Each row carries a digest, so damage that SQLite itself does not see is `Tampered("log_damaged")` too. One `read`
    gives at most `largest_read` bytes of values (and a record at the least).

    Raises:
        Tampered: `log_damaged`, from any method.
        Unavailable: `log_unavailable`: locked for more than `patience_s`, disk full or failing, closed.
        Invalid: `log_format`: written by another version of this software.
    """

    def __init__(self, path: Path, *, patience_s: float = 5.0, largest_read: int = 64 << 20) -> None:
        self._database = Database(path, KIND, patience_s)
        self._largest_read = largest_read
        self._last: tuple[str, int, Block] | None = None  # blocks never change, so one may be kept

    def create(self, topic: str, partitions: int) -> None:
        """See `RecordLog.create`; `Invalid("topic_partitions")` for another number, or one that is not 1 to 1,000."""
        check("dataset", topic)
        if not 1 <= partitions <= MOST_PARTITIONS:
            raise Invalid("topic_partitions", where=topic, found=partitions, needed=f"1-{MOST_PARTITIONS}")
        with self._database.writing() as connection:
            known = self._topics(connection).get(topic)
            if known not in (None, partitions):
                raise Invalid("topic_partitions", where=topic, found=partitions, needed=known)
            if known is None:
                digest = row_digest("topic", topic, partitions)
                connection.execute("INSERT INTO topic VALUES (?,?,?)", (topic, partitions, digest))
                empty = [(topic, number, 0, row_digest("part", topic, number, 0)) for number in range(partitions)]
                connection.executemany("INSERT INTO part (topic, number, stop, digest) VALUES (?,?,?,?)", empty)

    def topics(self) -> Mapping[str, int]:
        """See `RecordLog.topics`."""
        with self._database.reading() as connection:
            return self._topics(connection)

    def mark(self, source: str) -> int:
        """See `RecordLog.mark`."""
        with self._database.reading() as connection:
            return self._mark(connection, source)

    def marks(self) -> Mapping[str, int]:
        """See `RecordLog.marks`."""
        with self._database.reading() as connection:
            sources = [source for (source,) in connection.execute("SELECT source FROM mark ORDER BY source")]
            return {source: self._mark(connection, source) for source in sources}

    def append(self, source: str, mark: int, batches: Sequence[Batch]) -> Sequence[Sequence[int]]:
        """See `RecordLog.append`; also `Invalid("batch_malformed")` and `Invalid("topic_unknown")`."""
        blocks.check_append(source, mark, batches)
        lowest = min((batch.sequences[0] for batch in batches if batch.sequences), default=mark)
        with self._database.writing() as connection:
            known = self._mark(connection, source)
            if min(lowest, mark) <= known:
                raise Invalid("sequence_not_after_mark", source=source)
            digest = row_digest("mark", source, mark)
            connection.execute("INSERT OR REPLACE INTO mark VALUES (?,?,?)", (source, mark, digest))
            return [self._store(connection, batch) for batch in batches]
        # A crash after the commit: records and mark are durable together; who sends again is told so by the mark.

    def read(self, topic: str, partition: int, position: int, limit: int) -> Stored:
        """See `RecordLog.read`."""
        if position < 0 or limit < 1:
            raise Invalid("position_unknown", where=f"{topic}/{partition}", position=position)
        schema_ids: list[int] = []
        tags: list[bytes] = []
        values: list[bytes] = []
        spans: list[range] = []
        at, size = position, 0
        with self._database.reading() as connection:
            part, end = self._part(connection, topic, partition)
            while at < end and not values:  # once, unless all that was asked for holds no record
                stop = min(end, at + limit)
                for block in self._blocks(connection, topic, partition, part, at, stop):
                    start, last = at - block.first, min(stop - block.first, block.count)
                    if not block.is_gap:
                        size += block.ends[last] - block.ends[start]
                        if values and size > self._largest_read:
                            break
                        schema_ids += [block.schema_id] * (last - start)
                        tags += block.tags_of(start, last)
                        values += block.values_of(start, last)
                        spans.append(range(at, block.first + last))
                    at = block.first + last
        return Stored(topic, partition, _joined(spans), schema_ids, tags, values, at)

    def place(self, topic: str, partition: int, placed: Sequence[tuple[int, Batch]], end: int) -> None:
        """See `RecordLog.place`; here it is all or nothing."""
        with self._database.writing() as connection:
            part, at = self._part(connection, topic, partition)
            for first, batch in placed:
                blocks.check(batch)
                self._skip(connection, topic, partition, part, at, first)
                connection.executemany(_INSERT, ((part, *row) for row in blocks.rows(batch, first)))
                at = first + len(batch.sequences)
            self._skip(connection, topic, partition, part, at, end)
            digest = row_digest("part", topic, partition, end)
            connection.execute("UPDATE part SET stop = ?, digest = ? WHERE id = ?", (end, digest, part))

    def _skip(self, connection: sqlite3.Connection, topic: str, partition: int, part: int, at: int, to: int) -> None:
        if to < at:
            raise Invalid("position_unknown", where=f"{topic}/{partition}", position=to)
        if to > at:
            connection.execute(_INSERT, (part, *blocks.gap(topic, partition, at, to - at)))
            connection.execute(f"PRAGMA user_version = {_WITH_GAPS}")

    def headers(self, topic: str, partition: int, position: int) -> Mapping[str, str]:
        """See `RecordLog.headers`; `Invalid("position_unknown")` where no record stands."""
        block = self._block_at(topic, partition, position)
        if block.is_gap:
            raise Invalid("position_unknown", where=f"{topic}/{partition}", position=position)
        return {
            "id": f"{block.source}/{block.sequence(position - block.first)}",
            "time": rfc3339(block.time_ns),
            "seal": block.seal,
        }

    def end(self, topic: str, partition: int) -> int:
        """See `RecordLog.end`."""
        with self._database.reading() as connection:
            return self._part(connection, topic, partition)[1]

    def close(self) -> None:
        """See `RecordLog.close`."""
        self._database.close()

    def _topics(self, connection: sqlite3.Connection) -> dict[str, int]:
        found = {}
        for name, partitions, digest in connection.execute("SELECT name, partitions, digest FROM topic"):
            if digest != row_digest("topic", name, partitions):
                raise self._database.damaged("topic")
            found[name] = partitions
        return found

    def _mark(self, connection: sqlite3.Connection, source: str) -> int:
        row = connection.execute("SELECT mark, digest FROM mark WHERE source = ?", (source,)).fetchone()
        if row is None:
            return 0
        if row[1] != row_digest("mark", source, row[0]):
            raise self._database.damaged("mark")
        return int(row[0])

    def _part(self, connection: sqlite3.Connection, topic: str, partition: int) -> tuple[int, int]:
        """The id of a partition's row and the partition's end."""
        query = "SELECT id, stop, digest FROM part WHERE topic = ? AND number = ?"
        row = connection.execute(query, (topic, partition)).fetchone()
        if row is None:
            known = self._topics(connection)
            if 0 <= partition < known.get(topic, 0):
                raise self._database.damaged("partition")
            raise Invalid("topic_unknown", where=f"{topic}/{partition}", nearest=nearest(topic, known))
        if row[2] != row_digest("part", topic, partition, row[1]):
            raise self._database.damaged("partition")
        return row[0], row[1]

    def _store(self, connection: sqlite3.Connection, batch: Batch) -> range:
        part, first = self._part(connection, batch.topic, batch.partition)
        end = first + len(batch.sequences)
        connection.executemany(_INSERT, ((part, *row) for row in blocks.rows(batch, first)))
        digest = row_digest("part", batch.topic, batch.partition, end)
        connection.execute("UPDATE part SET stop = ?, digest = ? WHERE id = ?", (end, digest, part))
        return range(first, end)

    def _blocks(
        self, connection: sqlite3.Connection, topic: str, partition: int, part: int, position: int, stop: int
    ) -> Iterator[Block]:
        """The blocks that cover [position, stop) without a gap, each checked."""
        if position >= stop:
            return
        for row in connection.execute(_BLOCKS, (part, position, stop)):
            block = blocks.opened(topic, partition, row)
            if block is None or not block.first <= position < block.first + block.count:
                raise self._database.damaged(f"{topic}/{partition} at {position}")
            yield block
            position = block.first + block.count
        if position < stop:
            raise self._database.damaged(f"{topic}/{partition} at {position}")

    def _block_at(self, topic: str, partition: int, position: int) -> Block:
        if self._last is not None:
            *place, block = self._last
            if place == [topic, partition] and block.first <= position < block.first + block.count:
                return block
        with self._database.reading() as connection:
            part, end = self._part(connection, topic, partition)
            if not 0 <= position < end:
                raise Invalid("position_unknown", where=f"{topic}/{partition}", position=position)
            block = next(self._blocks(connection, topic, partition, part, position, position + 1))
        self._last = (topic, partition, block)
        return block


def _joined(spans: Sequence[range]) -> Sequence[int]:
    """The positions of all: one range where they follow one another, as they do but for gaps."""
    if all(former.stop == later.start for former, later in pairwise(spans)):
        return range(spans[0].start, spans[-1].stop) if spans else ()
    return [position for span in spans for position in span]
