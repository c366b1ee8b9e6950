"""The record log: departments' records in order."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from exchange.envelope import Batch, Stored


class RecordLog(Protocol):
    """Departments' records, in order for each partition of each topic.

    Guarantees, held by `tests/conformance/test_record_log.py` on every engine:

    - `append` is all or nothing over all its batches and the mark, and durable when it returns.
    - A source's mark only rises. An append with a sequence at or below the mark, or with sequences that do not
      rise within a batch, changes nothing and raises `Invalid("sequence_not_after_mark")`. So sending again doubles
      nothing, and a record that was refused for good may still raise the mark.
    - Positions in a partition rise in the order of the appends, not always by one. A position is never used twice.
    - `read` gives only what an `append` that returned, or whose process died after its commit, has stored, from a
      position on, in order, without leaving anything out; an empty answer means that no record stands there yet.
    - A store that is broken or cut off gives `Tampered`, one that is down `Unavailable`; never a shorter answer.
    """

    def create(self, topic: str, partitions: int) -> None:
        """Makes the topic. Again with the same number of partitions: nothing happens; with another: `Invalid`."""
        ...

    def topics(self) -> Mapping[str, int]:
        """Each topic with its number of partitions."""
        ...

    def mark(self, source: str) -> int:
        """The highest sequence taken from this source; 0 when none was."""
        ...

    def marks(self) -> Mapping[str, int]:
        """Every source's mark, by source; those of which nothing was taken may be missing."""
        ...

    def append(self, source: str, mark: int, batches: Sequence[Batch]) -> Sequence[Sequence[int]]:
        """Stores the batches and raises the source's mark to `mark` (≥ every sequence); positions per batch."""
        ...

    def read(self, topic: str, partition: int, position: int, limit: int) -> Stored:
        """At most `limit` records at or after `position`; `next_position` says where to go on."""
        ...

    def headers(self, topic: str, partition: int, position: int) -> Mapping[str, str]:
        """The record's headers: `id` (source/sequence), `time` (RFC 3339, UTC), `seal`."""
        ...

    def place(self, topic: str, partition: int, placed: Sequence[tuple[int, Batch]], end: int) -> None:
        """Stores batches whose first records have exactly these positions, rising, none before the partition's end;
        afterwards its end is `end`. The positions between them hold no record, for ever. No mark rises.

        For a log that is being filled from another one, before anybody uses it. What a failure has stored of it
        already `end` tells: go on from there.

        Raises:
            Invalid: `batch_malformed`, `topic_unknown`, `position_unknown`: a position before the partition's end.
            Unavailable: `log_unavailable`: also when somebody else writes to the partition.
        """
        ...

    def end(self, topic: str, partition: int) -> int:
        """The position that the next record will have at the least; 0 in an empty partition."""
        ...

    def close(self) -> None:
        """Gives back files and connections."""
        ...
