"""The control database: what is promised of it, its migrations, and broken or missing files."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from exchange.control.database import MIGRATIONS, check_revision, head_revision, open_engine, translated, upgrade
from exchange.control.store import SqlEventStore
from exchange.control.tables import METADATA
from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable
from tests.control.failing import fails


def _made(folder: Path) -> str:
    url = f"sqlite:///{folder}/control.db"
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
    return url


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that the tests of this module only read."""
    return _made(tmp_path_factory.mktemp("site"))


def test_the_engine_is_durable(url: str) -> None:
    """WAL, synchronous FULL, foreign keys, patience for a lock."""
    engine = open_engine(url)
    with engine.connect() as connection:
        found = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    engine.dispose()
    assert found == ["wal", 2, 1, 5_000]


def test_a_transaction_takes_the_write_lock_with_its_first_write(tmp_path: Path) -> None:
    """So that what it reads afterwards nobody else changes before it commits; reading takes no lock."""
    engine = open_engine(_made(tmp_path))
    other = create_engine(engine.url, connect_args={"timeout": 0})
    with engine.begin() as connection:
        connection.execute(text("SELECT * FROM event_head")).all()
        with other.begin() as second:
            second.execute(text("UPDATE event_head SET position = position"))
        connection.execute(text("UPDATE event_head SET position = position"))
        with fails(Unavailable, "control_database_unavailable"), translated(other), other.begin() as second:
            second.execute(text("UPDATE event_head SET position = position"))
    for one in (engine, other):
        one.dispose()


def test_migrations_make_the_tables_of_the_code(url: str) -> None:
    """Neither has a table, column, index or constraint more than the other."""
    engine = open_engine(url)
    with engine.connect() as connection:
        options = {"include_name": lambda name, kind, _: kind != "table" or name in METADATA.tables}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)
    engine.dispose()
    assert differences == []


def test_revisions_are_one_line_named_as_their_files() -> None:
    """The newest file's name is the revision that an opening asks for, without Alembic."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert scripts.get_heads() == [head_revision()]
    assert sorted(revisions, reverse=True) == revisions
    assert {file.stem for file in (MIGRATIONS / "versions").glob("*.py")} == set(revisions)


@pytest.mark.processes
def test_another_process_takes_nothing_away(tmp_path: Path) -> None:
    """One that opens and closes the database meanwhile (a backup, `sqlite3`) is not the last: the WAL stays ours."""
    engine = open_engine(_made(tmp_path))
    SqlEventStore(engine)
    SqlEventStore(engine)  # looks at the file once more, while it is open
    with engine.begin() as connection:
        connection.execute(text("UPDATE event_head SET position = 7"))
    wal = (tmp_path / "control.db-wal").stat()
    look = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(*c.execute(sys.argv[2]).fetchone()); c.close()"
    words = [sys.executable, "-c", look, str(tmp_path / "control.db"), "SELECT position FROM event_head"]
    for position in ("7", "8"):
        assert subprocess.run(words, capture_output=True, check=True, text=True).stdout.strip() == position
        assert (tmp_path / "control.db-wal").stat().st_ino == wal.st_ino
        with engine.begin() as connection:
            connection.execute(text("UPDATE event_head SET position = 8"))
    engine.dispose()


def test_an_upgrade_again_changes_nothing(tmp_path: Path) -> None:
    """It may be run at every start of an upgrade."""
    engine = open_engine(_made(tmp_path))
    upgrade(engine)
    check_revision(engine)
    engine.dispose()


def test_an_upgrade_is_all_or_nothing(tmp_path: Path) -> None:
    """A table in the way of a later step leaves no earlier step behind."""
    file = tmp_path / "control.db"
    with sqlite3.connect(file) as plain:
        plain.execute("CREATE TABLE documents (other TEXT)")
    plain.close()
    engine = open_engine(f"sqlite:///{file}")
    with pytest.raises(Tampered):
        upgrade(engine)
    engine.dispose()
    plain = sqlite3.connect(file)
    assert [row[0] for row in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")] == ["documents"]
    plain.close()


def test_a_missing_database_is_not_made_by_opening_it(tmp_path: Path) -> None:
    """Only `exchange init` makes a site."""
    engine = open_engine(f"sqlite:///{tmp_path}/control.db")
    with fails(Unavailable, "control_database_missing"):
        SqlEventStore(engine)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "family", "code"),
    [
        ("DROP TABLE alembic_version", Unavailable, "control_database_revision"),
        ("UPDATE alembic_version SET version_num = '0001_control'", Unavailable, "control_database_revision"),
        ("UPDATE alembic_version SET version_num = '9999_x'", Invalid, "control_database_newer"),
        ("INSERT INTO alembic_version VALUES ('0001_control')", Invalid, "control_database_newer"),
    ],
)
def test_another_revision_is_refused(tmp_path: Path, change: str, family: type[ExchangeError], code: str) -> None:
    """An unprepared database, an older and a newer one: the code works on its own tables only, and says which."""
    url = _made(tmp_path)
    with sqlite3.connect(tmp_path / "control.db") as plain:
        plain.execute(change)
    plain.close()
    engine = open_engine(url)
    with pytest.raises(family) as caught:
        SqlEventStore(engine)
    assert caught.value.code == code
    assert caught.value.facts["needed"] == head_revision()
    engine.dispose()


@pytest.mark.parametrize("damage", ["cut", "zeros", "text", "empty"])
def test_a_broken_file_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    """Cut off, overwritten, or another file: tampered; an empty one was never prepared."""
    url = _made(tmp_path)
    file = tmp_path / "control.db"
    whole = file.read_bytes()
    broken = {"cut": whole[:5_000], "zeros": b"\0" * len(whole), "text": b"not a database" * 999, "empty": b""}
    file.write_bytes(broken[damage])
    engine = open_engine(url)
    with pytest.raises((Tampered, Unavailable)) as caught:
        SqlEventStore(engine).read(0, 10)
    engine.dispose()
    expected = "control_database_revision" if damage == "empty" else "control_database_damaged"
    assert caught.value.code == expected


def test_a_server_that_is_down_is_unavailable() -> None:
    """On an engine other than SQLite, an operational error is the server's, not the file's."""
    engine = create_engine("sqlite://")
    engine.dialect.name = "postgresql"
    with fails(Unavailable, "control_database_unavailable"), translated(engine):
        raise OperationalError("SELECT 1", {}, ConnectionError())
