"""What an operator wants to know of the servers that a site's settings name: see `exchange.wiring.examining`.

Each is asked by the site's own account, and nothing is changed there.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

from sqlalchemy import Connection, CursorResult

from exchange.control.database import check_revision, head_revision, open_engine, translated
from exchange.control.store import SqlEventStore
from exchange.errors import Unavailable
from exchange.log.server import SCHEME, place
from exchange.wiring.engines import audit_store_of, database_of, kafka_client, record_log_of, server_of
from exchange.wiring.examining import Examined, Finding, ok, unused, wrong

_PATIENCE_S: Final = 10.0


class Looking:
    """A connection to the control database on a server, with the one method that a file's has too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, sql: str) -> CursorResult[Any]:
        """Runs a query without values."""
        return self._connection.exec_driver_sql(sql)


def on_server(examined: Examined, engine: str) -> bool:
    """Whether this engine is PostgreSQL."""
    return examined.settings.engine(engine)[0] == SCHEME


def control_database(examined: Examined) -> Iterator[Finding]:
    """It answers, loses nothing that it has acknowledged, and is of this program's revision."""
    with ExitStack() as stack:
        database = database_of(examined.settings, stack)
        check_revision(database)
        with translated(database), database.connect() as connection:
            version = connection.exec_driver_sql("SHOW server_version").scalar()
        yield ok("engines.control", "server", where=place(database), version=version, format=head_revision())


def state(examined: Examined) -> Iterator[Finding]:
    """It answers and loses nothing."""
    database = open_engine(*server_of(examined.settings, "state"))
    try:
        with translated(database), database.connect() as connection:
            version = connection.exec_driver_sql("SHOW server_version").scalar()
        yield ok("engines.state", "state_server", where=place(database), version=version)
    finally:
        database.dispose()


def record_log(examined: Examined) -> Iterator[Finding]:
    """The brokers answer, let us in, and keep every topic of ours whole, for ever, on enough brokers."""
    from exchange.log.kafka.examining import topics

    client, cluster = kafka_client(examined.settings, *examined.settings.engine("log"), patience_s=_PATIENCE_S)
    with closing(client):
        count = faults = 0
        for name, error in topics(client, cluster):
            count += 1
            if error is not None:
                faults += 1
                yield wrong(f"engines.log {name}", error)
    if count and not faults:
        with closing(record_log_of(examined.settings)) as log:
            log.examine()  # type: ignore[attr-defined]  # of the record log on Kafka
    if not count:
        yield unused("engines.log", "kafka_empty", where=cluster.where, prefix=cluster.prefix)
    elif not faults:
        yield ok("engines.log", "kafka", where=cluster.where, count=count, prefix=cluster.prefix)


def ends(examined: Examined, places: Sequence[Sequence[Any]]) -> Mapping[str, int]:
    """The end of each partition that is still there, as `topic/partition`."""
    with closing(record_log_of(examined.settings)) as log:
        topics = log.topics()
        there = [(topic, number) for topic, number in places if number < topics.get(topic, 0)]
        return {f"{topic}/{number}": log.end(topic, number) for topic, number in there}


def published(examined: Examined) -> bytes:
    """The checkpoint that auditors see."""
    with ExitStack() as stack:
        note = audit_store_of(examined.settings, database_of(examined.settings, stack)).published()
    if note is None:
        raise Unavailable("audit_missing")
    return note


@contextmanager
def looking_at(examined: Examined) -> Iterator[Looking]:
    """The control database, to look at."""
    with ExitStack() as stack:
        database = database_of(examined.settings, stack)
        with translated(database), database.connect() as connection:
            yield Looking(connection)


@contextmanager
def event_store(examined: Examined) -> Iterator[SqlEventStore]:
    """The control events."""
    with ExitStack() as stack:
        yield SqlEventStore(database_of(examined.settings, stack))
