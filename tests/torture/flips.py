"""One byte of what a sequencer rests on, changed: the lock row, the checkpoint, the staged bundle, a waiting row."""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.torture.places import Folder

_LOCK: Final = ("root", "checkpoint", "size", "origin")
_WAITING: Final = ("leaf", "digest", "id", "kind", "raises", "rests_on")


class Flip:
    """One byte of what the sequencer rests on, changed, and changed back."""

    def __init__(self, place: Folder, random: Random) -> None:
        self._place, self._random = place, random
        self.what, self.told = "", ""
        self.undo: Callable[[], None] = lambda: None

    def make(self) -> None:
        """Changes it: of what there is, something at random."""
        audit = self._place.folder / "audit"
        staged = sorted(one for one in (audit / "staging").iterdir() if not one.name.startswith("."))
        ((size, seq),) = self._place.query(
            "SELECT size, (SELECT min(seq) FROM audit_outbox WHERE idx IS NULL AND refused IS NULL) FROM audit_lock"
        )
        needed = [one for one in staged if one.name.startswith(f"{size}-")]
        published = int((audit / "checkpoint").read_bytes().split(b"\n")[1])
        choices: list[Callable[[], None]] = [lambda: self._file(audit / "checkpoint", "the checkpoint")]
        choices += [lambda: self._row("audit_lock", self._random.choice(_LOCK), "id = 1")]
        choices += [lambda: self._row("audit_outbox", self._random.choice(_WAITING), f"seq = {seq}")]
        if published < size:
            choices += [lambda: self._file(needed[0], "the staged bundle")] * 3
        self._random.choice(choices)()

    def _file(self, file: Path, what: str) -> None:
        good = file.read_bytes()
        file.write_bytes(self._changed(good))
        self.what, self.undo = what, lambda: _write(file, good)

    def _row(self, table: str, column: str, where: str) -> None:
        (good,) = self._sql(f"SELECT {column} FROM {table} WHERE {where}")[0]
        self._sql(f"UPDATE {table} SET {column} = ? WHERE {where}", self._other(good))
        self.what, self.undo = f"{table}.{column}", lambda: self._restore(table, column, where, good)

    def _restore(self, table: str, column: str, where: str, good: object) -> None:
        self._sql(f"UPDATE {table} SET {column} = ? WHERE {where}", good)

    def _other(self, good: object) -> object:
        if good is None:  # of the columns that are changed here, the epochs may be null
            return '{"policy":1}'
        if isinstance(good, int):
            return good + 1
        return self._changed(good) if isinstance(good, bytes) else self._changed(str(good).encode()).decode()

    def _changed(self, good: bytes) -> bytes:
        at = self._random.randrange(len(good))
        self.told = f"byte {at}"
        return good[:at] + bytes([good[at] ^ (1 << self._random.randrange(7))]) + good[at + 1 :]

    def _sql(self, sql: str, *values: object) -> list[Any]:
        connection = sqlite3.connect(self._place.folder / "control.db")
        try:
            with connection:
                return connection.execute(sql, values).fetchall()
        finally:
            connection.close()


def _write(file: Path, data: bytes) -> None:
    file.write_bytes(data)


class Alarms(logging.Handler):
    """What the log's logger says."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())

    def __enter__(self) -> "Alarms":
        logging.getLogger("exchange.audit").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("exchange.audit").removeHandler(self)
