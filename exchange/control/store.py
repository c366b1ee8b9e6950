"""The event store on SQL: SQLite and PostgreSQL with the same code.

What it promises stands in `exchange.control.EventStore`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from exchange.control.database import check_revision, open_engine, translated, upgrade
from exchange.control.events import Event, NewEvent
from exchange.control.tables import DOCUMENTS, EVENTS, HEAD
from exchange.errors import Tampered, Unavailable
from exchange.log.server import reading
from exchange.names import canonical, digest_bytes

if TYPE_CHECKING:
    from exchange.control import Alongside

__all__ = ["SqlEventStore", "open_engine", "upgrade"]

_HEAD_NOW: Final = str(select(HEAD.c.position))  # compiled once: the one statement that every request makes


class SqlEventStore:
    """An `EventStore` on a prepared database; it may be used from any thread, and owns its engine from then on."""

    def __init__(self, engine: Engine) -> None:
        """Raises what `check_revision` raises: a store is never opened on another revision's tables."""
        check_revision(engine)
        self._engine, self._reading = engine, reading(engine)

    def append(
        self,
        expected: Mapping[str, int],
        events: Sequence[NewEvent],
        documents: Mapping[str, bytes],
        *,
        actor: str,
        time_ns: int,
        alongside: "Alongside",
    ) -> Sequence[Event]:
        """See `EventStore.append`."""
        with translated(self._engine), self._engine.begin() as connection:
            position = _lock_head(connection, len(events))
            _check_versions(connection, expected)
            stored = list(_placed(events, expected, position - len(events), actor, time_ns))
            if stored:
                _insert(connection, stored)
            _keep(connection, documents)
            alongside(connection, stored)
        # A crash here: the events and all that `alongside` wrote are durable; the next catch-up reads them.
        return stored

    def read(self, after: int, limit: int) -> Sequence[Event]:
        """See `EventStore.read`."""
        query = select(EVENTS).where(EVENTS.c.position > after).order_by(EVENTS.c.position).limit(limit)
        with translated(self._engine), self._reading.connect() as connection:
            # The head first: what is appended meanwhile makes the second answer longer, never shorter.
            head = connection.exec_driver_sql(_HEAD_NOW).scalar() or 0
            if head == after:  # as nearly always: every request asks
                return []
            rows = connection.execute(query).all()
        events = [_event(row) for row in rows]
        positions = [event.position for event in events]
        if positions != list(range(after + 1, after + 1 + len(events))) or len(events) < min(limit, head - after):
            raise Tampered("events_missing", after=after)
        return events

    def head(self) -> int:
        """See `EventStore.head`."""
        with translated(self._engine), self._reading.connect() as connection:
            return int(connection.exec_driver_sql(_HEAD_NOW).scalar() or 0)

    def of(self, aggregate: str) -> Sequence[Event]:
        """See `EventStore.of`."""
        query = select(EVENTS).where(EVENTS.c.aggregate == aggregate).order_by(EVENTS.c.version)
        with translated(self._engine), self._reading.connect() as connection:
            events = [_event(row) for row in connection.execute(query)]
        if [event.version for event in events] != list(range(1, len(events) + 1)):
            raise Tampered("events_missing", after=events[0].position - 1)
        return events

    def document(self, digest: str) -> Any:  # noqa: ANN401 - a JSON value of whatever shape its writer gave it
        """See `EventStore.document`."""
        query = select(DOCUMENTS.c.body).where(DOCUMENTS.c.digest == digest)
        with translated(self._engine), self._reading.connect() as connection:
            body = connection.execute(query).scalar()
        if body is None:
            raise Tampered("document_missing", digest=digest)
        if not isinstance(body, bytes) or digest_bytes(body) != digest:
            raise Tampered("document_damaged", digest=digest)
        return json.loads(body)

    def close(self) -> None:
        """Gives back the engine's connections."""
        self._engine.dispose()


def _lock_head(connection: Connection, count: int) -> int:
    """Takes the one writer's lock and hands out `count` positions, the last of which it returns.

    The head's row stays locked until the commit (on SQLite the whole file does), so events become visible in the order
    of their positions: a reader that goes on from its last position never passes over one that commits late, which it
    would if positions came from a sequence. What is read after this line is what the writer before has committed.
    """
    raised = update(HEAD).where(HEAD.c.id == 1).values(position=HEAD.c.position + count)
    position = connection.execute(raised.returning(HEAD.c.position)).scalar()
    last = connection.execute(select(func.max(EVENTS.c.position))).scalar() or 0
    if position is None or position - count != last:
        raise Tampered("events_missing", after=last)
    return last + count


def _check_versions(connection: Connection, expected: Mapping[str, int]) -> None:
    query = (
        select(EVENTS.c.aggregate, func.max(EVENTS.c.version).label("version"))
        .where(EVENTS.c.aggregate.in_(list(expected)))
        .group_by(EVENTS.c.aggregate)
    )
    found = {row.aggregate: row.version for row in connection.execute(query)}
    if any(found.get(aggregate, 0) != version for aggregate, version in expected.items()):
        raise Unavailable("events_conflict")


def _placed(
    events: Sequence[NewEvent], expected: Mapping[str, int], position: int, actor: str, time_ns: int
) -> Iterator[Event]:
    versions = dict(expected)
    for event in events:
        position += 1
        versions[event.aggregate] += 1  # an aggregate that was not expected is a mistake in the caller
        yield Event(position, event.aggregate, versions[event.aggregate], event.name, event.data, actor, time_ns)


def _insert(connection: Connection, events: Sequence[Event]) -> None:
    rows = [
        {
            "position": event.position,
            "aggregate": event.aggregate,
            "version": event.version,
            "name": event.name,
            "data": canonical(event.data).decode("utf-8"),
            "actor": event.actor,
            "time_ns": event.time_ns,
        }
        for event in events
    ]
    try:
        connection.execute(insert(EVENTS), rows)
    except IntegrityError as error:  # the lock and the check make it impossible, unless the rows were tampered with
        raise Tampered("events_missing", after=events[0].position - 1) from error


def _keep(connection: Connection, documents: Mapping[str, bytes]) -> None:
    query = select(DOCUMENTS.c.digest).where(DOCUMENTS.c.digest.in_(list(documents)))
    known = set(connection.execute(query).scalars())
    rows = [{"digest": digest, "body": body} for digest, body in documents.items() if digest not in known]
    if rows:
        connection.execute(insert(DOCUMENTS), rows)


def _event(row: Row[Any]) -> Event:
    try:
        data = json.loads(row.data)
    except (TypeError, ValueError, RecursionError):
        data = None
    if not (
        isinstance(data, dict)
        and isinstance(row.name, str)
        and isinstance(row.aggregate, str)
        and isinstance(row.actor, str)
        and isinstance(row.version, int)
        and isinstance(row.time_ns, int)
        and isinstance(row.position, int)
    ):
        raise Tampered("event_damaged", position=row.position)
    return Event(row.position, row.aggregate, row.version, row.name, data, row.actor, row.time_ns)
