"""C2SP tlog-tiles over RFC 6962: paths, the right edge that grows, and proofs from tiles. No I/O.

A tile of level L holds up to 256 hashes, each the root of 256^L leaves; `tile/entries/<N>` holds the leaves
themselves, each behind its length as a big-endian uint16. Full tiles never change. Of the last tile of each level
there is a partial one, `.p/<W>`, for the size of every checkpoint.
"""

import base64
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from exchange.errors import Tampered
from exchange.signing.merkle import EMPTY_ROOT, leaf_hashes, node_hash, root

WIDTH: Final = 256
HASH: Final = 32


def number(n: int) -> str:
    """N in path form: groups of three digits, all but the last behind an x (1234067 → x001/x234/067)."""
    groups = [f"{n % 1000:03d}"]
    while n := n // 1000:
        groups.append(f"x{n % 1000:03d}")
    return "/".join(reversed(groups))


def path(level: int | None, n: int, width: int = WIDTH) -> str:
    """The path of a tile, or of an entry bundle when `level` is None; `width` below 256 makes it partial."""
    kind = "entries" if level is None else str(level)
    return f"tile/{kind}/{number(n)}" + (f".p/{width}" if width < WIDTH else "")


def width_at(level: int | None, n: int, size: int) -> int:
    """How many hashes (or entries) the tile has in a tree of this size; 0 or less when it is not there."""
    return min(WIDTH, (size >> 8 * (level or 0)) - n * WIDTH)


def frame(leaf: bytes) -> bytes:
    """A leaf as it stands in an entry bundle."""
    return struct.pack(">H", len(leaf)) + leaf


