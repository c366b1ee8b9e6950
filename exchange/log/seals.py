"""Seals with their leaves, and commit marks: what publishing keeps beside the record log, in the control database."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, select, update

from exchange.errors import Tampered
from exchange.log.server import new_only
from exchange.log.tables import COMMITTED, SEALS
from exchange.signing.seals import Seal, verify

# Opens a transaction on the control database, in which its driver's errors are already in our families.
Transaction = Callable[[], AbstractContextManager[Connection]]
_HASH: Final = 32
_SEAL_FIELDS: Final = tuple(field.name for field in fields(Seal))


@dataclass(frozen=True, slots=True)
class Sealed:
    """A seal with all that the `record.commit` entries of its records need; `sequences` rise, one for each leaf.

    `schema` is the fingerprint of the good records, `actor` the publisher's pseudonym, `rejected` how many of the
    leaves are of rejected records.
    """

    seal: Seal
    source: str
    schema: str
    actor: str | None
    rejected: int
    sequences: Sequence[int]
    leaves: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Mark:
    """The end (exclusive) of a partition's committed records, and the entry that raised it; None: none yet."""

    hi: int
    entry: bytes | None


class SealStore:
    """Seals by id; a seal is never changed. It may be used from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def put(self, sealed: Sealed) -> None:
        """Keeps a seal, durable on return. One of the same id is there already: nothing happens."""
        seal = {name: getattr(sealed.seal, name) for name in _SEAL_FIELDS}
        rest = {"source": sealed.source, "schema": sealed.schema, "actor": sealed.actor, "rejected": sealed.rejected}
        sequences = b"".join(sequence.to_bytes(8, "big") for sequence in sealed.sequences)
        row = {**seal, **rest, "sequences": sequences, "leaves": b"".join(sealed.leaves)}
        with self._transaction() as connection:
            new_only(connection, SEALS, row)

    def get(self, seal_id: str) -> Sealed:
        """The seal with its leaves, verified.

        Raises:
            Tampered: `seal_missing`, `seal_broken`.
        """
        with self._transaction() as connection:
            row = connection.execute(select(SEALS).where(SEALS.c.id == seal_id)).mappings().one_or_none()
        if row is None:
            raise Tampered("seal_missing", seal=seal_id)
        sealed = _sealed(row)
        verify(sealed.seal, sealed.leaves)
        return sealed


class CommitMarks:
    """How far each partition's records are committed. A mark only rises, and only from where its raiser saw it."""

    def __init__(self, transaction: Transaction, reading: Transaction | None = None) -> None:
        self._reading = reading or transaction  # for what is read with one statement

    def mark(self, topic: str, partition: int) -> Mark:
        """The partition's mark; 0 when nothing was committed."""
        query = select(COMMITTED.c.hi, COMMITTED.c.entry).where(_at(topic, partition))
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return Mark(0, None) if row is None else Mark(row.hi, row.entry)

    def committed(self, topic: str, partition: int) -> int:
        """The position up to which (exclusive) the partition may be read."""
        return self.mark(topic, partition).hi

    def ends(self, topic: str) -> Mapping[int, int]:
        """The position up to which (exclusive) each partition of a topic may be read; one that has none is left out."""
        query = select(COMMITTED.c.partition, COMMITTED.c.hi).where(COMMITTED.c.topic == topic)
        with self._reading() as connection:
            return {row.partition: row.hi for row in connection.execute(query)}

    def marks(self) -> Mapping[tuple[str, int], Mark]:
        """Every mark by topic and partition."""
        with self._reading() as connection:
            rows = connection.execute(select(COMMITTED)).all()
        return {(row.topic, row.partition): Mark(row.hi, row.entry) for row in rows}

    def raised(self, connection: Connection, topic: str, partition: int, lo: int, hi: int, entry: bytes) -> bool:
        """Raises the mark from `lo` to `hi` within the caller's transaction; False when it does not stand at `lo`."""
        moved = update(COMMITTED).where(_at(topic, partition), COMMITTED.c.hi == lo).values(hi=hi, entry=entry)
        if connection.execute(moved).rowcount == 1:
            return True
        known = connection.execute(select(COMMITTED.c.hi).where(_at(topic, partition))).scalar()
        if known is not None or lo != 0:
            return False
        row = {"topic": topic, "partition": partition, "hi": hi, "entry": entry}
        return new_only(connection, COMMITTED, row)  # on a server another may begin it at this moment


def _at(topic: str, partition: int) -> Any:  # noqa: ANN401 - SQLAlchemy's condition, by its own type too long to read
    return (COMMITTED.c.topic == topic) & (COMMITTED.c.partition == partition)


def _sealed(row: RowMapping) -> Sealed:
    for column in SEALS.c:  # SQLite keeps in a column what it is given
        if not isinstance(row[column.name], column.type.python_type) and not (
            column.nullable and row[column.name] is None
        ):
            raise Tampered("seal_broken", where=str(row["id"]), detail=column.name)
    seal = Seal(**{name: row[name] for name in _SEAL_FIELDS})
    packed, leaves = row["sequences"], row["leaves"]
    sequences = [int.from_bytes(packed[at : at + 8], "big") for at in range(0, len(packed), 8)]
    hashes = [leaves[at : at + _HASH] for at in range(0, len(leaves), _HASH)]
    if len(sequences) != len(hashes):
        raise Tampered("seal_broken", where=seal.id, detail="sequences")
    return Sealed(seal, row["source"], row["schema"], row["actor"], row["rejected"], sequences, hashes)
