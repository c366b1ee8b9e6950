"""The tables that publishing keeps in the control database; `0003_publish.py` makes them, a test compares."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, String, Table

METADATA: Final = MetaData()

# One row for each sealed batch, with what its proofs need: they outlive the records themselves.
SEALS: Final = Table(
    "seals",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("dataset", String(200), nullable=False),
    Column("department", String(200), nullable=False),
    Column("count", Integer, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("delegate", Boolean, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("source", String(200), nullable=False),
    Column("schema", String(71), nullable=False),
    Column("actor", String(32)),
    Column("rejected", Integer, nullable=False),
    Column("sequences", LargeBinary, nullable=False),  # of each leaf, 8 bytes, big-endian, rising
    Column("leaves", LargeBinary, nullable=False),  # the leaf hashes in the same order, 32 bytes each
)

# How far a partition's records have their record.commit entry: readers read below `hi`.
COMMITTED: Final = Table(
    "committed",
    METADATA,
    Column("topic", String(200), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("hi", BigInteger, nullable=False),
    Column("entry", LargeBinary, nullable=False),  # id of the entry that raised it
)
