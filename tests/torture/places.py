"""Where a tortured log lies: a site's folder with its SQLite file, or a schema of a PostgreSQL server.

A place is made once (`Base`) and copied for every run. A process that is killed leaves its files as the kernel has
them: the next life gets a copy taken while the dead one's handles are still open, with SQLite's WAL as it lies there.
"""

import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from sqlalchemy import Engine

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.entries import Entry
from exchange.audit.log import AuditLog, create
from exchange.audit.postgresql import PostgresAuditStore
from exchange.control.database import open_engine, upgrade
from exchange.control.store import SqlEventStore
from tests.audit.building import KEY, ORIGIN, START_NS, VKEY
from tests.torture.judge import Judge
from tests.torture.lives import HOUR_NS, Clock, Gate, Strike, Struck
from tests.torture.power import PowerFiles

_ENDLESS: Final = 1 << 60
_TABLES: Final = (
    *("audit_lock", "audit_outbox", "audit_epochs", "audit_schemas"),
    *("audit_staging", "audit_files", "audit_checkpoint", "events", "event_head"),
)


@dataclass
class _Opened:
    """One life's storage."""

    store: Any
    events: Any
    engine: Engine
    place: "Folder | Schema"
    power: PowerFiles | None = None

    def end(self, *, killed: bool, lost: Random | None) -> None:
        """See `Opened.end`."""
        if killed:
            self.place.leave(self.power, lost)
        if killed and isinstance(self.store, Struck):
            self.store._inner.close()
        self.engine.dispose()


class Folder:
    """A log in a folder: `control.db` and `audit`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lives = 0

    def open(self, strike: Strike, gate: Gate) -> _Opened:
        """See `Place.open`."""
        engine = open_engine(f"sqlite:///{self.folder / 'control.db'}")
        power = PowerFiles(self.folder / "audit", _ENDLESS)
        files: Any = Struck(power, strike, "files")
        store = Struck(EmbeddedAuditStore(self.folder / "audit", engine, files), strike, "store", gate)
        return _Opened(store, Struck(SqlEventStore(engine), strike, "events"), engine, self, power)

    def leave(self, power: PowerFiles | None, lost: Random | None) -> None:
        """The process was killed: its files as they are, or as the power cut leaves them, are the next life's."""
        self._lives += 1
        left = self.folder.with_name(f"{self.folder.name.partition('+')[0]}+{self._lives}")
        shutil.copytree(self.folder, left)
        if lost is not None and power is not None:
            power.lose(lost, left / "audit")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = left

    def look(self, judge: Judge) -> None:
        """See `Place.look`."""
        audit = self.folder / "audit"
        lock = self.query("SELECT checkpoint FROM audit_lock")[0][0]
        judge.look(lambda name: (audit / name).read_bytes() if (audit / name).is_file() else None, lock)

    def events(self) -> set[str]:
        """See `Place.events`."""
        return {row[0] for row in self.query("SELECT aggregate FROM events")}

    def query(self, sql: str) -> list[Any]:
        """Rows of the control database, by SQLite alone."""
        connection = sqlite3.connect(self.folder / "control.db")
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


class Schema:
    """A log in the rows of a migrated control database on a server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._looking = open_engine(url)

    def open(self, strike: Strike, gate: Gate) -> _Opened:
        """See `Place.open`."""
        engine = open_engine(self.url)
        store = Struck(PostgresAuditStore(engine), strike, "store", gate)
        return _Opened(store, Struck(SqlEventStore(engine), strike, "events"), engine, self)

    def leave(self, _power: PowerFiles | None, _lost: Random | None) -> None:
        """The server lives on."""

    def look(self, judge: Judge) -> None:
        """See `Place.look`."""
        files = {row[0]: bytes(row[1]) for row in self.query("SELECT path, data FROM audit_files")}
        files["checkpoint"] = bytes(self.query("SELECT note FROM audit_checkpoint")[0][0])
        judge.look(files.get, bytes(self.query("SELECT checkpoint FROM audit_lock")[0][0]))

    def events(self) -> set[str]:
        """See `Place.events`."""
        return {row[0] for row in self.query("SELECT aggregate FROM events")}

    def query(self, sql: str) -> list[Any]:
        """Rows of the control database."""
        with self._looking.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(sql)]

    def keep(self) -> None:
        """Keeps a copy of every table, for `reset`."""
        with self._looking.begin() as connection:
            for table in _TABLES:
                connection.exec_driver_sql(f"CREATE TABLE kept_{table} AS TABLE {table}")

    def reset(self) -> None:
        """Makes every table what it was at `keep`."""
        with self._looking.begin() as connection:
            connection.exec_driver_sql(f"TRUNCATE {', '.join(_TABLES)}")
            for table in _TABLES:
                connection.exec_driver_sql(f"INSERT INTO {table} SELECT * FROM kept_{table}")

    def close(self) -> None:
        """Gives back its connections."""
        self._looking.dispose()


def begin(store: Any, entries: Sequence[Sequence[Entry]]) -> None:
    """Makes a log with these entries, a commit each."""
    now = Clock(START_NS + 10 * HOUR_NS - 60_000_000_000)
    create(store, ORIGIN, KEY, now)
    log = AuditLog(store, KEY, now)
    for one in entries:
        log.submit(one)
        log.wait(one[-1].id)
    log.close()


@dataclass
class Base:
    """A log in a folder, to be copied, and the judge who has seen it."""

    folder: Path
    judge: Judge

    def copy(self, to: Path) -> Folder:
        """A place for one run."""
        shutil.copytree(self.folder, to)
        return Folder(to)

    def begin(self, to: Path) -> tuple[Folder, Judge]:
        """A place for one run, and its judge."""
        return self.copy(to), self.judge.copy()


def folder_base(folder: Path, entries: Sequence[Sequence[Entry]]) -> Base:
    """A log in a folder, with these entries."""
    folder.mkdir(parents=True)
    engine = open_engine(f"sqlite:///{folder / 'control.db'}")
    upgrade(engine)
    begin(EmbeddedAuditStore(folder / "audit", engine), entries)
    engine.dispose()
    judge = Judge(VKEY)
    Folder(folder).look(judge)
    return Base(folder, judge)


def schema_base(url: str, entries: Sequence[Sequence[Entry]]) -> tuple[Schema, Judge]:
    """A log on a server, with these entries; it is reset for every run."""
    engine = open_engine(url)
    begin(PostgresAuditStore(engine), entries)
    engine.dispose()
    place, judge = Schema(url), Judge(VKEY)
    place.look(judge)
    place.keep()
    return place, judge
