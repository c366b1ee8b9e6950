"""The audit log's staged bundles, tiles and checkpoint as rows, for `engines.audit = "postgresql:"`."""

import sqlalchemy as sa
from alembic import op

revision = "0004_audit_rows"
down_revision = "0003_publish"


def upgrade() -> None:
    """Makes the tables, on a server only: beside SQLite the log is a folder."""
    if op.get_bind().dialect.name == "sqlite":
        return
    op.create_table(
        "audit_staging",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("bundle", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_files",
        sa.Column("path", sa.String(200), primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_checkpoint",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
    )
