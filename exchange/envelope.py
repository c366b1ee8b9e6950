"""What a record is on its way in, and how records travel: everything that enters is an `Envelope`, in a `Batch`.

An Envelope is what one record *is*; a Batch is how records *travel*: columns, not objects, so that no Python
object of ours is made per record between the log and the consumer (design.md, decision 10).
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Envelope:
    """One record.

    Its event id is (`source`, `sequence`). `tag` is the subject's 16-byte tag; `value` the Avro body without a
    frame, written with the schema of `schema_id`; `time_ns` when the record entered, UTC.
    """

    topic: str
    partition: int
    source: str
    sequence: int
    time_ns: int
    tag: bytes
    schema_id: int
    value: bytes
    seal: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one source for one partition of one topic, in order; all columns have the same length."""

    topic: str
    partition: int
    source: str
    seal: str
    schema_id: int
    time_ns: int
    sequences: Sequence[int]
    tags: Sequence[bytes]
    values: Sequence[bytes]

    def envelopes(self) -> Iterator[Envelope]:
        """The records one by one: for people and tests, not for hot paths."""
        for sequence, tag, value in zip(self.sequences, self.tags, self.values, strict=True):
            yield Envelope(
                self.topic, self.partition, self.source, sequence, self.time_ns, tag, self.schema_id, value, self.seal
            )


@dataclass(frozen=True, slots=True)
class Stored:
    """Records read back from one partition, in order.

    `next_position` is where to go on reading; it may lie beyond the last position by more than one.
    """

    topic: str
    partition: int
    positions: Sequence[int]
    schema_ids: Sequence[int]
    tags: Sequence[bytes]
    values: Sequence[bytes]
    next_position: int

    def up_to(self, end: int) -> "Stored":
        """Only the records before position `end`, where reading then goes on."""
        if self.next_position <= end:
            return self
        keep = bisect_left(self.positions, end)
        columns = self.positions[:keep], self.schema_ids[:keep], self.tags[:keep], self.values[:keep]
        return Stored(self.topic, self.partition, *columns, end)
