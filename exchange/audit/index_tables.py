"""Tables of the index over both logs. It is derived: whoever opens it makes them, and a later format makes them anew.

An entry's facts (what it is about, without time and place) are kept once for all entries that share them: a reader's
thousand releases under one plan are one row here.
"""

from typing import Any, Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()
_BIG: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _table(name: str, *columns: Any) -> sa.Table:  # noqa: ANN401 - columns and constraints
    return sa.Table(f"index_{name}", METADATA, *columns)


def _keyed(name: str, *columns: Any) -> sa.Table:  # noqa: ANN401 - columns and constraints
    """A table that lies in the order of its key."""
    return sa.Table(f"index_{name}", METADATA, *columns, sqlite_with_rowid=False)


# How far each log was followed (`audit`, `records/TOPIC/PARTITION`); and `format`, the number of these tables' form.
FOLLOWED: Final = _keyed(
    "followed", sa.Column("name", sa.String(300), primary_key=True), sa.Column("position", _BIG, nullable=False)
)
PART: Final = _table(
    "part",
    sa.Column("id", _BIG, primary_key=True),
    sa.Column("topic", sa.String(300), nullable=False),
    sa.Column("part", sa.Integer, nullable=False),
    sa.UniqueConstraint("topic", "part"),
)
# Where each subject's records lie.
SEEN: Final = _keyed(
    "seen",
    sa.Column("tag", sa.LargeBinary, primary_key=True),
    sa.Column("part", _BIG, primary_key=True, autoincrement=False),
    sa.Column("position", _BIG, primary_key=True, autoincrement=False),
)
FACTS: Final = _table(
    "facts",
    sa.Column("id", _BIG, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("dataset", sa.Text),
    sa.Column("department", sa.Text),
    sa.Column("actor", sa.Text),
    sa.Column("matter", sa.Text),  # the case
    sa.Column("purpose", sa.Text),
    sa.Column("text", sa.Text, nullable=False),  # all facts, canonical JSON
)
for _name in ("dataset", "department", "actor", "matter", "purpose"):
    sa.Index(f"index_facts_{_name}", FACTS.c[_name], FACTS.c.kind)
# The fields that facts show, by path.
SHOWN: Final = _keyed(
    "shown",
    sa.Column("path", sa.String(400), primary_key=True),
    sa.Column("facts", _BIG, primary_key=True, autoincrement=False),
)
ENTRY: Final = _table(
    "entry",
    sa.Column("idx", _BIG, primary_key=True, autoincrement=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("facts", _BIG, nullable=False),
)
sa.Index("index_entry_facts", ENTRY.c.facts, ENTRY.c.idx)
# Releases of ranges, laid into streams in which they do not overlap and rise. A range repeats time and facts of its
# entry: who asks about a subject looks at thousands of them, each on a page of its own.
STREAM: Final = _table(
    "stream",
    sa.Column("id", _BIG, primary_key=True, autoincrement=False),
    sa.Column("part", _BIG, nullable=False),
    sa.Column("agreement", sa.Text, nullable=False),
    sa.Column("hi", _BIG, nullable=False),
)
sa.Index("index_stream_part", STREAM.c.part)
RANGE: Final = _keyed(
    "range",
    sa.Column("stream", _BIG, primary_key=True, autoincrement=False),
    sa.Column("lo", _BIG, primary_key=True, autoincrement=False),
    sa.Column("hi", _BIG, nullable=False),
    sa.Column("idx", _BIG, nullable=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("facts", _BIG, nullable=False),
    sa.Column("excluded", sa.LargeBinary),
)
# Entries that name subjects: look-ups, their refusals, auditors' questions.
NAMED: Final = _keyed(
    "named",
    sa.Column("tag", sa.LargeBinary, primary_key=True),
    sa.Column("idx", _BIG, primary_key=True, autoincrement=False),
    sa.Column("position", _BIG),
)
# Releases that a consumer has spoken of.
ACKED: Final = _keyed(
    "acked",
    sa.Column("release", _BIG, primary_key=True, autoincrement=False),
    sa.Column("idx", _BIG, primary_key=True, autoincrement=False),
    sa.Column("outcome", sa.String(40), nullable=False),
)
# What an agreement is about, from its request on.
TERMS: Final = _keyed(
    "terms",
    sa.Column("agreement", sa.String(300), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
# Segments whose roots stand in the log.
SEGMENT: Final = _keyed(
    "segment",
    sa.Column("idx", _BIG, primary_key=True, autoincrement=False),
    sa.Column("topic", sa.String(300), nullable=False),
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("lo", _BIG, nullable=False),
    sa.Column("hi", _BIG, nullable=False),
    sa.Column("rows", _BIG, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
)
