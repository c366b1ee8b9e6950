"""The rows of an audit log in the control database: outbox, lock row, epochs, schemas. The same on every engine."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, CursorResult, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from exchange.audit.gate import Gate
from exchange.audit.store import Change, Head, Known, Row
from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable
from exchange.log.server import SCHEME, is_server, reading, server_fault

_GROUP: Final = 200  # submits in one transaction
_AT_ONCE: Final = 128  # rows in one INSERT: each statement gives up the interpreter, and waits to get it back
_INSERT: Final = "INSERT INTO audit_outbox (id, digest, leaf, kind, raises, rests_on) VALUES"
_VALUES: Final = "(?, ?, ?, ?, ?, ?)"
_UNLESS_THERE: Final = "ON CONFLICT (id) DO NOTHING"
_DETAIL: Final = "INSERT INTO audit_details (name, kind, at_ns, body) VALUES (?, ?, ?, ?)"
_KNOWN: Final = "SELECT digest, idx, committed_ns, refused FROM audit_outbox WHERE id = ?"
_KNOWN_OF: Final = "SELECT id, digest, idx, committed_ns, refused FROM audit_outbox WHERE id IN"
_PORTION: Final = 500
_WAITING: Final = "SELECT count(*) FROM audit_outbox WHERE idx IS NULL AND refused IS NULL"
_PENDING: Final = (
    "SELECT id, digest, leaf, kind, raises, rests_on, seq FROM audit_outbox "
    "WHERE idx IS NULL AND refused IS NULL ORDER BY seq LIMIT ?"
)
# On a file a row's step gives up the interpreter, too; so all rows come and go as one document.
_PENDING_AT_ONCE: Final = (
    "SELECT json_group_array(json_array(hex(id), hex(digest), hex(leaf), kind, raises, rests_on, seq)) FROM ("
    "SELECT id, digest, leaf, kind, raises, rests_on, seq FROM audit_outbox "
    "WHERE idx IS NULL AND refused IS NULL ORDER BY seq LIMIT ?)"
)
# On a file rows are deleted and come back without their leaves: an UPDATE would leave them for ever on pages as empty
# as the leaves were large.
_TAKEN: Final = (
    "SELECT json_group_array(json_array(seq, hex(id), hex(digest), kind)) FROM audit_outbox "
    "WHERE seq IN (SELECT value FROM json_each(?)) AND idx IS NULL"
)
_TAKE_OUT: Final = "DELETE FROM audit_outbox WHERE seq IN (SELECT value FROM json_each(?)) AND idx IS NULL"
_PUT_BACK: Final = "INSERT INTO audit_outbox (seq, id, digest, kind, idx, committed_ns) VALUES"
_TAKE_ON_SERVER: Final = (
    "UPDATE audit_outbox SET idx = t.idx, committed_ns = ?, leaf = NULL, raises = NULL, rests_on = NULL "
    "FROM unnest(?::bigint[], ?::bigint[]) AS t (seq, idx) WHERE audit_outbox.seq = t.seq AND audit_outbox.idx IS NULL"
)
_REFUSE: Final = "UPDATE audit_outbox SET refused = ?, leaf = NULL WHERE seq = ? AND idx IS NULL"
_BEGIN: Final = (
    "INSERT INTO audit_lock (id, origin, size, root, checkpoint, committed_ns) VALUES (1, ?, ?, ?, ?, ?) "
    "ON CONFLICT (id) DO NOTHING"
)
_SWAP: Final = (
    "UPDATE audit_lock SET size = ?, root = ?, checkpoint = ?, committed_ns = ? "
    "WHERE id = 1 AND size = ? AND origin = ?"
)
_RAISE: Final = (
    "INSERT INTO audit_epochs (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


class LogRows:
    """The part of an `AuditStore` that is rows of a migrated control database. Any thread may use it.

    Many threads may `submit` at once: one of them writes what all others have brought meanwhile, in one transaction,
    so the price of a durable commit is shared.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._reader = engine, reading(engine)
        # On a file our own writers queue here: SQLite's way to wait is to sleep and try again. A server needs no queue.
        self._writing: AbstractContextManager[Any] = nullcontext() if is_server(engine) else threading.Lock()
        self._queue = threading.Lock()
        self._brought: list[_Brought] = []
        self._led = False

    def head(self) -> Head | None:
        """See `AuditStore.head`."""
        with self._reading() as connection:
            rows = _rows(connection, "SELECT origin, size, root, checkpoint, committed_ns FROM audit_lock")
        if not rows:
            return None
        origin, size, root, checkpoint, committed_ns = rows[0]
        if not (isinstance(size, int) and isinstance(root, bytes) and isinstance(checkpoint, bytes)):
            raise Tampered("audit_log_damaged", where="audit_lock", detail="the lock row has values of other types")
        return Head(str(origin), size, root, checkpoint, int(committed_ns))

    def add(self, connection: Connection, row: Row) -> None:
        """See `AuditStore.add`."""
        with translated(self._engine):
            _insert(connection, row)

    def submit(self, rows: Sequence[Row]) -> Sequence[bytes]:
        """See `AuditStore.submit`."""
        mine = _Brought(rows)
        with self._queue:
            self._brought.append(mine)
            lead, self._led = not self._led, True
        if not lead:
            mine.ready.wait()
        if not mine.done:
            self._submit_group()
        if mine.fault is not None:
            raise mine.fault
        return mine.before

    def _submit_group(self) -> None:
        """Writes what the queue holds, wakes those it came from, and makes the next in the queue the leader."""
        with self._queue:
            group, self._brought = self._brought[:_GROUP], self._brought[_GROUP:]
        fault: ExchangeError | None = Unavailable("audit_stopped", cause="the entry was not stored")
        try:
            if not self._stored_at_once(group):
                with self._transaction() as connection:
                    for brought in group:
                        brought.store(connection)
            # A crash here: every row is durable and will be in the log; those who brought them do not know it yet.
            fault = None
        except (Unavailable, Tampered) as error:
            fault = error
        finally:
            with self._queue:
                self._led = bool(self._brought)
                following = self._brought[:1]
            for brought in group:
                brought.end(fault)
            for brought in (*group[1:], *following):  # the first one is this thread's own
                brought.ready.open()

    def _stored_at_once(self, group: Sequence["_Brought"]) -> bool:
        """Stores the rows of the whole group; False, and nothing is stored, where one of their ids was there before."""
        try:
            with self._transaction() as connection:
                rows = [row for brought in group for row in brought.rows]
                for start in range(0, len(rows), _AT_ONCE):
                    _insert_new(connection, [_values(row) for row in rows[start : start + _AT_ONCE]])
                _keep_details(connection, rows)
        except _KnownError:
            return False
        return True

    def known(self, entry_id: bytes) -> Known | None:
        """See `AuditStore.known`."""
        with self._reading() as connection:
            rows = _rows(connection, _KNOWN, (entry_id,))
        return Known(*rows[0]) if rows else None

    def known_of(self, ids: Sequence[bytes]) -> Mapping[bytes, Known]:
        """See `AuditStore.known_of`."""
        found: dict[bytes, Known] = {}
        with self._reading() as connection:
            for start in range(0, len(ids), _PORTION):
                portion = tuple(ids[start : start + _PORTION])
                query = f"{_KNOWN_OF} ({','.join('?' * len(portion))})"
                found.update((bytes(row[0]), Known(*row[1:])) for row in _rows(connection, query, portion))
        return found

    def waiting(self) -> int:
        """See `AuditStore.waiting`."""
        with self._reading() as connection:
            return int(_rows(connection, _WAITING)[0][0])

    def pending(self, limit: int) -> Sequence[Row]:
        """See `AuditStore.pending`."""
        with self._reading() as connection:
            if is_server(self._engine):
                return [Row(*row) for row in _rows(connection, _PENDING, (limit,))]
            found = json.loads(_rows(connection, _PENDING_AT_ONCE, (limit,))[0][0])
            of_hex = bytes.fromhex
            return [Row(of_hex(i), of_hex(digest), of_hex(leaf), *rest) for i, digest, leaf, *rest in found]

    def refuse(self, refused: Sequence[tuple[int, str]]) -> None:
        """See `AuditStore.refuse`."""
        with self._sequencing() as connection:
            _run(connection, _REFUSE, [(why, seq) for seq, why in refused])

    def epochs(self) -> Mapping[str, int]:
        """See `AuditStore.epochs`."""
        with self._reading() as connection:
            return {str(name): int(value) for name, value in _rows(connection, "SELECT name, value FROM audit_epochs")}

    def schemas(self) -> Mapping[bytes, int]:
        """See `AuditStore.schemas`."""
        with self._reading() as connection:
            return {
                bytes(prefix): int(idx) for prefix, idx in _rows(connection, "SELECT prefix, idx FROM audit_schemas")
            }

    def swap(self, old: int, head: Head, change: Change) -> None:
        """See `AuditStore.swap`."""
        with self._sequencing() as connection:
            new = (head.size, head.root, head.checkpoint, head.committed_ns, old, head.origin)
            # The update comes first: it takes the write lock, so nothing below rests on what another may change.
            if _run(connection, _SWAP, new).rowcount != 1:
                raise Unavailable("audit_stopped", cause="another sequencer moved the log")
            if change.taken and self._take(connection, head.committed_ns, change.taken) != len(change.taken):
                raise Tampered("audit_log_damaged", where="audit_outbox", detail="a waiting entry vanished")
            if change.refused:
                _run(connection, _REFUSE, [(why, seq) for seq, why in change.refused])
            if change.epochs:
                _run(connection, _RAISE, list(change.epochs.items()))
            if change.schemas:
                _run(connection, "INSERT INTO audit_schemas (prefix, idx) VALUES (?, ?)", list(change.schemas.items()))

    def _take(self, connection: Connection, at_ns: int, taken: Sequence[tuple[int, int]]) -> int:
        """Gives rows their index; how many still waited for one."""
        if is_server(self._engine):
            return _run(connection, _TAKE_ON_SERVER, (at_ns, *map(list, zip(*taken, strict=True)))).rowcount
        index_of, numbers = dict(taken), json.dumps([seq for seq, _ in taken])
        of_hex = bytes.fromhex
        found = json.loads(_rows(connection, _TAKEN, (numbers,))[0][0])
        _run(connection, _TAKE_OUT, (numbers,))
        kept = [(seq, of_hex(one), of_hex(digest), kind, index_of[seq], at_ns) for seq, one, digest, kind in found]
        for start in range(0, len(kept), _AT_ONCE):
            portion = kept[start : start + _AT_ONCE]
            _run(connection, _inserting(_PUT_BACK, len(portion)), tuple(chain(*portion)))
        return len(found)

    def _begin(self, connection: Connection, head: Head) -> bool:
        """Makes the lock row; False when there is one."""
        row = (head.origin, head.size, head.root, head.checkpoint, head.committed_ns)
        return _run(connection, _BEGIN, row).rowcount == 1

    def _sequencing(self) -> AbstractContextManager[Connection]:
        """A transaction that only the log's one sequencer may write."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with translated(self._engine), self._writing, self._engine.begin() as connection:
            yield connection

    def _reading(self) -> AbstractContextManager[Connection]:
        """A connection to read from, for the thread that asks."""
        return self._connected()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with translated(self._engine), self._reader.connect() as connection:
            yield connection


class _Brought:
    """The rows of one `submit`, and what became of them."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.before: Sequence[bytes] = []
        self.fault: ExchangeError | None = None
        self.done = False
        self.ready = Gate()

    def store(self, connection: Connection) -> None:
        """Inserts the rows, or none of them when one reuses an id: the others in the transaction go on."""
        stored: set[bytes] = set()
        try:
            for row in self.rows:
                if _insert(connection, row):
                    stored.add(row.id)
        except Invalid as error:
            self.fault = error
            for entry_id in stored:
                _run(connection, "DELETE FROM audit_outbox WHERE id = ?", (entry_id,))
        self.before = [row.id for row in self.rows if row.id not in stored]

    def end(self, fault: ExchangeError | None) -> None:
        """The transaction has ended: with this fault, or well."""
        self.fault = self.fault or fault
        self.done = True


