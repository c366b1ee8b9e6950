"""The tables of the event store. Their migrations stand in `migrations/versions`; a test holds both together."""

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, Text, UniqueConstraint

METADATA: Final = MetaData()

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("aggregate", String(300), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("name", String(100), nullable=False),
    Column("data", Text, nullable=False),  # canonical JSON
    Column("actor", String(200), nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    UniqueConstraint("aggregate", "version", name="events_aggregate_version"),
)

# One row. Raising it is the first statement of every append: its lock, kept until the commit, makes the order of
# positions the order of commits on every engine.
HEAD: Final = Table(
    "event_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
)

DOCUMENTS: Final = Table(
    "documents",
    METADATA,
    Column("digest", String(71), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
