"""Tables of the audit log in the control database: lock row, outbox, epochs, schemas, details.

The migrations `0002_audit` and `0005_audit_details` make exactly these. What they hold is what the sequencer needs
without reading the log again, and the details; the log itself is the files, and the offline verifier never looks here.
"""

from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()

# One row. The compare-and-swap on its size is the commit point of every checkpoint.
LOCK: Final = sa.Table(
    "audit_lock",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("origin", sa.String(200), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("checkpoint", sa.LargeBinary, nullable=False),
    sa.Column("committed_ns", sa.BigInteger, nullable=False),
)

# Entries that wait for an index, and for ever the id, digest and index of those that have one (or were refused).
OUTBOX: Final = sa.Table(
    "audit_outbox",
    METADATA,
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
_WAITING: Final = sa.and_(OUTBOX.c.idx.is_(None), OUTBOX.c.refused.is_(None))
sa.Index("audit_outbox_waiting", OUTBOX.c.seq, sqlite_where=_WAITING, postgresql_where=_WAITING)

EPOCHS: Final = sa.Table(
    "audit_epochs",
    METADATA,
    sa.Column("name", sa.String(300), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

SCHEMAS: Final = sa.Table(
    "audit_schemas",
    METADATA,
    sa.Column("prefix", sa.LargeBinary, primary_key=True),
    sa.Column("idx", sa.BigInteger, nullable=False),
)

# Texts that leaves name by a salted hash; they go by their class, the leaves stay.
DETAILS: Final = sa.Table(
    "audit_details",
    METADATA,
    sa.Column("name", sa.String(80), primary_key=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
sa.Index("audit_details_age", DETAILS.c.kind, DETAILS.c.at_ns)
