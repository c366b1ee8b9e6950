"""Which rows were sent, and under which sequence: the memory that makes event ids of a file that has none.

For each key the ledger holds the salted digest of the content last sent and the sequence it was sent under; no id
and no value in clear. (The salt lies beside it: the digests hide ids from a glance and from the log, not from
someone who takes the whole file and tries all ids. It stays on the department's side with the files themselves.)

A row is written here before its batch is handed out. What a crash leaves above the exchange's mark was never
taken, and is forgotten when the next run begins; so nothing is lost and nothing sent twice.
"""

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from exchange.errors import ExchangeError, Invalid, Unavailable

_FORMAT: Final = "exchange.files-ledger/1"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent (
    key BLOB NOT NULL, occurrence INTEGER NOT NULL, sequence INTEGER NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (key, occurrence, sequence)) WITHOUT ROWID;
CREATE TEMP TABLE met (key BLOB PRIMARY KEY, occurrences INTEGER NOT NULL) WITHOUT ROWID;
"""
_LATEST: Final = "SELECT sequence, content FROM sent WHERE key=? AND occurrence=? ORDER BY sequence DESC LIMIT 1"
_MEET: Final = "INSERT INTO met VALUES (?, 1) ON CONFLICT DO UPDATE SET occurrences=occurrences+1 RETURNING occurrences"
# Keys whose last event is of an occurrence that this run did not meet: the last one it met is no longer the latest.
_OUTLIVED: Final = """
SELECT met.key, met.occurrences FROM met WHERE
  (SELECT max(sequence) FROM sent WHERE sent.key=met.key AND sent.occurrence>met.occurrences) >
  (SELECT max(sequence) FROM sent WHERE sent.key=met.key AND sent.occurrence=met.occurrences)
"""
_SUPERSEDED: Final = """
DELETE FROM sent WHERE EXISTS (SELECT 1 FROM sent AS later
  WHERE later.key=sent.key AND later.occurrence=sent.occurrence AND later.sequence>sent.sequence)
"""


class Ledger:
    """The ledger of one source, open for one run; one process at a time (a lock on the file)."""

    def __init__(self, connection: sqlite3.Connection, salt: bytes, mark: int) -> None:
        self._connection = connection
        self.salt = salt
        self._high = mark
        self._noted: list[tuple[bytes, int, int, bytes]] = []

    def meet(self, key: bytes) -> int:
        """The number of times that this run has met this key, now included."""
        return int(self._connection.execute(_MEET, (key,)).fetchone()[0])

    def sent(self, key: bytes, occurrence: int, content: bytes) -> bool:
        """Whether this very content is the last sent for the key's n-th occurrence, and later than the one before.

        The second condition keeps the order of rows with one key: once the first was sent anew, so is the second,
        and the latest event of a key is always its last row.
        """
        if occurrence > 1:
            self._write()  # the occurrence before may be among what was noted since the last commit
        latest = self._connection.execute(_LATEST, (key, occurrence)).fetchone()
        if latest is None or latest[1] != content:
            return False
        if occurrence == 1:
            return True
        before = self._connection.execute(_LATEST, (key, occurrence - 1)).fetchone()
        return before is None or bool(before[0] < latest[0])

    def send(self, key: bytes, occurrence: int, content: bytes) -> int:
        """The sequence for this row, noted; durable after `commit`."""
        self._high += 1
        self._noted.append((key, occurrence, self._high, content))
        return self._high

    def commit(self) -> None:
        """All that was noted is durable on return. A crash from here on: the rows are above the mark, or taken."""
        self._write()
        self._connection.execute("UPDATE about SET value=? WHERE name='high'", (self._high,))
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")

    def outlived(self) -> dict[bytes, int]:
        """Keys of which the files hold fewer rows than were sent, with the number they hold now: to be sent again."""
        self._write()
        return dict(self._connection.execute(_OUTLIVED).fetchall())

    def _write(self) -> None:
        self._connection.executemany("INSERT INTO sent VALUES (?, ?, ?, ?)", self._noted)
        self._noted.clear()


@contextmanager
def open_ledger(
    path: Path,
    source: str,
    mark: int,
    *,
    send_again: bool = False,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> Iterator[tuple[Ledger, bool]]:
    """The ledger at this path, made if there is none, brought back to the exchange's mark; and whether it was lost.

    Lost means that it knows less than the exchange has taken (deleted, or an older copy): to compare with it could
    leave out rows that must be sent. Then all rows are sent again as new events if `send_again`, else refused.

    Raises:
        Invalid: `ledger_unreadable` (damaged, not a ledger, of another source), `ledger_behind`.
        Unavailable: `ledger_busy` (another run holds it), `ledger_unwritable` (disk full, no permission).
    """
    connection = None
    try:
        connection = _connect(path)
        salt = _begin(connection, source, random)
        lost = _return_to(connection, mark, path.name, send_again=send_again)
        yield Ledger(connection, salt, mark), lost
    except sqlite3.Error as error:
        raise _failure(error, path.name) from error
    finally:
        if connection is not None:
            connection.close()  # rolls back what was not committed


def _connect(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise Unavailable("ledger_unwritable", where=path.name, detail=type(error).__name__) from error
    connection = sqlite3.connect(path, isolation_level=None, timeout=0.25)
    connection.executescript("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
    return connection


def _begin(connection: sqlite3.Connection, source: str, random: Callable[[int], bytes]) -> bytes:
    connection.executescript("BEGIN IMMEDIATE;" + _SCHEMA)
    connection.executemany(
        "INSERT OR IGNORE INTO about VALUES (?, ?)",
        [("format", _FORMAT), ("source", source), ("salt", random(32)), ("high", 0)],
    )
    about = dict(connection.execute("SELECT name, value FROM about").fetchall())
    salt, high = about["salt"], about["high"]
    if about["format"] != _FORMAT or not isinstance(salt, bytes) or len(salt) != 32 or not isinstance(high, int):
        raise sqlite3.DatabaseError("not a ledger of this format")
    if about["source"] != source:
        raise sqlite3.DatabaseError("the ledger of another source")
    return salt


def _return_to(connection: sqlite3.Connection, mark: int, where: str, *, send_again: bool) -> bool:
    high = connection.execute("SELECT value FROM about WHERE name='high'").fetchone()[0]
    lost = bool(high < mark)
    if lost and not send_again:
        raise Invalid("ledger_behind", where=where, known=high, mark=mark)
    # Above the mark: never taken by the exchange. Superseded at or below it: never needed again.
    connection.execute("DELETE FROM sent WHERE sequence > ?", (-1 if lost else mark,))
    connection.execute(_SUPERSEDED)
    connection.execute("UPDATE about SET value=? WHERE name='high'", (mark,))
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    return lost


def _failure(error: sqlite3.Error, where: str) -> ExchangeError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Unavailable("ledger_busy", where=where)
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
        return Unavailable("ledger_unwritable", where=where, detail=type(error).__name__)
    return Invalid("ledger_unreadable", where=where, detail=str(error)[:100])
