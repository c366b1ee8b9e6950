"""That nothing was left out: the sealed subject index, as far as a bundle shows it, against the entries it holds.

A segment is a sorted list of rows in pages of 256, whose RFC 6962 root an `index_segment` entry names. Two rows that
are shown to be neighbours have nothing between them. Three kinds of lists are read, each from its beginning without a
gap: where the subjects' records lie, which entries name subjects, which releases cover which positions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .question import SHOWN

PAGE = 256
SPAN = 16384  # positions in one row of `@ranges` at the most
FILE = re.compile(r"segments/(0|[1-9][0-9]{0,17})/(proof|0|[1-9][0-9]{0,9})")
_LOG = ("@named", "@ranges")
Place = Tuple[str, int]
Positions = Dict[Place, List[int]]


class LeftOut(Exception):
    """The proof does not hold: a stable code, the place, the facts."""


@dataclass(frozen=True)
class Segment:
    """A segment that the log names, with the pages of it that are proved, by number."""

    index: int
    place: Place
    lo: int
    hi: int
    count: int
    width: int
    pages: Dict[int, bytes]

    def rows(self, low: bytes, high: Optional[bytes]) -> List[bytes]:
        """All rows from `low` on and before `high` (None: to the end). `LeftOut` where they are not shown to be all."""
        last = -(-self.count // PAGE) - 1
        if last < 0:
            return []
        before = [number for number, page in self.pages.items() if page[: self.width] < low or number == 0]
        at = max(before) if before else -1
        found: List[bytes] = []
        while at in self.pages:
            page = self.pages[at]
            for start in range(0, len(page), self.width):
                row = page[start : start + self.width]
                if high is not None and row >= high:
                    return found
                if row >= low:
                    found.append(row)
            if at == last:
                return found
            at += 1
        raise LeftOut("segment_rows", self.index, "page %d" % max(at, 0))


class Shown(NamedTuple):
    """What the segments and the entries behind them say: the entries that concern the subjects, each with the positions
    of theirs that it showed (none: it names them, or showed none of them); up to where the records were sealed; the
    entries behind the answer that concern them; how many of these are not in the bundle.
    """

    found: Dict[int, List[int]]
    excluded: List[int]
    records: Dict[Place, int]
    later: List[int]
    unseen: int


def shown(
    files: Dict[str, bytes], entries: Dict[int, Any], tags: Sequence[bytes], sealed: int, size: int, checkpoint: int
) -> Shown:
    """Judges the segments of a bundle whose proved entries these are. `sealed` entries of the log are said to be
    covered by them, `size` by the answer. `LeftOut` says what is missing.
    """
    tiles = _tiles(_segments(files, entries))
    named, ranges = (tiles.pop((name, 0), []) for name in _LOG)
    if not 0 <= sealed <= size or min(_end(named), _end(ranges)) != sealed:
        raise LeftOut("segment_gap", "@named, @ranges", "%d, %d: %d" % (_end(named), _end(ranges), sealed))
    records = {place: _end(chosen) for place, chosen in tiles.items()}
    positions = {place: _positions(chosen, tags) for place, chosen in tiles.items()}
    wanted = {_number(row, 16) for tag in tags for row in _rows(named, tag, _after(tag))}
    wanted |= set(_released(ranges, records, positions))
    for index in range(sealed, size):
        if index not in entries:
            raise LeftOut("entry_left_out", index)
        if _may_concern(entries[index], tags, records, positions):
            wanted.add(index)
    found, excluded = {}, []
    for index in sorted(one for one in wanted if one < size):
        if index not in entries:
            raise LeftOut("entry_left_out", index)
        is_shown, places = _showed(entries[index], tags, positions)
        if is_shown:
            found[index] = places
        else:
            excluded.append(index)
    behind = [entries[index] for index in range(size, checkpoint) if index in entries]
    later = [one.index for one in behind if _concerns_later(one, tags, records, positions)]
    return Shown(found, excluded, records, later, checkpoint - size - len(behind))


def _segments(files: Dict[str, bytes], entries: Dict[int, Any]) -> Iterator[Segment]:
    given: Dict[int, Dict[str, bytes]] = {}
    for name, data in files.items():
        match = FILE.fullmatch(name)
        if match is not None:
            given.setdefault(int(match[1]), {})[match[2]] = data
    for index, parts in sorted(given.items()):
        entry = entries.get(index)
        if entry is None or entry.kind != "index_segment":
            raise LeftOut("segment_differs", index, "no segment's entry")
        yield _segment(index, entry.body, parts)


def _segment(index: int, body: Dict[str, Any], parts: Dict[str, bytes]) -> Segment:
    """One segment; its pages lead to the root that its entry names, and are in order."""
    place, count = (body["topic"], body["partition"]), body["count"]
    width = 40 if place[0] == "@ranges" else 24
    pages = {int(number): data for number, data in parts.items() if number != "proof"}
    leaves = -(-count // PAGE)
    try:
        proof = [base64.b64decode(line, validate=True) for line in parts.get("proof", b"").split(b"\n")[:-1]]
    except binascii.Error:
        raise LeftOut("segment_differs", index, "proof") from None
    if b"".join(base64.b64encode(one) + b"\n" for one in proof) != parts.get("proof"):
        raise LeftOut("segment_differs", index, "proof")
    if not 0 <= body["lo"] < body["hi"] or count < 0 or body["page_records"] != PAGE:
        raise LeftOut("segment_differs", index, "its entry")
    for number, page in pages.items():
        if not number < leaves or len(page) != min(PAGE, count - number * PAGE) * width:
            raise LeftOut("segment_differs", index, "page %d" % number)
    if _root(leaves, pages, proof) != body["root"]:
        raise LeftOut("segment_differs", index, "root")
    _sorted(index, pages, width)
    return Segment(index, place, body["lo"], body["hi"], count, width, pages)


def _sorted(index: int, pages: Dict[int, bytes], width: int) -> None:
    before = b""
    for number in sorted(pages):
        page = pages[number]
        for start in range(0, len(page), width):
            if page[start : start + width] <= before:
                raise LeftOut("segment_differs", index, "not in order, page %d" % number)
            before = page[start : start + width]


def _root(count: int, pages: Dict[int, bytes], proof: List[bytes]) -> Optional[bytes]:
    """The root over `count` pages of which these are some; None unless the proof has exactly the other hashes."""
    if count == 0:
        return hashlib.sha256(b"").digest() if not proof else None
    numbers, rest = sorted(pages), iter(proof)

    def walk(low: int, high: int) -> bytes:
        at = bisect_left(numbers, low)
        if at == len(numbers) or numbers[at] >= high:
            return next(rest)
        if high - low == 1:
            return hashlib.sha256(b"\x00" + pages[low]).digest()
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        left = walk(low, middle)
        return hashlib.sha256(b"\x01" + left + walk(middle, high)).digest()

    try:
        found = walk(0, count)
    except StopIteration:
        return None
    return found if next(rest, None) is None else None


def _tiles(segments: Iterator[Segment]) -> Dict[Place, List[Segment]]:
    """By place, from 0 on and one after the other."""
    tiles: Dict[Place, List[Segment]] = {}
    for one in segments:
        tiles.setdefault(one.place, []).append(one)
    for place, chosen in tiles.items():
        chosen.sort(key=lambda one: one.lo)
        end = 0
        for one in chosen:
            if one.lo != end:
                raise LeftOut("segment_gap", "%s/%d" % place, "%d: [%d, %d)" % (end, one.lo, one.hi))
            end = one.hi
    return tiles


def _end(chosen: List[Segment]) -> int:
    return chosen[-1].hi if chosen else 0


def _rows(chosen: List[Segment], low: bytes, high: Optional[bytes]) -> Iterator[bytes]:
    for one in chosen:
        for row in one.rows(low, high):
            yield row


def _after(prefix: bytes) -> Optional[bytes]:
    """The first key behind those that begin with this prefix."""
    number = int.from_bytes(prefix, "big") + 1
    return number.to_bytes(len(prefix), "big") if number < 1 << 8 * len(prefix) else None


def _number(row: bytes, at: int) -> int:
    return int.from_bytes(row[at : at + 8], "big")


def _positions(chosen: List[Segment], tags: Sequence[bytes]) -> List[int]:
    return sorted({_number(row, 16) for tag in tags for row in _rows(chosen, tag, _after(tag))})


def _released(ranges: List[Segment], records: Dict[Place, int], positions: Positions) -> Iterator[int]:
    """The releases over the subjects' positions. There is no release of a partition that has no sealed records, and
    none of records behind the sealed ones.
    """
    low: Optional[bytes] = b""
    for key, place in sorted((_key(place), place) for place in records):
        assert low is not None
        if any(_rows(ranges, low, key)):
            raise LeftOut("partition_missing", "@ranges", low.hex())
        end, low = records[place], _after(key)
        beyond = key + max(end - SPAN + 1, 0).to_bytes(8, "big")
        if any(_number(row, 24) > end for row in _rows(ranges, beyond, low)):
            raise LeftOut("segment_gap", "%s/%d" % place, "%d" % end)
        for at in positions[place]:
            first = key + max(at - SPAN + 1, 0).to_bytes(8, "big")
            for row in _rows(ranges, first, key + (at + 1).to_bytes(8, "big")):
                if _number(row, 16) <= at < _number(row, 24):
                    yield _number(row, 32)
    if low is not None and any(_rows(ranges, low, None)):
        raise LeftOut("partition_missing", "@ranges", low.hex())


def _key(place: Place) -> bytes:
    return hashlib.sha256(place[0].encode() + b"\x00" + place[1].to_bytes(4, "big")).digest()[:16]


def _names(entry: Any, tags: Sequence[bytes]) -> bool:
    return entry.kind in SHOWN and bool(set(tags) & set(entry.body["tags"]))


def _may_concern(entry: Any, tags: Sequence[bytes], records: Dict[Place, int], positions: Positions) -> bool:
    """Whether an entry that no segment covers may concern the subjects."""
    body = entry.body
    if entry.kind == "release" and body["lo"] is not None:
        place = (body["topic"], body["partition"])
        if body["hi"] > records.get(place, 0):
            raise LeftOut("segment_gap", "%s/%d" % place, "%d: %d" % (records.get(place, 0), body["hi"]))
        if any(body["lo"] <= at < body["hi"] for at in positions[place]):
            return True
    return _names(entry, tags)


def _concerns_later(entry: Any, tags: Sequence[bytes], records: Dict[Place, int], positions: Positions) -> bool:
    """The same of an entry behind the answer; a release of records that are not sealed yet counts as one."""
    try:
        return _may_concern(entry, tags, records, positions)
    except LeftOut:
        return True


def _showed(entry: Any, tags: Sequence[bytes], positions: Positions) -> Tuple[bool, List[int]]:
    """Whether the entry concerns the subjects, and the positions of their records that it showed."""
    body = entry.body
    places: set[int] = set()
    if entry.kind == "release" and body["lo"] is not None:
        covered = [at for at in positions.get((body["topic"], body["partition"]), []) if body["lo"] <= at < body["hi"]]
        places.update(
            at for at in covered if not _is_excluded(body["excluded"], at - body["lo"], body["hi"] - body["lo"])
        )
    if entry.kind == "release":
        named = zip(body["tags"], body["positions"])
        places.update(at for tag, at in named if tag in tags and at is not None)
    return bool(places) or _names(entry, tags), sorted(places)


def _is_excluded(bitmap: Optional[bytes], offset: int, length: int) -> bool:
    """A bitmap that cannot be read holds nobody back: rather too many entries than too few."""
    if bitmap is None:
        return False
    try:
        bits = zlib.decompressobj().decompress(bitmap, (length + 7) // 8)
    except zlib.error:
        return False
    return offset >> 3 < len(bits) and bool(bits[offset >> 3] >> (offset & 7) & 1)
