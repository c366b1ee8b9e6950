"""The event store: events, the head that orders them, documents by digest."""

import sqlalchemy as sa
from alembic import op

revision = "0001_control"  # always the file's name: the newest name is the revision that the code needs
down_revision = None


def upgrade() -> None:
    """Makes the tables; the head's one row stands at position 0."""
    op.create_table(
        "events",
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("aggregate", sa.String(300), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("time_ns", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("aggregate", "version", name="events_aggregate_version"),
    )
    head = op.create_table(
        "event_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "position": 0}])
    op.create_table(
        "documents",
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
