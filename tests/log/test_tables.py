"""The tables of publishing: what the migration makes is what the code expects."""

from pathlib import Path

import sqlalchemy as sa

from exchange.control.database import open_engine, upgrade
from exchange.log.tables import METADATA


def test_the_migration_makes_the_tables_of_the_code(tmp_path: Path) -> None:
    """Every column's type, nullability and key are the same in both."""
    migrated, declared = (open_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("migrated", "declared"))
    upgrade(migrated)
    METADATA.create_all(declared)
    for table in METADATA.tables:
        shapes = []
        for engine in (migrated, declared):
            looked = sa.inspect(engine)
            columns = [(one["name"], str(one["type"]), one["nullable"]) for one in looked.get_columns(table)]
            shapes.append((columns, looked.get_pk_constraint(table)["constrained_columns"]))
        assert shapes[0] == shapes[1]
    migrated.dispose()
    declared.dispose()
