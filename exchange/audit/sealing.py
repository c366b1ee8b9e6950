"""Sealing the subject index, and answers that are provably complete.

A segment's `index_segment` entry names it by `topic` and `partition`: those of its records, or `@named` and `@ranges`
for the lists over the audit log itself. Segments of one list and place follow one another from 0 on without a gap; a
larger one may stand for several before it. Files are derived: one that is missing is made again, and must have the
same root.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from exchange.audit.entries import entry_id, make
from exchange.audit.log import AuditLog
from exchange.audit.segments import WIDTHS, Found, List, Sealed, opened, place_of, seal, span_of
from exchange.errors import Invalid, Tampered
from exchange.names import digest

SEGMENT: Final = 1_000_000  # positions, or entries, in one segment at the most
SPAN: Final = 16_384  # positions in one row of `ranges` at the most
_READ: Final = 10_000
_OF_LOG: Final[Mapping[str, List]] = {"@named": "named", "@ranges": "ranges"}
Entries = Iterable[tuple[int, str, Mapping[str, Any]]]
# (topic, partition, position, limit) → tags, their positions, and where to go on
ReadTags = Callable[[str, int, int, int], tuple[Sequence[bytes], Sequence[int], int]]


@dataclass(frozen=True, slots=True)
class Segmented:
    """A segment that the log names: `index` is that of its entry."""

    index: int
    topic: str
    partition: int
    lo: int
    hi: int
    sealed: Sealed

    @property
    def list(self) -> List:
        """Which list it is part of."""
        return _OF_LOG.get(self.topic, "records")


@dataclass(frozen=True, slots=True)
class Part:
    """What one segment says about a span of keys."""

    segment: Segmented
    low: bytes
    high: bytes | None
    found: Found


@dataclass(slots=True)
class Answer:
    """Every entry that may concern a subject among the first `entries` of the log, as far as the records that were
    sealed go (`records`: by topic and partition, up to which position), with the parts of segments that prove that
    there is no other. A release whose bitmap excludes the subject's positions is still among them.
    """

    entries: int
    records: Mapping[tuple[str, int], int]
    parts: list[Part] = field(default_factory=list)
    indexes: set[int] = field(default_factory=set)


def tiling(segments: Iterable[Segmented]) -> list[Segmented]:
    """Of the segments of one list and place those that follow one another from 0 on, as few as will do."""
    chosen: list[Segmented] = []
    for one in sorted(segments, key=lambda one: (one.lo, -one.hi, one.index)):
        end = chosen[-1].hi if chosen else 0
        if one.lo == end and one.hi > end:
            chosen.append(one)
    return chosen


class Segments:
    """The sealed part of the index over both logs; `folder` holds its files. One thread at a time."""

    def __init__(self, folder: Path, audit: AuditLog, read: ReadTags, now_ns: Callable[[], int]) -> None:
        self._folder, self._audit, self._read, self._now_ns = folder, audit, read, now_ns
        folder.mkdir(parents=True, exist_ok=True)

    def seal(
        self,
        known: Sequence[Segmented],
        ends: Mapping[tuple[str, int], int],
        least: int,
        on_segment: Callable[[], None],
    ) -> int:
        """Seals what is behind the known segments: of each partition up to its committed end, of the audit log up to
        its published size, where at least `least` positions or entries wait. How many segments were made; their entries
        are in a checkpoint.
        """
        places = {**ends, ("@named", 0): self._audit.size, ("@ranges", 0): self._audit.size}
        made = 0
        for (topic, partition), end in places.items():
            tiles = tiling(one for one in known if (one.topic, one.partition) == (topic, partition))
            lo = tiles[-1].hi if tiles else 0
            while end - lo >= max(least, 1):
                hi = min(end, lo + SEGMENT)
                self._seal_one(topic, partition, lo, hi)
                made, lo = made + 1, hi
                on_segment()
        return made

    def answer(self, tag: bytes, known: Sequence[Segmented]) -> Answer:
        """What the sealed part of both logs says about a subject, with its proof."""
        by_place: dict[tuple[str, int], list[Segmented]] = {}
        for one in known:
            by_place.setdefault((one.topic, one.partition), []).append(one)
        tiles = {place: tiling(segments) for place, segments in by_place.items()}
        ends = {place: chosen[-1].hi if chosen else 0 for place, chosen in tiles.items()}
        entries = min(ends.pop(("@named", 0), 0), ends.pop(("@ranges", 0), 0))
        answer = Answer(entries, ends)
        for row in self._look(answer, tiles.pop(("@named", 0), []), *span_of(tag)):
            answer.indexes.add(int.from_bytes(row[16:], "big"))
        ranges = tiles.pop(("@ranges", 0), [])
        for (topic, partition), chosen in tiles.items():
            rows = self._look(answer, chosen, *span_of(tag))
            positions = [int.from_bytes(row[16:], "big") for row in rows]
            self._over(answer, ranges, place_of(topic, partition), positions)
        answer.indexes = {index for index in answer.indexes if index < entries}
        return answer

    def remake(self, one: Segmented) -> None:
        """Makes a segment's file again from the logs.

        Raises:
            Tampered: `segment_damaged`: what the logs say now is not what was sealed.
        """
        made = seal(self._file(one), self._rows(one.topic, one.partition, one.lo, one.hi), WIDTHS[one.list])
        if made != one.sealed:
            raise Tampered("segment_damaged", where=self._file(one).name, detail="the logs give another root")

    def _seal_one(self, topic: str, partition: int, lo: int, hi: int) -> None:
        draft = Segmented(-1, topic, partition, lo, hi, Sealed(0, b"", ""))
        file = self._file(draft)
        sealed = seal(file, self._rows(topic, partition, lo, hi), WIDTHS[draft.list])
        # A crash here: a file that nobody names. It is made again.
        entry = make(
            "index_segment",
            entry_id("index_segment", topic, partition, lo, hi, sealed.root),
            self._now_ns(),
            topic=topic,
            partition=partition,
            lo=lo,
            hi=hi,
            count=sealed.count,
            page_records=256,
            root=sealed.root,
            file=file.name,
            digest=sealed.digest,
        )
        try:
            self._audit.submit([entry])
        except Invalid as error:
            if error.code != "audit_id_reused":  # another gateway has just sealed the same
                raise
        self._audit.wait(entry.id)

    def _rows(self, topic: str, partition: int, lo: int, hi: int) -> list[bytes]:
        if topic in _OF_LOG:
            return list(rows_of(_OF_LOG[topic], self._audit.entries(lo, hi)))
        rows: list[bytes] = []
        while lo < hi:
            tags, positions, following = self._read(topic, partition, lo, min(_READ, hi - lo))
            if following <= lo:
                raise Tampered("log_behind_commits", where=f"{topic}/{partition}", end=following, committed=hi)
            pairs = zip(tags, positions, strict=True)
            rows += [tag + position.to_bytes(8, "big") for tag, position in pairs if position < hi]
            lo = following
        return rows

    def _look(self, answer: Answer, chosen: Sequence[Segmented], low: bytes, high: bytes | None) -> Iterator[bytes]:
        """The rows of a span of keys in these segments, each noted with its proof."""
        for one in chosen:
            file = self._file(one)
            if not file.is_file():
                self.remake(one)
            with opened(file, WIDTHS[one.list], one.sealed) as segment:
                found = segment.find(low, high)
            answer.parts.append(Part(one, low, high, found))
            yield from found.rows

    def _over(self, answer: Answer, ranges: Sequence[Segmented], place: bytes, positions: Sequence[int]) -> None:
        """Notes the releases whose range holds one of these positions."""
        for first, last in _clusters(positions):
            low = place + max(first - SPAN + 1, 0).to_bytes(8, "big")
            high = place + (last + 1).to_bytes(8, "big")
            within = [at for at in positions if first <= at <= last]
            for row in self._look(answer, ranges, low, high):
                lo, hi, index = (int.from_bytes(row[at : at + 8], "big") for at in (16, 24, 32))
                if any(lo <= at < hi for at in within):
                    answer.indexes.add(index)

    def _file(self, one: Segmented) -> Path:
        name = digest({"topic": one.topic, "partition": one.partition}).removeprefix("sha256:")[:16]
        return self._folder / f"{one.list}-{name}-{one.lo}-{one.hi}"


def rows_of(which: List, entries: Entries) -> Iterator[bytes]:
    """The rows that entries of the audit log give, each once."""
    for index, kind, body in entries:
        if which == "named" and kind in ("release", "refusal", "audit_query"):
            yield from (tag + index.to_bytes(8, "big") for tag in set(body["tags"]))
        if which == "ranges" and kind == "release" and body["lo"] is not None:
            place = place_of(str(body["topic"]), int(body["partition"]))
            for first in range(body["lo"], body["hi"], SPAN):
                numbers = first, min(first + SPAN, body["hi"]), index
                yield place + b"".join(one.to_bytes(8, "big") for one in numbers)


def segments_of(entries: Entries) -> list[Segmented]:
    """The segments that entries of the audit log name."""
    return [segmented(index, body) for index, kind, body in entries if kind == "index_segment"]


def segmented(index: int, body: Mapping[str, Any]) -> Segmented:
    """A segment by its entry."""
    sealed = Sealed(body["count"], body["root"], cast("str", body["digest"]))
    return Segmented(index, body["topic"], body["partition"], body["lo"], body["hi"], sealed)


def _clusters(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of the positions that are so near to each other that their rows are looked at together."""
    first = last = None
    for at in sorted(positions):
        if first is not None and last is not None and at - last >= SPAN:
            yield first, last
            first = None
        first, last = at if first is None else first, at
    if first is not None and last is not None:
        yield first, last
