"""Rules of the SQLite file under log and state: a file that lost its end is told before it is used."""

import sqlite3
from pathlib import Path

import pytest

from exchange.control.database import check_revision, open_engine, upgrade
from exchange.errors import Tampered
from exchange.log.database import shortened
from exchange.log.sqlite import SqliteRecordLog


def _cut_last_page(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 1)


def test_a_file_without_its_last_byte_is_damaged(tmp_path: Path) -> None:
    """The header says how many pages there are; one byte less and the store is not opened."""
    file = tmp_path / "records.db"
    SqliteRecordLog(file).close()
    assert not shortened(file)
    _cut_last_page(file)
    with pytest.raises(Tampered, match="log_damaged"):
        SqliteRecordLog(file)


def test_the_control_database_too(tmp_path: Path) -> None:
    """A control database that lost its end is damaged, not merely at another revision."""
    file = tmp_path / "control.db"
    engine = open_engine(f"sqlite:///{file}")
    upgrade(engine)
    engine.dispose()
    check_revision(engine)
    engine.dispose()
    _cut_last_page(file)
    with pytest.raises(Tampered, match="control_database_damaged"):
        check_revision(engine)


def test_a_file_whose_pages_are_in_the_wal_is_whole(tmp_path: Path) -> None:
    """While a WAL holds pages, the main file's length says nothing."""
    file = tmp_path / "live.db"
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (v BLOB)")
    connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    assert not shortened(file)
    connection.close()
    assert not shortened(file)
