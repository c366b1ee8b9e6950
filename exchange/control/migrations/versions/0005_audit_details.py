"""Details of audit entries, which their leaves name by a salted hash."""

import sqlalchemy as sa
from alembic import op

revision = "0005_audit_details"
down_revision = "0004_audit_rows"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "audit_details",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("audit_details_age", "audit_details", ["kind", "at_ns"])
