"""What a department's adapter hands over: records as plain values, each with its sequence and its place.

An adapter knows this module, `exchange.signing`, `exchange.names` and `exchange.errors`, and nothing else of ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the source a record stands: a file, its row (1 = first line of the file) and, if known, a column."""

    file: str
    row: int
    column: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that cannot be published: why (an error code) and its shape, never its values."""

    sequence: int
    place: Place
    code: str
    shape: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """Records in the order of the source.

    `values[i]` has the event id (source, `sequences[i]`) and stands at `places[i]`; its keys are the schema's
    field names. `rejected` holds those that the adapter could not even read; all sequences of a batch, of good
    and bad records together, are different and rise from batch to batch.
    """

    sequences: Sequence[int]
    values: Sequence[Mapping[str, Any]]
    places: Sequence[Place]
    rejected: Sequence[Rejected] = ()


class Adapter(Protocol):
    """A department's side of publishing.

    Guarantees: the same source content gives the same (sequence, value) pairs as long as the exchange's mark is
    the same; a record whose sequence is at or below the mark is not given again; content already published
    unchanged gives no record; a value that returns to an earlier one gives a new sequence. `batches` may be called
    again after any crash.
    """

    @property
    def source(self) -> str:
        """The name of this source of events (form `source` in `exchange.names`): with a sequence, an event id."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the operator should know of this run (a guessed encoding, say): keys of sentences are not needed."""
        ...

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        """Batches of at most `limit` records whose sequences are above `mark`, the exchange's highest for this source.

        The next batch is asked for only after the last one is durable in the exchange.
        """
        ...
