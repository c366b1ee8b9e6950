"""How the SQLite log keeps records: blocks of up to 1,000 records of one batch, as columns under one digest.

| column | content |
|---|---|
| first, count | positions first … first + count - 1 |
| source, seal, schema_id, time_ns | of the batch |
| sequences | count × 8 bytes, big-endian |
| tags | count × 16 bytes |
| ends | count × 4 bytes, big-endian: where each value ends in `bodies` |
| bodies | the values, one after the other |
| digest | SHA-256 over topic, partition and all of these |

Positions that hold no record (of a log that was moved here from Kafka, where transactions take positions of their own)
are a row too, so that a lost block is never taken for them: `count` of them, all columns empty, the seal `-`.

A block costs one row instead of 1,000, and its digest finds what SQLite does not: pages whose bytes changed.
"""

import operator
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import accumulate, islice, pairwise
from typing import Any, Final

from exchange.envelope import Batch
from exchange.errors import Invalid
from exchange.signing.tags import TAG_BYTES

LARGEST_VALUE: Final = 16 << 20
MOST_RECORDS: Final = 1_000
MOST_PARTITIONS: Final = 1_000
_ROOMY: Final = 1 << 20  # bytes after which a block is cut, so that reading one record stays cheap
_GREATEST: Final = (1 << 63) - 1
_GAP: Final = "-"  # the seal of no records: a seal's id is hexadecimal


@dataclass(frozen=True, slots=True)
class Block:
    """A block read back: its columns decoded, `ends` with a leading 0."""

    first: int
    count: int
    source: str
    seal: str
    schema_id: int
    time_ns: int
    sequences: bytes
    tags: bytes
    ends: Sequence[int]
    bodies: bytes

    @property
    def is_gap(self) -> bool:
        """Whether its positions hold no record."""
        return self.seal == _GAP

    def tags_of(self, start: int, stop: int) -> list[bytes]:
        """The tags of the records `start` to `stop` (exclusive) of this block."""
        tags = self.tags
        return [tags[at : at + TAG_BYTES] for at in range(start * TAG_BYTES, stop * TAG_BYTES, TAG_BYTES)]

    def values_of(self, start: int, stop: int) -> list[bytes]:
        """The values of the records `start` to `stop` (exclusive) of this block."""
        bodies, ends = self.bodies, self.ends[start : stop + 1]
        return [bodies[begin:end] for begin, end in pairwise(ends)]

    def sequence(self, index: int) -> int:
        """The sequence of one record."""
        return int.from_bytes(self.sequences[index * 8 : index * 8 + 8], "big")


def check(batch: Batch) -> None:
    """Refuses a batch that cannot be stored as it is.

    Raises:
        Invalid: `batch_malformed` (columns of unlike length, no tag, a value too large, a sequence that is none),
            `sequence_not_after_mark` when the sequences do not rise.
    """
    sequences, tags, values = batch.sequences, batch.tags, batch.values
    where = f"{batch.topic}/{batch.partition}"
    if not len(sequences) == len(tags) == len(values):
        raise Invalid("batch_malformed", where=where, detail="columns of unlike length")
    if not {len(tag) for tag in tags} <= {TAG_BYTES}:
        raise Invalid("batch_malformed", where=where, detail="a tag that is not 16 bytes")
    if any(len(value) > LARGEST_VALUE for value in values):
        raise Invalid("batch_malformed", where=where, detail=f"a value of more than {LARGEST_VALUE} bytes")
    if sequences and not 0 < min(sequences) <= max(sequences) <= _GREATEST:
        raise Invalid("batch_malformed", where=where, detail="a sequence that is not 1 to 2^63 - 1")
    if not (0 <= batch.schema_id < 1 << 32 and 0 <= batch.time_ns <= _GREATEST):
        raise Invalid("batch_malformed", where=where, detail="a schema id or a time out of range")
    if not all(map(operator.lt, sequences, islice(sequences, 1, None))):
        raise Invalid("sequence_not_after_mark", where=where, source=batch.source)


