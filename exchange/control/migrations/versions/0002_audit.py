"""The audit log's rows: the lock row, the outbox, the epochs, the schemas (exchange/audit/tables.py says what for)."""

import sqlalchemy as sa
from alembic import op

revision = "0002_audit"
down_revision = "0001_control"


def upgrade() -> None:
    """Makes the tables; the lock row comes with the log itself (`exchange init`)."""
    op.create_table(
        "audit_lock",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("origin", sa.String(200), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("checkpoint", sa.LargeBinary, nullable=False),
        sa.Column("committed_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit_outbox",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("raises", sa.Text, nullable=True),
        sa.Column("rests_on", sa.Text, nullable=True),
        sa.Column("idx", sa.BigInteger, nullable=True),
        sa.Column("committed_ns", sa.BigInteger, nullable=True),
        sa.Column("refused", sa.Text, nullable=True),
    )
    waiting = sa.text("idx IS NULL AND refused IS NULL")
    op.create_index("audit_outbox_waiting", "audit_outbox", ["seq"], sqlite_where=waiting, postgresql_where=waiting)
    op.create_table(
        "audit_epochs",
        sa.Column("name", sa.String(300), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit_schemas",
        sa.Column("prefix", sa.LargeBinary, primary_key=True),
        sa.Column("idx", sa.BigInteger, nullable=False),
    )