class _KnownError(Exception):
    """An id was there before."""


def _insert(connection: Connection, row: Row) -> bool:
    """Inserts the row; False when it was there before. Another row under its id is `Invalid("audit_id_reused")`."""
    if _run(connection, _insert_of(1), _values(row)).rowcount == 1:
        _keep_details(connection, [row])
        return True
    if _rows(connection, _KNOWN, (row.id,))[0][0] != row.digest:
        raise Invalid("audit_id_reused", where=row.kind, id=row.id.hex())
    return False


def _keep_details(connection: Connection, rows: Sequence[Row]) -> None:
    details = [detail.row() for row in rows for detail in row.details]
    if details:
        _run(connection, _DETAIL, details)


def _values(row: Row) -> tuple[object, ...]:
    return row.id, row.digest, row.leaf, row.kind, row.raises, row.rests_on


def _insert_new(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
    if _run(connection, _insert_of(len(rows)), tuple(chain(*rows))).rowcount != len(rows):
        raise _KnownError


@cache
def _inserting(into: str, count: int) -> str:
    return f"{into} {', '.join([_VALUES] * count)}"


def _insert_of(count: int) -> str:
    return f"{_inserting(_INSERT, count)} {_UNLESS_THERE}"


def _rows(connection: Connection, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in _run(connection, sql, values)]


def _run(connection: Connection, sql: str, values: Any = ()) -> CursorResult[Any]:  # noqa: ANN401 - a row or a list of rows
    return connection.exec_driver_sql(_spelled(sql, connection.dialect.name), values)


@cache
def _spelled(sql: str, dialect: str) -> str:
    return sql.replace("?", "%s") if dialect == SCHEME else sql


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turns the driver's errors into `Unavailable` (the log stops) or `Tampered` (the tables are not ours)."""
    try:
        yield
    except SQLAlchemyError as error:
        passing, name = True, type(error).__name__
        if is_server(engine):
            passing, name = server_fault(error)
        elif isinstance(error, DBAPIError):
            name = str(getattr(error.orig, "sqlite_errorname", type(error.orig).__name__))
            passing = not name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_MISMATCH"))
        if not passing:
            raise Tampered("audit_log_damaged", where="control database", detail=name) from None
        raise Unavailable("audit_stopped", cause=f"control database: {name}") from None