def check_append(source: str, mark: int, batches: Sequence[Batch]) -> None:
    """Refuses an append that no engine may take, whatever it holds already.

    Raises:
        Invalid: as `check`; `batch_malformed` also for another source's batch, a sequence that stands twice and a mark
            below a sequence.
    """
    sequences: set[int] = set()
    for batch in batches:
        check(batch)
        if batch.source != source:
            raise Invalid("batch_malformed", where=batch.topic, detail="a batch of another source")
        sequences.update(batch.sequences)
    if len(sequences) != sum(len(batch.sequences) for batch in batches):
        raise Invalid("batch_malformed", where=source, detail="a sequence that stands twice")
    if sequences and mark < max(sequences):
        raise Invalid("batch_malformed", where=source, detail="a mark below a sequence")


def rows(batch: Batch, first: int) -> Iterator[tuple[Any, ...]]:
    """The rows of a checked batch whose first record has the position `first`: (first, count, …, digest)."""
    for start, stop in _cuts([len(value) for value in batch.values]):
        sequences = _big_endian("q", batch.sequences[start:stop])
        values = batch.values[start:stop]
        row = (
            first + start,
            stop - start,
            batch.source,
            batch.seal,
            batch.schema_id,
            batch.time_ns,
            sequences,
            b"".join(batch.tags[start:stop]),
            _big_endian("I", list(accumulate(map(len, values)))),
            b"".join(values),
        )
        yield (*row, _digest(batch.topic, batch.partition, row))


def gap(topic: str, partition: int, first: int, count: int) -> tuple[Any, ...]:
    """The row of positions that hold no record."""
    row = (first, count, "", _GAP, 0, 0, b"", b"", b"", b"")
    return (*row, _digest(topic, partition, row))


def opened(topic: str, partition: int, row: Sequence[Any]) -> Block | None:
    """The block of a row as `rows` made it; None when it is not what was written."""
    *columns, digest = row
    try:
        whole = _digest(topic, partition, columns) == digest
    except TypeError:  # a column of another type
        return None
    if not whole:
        return None
    first, count, source, seal, schema_id, time_ns, sequences, tags, packed, bodies = columns
    ends = array("I", b"\0\0\0\0" + packed)
    if sys.byteorder == "little":
        ends.byteswap()
    return Block(first, count, source, seal, schema_id, time_ns, sequences, tags, ends, bodies)


def row_digest(*fields: object) -> bytes:
    """16 bytes over the fields of a small row (texts, integers, bytes), to find it changed."""
    return sha256(repr(fields).encode()).digest()[:16]


def rfc3339(time_ns: int) -> str:
    """A time as a record's header `time` has it: UTC, with nanoseconds."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def _digest(topic: str, partition: int, columns: Sequence[Any]) -> bytes:
    *scalars, sequences, tags, ends, bodies = columns
    sizes = (len(sequences), len(tags), len(ends))
    state = sha256(repr((topic, partition, *scalars, *sizes)).encode())
    for column in (sequences, tags, ends, bodies):
        state.update(column)
    return state.digest()


def _big_endian(code: str, numbers: Sequence[int]) -> bytes:
    column = array(code, numbers)
    if sys.byteorder == "little":
        column.byteswap()
    return column.tobytes()


def _cuts(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where a batch is cut: [start, stop) of at most 1,000 records and, but for a single large one, about 1 MiB."""
    start = 0
    while start < len(sizes):
        stop, total = start + 1, sizes[start]
        most = min(start + MOST_RECORDS, len(sizes))
        if sum(sizes[start:most]) <= _ROOMY:
            stop = most
        else:
            while stop < most and total + sizes[stop] <= _ROOMY:
                total += sizes[stop]
                stop += 1
        yield start, stop
        start = stop
