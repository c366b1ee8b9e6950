"""The PUBLISH path, on one page: records come in checked, sealed and in order, or stay outside with a reason.

    1 mark     the highest sequence taken from the source    5 seal         the department's key signs the batch
    2 batch    of the adapter; what was taken is left out    6 append       records, dead letters and mark together
    3 check    against the contract                          7 commit       `record.commit` entries, in a checkpoint
    4 tag      the subjects                                  8 acknowledge

What is acknowledged is readable, and sending again changes nothing: the log's mark decides that, at step 6. Records
that were appended and have no `record.commit` yet (a crash between 6 and 7) are not readable; `recover` commits them,
and so does the next publisher of the partition.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from exchange.avro.schema import from_document
from exchange.control.catalogue import DEAD_LETTER
from exchange.envelope import Batch
from exchange.errors import Invalid, Unavailable
from exchange.log import dead_letters
from exchange.log.seals import Sealed
from exchange.names import check, partition_of
from exchange.publish.commits import PublishParts, Range, commit, commit_behind, readings, recover, transactions
from exchange.signing.keys import SigningKey
from exchange.signing.seals import Seal, held, rejected_leaf, seal, seal_leaves
from exchange.source import Adapter, Rejected, SourceBatch

if TYPE_CHECKING:  # every start recovers, and few publish
    from exchange.contracts.check import Checker

__all__ = ["Fates", "PublishParts", "PublishTarget", "Published", "publish", "readings", "recover", "transactions"]

_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class PublishTarget:
    """The dataset that is published, by whom and under whose key.

    `fingerprint` and `schema_id` are of the schema that `checker` checks; `delegate` says that the exchange keeps the
    department's `key` and signs for it; `actor` is the publishing principal's pseudonym. Where the department sealed
    the batch itself, elsewhere, `key` is that seal: it has to be one of exactly what is taken.
    """

    name: str
    department: str
    checker: "Checker"
    fingerprint: str
    schema_id: int
    dead_schema_id: int
    partitions: int
    subject_type: str
    key: SigningKey | Seal
    delegate: bool
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a source's records so far, all of it durable and audited.

    `taken` are readable now, `rejected` lie in the dead letters, `already` had been taken before.
    """

    source: str
    taken: int
    rejected: int
    already: int
    last_sequence: int
    batches: int


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of each record of one batch, in columns.

    `stored` are batches of the log with the position of each of their records, the dead letters' among them, in the
    topic `exchange.log.dead_letters.topic_of` the dataset; `rejected` says of those why; `already` are the sequences
    that had been taken before.
    """

    stored: Sequence[tuple[Batch, Sequence[int]]]
    rejected: Sequence[Rejected]
    already: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Done:
    """A batch that was taken, and the mark after it."""

    mark: int
    stored: Sequence[tuple[Batch, Sequence[int]]] = ()
    taken: int = 0
    rejected: Sequence[Rejected] = ()

    def fates(self, batch: SourceBatch) -> Fates:
        known = {sequence for one, _ in self.stored for sequence in one.sequences}
        every = sorted([*batch.sequences, *(one.sequence for one in batch.rejected)])
        return Fates(self.stored, self.rejected, [sequence for sequence in every if sequence not in known])


@dataclass(frozen=True, slots=True)
class _Good:
    """Records that may be published; the columns have the same length."""

    sequences: Sequence[int]
    bodies: Sequence[bytes]
    tags: Sequence[bytes]


def publish(
    adapter: Adapter,
    dataset: PublishTarget,
    parts: PublishParts,
    *,
    on_batch: Callable[[Published], None],
    on_fates: Callable[[Fates], None] | None = None,
) -> Published:
    """Takes in what the adapter has; `on_batch` gets the sum so far whenever a batch is acknowledged, after `on_fates`
    got what became of each of its records.

    A bad record raises nothing: it goes to the dead letters, and the others go on.

    Raises:
        Invalid: `source_batch_malformed`: sequences that do not rise, columns of unlike length; `seal_differs`: a seal
            that was made elsewhere is not one of these records.
        Unavailable: nothing of the batch is acknowledged; some of it may be stored all the same: send again.
        Tampered: a store is broken: stop.
    """
    source = check("source", adapter.source)
    parts.room()
    for topic, partitions in ((dataset.name, dataset.partitions), (dead_letters.topic_of(dataset.name), 1)):
        parts.log.create(topic, partitions)
        for partition in range(partitions):
            commit_behind(parts, topic, partition)  # so that what an earlier try left is readable, too
    mark = parts.log.mark(source)  # 1
    total = Published(source, 0, 0, 0, mark, 0)
    dead_letter = dead_letters.encoder(from_document(DEAD_LETTER))
    for batch in adapter.batches(mark, parts.batch_records):
        _check_batch(source, batch)
        parts.room()
        done = _take_once(source, batch, dataset, parts, dead_letter)
        total = _sum(total, batch, done)
        if on_fates is not None:
            on_fates(done.fates(batch))
        on_batch(total)  # 8: from here on these records are readable and need not be sent again
    return total


_Encode = Callable[[str, Rejected], bytes]


def _sum(total: Published, batch: SourceBatch, done: _Done) -> Published:
    rejected = len(done.rejected)
    already = len(batch.sequences) + len(batch.rejected) - done.taken - rejected
    return Published(
        total.source,
        total.taken + done.taken,
        total.rejected + rejected,
        total.already + already,
        done.mark,
        total.batches + 1,
    )


def _take_once(
    source: str, batch: SourceBatch, dataset: PublishTarget, parts: PublishParts, dead_letter: _Encode
) -> _Done:
    """Takes what is above the mark."""
    for _ in range(_TRIES):
        mark = parts.log.mark(source)  # 1
        fresh = _above(batch, mark)  # 2
        if not fresh.sequences and not fresh.rejected:
            return _Done(mark)
        try:
            return _take(source, fresh, dataset, parts, dead_letter)
        except Invalid as error:
            # Somebody else published from this source meanwhile: what they took is left out on the next try.
            if error.code != "sequence_not_after_mark" or parts.log.mark(source) <= mark:
                raise
    raise Unavailable("source_contended", where=source)


def _take(source: str, batch: SourceBatch, dataset: PublishTarget, parts: PublishParts, dead_letter: _Encode) -> _Done:
    checked = dataset.checker.check(batch)  # 3
    tags = parts.tagger.tags(dataset.subject_type, checked.ids)  # 4: from here on nobody has an id any more
    good = _Good(checked.sequences, checked.bodies, tags)
    rejected = sorted(checked.rejected, key=lambda one: one.sequence)
    sealed = _sealed(source, good, rejected, dataset, parts)
    parts.seals.put(sealed)  # 5
    # A crash here leaves a seal of records that are not in the log: it proves nothing and harms nothing. Sending the
    # same again gives the same seal.
    dead = [dead_letter(source, one) for one in rejected]
    batches = [*_batches(source, good, sealed, dataset), *_dead(source, rejected, dead, sealed, dataset)]
    mark = sealed.sequences[-1]
    positions = parts.log.append(source, mark, batches)  # 6
    # A crash here: records, dead letters and mark are durable and not yet readable. Log and seal have all that
    # `recover` needs to commit them.
    leaf_of = dict(zip(sealed.sequences, sealed.leaves, strict=True))
    stored = list(zip(batches, positions, strict=True))
    commit(parts, sealed, [_range(one, at, leaf_of) for one, at in stored])  # 7
    return _Done(mark, stored, len(good.sequences), rejected)


def _sealed(
    source: str, good: _Good, rejected: Sequence[Rejected], dataset: PublishTarget, parts: PublishParts
) -> Sealed:
    """The seal over all leaves of the batch, good and rejected, in the order of their sequences."""
    hashes = seal_leaves(dataset.name, source, good.sequences, dataset.fingerprint, good.bodies)
    leaves = dict(zip(good.sequences, hashes, strict=True))
    for one in rejected:
        leaves[one.sequence] = rejected_leaf(dataset.name, source, one.sequence, one.code)
    sequences = sorted(leaves) if rejected else good.sequences
    in_order = [leaves[sequence] for sequence in sequences]
    if isinstance(dataset.key, Seal):
        held(dataset.key, in_order, dataset=dataset.name, department=dataset.department)
        return Sealed(dataset.key, source, dataset.fingerprint, dataset.actor, len(rejected), sequences, in_order)
    signed = seal(
        dataset.key,
        in_order,
        dataset=dataset.name,
        department=dataset.department,
        delegate=dataset.delegate,
        now_ns=parts.now_ns,
    )
    return Sealed(signed, source, dataset.fingerprint, dataset.actor, len(rejected), sequences, in_order)


def _batches(source: str, good: _Good, sealed: Sealed, dataset: PublishTarget) -> Iterator[Batch]:
    """The good records by partition."""
    by_partition: dict[int, list[int]] = {}
    for index, tag in enumerate(good.tags):
        by_partition.setdefault(partition_of(tag, dataset.partitions), []).append(index)
    for partition, indexes in sorted(by_partition.items()):
        yield Batch(
            dataset.name,
            partition,
            source,
            sealed.seal.id,
            dataset.schema_id,
            sealed.seal.time_ns,
            [good.sequences[index] for index in indexes],
            [good.tags[index] for index in indexes],
            [good.bodies[index] for index in indexes],
        )


def _dead(
    source: str, rejected: Sequence[Rejected], bodies: Sequence[bytes], sealed: Sealed, dataset: PublishTarget
) -> Iterator[Batch]:
    """The dead letters, when there are any."""
    if rejected:
        topic, seal_id, time_ns = dead_letters.topic_of(dataset.name), sealed.seal.id, sealed.seal.time_ns
        sequences, tags = [one.sequence for one in rejected], [dead_letters.NO_TAG] * len(rejected)
        yield Batch(topic, 0, source, seal_id, dataset.dead_schema_id, time_ns, sequences, tags, bodies)


def _range(batch: Batch, positions: Sequence[int], leaf_of: Mapping[int, bytes]) -> Range:
    leaves = [leaf_of[sequence] for sequence in batch.sequences]
    return Range(batch.topic, batch.partition, positions[0], positions, batch.tags, batch.sequences, leaves)


def _above(batch: SourceBatch, mark: int) -> SourceBatch:
    """The batch without what was taken."""
    rejected = [one for one in batch.rejected if one.sequence > mark]
    if not batch.sequences or batch.sequences[0] > mark:
        return SourceBatch(batch.sequences, batch.values, batch.places, rejected)
    start = next((at for at, sequence in enumerate(batch.sequences) if sequence > mark), len(batch.sequences))
    return SourceBatch(batch.sequences[start:], batch.values[start:], batch.places[start:], rejected)


def _check_batch(source: str, batch: SourceBatch) -> None:
    if not len(batch.sequences) == len(batch.values) == len(batch.places):
        raise Invalid("source_batch_malformed", where=source, detail="columns of unlike length")
    rejected = sorted(one.sequence for one in batch.rejected)
    for sequences in (batch.sequences, rejected, sorted([*batch.sequences, *rejected])):
        if not all(map(operator.lt, sequences, islice(sequences, 1, None))):
            raise Invalid("source_batch_malformed", where=source, detail="sequences that do not rise")
    if min([*batch.sequences[:1], *rejected[:1]], default=1) < 1:
        raise Invalid("source_batch_malformed", where=source, detail="a sequence below 1")
