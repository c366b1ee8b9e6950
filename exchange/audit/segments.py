"""Sealed, sorted parts of the subject index, each with a root in the audit log: what makes an answer provably complete.

A segment is a list of rows of one width, sorted bytewise, each row once. A page is 256 rows (the last one has fewer);
the bytes of a page are a leaf of the segment's RFC 6962 tree, whose root an `index_segment` entry names. Who is shown
two neighbours knows that nothing lies between them: an answer comes with the pages from the row before it to the row
behind it, and with the hashes that lead from these pages to the root.

| list | a row | covers |
|---|---|---|
| `records` | tag 16 ‖ position 8 | records of one partition at positions [lo, hi) |
| `named` | tag 16 ‖ index 8 | entries [lo, hi) of the audit log that name subjects |
| `ranges` | place 16 ‖ first 8 ‖ end 8 ‖ index 8 | releases of a range of a partition among entries [lo, hi) |

A range of more than 16,384 positions stands in `ranges` in pieces of so many, each a row: so whoever asks for the
ranges over a position looks at the rows that begin less than 16,384 before it, and at no others.

Integers are big-endian. The file of a segment is its rows and behind them the hashes of its pages; it is derived from
the logs, and whoever has these makes it again, byte for byte.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, get_args

from exchange.errors import Tampered
from exchange.signing.merkle import EMPTY_ROOT, leaf_hashes, node_hash, root

List = Literal["records", "named", "ranges"]
LISTS: Final[Sequence[List]] = get_args(List)
WIDTHS: Final[dict[List, int]] = {"records": 24, "named": 24, "ranges": 40}
PAGE: Final = 256
PLACE: Final = 16
_HASH: Final = 32
_AHEAD: Final = 64  # rows read at once
_AROUND: Final = 256  # the same where a guess was near
_GUESSES: Final = 4  # then by halves: not all keys are hashes
_SOON: Final = 48 << 10  # bytes
_OPEN: Final = 128  # files open at once


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is signed of a segment: how many rows, the root over its pages, the digest of its file."""

    count: int
    root: bytes
    digest: str


def place_of(topic: str, partition: int) -> bytes:
    """A partition's name in a row of `ranges`."""
    return sha256(topic.encode() + b"\x00" + partition.to_bytes(4, "big")).digest()[:PLACE]


def span_of(prefix: bytes) -> tuple[bytes, bytes | None]:
    """The keys that begin with a prefix: from the first to before the second, None: to the end."""
    following = int.from_bytes(prefix, "big") + 1
    return prefix, following.to_bytes(len(prefix), "big") if following < 1 << 8 * len(prefix) else None


def seal(file: Path, rows: Iterable[bytes], width: int) -> Sealed:
    """Writes the segment of these rows (in any order, each once), durable on return; an older file of its name goes.

    Raises:
        OSError: the disk.
    """
    ordered = sorted(rows)
    if any(len(row) != width for row in ordered) or any(one == other for one, other in pairwise(ordered)):
        raise ValueError("rows of another width, or twice")
    pages = [b"".join(ordered[at : at + PAGE]) for at in range(0, len(ordered), PAGE)]
    hashes = leaf_hashes(pages)
    body = b"".join([*pages, *hashes])
    draft = file.with_name(file.name + ".draft")
    with draft.open("wb") as out:
        out.write(body)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
    # A crash before the folder is synced: the file is there or not; nobody has named it yet, and it is made again.
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return Sealed(len(ordered), root(hashes), "sha256:" + sha256(body).hexdigest())


