"""The state on a PostgreSQL server (engine `postgresql:`). It holds nothing that the log does not.

Several exchanges may share it: whoever takes a topic's log in holds that topic until the end of the transaction.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from exchange.envelope import Stored
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log.blocks import row_digest
from exchange.log.server import place, reading, server_fault
from exchange.state import Latest
from exchange.state.sums import EMPTY, bucket, last, number, packed

_FORMAT: Final = 1
_LOCK: Final = 0x45585354  # "EXST", the first half of the key of our advisory locks; the second is the topic's
_TABLES: Final = """
CREATE TABLE state_format (number integer NOT NULL);
CREATE TABLE state_latest (
  topic text NOT NULL, tag bytea NOT NULL, part integer NOT NULL, position bigint NOT NULL,
  schema_id bigint NOT NULL, value bytea NOT NULL, digest bytea NOT NULL,
  PRIMARY KEY (topic, tag)
);
CREATE TABLE state_bucket (topic text NOT NULL, prefix bytea NOT NULL, sum bytea NOT NULL, PRIMARY KEY (topic, prefix));
CREATE TABLE state_current (
  topic text NOT NULL, part integer NOT NULL, position bigint NOT NULL, digest bytea NOT NULL,
  PRIMARY KEY (topic, part)
)"""
_PLACES: Final = "SELECT tag, position, part, digest FROM state_latest WHERE topic = %s AND tag = ANY(%s)"
_UPSERT: Final = """
INSERT INTO state_latest (topic, tag, part, position, schema_id, value, digest)
SELECT %s, * FROM unnest(%s::bytea[], %s::integer[], %s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[])
ON CONFLICT (topic, tag) DO UPDATE SET part = excluded.part, position = excluded.position,
  schema_id = excluded.schema_id, value = excluded.value, digest = excluded.digest"""
_SUMS: Final = "SELECT prefix, sum FROM state_bucket WHERE topic = %s AND prefix = ANY(%s)"
_ADD: Final = """
INSERT INTO state_bucket (topic, prefix, sum) SELECT %s, * FROM unnest(%s::bytea[], %s::bytea[])
ON CONFLICT (topic, prefix) DO UPDATE SET sum = excluded.sum"""
_MOVE: Final = """
INSERT INTO state_current (topic, part, position, digest) VALUES (%s, %s, %s, %s)
ON CONFLICT (topic, part) DO UPDATE SET position = excluded.position, digest = excluded.digest"""
_CURRENT: Final = "SELECT position, digest FROM state_current WHERE topic = %s AND part = %s"
# Digests and sums of the buckets, and the rows that are asked for: one statement, so all of one moment.
_GET: Final = """
SELECT p.lo, l.tag, l.digest, NULL::integer, NULL::bigint, NULL::bigint, NULL::bytea
FROM unnest(%s::bytea[], %s::bytea[]) AS p(lo, hi)
JOIN state_latest l ON l.topic = %s AND l.tag >= p.lo AND l.tag <= p.hi
UNION ALL SELECT prefix, NULL, sum, NULL, NULL, NULL, NULL FROM state_bucket WHERE topic = %s AND prefix = ANY(%s)
UNION ALL SELECT NULL, tag, digest, part, position, schema_id, value FROM state_latest
WHERE topic = %s AND tag = ANY(%s)"""


class PostgresStateStore:
    """A `StateStore` in a server's database, its tables made when they are not there; any thread may use it.

    Rows and buckets carry digests and sums as in the SQLite one, so a row that was lost, changed or put back to an
    older one is found when its bucket is asked. It owns its engine from then on.

    Raises:
        Tampered: `state_damaged`, from any method.
        Unavailable: `state_unavailable`: the server is down, full, or busy for more than 5 s.
        Invalid: `state_format`: made by another version of this software; as `open_server`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._reading = engine, reading(engine)
        self._place = place(engine)
        with self._writing("") as connection:
            if _rows(connection, "SELECT to_regclass('state_format')")[0][0] is None:
                for statement in _TABLES.split(";"):
                    connection.exec_driver_sql(statement)
                connection.exec_driver_sql("INSERT INTO state_format VALUES (%s)", (_FORMAT,))
            found = [row[0] for row in _rows(connection, "SELECT number FROM state_format")]
        if found != [_FORMAT]:
            raise Invalid("state_format", where=self._place, found=found[0] if found else "-", needed=_FORMAT)

    def current_to(self, topic: str, partition: int) -> int:
        """See `StateStore.current_to`; 0 when nothing was taken in."""
        with self._translated(), self._reading.connect() as connection:
            return self._current(connection, topic, partition)

    def apply(self, records: Stored) -> None:
        """See `StateStore.apply`. Of one subject's records the one with the highest position stays."""
        newest = {tag: index for index, tag in enumerate(records.tags)}
        topic, part, end = records.topic, records.partition, records.next_position
        with self._writing(topic) as connection:
            sums: dict[bytes, int] = {}
            rows = list(self._newer(connection, records, newest, sums))
            if rows:
                connection.exec_driver_sql(_UPSERT, (topic, *map(list, zip(*rows, strict=True))))
                self._add_up(connection, topic, sums)
            if end > self._current(connection, topic, part):
                connection.exec_driver_sql(_MOVE, (topic, part, end, row_digest("current", topic, part, end)))
        # A crash after the commit: records and position are durable together; the follower goes on from there.

    def get(self, topic: str, tags: Sequence[bytes]) -> Mapping[bytes, Latest]:
        """See `StateStore.get`."""
        asked = sorted(set(tags))
        prefixes = sorted({bucket(tag) for tag in asked})
        lasts = [last(one) for one in prefixes]
        with self._translated(), self._reading.connect() as connection:
            rows = _rows(connection, _GET, prefixes, lasts, topic, topic, prefixes, topic, asked)
        totals, kept, found = dict.fromkeys(prefixes, 0), dict[bytes, bytes](), dict[bytes, Latest]()
        for prefix, tag, digest, *content in rows:
            if prefix is None:
                if digest != row_digest(topic, tag, *content):
                    raise self._damaged(topic)
                found[tag] = Latest(tag, *content)
            elif tag is None:
                kept[prefix] = digest
            else:
                totals[prefix] ^= number(tag) ^ number(digest)
        if any(packed(total) != kept.get(prefix, EMPTY) for prefix, total in totals.items()):
            raise self._damaged(topic)
        return found

    def drop(self, topic: str) -> None:
        """See `StateStore.drop`."""
        with self._writing(topic) as connection:
            for table in ("state_latest", "state_bucket", "state_current"):
                connection.exec_driver_sql(f"DELETE FROM {table} WHERE topic = %s", (topic,))  # noqa: S608 - our own names

    def close(self) -> None:
        """See `StateStore.close`."""
        self._engine.dispose()

    def _current(self, connection: Connection, topic: str, partition: int) -> int:
        rows = _rows(connection, _CURRENT, topic, partition)
        if not rows:
            return 0
        position, digest = rows[0]
        if digest != row_digest("current", topic, partition, position):
            raise self._damaged(f"{topic}/{partition}")
        return int(position)

    def _newer(
        self, connection: Connection, records: Stored, newest: Mapping[bytes, int], sums: dict[bytes, int]
    ) -> Iterator[tuple[object, ...]]:
        """The rows to write: records that are newer than what is there; `sums` becomes the change of each bucket."""
        topic, part = records.topic, records.partition
        old = {row[0]: row for row in _rows(connection, _PLACES, topic, list(newest))}
        for tag, index in newest.items():
            position = records.positions[index]
            # A subject without a row: its digest is taken as its tag, so that its term of the sum is nothing.
            _, old_position, old_part, old_digest = old.get(tag, (tag, -1, -1, tag))
            if (old_position, old_part) >= (position, part):
                continue
            content = (tag, part, position, records.schema_ids[index], records.values[index])
            digest = row_digest(topic, *content)
            sums[bucket(tag)] = sums.get(bucket(tag), 0) ^ number(digest) ^ number(old_digest)
            yield (*content, digest)

    def _add_up(self, connection: Connection, topic: str, changes: Mapping[bytes, int]) -> None:
        old = {row[0]: row[1] for row in _rows(connection, _SUMS, topic, list(changes))}
        new = [packed(number(old.get(prefix, EMPTY)) ^ change) for prefix, change in changes.items()]
        connection.exec_driver_sql(_ADD, (topic, list(changes), new))

    def _damaged(self, detail: str) -> Tampered:
        return Tampered("state_damaged", where=self._place, detail=detail)

    @contextmanager
    def _writing(self, topic: str) -> Iterator[Connection]:
        """A transaction that alone writes this topic: what it reads nobody changes before its end."""
        with self._translated(), self._engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK}, hashtext(%s))", (topic,))
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            passing, detail = server_fault(error)
            if passing:
                raise Unavailable("state_unavailable", where=self._place, detail=detail) from None
            raise self._damaged(detail) from None


def _rows(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.exec_driver_sql(query, values)]
