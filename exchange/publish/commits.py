"""Step 7 of publishing: `record.commit` entries for what was appended, and the marks up to which readers read.

The ranges [lo, hi) of a partition's entries follow one another without a gap and each holds the records of one seal.
An entry's id follows from its range, and its row is written in the transaction that raises the mark from `lo` to `hi`:
so whoever commits a range, its publisher, another one or `recover`, writes the same entry, once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection, Engine

from exchange.audit.entries import Entry, entry_id, make
from exchange.audit.log import AuditLog
from exchange.control.database import translated
from exchange.errors import Tampered
from exchange.log import RecordLog
from exchange.log.dead_letters import topic_of
from exchange.log.seals import CommitMarks, Sealed, SealStore, Transaction
from exchange.log.server import reading
from exchange.signing import merkle
from exchange.signing.tags import SubjectTagger
from exchange.site import no_reserve

_READ: Final = 10_000


@dataclass(frozen=True, slots=True)
class PublishParts:
    """What the path is made of; `transaction` is on the control database, where seals, marks and outbox are; `room`
    raises where the disk's reserve is reached.
    """

    log: RecordLog
    seals: SealStore
    marks: CommitMarks
    transaction: Transaction
    audit: AuditLog
    tagger: SubjectTagger
    now_ns: Callable[[], int]
    batch_records: int
    room: Callable[[], None] = no_reserve


@dataclass(frozen=True, slots=True)
class Range:
    """Records of one seal that stand together in a partition; the last four fields have an item for each of them."""

    topic: str
    partition: int
    lo: int
    positions: Sequence[int]
    tags: Sequence[bytes]
    sequences: Sequence[int]
    leaves: Sequence[bytes]

    @property
    def hi(self) -> int:
        """The end of what the entry covers, exclusive."""
        return self.positions[-1] + 1

    @property
    def entry(self) -> bytes:
        """The id of its entry."""
        return entry_id("record.commit", self.topic, self.partition, self.lo, self.hi)


class _LostError(Exception):
    """The mark does not stand at the range's `lo`: somebody else was first, or has not come yet."""


def transactions(engine: Engine) -> Transaction:
    """Transactions on the control database, its driver's errors in our families."""

    @contextmanager
    def transaction() -> Iterator[Connection]:
        with translated(engine), engine.begin() as connection:
            yield connection

    return transaction


def readings(engine: Engine) -> Transaction:
    """The same for what is read with one statement."""
    reader = reading(engine)

    @contextmanager
    def read() -> Iterator[Connection]:
        with translated(engine), reader.connect() as connection:
            yield connection

    return read


def commit(parts: PublishParts, sealed: Sealed, ranges: Sequence[Range]) -> None:
    """Commits freshly appended ranges in one transaction; returns when their entries are in a checkpoint."""
    try:
        try:
            _commit_all(parts, sealed, ranges)
        except _LostError:
            ranges = [_adjoining(parts, one) for one in ranges]
            _commit_all(parts, sealed, ranges)
    except _LostError:
        # Other records stand before ours and are not committed yet, or somebody has committed ours along with theirs.
        for one in ranges:
            commit_behind(parts, one.topic, one.partition)
        return
    # A crash here: marks and outbox rows are durable together; the sequencer takes the rows when it runs again.
    for one in ranges:
        parts.audit.wait(one.entry)


def commit_behind(parts: PublishParts, topic: str, partition: int) -> int:
    """Commits all that stands in the partition above its mark, from the log and the kept seals: how many entries.

    Returns when all entries of the partition are in a checkpoint, whoever wrote them.
    """
    made = 0
    while (found := _uncommitted(parts, topic, partition)) is not None:
        try:
            with parts.transaction() as connection:
                _commit_one(parts, connection, *found)
            made += 1
        except _LostError:
            continue  # somebody else did: look again
    entry = parts.marks.mark(topic, partition).entry
    if entry is not None:
        parts.audit.wait(entry)  # the partition's earlier entries have lower indexes
    return made