class Segment:
    """A segment's file, open for look-ups: a binary search, with a first guess where the keys are hashes.

    Raises `Tampered("segment_damaged")` when the file is missing, cut off, or not what was sealed: the pages that an
    answer shows are checked against the root each time, the whole file by `check`.
    """

    def __init__(self, file: Path, width: int, sealed: Sealed) -> None:
        self._file, self._width, self._sealed = file, width, sealed
        self._pages = -(-sealed.count // PAGE)
        self._last: tuple[int, list[bytes]] = 0, []  # the rows that were read last, and the number of the first
        try:
            self._descriptor = os.open(file, os.O_RDONLY)
            size = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise self._damaged(error.strerror or "unreadable") from None
        if size != sealed.count * width + self._pages * _HASH:
            self.close()
            raise self._damaged("its size")
        if hasattr(os, "posix_fadvise"):  # look-ups jump: reading ahead would only fill the cache
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def close(self) -> None:
        """Gives back the file."""
        os.close(self._descriptor)

    def look(self, low: bytes, high: bytes | None) -> list[bytes]:
        """All rows from `low` on and before `high` (None: to the end), as the file has them."""
        return self._span(low, high)[1]

    def pages(self, spans: Sequence[tuple[bytes, bytes | None]]) -> tuple[Mapping[int, bytes], Sequence[bytes]]:
        """The pages that hold the rows of these spans and their neighbours, by number, and the hashes that lead from
        them all to the root, left to right.
        """
        count, numbers = self._sealed.count, set[int]()
        for low, high in spans if count else ():
            start, rows = self._span(low, high)
            numbers.update(range(max(start - 1, 0) // PAGE, min(start + len(rows), count - 1) // PAGE + 1))
        pages = {number: self._page(number) for number in sorted(numbers)}
        proof = pages_proof(self._hashes(), pages) if count else []
        if pages_root(self._pages, pages, proof) != self._sealed.root:
            raise self._damaged("its rows do not give its root")
        for low, high in spans:
            if rows_in(pages, count, self._width, low, high) != self.look(low, high):
                raise self._damaged("its rows are not in order")
        return pages, proof

    def rows(self) -> Iterator[bytes]:
        """Every row, in order."""
        for number in range(self._pages):
            page = self._page(number)
            yield from (page[at : at + self._width] for at in range(0, len(page), self._width))

    def check(self) -> None:
        """The whole file, against its root and digest."""
        pages = [self._page(number) for number in range(self._pages)]
        hashes = leaf_hashes(pages)
        body = b"".join([*pages, *self._hashes()])
        if root(hashes) != self._sealed.root or "sha256:" + sha256(body).hexdigest() != self._sealed.digest:
            raise self._damaged("its bytes")

    def expect(self, low: bytes) -> None:
        """Tells the system that the rows from `low` on are looked at soon, where keys are hashes."""
        if hasattr(os, "posix_fadvise"):
            at = max(self._guess(low) * self._width - _SOON // 2, 0)
            os.posix_fadvise(self._descriptor, at, _SOON, os.POSIX_FADV_WILLNEED)

    def _guess(self, key: bytes) -> int:
        return int.from_bytes(key[:8], "big") * self._sealed.count >> 64  # tags are evenly spread

    def _bound(self, key: bytes) -> int:
        """The number of the first row that is `key` or behind it."""
        low, high, guess, tried = 0, self._sealed.count, self._guess(key), 0
        while low < high:
            most = _AHEAD if tried == 0 else _AROUND
            middle = guess if tried < _GUESSES else (low + high) // 2
            start = max(min(middle - most // 2, high - most), low)
            rows = self._read_rows(start, min(most, high - start))
            if rows[0] < key <= rows[-1]:
                return start + bisect_left(rows, key)
            if rows[0] >= key:
                near, high = (start, rows[0]), start
            else:
                near, low = (start + len(rows), rows[-1]), start + len(rows)
            guess = near[0] + self._guess(key) - self._guess(near[1])
            tried += 1
        return low

    def _span(self, low: bytes, high: bytes | None) -> tuple[int, list[bytes]]:
        """The number of the first row of a span, and its rows."""
        start = self._bound(low)
        rows: list[bytes] = []
        while start + len(rows) < self._sealed.count:
            fresh = self._read_rows(start + len(rows), _AHEAD)
            inside = fresh if high is None else [row for row in fresh if row < high]
            rows += inside
            if len(inside) < len(fresh):
                break
        return start, rows

    def _read_rows(self, number: int, most: int) -> list[bytes]:
        """So many rows from this one on; fewer, but at least one, at the end and where some were read just now."""
        first, known = self._last
        if not first <= number < first + len(known):
            body = self._read(number * self._width, min(most, self._sealed.count - number) * self._width)
            first, known = number, [body[at : at + self._width] for at in range(0, len(body), self._width)]
            self._last = first, known
        return known[number - first : number - first + most]

    def _page(self, number: int) -> bytes:
        rows = min(PAGE, self._sealed.count - number * PAGE)
        return self._read(number * PAGE * self._width, rows * self._width)

    def _hashes(self) -> list[bytes]:
        body = self._read(self._sealed.count * self._width, self._pages * _HASH)
        return [body[at : at + _HASH] for at in range(0, len(body), _HASH)]

    def _read(self, at: int, length: int) -> bytes:
        try:
            data = os.pread(self._descriptor, length, at)
        except OSError as error:
            raise self._damaged(error.strerror or "unreadable") from None
        if len(data) != length:
            raise self._damaged("cut off")
        return data

    def _damaged(self, detail: str) -> Tampered:
        return Tampered("segment_damaged", where=self._file.name, detail=detail)


@contextmanager
def opened(file: Path, width: int, sealed: Sealed) -> Iterator[Segment]:
    """A segment for the length of a block."""
    segment = Segment(file, width, sealed)
    try:
        yield segment
    finally:
        segment.close()


def look_in(files: Sequence[tuple[Path, Sealed]], width: int, low: bytes, high: bytes | None) -> list[bytes]:
    """The rows of a span of keys in each of these segments; the disk is told of all of them before the first is read.

    Raises `Tampered("segment_damaged")` as `Segment`.
    """
    found: list[bytes] = []
    for first in range(0, len(files), _OPEN):
        with ExitStack() as stack:
            portion = [
                stack.enter_context(opened(file, width, sealed)) for file, sealed in files[first : first + _OPEN]
            ]
            for segment in portion if len(portion) > 1 else ():
                segment.expect(low)
            for segment in portion:
                found += segment.look(low, high)
    return found


def rows_in(pages: Mapping[int, bytes], count: int, width: int, low: bytes, high: bytes | None) -> list[bytes] | None:
    """The rows from `low` on and before `high` of a segment of `count`, of which these are pages by number; None where
    they do not show that these are all.
    """
    last = -(-count // PAGE) - 1
    at = max((number for number, page in pages.items() if number == 0 or page[:width] < low), default=-1)
    rows: list[bytes] = []
    while at in pages:
        rows += (pages[at][start : start + width] for start in range(0, len(pages[at]), width))
        if at == last or (high is not None and rows[-1] >= high):
            ordered = all(one < other for one, other in pairwise(rows))
            return [row for row in rows if row >= low and (high is None or row < high)] if ordered else None
        at += 1
    return None if count else []


def pages_proof(hashes: Sequence[bytes], numbers: Iterable[int]) -> list[bytes]:
    """The hashes that lead from the leaves of these numbers to the root, left to right."""
    ordered = sorted(numbers)

    def walk(low: int, high: int) -> Iterator[bytes]:
        at = bisect_left(ordered, low)
        if at == len(ordered) or ordered[at] >= high:
            yield root(hashes[low:high])
        elif high - low > 1:
            middle = low + _split(high - low)
            yield from walk(low, middle)
            yield from walk(middle, high)

    return list(walk(0, len(hashes)))


def pages_root(count: int, pages: Mapping[int, bytes], proof: Sequence[bytes]) -> bytes | None:
    """The root of a tree of `count` leaves, of which these are some; None where the proof has not exactly the hashes
    that are missing.
    """
    if not count:
        return None if pages or proof else EMPTY_ROOT
    ordered, rest = sorted(pages), iter(proof)
    leaves = dict(zip(ordered, leaf_hashes([pages[number] for number in ordered]), strict=True))

    def walk(low: int, high: int) -> bytes:
        at = bisect_left(ordered, low)
        if at == len(ordered) or ordered[at] >= high:
            return next(rest)
        if high - low == 1:
            return leaves[low]
        middle = low + _split(high - low)
        left = walk(low, middle)
        return node_hash(left, walk(middle, high))

    try:
        found = walk(0, count)
    except StopIteration:
        return None
    return None if next(rest, None) is not None else found


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
