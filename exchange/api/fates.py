"""What became of each record of a body, as the answer lists it."""

from typing import Any, Final, Literal

from pydantic import BaseModel

from exchange.publish import Fates

MOST: Final = 10_000  # records that an answer lists


class Fate(BaseModel):
    """`taken` at a position of a partition; a `dead_letter` for a reason (an error code), standing `where`; or
    `already` taken before.
    """

    sequence: int
    fate: Literal["taken", "dead_letter", "already"]
    partition: int | None = None
    position: int | None = None
    code: str | None = None
    where: str | None = None


class Accepted(BaseModel):
    """What became of a body; `records_complete` says whether `records` lists every one of them."""

    dataset: str
    source: str
    taken: int
    dead_letters: int
    already: int
    last_sequence: int
    records: list[Fate]
    records_complete: bool
    notes: list[str]


class Told:
    """Collects fates, at most `MOST`: all of them while they are so few, then those that were not taken."""

    def __init__(self, dead_topic: str, *, only_bad: bool) -> None:
        self._dead_topic, self._only_bad = dead_topic, only_bad
        self._records: list[dict[str, Any]] = []
        self._complete = not only_bad

    def add(self, fates: Fates) -> None:
        """The fates of a further batch."""
        found = [{"sequence": sequence, "fate": "already"} for sequence in fates.already]
        for one in fates.rejected:
            place = one.place
            where = ":".join(part for part in (place.file, str(place.row), place.column) if part)
            found.append({"sequence": one.sequence, "fate": "dead_letter", "code": one.code, "where": where})
        if not self._only_bad:
            for batch, positions in fates.stored:
                if batch.topic != self._dead_topic:
                    fixed = {"fate": "taken", "partition": batch.partition}
                    pairs = zip(batch.sequences, positions, strict=True)
                    found += [{"sequence": sequence, **fixed, "position": position} for sequence, position in pairs]
        self._records += sorted(found, key=lambda record: int(record["sequence"]))
        if len(self._records) > MOST:
            self._only_bad, self._complete = True, False
            self._records = [record for record in self._records if record["fate"] != "taken"][:MOST]

    def document(self) -> dict[str, Any]:
        """`records` and `records_complete` of an `Accepted`."""
        return {"records": self._records, "records_complete": self._complete}