def recover(parts: PublishParts) -> int:
    """Commits what a crash left appended without its entry; the number of entries it made. Again: it makes none.

    Raises:
        Tampered: `log_behind_commits`: the log has lost records that were committed (an old copy, a lost file).
    """
    marks = parts.marks.marks()  # first: another process may begin a topic between the two looks
    topics = parts.log.topics()
    for (topic, partition), mark in marks.items():
        end = parts.log.end(topic, partition) if partition < topics.get(topic, 0) else 0
        if end < mark.hi:
            raise Tampered("log_behind_commits", where=f"{topic}/{partition}", end=end, committed=mark.hi)
    places = [(topic, number) for topic, partitions in sorted(topics.items()) for number in range(partitions)]
    return sum(commit_behind(parts, topic, number) for topic, number in places)


def _commit_all(parts: PublishParts, sealed: Sealed, ranges: Sequence[Range]) -> None:
    with parts.transaction() as connection:
        for one in ranges:
            _commit_one(parts, connection, sealed, one)


def _adjoining(parts: PublishParts, one: Range) -> Range:
    """The range from the partition's mark on, when only positions without a record lie between."""
    lo = parts.marks.committed(one.topic, one.partition)
    if lo < one.lo and list(parts.log.read(one.topic, one.partition, lo, 1).positions) == [one.lo]:
        return replace(one, lo=lo)
    return one


def _commit_one(parts: PublishParts, connection: Connection, sealed: Sealed, one: Range) -> None:
    if not parts.marks.raised(connection, one.topic, one.partition, one.lo, one.hi, one.entry):
        raise _LostError
    parts.audit.add(connection, _entry(sealed, one, parts.now_ns()))


def _entry(sealed: Sealed, one: Range, now_ns: int) -> Entry:
    rows = zip(one.positions, one.tags, one.leaves, strict=True)
    leaves = [position.to_bytes(8, "big") + tag + leaf for position, tag, leaf in rows]
    dead = one.topic == topic_of(sealed.seal.dataset)
    return make(
        "record_commit",
        one.entry,
        now_ns,
        topic=one.topic,
        partition=one.partition,
        lo=one.lo,
        hi=one.hi,
        count=len(leaves),
        root=merkle.root(merkle.leaf_hashes(leaves)),
        seal=sealed.seal.id,
        source=sealed.source,
        department=sealed.seal.department,
        actor=sealed.actor,
        delegate=sealed.seal.delegate,
        schema=None if dead else sealed.schema,
        first_sequence=one.sequences[0],
        last_sequence=one.sequences[-1],
        rejected=sealed.rejected,
    )


def _uncommitted(parts: PublishParts, topic: str, partition: int) -> tuple[Sealed, Range] | None:
    """The first range above the partition's mark, as its publisher would have committed it; None when all is."""
    lo = parts.marks.committed(topic, partition)
    positions: list[int] = []
    tags: list[bytes] = []
    sequences: list[int] = []
    seal_id = ""
    for position, tag, seal, sequence in _stored(parts.log, topic, partition, lo):
        if positions and seal != seal_id:
            break
        seal_id = seal
        positions.append(position)
        tags.append(tag)
        sequences.append(sequence)
    if not positions:
        return None
    sealed = parts.seals.get(seal_id)
    leaf_of = dict(zip(sealed.sequences, sealed.leaves, strict=True))
    if not leaf_of.keys() >= set(sequences):
        raise Tampered("seal_broken", where=seal_id, detail="a record without a leaf")
    return sealed, Range(topic, partition, lo, positions, tags, sequences, [leaf_of[one] for one in sequences])


def _stored(log: RecordLog, topic: str, partition: int, position: int) -> Iterator[tuple[int, bytes, str, int]]:
    """Position, tag, seal and sequence of each record from a position on."""
    while (records := log.read(topic, partition, position, _READ)).positions:
        for at, tag in zip(records.positions, records.tags, strict=True):
            headers = log.headers(topic, partition, at)
            yield at, tag, headers["seal"], int(headers["id"].rpartition("/")[2])
        position = records.next_position
