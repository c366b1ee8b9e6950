"""A PostgreSQL server as a durable store: its connections and its failures.

The control database, the state and the audit log's rows stand on it where a site's settings say `postgresql://…`.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Insert, Table, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InvalidatePoolError,
    OperationalError,
    SQLAlchemyError,
)

from exchange.errors import Invalid

SCHEME: Final = "postgresql"
# Of a session: whatever the server or the role says, a commit is on disk when it returns, nobody waits for a lock for
# ever, and a client that died in a transaction does not hold its locks.
_SESSION: Final = (
    "-c synchronous_commit=on -c lock_timeout=5s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
)
_CONNECT: Final = {
    "connect_timeout": 5,
    "client_encoding": "utf8",
    "application_name": "exchange",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_DURABLE: Final = (
    "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('server_encoding')"
)
# SQLSTATE classes of "not now": no connection, wrong state, no entry, conflict, resources, limits, not ready, stopped,
# system. Any other from a statement of ours means that the tables are not what was made.
_PASSING: Final = frozenset({"08", "25", "28", "3D", "40", "53", "54", "55", "57", "58"})
_USED: Final = "exchange.used"  # when a connection of the pool was used last
_IDLE_S: Final = 0.2
_NOT_ALLOWED: Final = "42501"
_FILE_MISSING: Final = frozenset({"58P01", "58P02"})


def open_server(url: str, password: str = "") -> Engine:
    """An engine for the database at `postgresql://USER@HOST:PORT/DATABASE?OPTIONS` (libpq's options, e.g. `sslmode`).

    Nothing connects before the first use. READ COMMITTED: each statement sees what was committed when it began.

    Raises:
        Invalid: `postgresql_url` for what is no such address, `postgresql_missing` without the package psycopg; when
            it connects, `postgresql_not_durable` for a server that may lose what it has acknowledged.
    """
    address = _address(url, password)
    options = (_SESSION, *address.normalized_query.get("options", ()))  # the address's own come last
    try:
        engine = create_engine(
            address,
            isolation_level="READ COMMITTED",
            connect_args={**_CONNECT, "options": " ".join(options)},
            pool_size=8,
            max_overflow=24,  # a server takes 100 in all, if nobody told it otherwise
            pool_timeout=5.0,
        )
    except ImportError:
        raise Invalid("postgresql_missing", where=url) from None
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", _prepare)
    _ping_idle(engine)
    return engine


def _connect(_dialect: object, _record: object, where: Sequence[Any], options: Mapping[str, Any]) -> object:
    """A connection that finds out when its server only hangs."""
    from exchange.log.patience import connect  # it needs psycopg, which the embedded engines do not

    return connect(*where, **options)


def _ping_idle(engine: Engine) -> None:
    """A connection that was idle for a while is tried before it is used, so that a server that was restarted costs
    nobody an error; in a crowd of short requests, where none is idle, nobody pays for that.
    """

    def used(_: object, record: Any) -> None:  # noqa: ANN401 - of the pool's own type
        record.info[_USED] = time.monotonic()

    def tried(connection: Any, record: Any, _: object) -> None:  # noqa: ANN401
        if time.monotonic() - record.info.get(_USED, 0.0) > _IDLE_S:
            try:
                engine.dialect.do_ping(connection)
            except Exception:  # noqa: BLE001 - whatever it is, the next one is a new connection
                raise InvalidatePoolError from None

    event.listen(engine, "connect", used)
    event.listen(engine, "checkin", used)
    event.listen(engine, "checkout", tried)


def reading(engine: Engine) -> Engine:
    """The same engine for what is read with one statement: on a server without the two round trips that begin and end
    a transaction. Each statement sees what was committed when it began, there as in READ COMMITTED.
    """
    return engine.execution_options(isolation_level="AUTOCOMMIT") if is_server(engine) else engine


def _address(url: str, password: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise Invalid("postgresql_url") from None  # without the text, which may hold a password
    if address.drivername != SCHEME or not address.database:
        raise Invalid("postgresql_url")
    address = address.set(drivername=f"{SCHEME}+psycopg")
    return address.set(password=password) if password else address


def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - SQLAlchemy gives the driver's connection
    row = connection.execute(_DURABLE).fetchone()
    connection.rollback()
    check_durable(*row)


def check_durable(fsync: str, full_page_writes: str, encoding: str) -> None:
    """Refuses a server whose settings lose commits in a crash, or whose text is not UTF-8."""
    found = {"fsync": fsync, "full_page_writes": full_page_writes, "server_encoding": encoding}
    for name, needed in (("fsync", "on"), ("full_page_writes", "on"), ("server_encoding", "UTF8")):
        if found[name] != needed:
            raise Invalid("postgresql_not_durable", name=name, found=found[name], needed=needed)


def is_server(engine: Engine) -> bool:
    """Whether the engine is a PostgreSQL server's, not a file's."""
    return engine.dialect.name == SCHEME


def place(engine: Engine) -> str:
    """Where the database is, for people: a file's path, or the server's address without its password."""
    if is_server(engine):
        return engine.url.set(drivername=SCHEME).render_as_string(hide_password=True)
    return engine.url.database or ""


def server_fault(error: SQLAlchemyError) -> tuple[bool, str]:
    """Of an error on a server: whether it passes (down, busy, full, not allowed), or the tables are not ours; and its
    SQLSTATE and name, for people. Never the server's text of a statement: it may quote values.
    """
    if not isinstance(error, DBAPIError):
        return True, type(error).__name__  # no free connection within the pool's patience
    state = getattr(error.orig, "sqlstate", None)
    name = type(error.orig).__name__
    if state is None:
        told = " ".join(str(error.orig).split())[:300] if error.statement is None else ""
        return isinstance(error, OperationalError | InterfaceError), told or name
    passing = state == _NOT_ALLOWED or (state[:2] in _PASSING and state not in _FILE_MISSING)
    return passing, f"{state} {name}"


def new_only(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Inserts the row unless its key is taken, be it by another transaction at the same moment; whether it did."""
    from sqlalchemy.dialects import postgresql, sqlite

    made: Insert = (postgresql if connection.dialect.name == SCHEME else sqlite).insert(table).on_conflict_do_nothing()
    return connection.execute(made, row, execution_options={"preserve_rowcount": True}).rowcount == 1
