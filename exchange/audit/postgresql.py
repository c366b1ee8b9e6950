"""The `AuditStore` on a PostgreSQL server: outbox, staging, tiles and checkpoint are all rows of the control database.

Any number of processes may open the same log. The one sequencer among them holds an advisory lock by a connection of
its own, and whatever it writes goes through that same connection: when the connection is lost the lock is free, another
process takes over, and nothing that the first one still tries can reach the log.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from exchange.audit.rows import LogRows, translated
from exchange.audit.store import Head
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log.server import place

if TYPE_CHECKING:
    import psycopg

_CHANNEL: Final = "exchange_audit"
_WAITING: Final = "waiting"  # what a call tells, to the sequencer
_PUBLISHED: Final = "published"  # what the sequencer tells, to all others
_LEAD: Final = "SELECT pg_try_advisory_lock(1163416401, hashtext(current_schema()))"  # 0x45585351, "EXSQ"
_LEAVE: Final = "SELECT pg_advisory_unlock_all()"
# Of the sequencer's session: the server notices within 4 s that a machine has vanished, and ends no idle session.
_PLACE: Final = (
    "SET idle_session_timeout = 0",
    "SET tcp_keepalives_idle = 2",
    "SET tcp_keepalives_interval = 1",
    "SET tcp_keepalives_count = 2",
    "SET tcp_user_timeout = 4000",
)
_STAGE: Final = (
    "INSERT INTO audit_staging (name, bundle) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET bundle = excluded.bundle"
)
_PUBLISH: Final = (
    "INSERT INTO audit_checkpoint (id, note) VALUES (1, %s) ON CONFLICT (id) DO UPDATE SET note = excluded.note"
)
_BEGUN: Final = (
    "SELECT EXISTS (SELECT FROM audit_files) OR EXISTS (SELECT FROM audit_staging) "
    "OR EXISTS (SELECT FROM audit_checkpoint)"
)
_PARTIAL: Final = 255  # widths that a partial tile may have
_LISTEN_S: Final = 0.5
_AGAIN_S: Final = 1.0


class PostgresAuditStore(LogRows):
    """An `AuditStore` in a migrated control database on a server. Any thread may use it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._fenced = False  # from the first time it led on
        self._sequencer = 0  # the thread that last asked to lead
        self._place: Connection | None = None
        self._calling = threading.Semaphore()  # taken while a call waits to begin
        self._closed = threading.Event()
        self._listener: threading.Thread | None = None

    def lead(self) -> bool:
        """See `AuditStore.lead`."""
        self._sequencer = threading.get_ident()
        if self._place is None and not self._closed.is_set():
            with translated(self._engine):
                self._take_place(self._engine.connect())
        return self._place is not None

    def _take_place(self, connection: Connection) -> None:
        with ExitStack() as stack:
            stack.callback(connection.close)
            if connection.exec_driver_sql(_LEAD).scalar():
                connection.detach()  # the lock lives as long as this connection, which goes to nobody else
                for setting in _PLACE:
                    connection.exec_driver_sql(setting)
                connection.commit()
                self._place, self._fenced = connection, True
                stack.pop_all()

    def resign(self) -> bool:
        """See `AuditStore.resign`."""
        if self._place is not None:
            with suppress(SQLAlchemyError), self._place as connection:
                if not connection.invalidated:
                    connection.exec_driver_sql(_LEAVE)  # at once: a server notices the end of a session only later
            self._place = None
        return not self._closed.is_set()

    def listen(self, wake: Callable[[], None]) -> None:
        """See `AuditStore.listen`."""
        self._listener = threading.Thread(target=self._listen, args=(wake,), name="audit-listener", daemon=True)
        self._listener.start()

    def call(self) -> None:
        """See `AuditStore.call`.

        In a transaction of its own: one that notifies waits at its commit for every other that does. Who comes while
        another's call has not begun need not call as well.
        """
        if not self._calling.acquire(blocking=False):
            return
        with suppress(Unavailable, Tampered), ExitStack() as stack:
            try:
                connection = stack.enter_context(self._connected())
            finally:
                self._calling.release()
            connection.exec_driver_sql(f"NOTIFY {_CHANNEL}, '{_WAITING}'")

    def begin(self, head: Head) -> None:
        """See `AuditStore.begin`."""
        with self._transaction() as connection:
            if connection.exec_driver_sql(_BEGUN).scalar() or not self._begin(connection, head):
                raise Invalid("audit_exists", where=place(self._engine))
        # A crash here: the log is there; opening it publishes its first checkpoint.

    def stage(self, name: str, bundle: bytes) -> None:
        """See `AuditStore.stage`."""
        with self._sequencing() as connection:
            connection.exec_driver_sql(_STAGE, (name, bundle))

    def staged(self, name: str) -> bytes | None:
        """See `AuditStore.staged`."""
        return self._one("SELECT bundle FROM audit_staging WHERE name = %s", name)

    def unstage(self) -> None:
        """See `AuditStore.unstage`. It need not be durable: what is left over is removed at the next start."""
        with self._sequencing() as connection:
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            connection.exec_driver_sql("DELETE FROM audit_staging")

    def write(self, files: Mapping[str, bytes]) -> None:
        """See `AuditStore.write`."""
        with self._sequencing() as connection:
            query = "SELECT path, data FROM audit_files WHERE path = ANY(%s)"
            found = {row[0]: row[1] for row in connection.exec_driver_sql(query, (list(files),))}
            for path, data in found.items():
                if data != files[path]:
                    told = "a tile has other bytes than were staged for it"
                    raise Tampered("audit_log_damaged", where=path, detail=told)
            new = [(path, data) for path, data in files.items() if path not in found]
            if new:
                connection.exec_driver_sql("INSERT INTO audit_files (path, data) VALUES (%s, %s)", new)

    def read(self, path: str) -> bytes | None:
        """See `AuditStore.read`."""
        return self._one("SELECT data FROM audit_files WHERE path = %s", path)

    def prune(self, paths: Sequence[str]) -> None:
        """See `AuditStore.prune`."""
        partial = [f"{path}.p/{width}" for path in paths for width in range(1, _PARTIAL + 1)]
        if partial:
            with self._sequencing() as connection:
                connection.exec_driver_sql("DELETE FROM audit_files WHERE path = ANY(%s)", (partial,))

    def publish(self, checkpoint: bytes) -> None:
        """See `AuditStore.publish`."""
        with self._sequencing() as connection:
            connection.exec_driver_sql(_PUBLISH, (checkpoint,))
            connection.exec_driver_sql(f"NOTIFY {_CHANNEL}, '{_PUBLISHED}'")

    def published(self) -> bytes | None:
        """See `AuditStore.published`."""
        return self._one("SELECT note FROM audit_checkpoint WHERE id = %s", 1)

    def close(self) -> None:
        """See `AuditStore.close`."""
        self._closed.set()
        self.resign()
        if self._listener is not None and self._listener is not threading.current_thread():
            self.call()  # so that it need not wait
            self._listener.join()
            self._listener = None

    def _one(self, query: str, key: object) -> bytes | None:
        with self._reading() as connection:
            found: bytes | None = connection.exec_driver_sql(query, (key,)).scalar()
        return found

    def _reading(self) -> AbstractContextManager[Connection]:
        # The sequencer waits for no connection that a crowd of readers has taken: failing to get one would stop it.
        own = self._place is not None and threading.get_ident() == self._sequencer
        return self._at_place() if own else super()._reading()

    def _sequencing(self) -> AbstractContextManager[Connection]:
        return self._at_place() if self._fenced else self._transaction()

    @contextmanager
    def _at_place(self) -> Iterator[Connection]:
        with translated(self._engine):
            # SQLAlchemy would connect a lost connection anew, without the lock.
            if self._place is None or self._place.invalidated:
                raise Unavailable("audit_stopped", cause="this process is the sequencer no more")
            with self._place.begin():
                yield self._place

    def _listen(self, wake: Callable[[], None]) -> None:
        import psycopg

        while not self._closed.is_set():
            try:
                with self._engine.connect() as connection:
                    try:
                        self._hear(connection.connection.driver_connection, wake)
                    finally:
                        connection.invalidate()  # what it was set to must not come back to the pool
            except (SQLAlchemyError, psycopg.Error, OSError):
                self._closed.wait(_AGAIN_S)

    def _hear(self, connection: Any, wake: Callable[[], None]) -> None:  # noqa: ANN401 - SQLAlchemy types it loosely
        driver: psycopg.Connection[Any] = connection
        driver.rollback()
        driver.autocommit = True
        driver.execute(f"LISTEN {_CHANNEL}".encode())
        wake()  # for what was called before
        while not self._closed.is_set():
            for told in driver.notifies(timeout=_LISTEN_S, stop_after=1):
                if told.payload != (_PUBLISHED if self._place is not None else _WAITING):
                    wake()
