"""What a body is read with, and a body as an adapter (`exchange.source.Adapter`) of its source."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from exchange.errors import ExchangeError, Invalid
from exchange.source import Place, Rejected, SourceBatch

if TYPE_CHECKING:
    from exchange.api.bodies.content import Content
    from exchange.avro.schema import Schema
    from exchange.contracts.contract import Contract

FILE: Final = "http"  # where records of a body stand, as far as their dead letters know


@dataclass(frozen=True, slots=True)
class Form:
    """What a reader needs to know beside the body: the dataset's contract, its schemas by their ids on the wire, the
    sequence of the first record, and the character set that the body says it has (empty: it says none). A reader
    appends to `notes` what the sender should know.
    """

    contract: "Contract"
    writers: Mapping[int, "Schema"]
    first: int
    charset: str
    notes: list[str] = field(default_factory=list)

    @property
    def schema(self) -> "Schema":
        """The schema that records are published with."""
        return self.contract.schemas[-1]


@dataclass(frozen=True, slots=True)
class Event:
    """A record of a body; a `value` of None with a `code` (an error code) is one that cannot be published."""

    sequence: int
    place: Place
    value: Any
    code: str = ""
    shape: Mapping[str, str] = field(default_factory=dict)


Reader: TypeAlias = "Callable[[Content, Form], Iterator[Event]]"


class BodyAdapter:
    """The events of one body, of `most` records; those at or below the mark are given, too, to be told as taken.
    `sealed` says that they were sealed together: then they are one batch, or nothing where the body cannot be read on.
    """

    def __init__(
        self, source: str, events: Iterator[Event], notes: Sequence[str], most: int, *, sealed: bool = False
    ) -> None:
        self.source, self.notes = source, notes
        self._events, self._most, self._sealed = events, most, sealed

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:  # noqa: ARG002  the path leaves out what it has
        """See `exchange.source.Adapter`; what comes before a place where the body cannot be read on is given first.

        Raises:
            Invalid: whatever is wrong with the body; `body_records` for one of too many records.
        """
        draft, count, stop = _Draft(), 0, None
        while stop is None:
            try:
                event = next(self._events, None)
            except ExchangeError as error:
                stop = error
                break
            if event is None:
                break
            count += 1
            if count > self._most:
                stop = Invalid("body_records", limit=self._most)
                break
            draft.add(event)
            if draft.size >= limit and not self._sealed:
                yield draft.batch()
                draft = _Draft()
        if draft.size and not (stop and self._sealed):
            yield draft.batch()
        if stop is not None:
            raise stop


@dataclass
class _Draft:
    """A batch that is being filled."""

    sequences: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.sequences) + len(self.rejected)

    def add(self, event: Event) -> None:
        if event.code:
            self.rejected.append(Rejected(event.sequence, event.place, event.code, event.shape))
        else:
            self.sequences.append(event.sequence)
            self.values.append(event.value)
            self.places.append(event.place)

    def batch(self) -> SourceBatch:
        return SourceBatch(self.sequences, self.values, self.places, self.rejected)
