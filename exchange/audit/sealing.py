"""Sealing the subject index, and answers that are provably complete.

A segment's `index_segment` entry names it by `topic` and `partition`: those of its records, or `@named` and `@ranges`
for the lists over the audit log itself. Segments of one list and place follow one another from 0 on without a gap; a
larger one may stand for several before it. Files are derived: one that is missing is made again, and must have the
same root.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from exchange.audit.entries import entry_id, make
from exchange.audit.log import AuditLog
from exchange.audit.segments import PLACE, WIDTHS, List, Sealed, look_in, opened, place_of, seal, span_of
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
    """What one segment shows: the pages that hold all rows that were asked for and their neighbours, by number, and the
    hashes that lead from these to its root, left to right.
    """

    segment: Segmented
    pages: Mapping[int, bytes]
    proof: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """Every entry that may concern the subjects among the first `entries` of the log, as far as the records that were
    sealed go (`records`: by topic and partition, up to which position), with the parts of segments that prove that
    there is no other. A release whose bitmap excludes the subject's positions is still among them.

    `whole` is whether all that was released among these entries lies in the sealed records: where it does not (records
    of a topic that is gone), nobody can say whose they were.
    """

    entries: int
    records: Mapping[tuple[str, int], int]
    parts: Sequence[Part]
    indexes: frozenset[int]
    whole: bool


def tiling(segments: Iterable[Segmented]) -> list[Segmented]:
    """Of the segments of one list and place those that follow one another from 0 on, as few as will do."""
    chosen: list[Segmented] = []
    for one in sorted(segments, key=lambda one: (one.lo, -one.hi, one.index)):
        end = chosen[-1].hi if chosen else 0
        if one.lo == end and one.hi > end:
            chosen.append(one)
    return chosen


def _merged(tiles: Sequence[Segmented], end: int) -> int:
    """Where the next segment of the audit log begins: one that is no longer than it is taken into it, so that however
    often a little is sealed, few segments cover the log. Records stay as they were sealed: some may be gone since.
    """
    lo = tiles[-1].hi if tiles else 0
    for one in reversed(tiles):
        if one.hi - one.lo > end - lo or end - one.lo > SEGMENT:
            break
        lo = one.lo
    return lo


class Segments:
    """The sealed part of the index over both logs; `folder` holds its files. One thread at a time."""

    def __init__(self, folder: Path, audit: AuditLog, read: ReadTags, now_ns: Callable[[], int]) -> None:
        self._folder, self._audit, self._read, self._now_ns = folder, audit, read, now_ns
        folder.mkdir(parents=True, exist_ok=True)

    def seal(
        self,
        known: Sequence[Segmented],
        size: int,
        ends: Mapping[tuple[str, int], int],
        least: int,
        on_segment: Callable[[], None],
    ) -> int:
        """Seals what is behind the known segments: of each partition up to its committed end, of the audit log up to
        `size`, where at least `least` positions or entries wait. How many segments were made; their entries are in a
        checkpoint. `ends` were looked up after `size`: so the sealed records hold all that was released before it.
        """
        places = {**ends, ("@named", 0): size, ("@ranges", 0): size}
        made = 0
        for (topic, partition), end in places.items():
            tiles = tiling(one for one in known if (one.topic, one.partition) == (topic, partition))
            lo = tiles[-1].hi if tiles else 0
            if end - lo >= max(least, 1) and topic in _OF_LOG:
                lo = _merged(tiles, end)
            while end - lo >= max(least, 1):
                hi = min(end, lo + SEGMENT)
                self._seal_one(topic, partition, lo, hi)
                made, lo = made + 1, hi
                on_segment()
        return made

    def answer(self, tags: Sequence[bytes], known: Sequence[Segmented]) -> Answer:
        """What the sealed part of both logs says about these subjects, with its proof."""
        by_place: dict[tuple[str, int], list[Segmented]] = {}
        for one in known:
            by_place.setdefault((one.topic, one.partition), []).append(one)
        tiles = {place: tiling(segments) for place, segments in by_place.items()}
        ends = {place: chosen[-1].hi if chosen else 0 for place, chosen in tiles.items()}
        entries = min(ends.pop(("@named", 0), 0), ends.pop(("@ranges", 0), 0))
        named, ranges = tiles.pop(("@named", 0), []), tiles.pop(("@ranges", 0), [])
        looks, found, whole, low = _Looks(self.file_of), set[int](), True, b""
        for tag in tags:
            found.update(_numbers(row, 16)[0] for row in looks.rows(named, *span_of(tag)))
        # Places in the order of their rows: between two of them, before the first and behind the last there is nothing.
        for key, place in sorted((place_of(*place), place) for place in tiles):
            whole &= not looks.rows(ranges, low, key)
            for tag in tags:
                positions = [_numbers(row, 16)[0] for row in looks.rows(tiles[place], *span_of(tag))]
                found.update(_over(looks, ranges, key, positions))
            beyond = key + max(ends[place] - SPAN + 1, 0).to_bytes(8, "big")
            low = span_of(key)[1] or bytes(PLACE + 1)
            whole &= all(_numbers(row, 24)[0] <= ends[place] for row in looks.rows(ranges, beyond, low))
        whole &= not looks.rows(ranges, low, None)
        indexes = frozenset(index for index in found if index < entries)
        return Answer(entries, ends, list(looks.parts()), indexes, whole)

    def file_of(self, one: Segmented) -> Path:
        """A segment's file, made again where it is missing."""
        file = self._file(one)
        if not file.is_file():
            self.remake(one)
        return file

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

    def _file(self, one: Segmented) -> Path:
        name = digest({"topic": one.topic, "partition": one.partition}).removeprefix("sha256:")[:16]
        return self._folder / f"{one.list}-{name}-{one.lo}-{one.hi}"


class _Looks:
    """Looks at segments, and remembers at which keys."""

    def __init__(self, file_of: Callable[[Segmented], Path]) -> None:
        self._file_of = file_of
        self._spans: dict[Segmented, list[tuple[bytes, bytes | None]]] = {}

    def rows(self, chosen: Sequence[Segmented], low: bytes, high: bytes | None) -> list[bytes]:
        """The rows of a span of keys in these segments."""
        for one in chosen:
            self._spans.setdefault(one, []).append((low, high))
        files = [(self._file_of(one), one.sealed) for one in chosen]
        return look_in(files, WIDTHS[chosen[0].list], low, high) if chosen else []

    def parts(self) -> Iterator[Part]:
        """Of each segment what proves all that was looked at."""
        for one, spans in self._spans.items():
            with opened(self._file_of(one), WIDTHS[one.list], one.sealed) as segment:
                yield Part(one, *segment.pages(spans))


def _over(looks: _Looks, ranges: Sequence[Segmented], place: bytes, positions: Sequence[int]) -> Iterator[int]:
    """The releases whose range holds one of these positions."""
    for first, last in _clusters(positions):
        low = place + max(first - SPAN + 1, 0).to_bytes(8, "big")
        within = [at for at in positions if first <= at <= last]
        for row in looks.rows(ranges, low, place + (last + 1).to_bytes(8, "big")):
            lo, hi, index = _numbers(row, PLACE)
            if any(lo <= at < hi for at in within):
                yield index


def _numbers(row: bytes, start: int) -> list[int]:
    return [int.from_bytes(row[at : at + 8], "big") for at in range(start, len(row), 8)]


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
