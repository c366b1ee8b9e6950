"""The migration and the tables in code are the same."""

from pathlib import Path

from sqlalchemy import Engine

from exchange.audit import tables
from exchange.control.database import open_engine, upgrade


def _tables(engine: Engine) -> dict[str, str]:
    query = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'audit%'"
    with engine.connect() as connection:
        return {name: " ".join(sql.split()) for name, sql in connection.exec_driver_sql(query)}


def test_the_migration_makes_the_tables_of_the_code(tmp_path: Path) -> None:
    """A migrated database has exactly the tables, columns and indexes that `tables` declares."""
    migrated, declared = (open_engine(f"sqlite:///{tmp_path / name}") for name in ("one.db", "two.db"))
    upgrade(migrated)
    tables.METADATA.create_all(declared)
    assert _tables(migrated) == _tables(declared)
    assert len(_tables(migrated)) == 7
    for engine in (migrated, declared):
        engine.dispose()