def unframe(bundle: bytes, count: int, where: str = "") -> list[bytes]:
    """The first `count` leaves of a bundle; `Tampered("audit_log_damaged")` when it has fewer."""
    leaves, at = [], 0
    for _ in range(count):
        length = int.from_bytes(bundle[at : at + 2], "big")
        leaf = bundle[at + 2 : at + 2 + length]
        if at + 2 > len(bundle) or len(leaf) != length:
            raise Tampered("audit_log_damaged", where=where, detail="an entry bundle is cut off")
        leaves.append(leaf)
        at += 2 + length
    return leaves


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree: all that is needed to append. `levels[L]` has the hashes of the last tile of level L,
    fewer than 256; `bundle` the framed leaves of the last entry bundle.
    """

    size: int = 0
    levels: tuple[tuple[bytes, ...], ...] = ()
    bundle: bytes = b""

    def root(self) -> bytes:
        """The tree's root (RFC 6962 §2.1)."""
        peaks = [peak for hashes in reversed(self.levels) for peak in _peaks(hashes)]
        if not peaks:
            return EMPTY_ROOT
        tree = peaks.pop()
        while peaks:
            tree = node_hash(peaks.pop(), tree)
        return tree

    def append(self, leaves: Sequence[bytes]) -> tuple["Edge", dict[str, bytes]]:
        """The edge after these leaves, and the files that are new: full tiles and the partial ones of the new size."""
        files: dict[str, bytes] = {}
        size, bundle = self.size, self.bundle
        for start, stop in _pieces(size, len(leaves)):
            bundle += b"".join(map(frame, leaves[start - self.size : stop - self.size]))
            files[path(None, start // WIDTH, stop - start // WIDTH * WIDTH)] = bundle
            bundle = b"" if stop % WIDTH == 0 else bundle
        levels, size = self._grown(leaf_hashes(leaves), files), size + len(leaves)
        return Edge(size, levels, bundle), files

    def _grown(self, hashes: list[bytes], files: dict[str, bytes]) -> tuple[tuple[bytes, ...], ...]:
        grown, level = [], 0
        while hashes or level < len(self.levels):
            old = list(self.levels[level]) if level < len(self.levels) else []
            first, row, fresh = self.size >> 8 * (level + 1), old + hashes, bool(hashes)
            hashes = []
            for n in range(len(row) // WIDTH):
                tile = row[n * WIDTH : (n + 1) * WIDTH]
                files[path(level, first + n)] = b"".join(tile)
                hashes.append(root(tile))
            rest = row[len(row) // WIDTH * WIDTH :]
            if rest and fresh:
                files[path(level, first + len(row) // WIDTH, len(rest))] = b"".join(rest)
            grown.append(tuple(rest))
            level += 1
        return tuple(grown)


def paths_between(old: int, size: int) -> set[str]:
    """The files that `append` gives when a tree grows from `old` to `size` entries."""
    found = set()
    for level in (None, *range(8)):
        before, now = (at >> 8 * (level or 0) for at in (old, size))
        if now > before:
            found |= {path(level, n) for n in range(before // WIDTH, now // WIDTH)}
            found |= {path(level, now // WIDTH, now % WIDTH)} if now % WIDTH else set()
    return found


def _pieces(size: int, count: int) -> Iterator[tuple[int, int]]:
    """[size, size + count) cut at the ends of bundles."""
    at, end = size, size + count
    while at < end:
        stop = min(end, (at // WIDTH + 1) * WIDTH)
        yield at, stop
        at = stop


def _peaks(hashes: Sequence[bytes]) -> Iterator[bytes]:
    at = 0
    for power in range(7, -1, -1):
        if len(hashes) & 1 << power:
            yield root(hashes[at : at + (1 << power)])
            at += 1 << power


ReadTile = Callable[[int, int], Sequence[bytes]]


def read_edge(size: int, read_tile: ReadTile, read_bundle: Callable[[int], bytes]) -> Edge:
    """The edge of a tree from its last, partial tiles: at most one tile for each level."""
    levels, level = [], 0
    while size >> 8 * level:
        n, width = divmod(size >> 8 * level, WIDTH)
        levels.append(tuple(read_tile(level, n)) if width else ())
        level += 1
    return Edge(size, tuple(levels), read_bundle(size // WIDTH) if size % WIDTH else b"")


def range_root(lo: int, hi: int, read_tile: ReadTile) -> bytes:
    """MTH of RFC 6962 over the leaves [lo, hi), where lo is a multiple of the smallest power of two ≥ hi - lo."""
    count = hi - lo
    height = count.bit_length() - 1
    if count == 1 << height:
        level, rest = divmod(height, 8)
        first = lo >> 8 * level
        tile = read_tile(level, first // WIDTH)
        return root(tile[first % WIDTH : first % WIDTH + (1 << rest)])
    middle = lo + split(count)
    return node_hash(range_root(lo, middle, read_tile), range_root(middle, hi, read_tile))


def root_at(size: int, read_tile: ReadTile) -> bytes:
    """The root that the tree had at this size."""
    return range_root(0, size, read_tile) if size else EMPTY_ROOT


def inclusion(index: int, size: int, read_tile: ReadTile) -> list[bytes]:
    """The inclusion proof of leaf `index` in the tree of `size` leaves (RFC 9162 §2.1.3.1), 0 ≤ index < size."""
    proof: list[bytes] = []
    lo, hi = 0, size
    while hi - lo > 1:
        middle = lo + split(hi - lo)
        if index < middle:
            proof.append(range_root(middle, hi, read_tile))
            hi = middle
        else:
            proof.append(range_root(lo, middle, read_tile))
            lo = middle
    return proof[::-1]


def range_proof(lo: int, hi: int, size: int, read_tile: ReadTile) -> list[bytes]:
    """The hashes that lead from the leaves [lo, hi) to the root of `size` leaves, left to right: those of the
    largest subtrees beside them. 0 ≤ lo < hi ≤ size.
    """

    def walk(low: int, high: int) -> Iterator[bytes]:
        if high <= lo or hi <= low:
            yield range_root(low, high, read_tile)
        elif low < lo or hi < high:
            middle = low + split(high - low)
            yield from walk(low, middle)
            yield from walk(middle, high)

    return list(walk(0, size))


def consistency(old: int, new: int, read_tile: ReadTile) -> list[bytes]:
    """The consistency proof between two sizes (RFC 9162 §2.1.4.1), 0 ≤ old ≤ new; empty when old is 0 or new."""
    proof: list[bytes] = []
    lo, hi = 0, new
    if old in (0, new):
        return proof
    while hi != old:
        middle = lo + split(hi - lo)
        if old <= middle:
            proof.append(range_root(middle, hi, read_tile))
            hi = middle
        else:
            proof.append(range_root(lo, middle, read_tile))
            lo = middle
    if lo:
        proof.append(range_root(lo, hi, read_tile))
    return proof[::-1]


def split(count: int) -> int:
    """The largest power of two below count."""
    return 1 << (count - 1).bit_length() - 1


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], tree: bytes) -> bool:
    """Whether the proof shows this leaf hash at `index` under the root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, current = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            current = node_hash(sibling, current)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and current == tree


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of `new` leaves extends the one of `old` leaves (RFC 9162 §2.1.4.2)."""
    if old > new or old < 0:
        return False
    if old in (0, new):
        return not proof and (old_root == new_root if old == new else old_root == EMPTY_ROOT)
    path_hashes = list(proof)
    if old & (old - 1) == 0:
        path_hashes.insert(0, old_root)
    if not path_hashes:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = path_hashes[0]
    for sibling in path_hashes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def proof_text(index: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The evidence for one entry that an auditor keeps: C2SP tlog-proof, `@v1`."""
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *(base64.b64encode(one).decode() for one in proof), ""]
    return "\n".join(lines).encode() + b"\n" + checkpoint
