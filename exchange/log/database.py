"""One SQLite file as a durable store: its connections, its transactions, and its failures in our families.

`exchange.log.sqlite` and `exchange.state.sqlite` stand on it. WAL, synchronous FULL: what was committed is on disk.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from exchange.errors import ExchangeError

_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_PAGE: Final = 16_384
_STEPS: Final = 50_000  # of SQLite's machine, between two looks at whether to go on
_PREPARE: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 1000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA trusted_schema = OFF",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file must be (its format's two numbers and tables), and how its store names each failure."""

    application_id: int
    format_number: int
    tables: str
    damaged: Callable[[str, str], ExchangeError]  # (file, detail)
    unavailable: Callable[[str, str], ExchangeError]  # (file, detail)
    other_format: Callable[[str, int], ExchangeError]  # (file, the number found)
    also: frozenset[int] = frozenset()  # further format numbers that are read

    def reads(self, found: int) -> bool:
        """Whether a file with this format number can be opened."""
        return found == self.format_number or found in self.also


def shortened(path: Path) -> bool:
    """Whether a SQLite file is shorter than its header says, which SQLite itself notices only at the missing pages.

    SQLite file format, section 1.3: page size at byte 16, number of pages at 28, which holds when the numbers at 24 and
    92 agree. A file with a WAL beside it says nothing: pages may stand there.
    """
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size:
        return False
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or header[24:28] != header[92:96]:
        return False
    page, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    return path.stat().st_size < (65_536 if page == 1 else page) * pages


@contextmanager
def looking(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing, whoever else has the file open: at most SQLite makes a `-shm` beside a WAL
    that a crash left. Where there is no WAL, the file alone is all there is.
    """
    wal = Path(f"{path}-wal")
    how = "mode=ro" if wal.exists() and wal.stat().st_size else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=5.0, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def pages_whole(connection: sqlite3.Connection, goes_on: Callable[[], bool]) -> bool:
    """Whether every page was found in order; False where `goes_on` said no before the end.

    Raises:
        sqlite3.DatabaseError: a page is broken, with what SQLite says of it.
    """
    connection.set_progress_handler(lambda: 0 if goes_on() else 1, _STEPS)
    try:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return False
    finally:
        connection.set_progress_handler(None, 0)
    if said != "ok":
        raise sqlite3.DatabaseError(str(said)[:100])
    return True


def examine(path: Path, kind: Kind, goes_on: Callable[[], bool]) -> bool:
    """Whether a file of this kind is whole, as `pages_whole`; changes nothing. Raises as `kind` says."""
    if shortened(path):
        raise kind.damaged(str(path), "shorter than its header says")
    try:
        with looking(path) as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if application_id != kind.application_id:
                raise kind.damaged(str(path), "a database of something else")
            if not kind.reads(found):
                raise kind.other_format(str(path), found)
            return pages_whole(connection, goes_on)
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise kind.damaged(str(path), name) from None


class Database:
    """A SQLite file of one kind, made when it is not there; it may be used from any thread.

    One connection writes, under a lock; each reader takes a connection of its own from a pool. An error of SQLite
    leaves only as what `kind` makes of it. After a failed write to the disk nothing is written any more until the
    file is opened anew: an fsync that failed may claim success when it is asked again.
    """

    def __init__(self, path: Path, kind: Kind, patience_s: float = 5.0) -> None:
        self.path = str(path)
        self._kind, self._patience_s = kind, patience_s
        self._lock = Lock()
        self._readers: list[sqlite3.Connection] = []
        self._closed = self._failed = False
        with self._translated():
            if not path.exists():
                self._make(path)
            elif shortened(path):
                raise self.damaged("shorter than its header says")
            self._file = self._identity()
            self._writer = self._connect()
            try:
                self._check_kind(path)
            except BaseException:
                self._writer.close()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from; each statement sees what was committed when it began."""
        with self._translated():
            self._check_usable()
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._connect()
            try:
                yield connection
            finally:
                if self._closed:
                    connection.close()
                else:
                    self._readers.append(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that has the write lock; durable when the block was left without an error, else undone."""
        with self._lock, self._translated(write=True):
            self._check_usable()
            if self._failed:
                raise self._kind.unavailable(self.path, "an earlier write failed; open the store again")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def damaged(self, detail: str) -> ExchangeError:
        """The error for content that is not what was written."""
        return self._kind.damaged(self.path, detail)

    def close(self) -> None:
        """Gives back the connections; the last one folds the WAL into the file."""
        with self._lock, self._translated():
            self._closed = True
            while self._readers:
                self._readers.pop().close()
            self._writer.close()

    def _make(self, path: Path) -> None:
        if Path(self.path + "-wal").exists():
            # SQLite would throw the WAL away, and with it what was committed last.
            raise self.damaged("the file is missing, its -wal is there")
        # Under another name until it is whole, so that a crash leaves no half-made file under the right one.
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size = {_PAGE}")
            connection.executescript(
                f"BEGIN; {self._kind.tables}; PRAGMA application_id = {self._kind.application_id};"
                f"PRAGMA user_version = {self._kind.format_number}; COMMIT; PRAGMA journal_mode = WAL"
            )
        finally:
            connection.close()
        draft.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        # A crash before here: the file is there whole, or not at all and is made again.

    def _connect(self) -> sqlite3.Connection:
        address = Path(self.path).absolute().as_uri() + "?mode=rw"  # never makes a file
        connection = sqlite3.connect(
            address, uri=True, timeout=self._patience_s, isolation_level=None, check_same_thread=False
        )
        for pragma in _PREPARE:
            connection.execute(pragma)
        return connection

    def _check_kind(self, path: Path) -> None:
        if path.stat().st_size == 0:
            raise self.damaged("the file is empty")
        (application_id,) = self._writer.execute("PRAGMA application_id").fetchone()
        (found,) = self._writer.execute("PRAGMA user_version").fetchone()
        if application_id != self._kind.application_id:
            raise self.damaged("a database of something else")
        if not self._kind.reads(found):
            raise self._kind.other_format(self.path, found)

    def _identity(self) -> tuple[int, int]:
        status = Path(self.path).stat()
        return status.st_dev, status.st_ino

    def _check_usable(self) -> None:
        if self._closed:
            raise self._kind.unavailable(self.path, "closed")
        try:
            same = self._identity() == self._file
        except FileNotFoundError:
            same = False
        if not same:  # our connections would go on with a file that nobody finds again
            raise self.damaged("the file was taken away or replaced while it was open")

    @contextmanager
    def _translated(self, *, write: bool = False) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            if write and code is not None and code & 0xFF == sqlite3.SQLITE_IOERR:
                self._failed = True
            short = code == sqlite3.SQLITE_IOERR_SHORT_READ
            passing = code is not None and code & 0xFF in _PASSING and not short
            # Without its cause: SQLite's text may quote what it could not read.
            raise (self._kind.unavailable if passing else self._kind.damaged)(self.path, name) from None
        except OSError as error:
            raise self._kind.unavailable(self.path, error.strerror or type(error).__name__) from None
