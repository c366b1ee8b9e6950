"""A range of the log that a bundle holds whole: its entries, and that they and nothing else stand there.

`range/<index>` holds the entries from this index on as C2SP tlog-tiles has them, each behind its length as a big-endian
uint16, cut where the log's own bundles of 256 end. `range/proof` has the hashes of the largest subtrees beside the
range, left to right: with those of the entries they give the root.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Dict, Iterator, List, NamedTuple, Optional

from .complete import LeftOut

FILE = re.compile(r"range/(proof|0|[1-9][0-9]{0,17})")
WIDTH = 256
MOST = 1 << 17
_PROOF = "range/proof"


class Span(NamedTuple):
    """The entries from index `lo` on."""

    lo: int
    leaves: List[bytes]

    @property
    def hi(self) -> int:
        """The index behind the last one."""
        return self.lo + len(self.leaves)


def read(files: Dict[str, bytes], size: int, root: bytes) -> Optional[Span]:
    """The range of a bundle under a checkpoint of this size and root; None where there is none. `LeftOut` says what
    does not hold.
    """
    if not any(FILE.fullmatch(name) for name in files):
        return None
    firsts = sorted(int(name[6:]) for name in files if FILE.fullmatch(name) and name != _PROOF)
    leaves: List[bytes] = []
    for first in firsts:
        if first != firsts[0] + len(leaves) or (leaves and first % WIDTH):
            raise LeftOut("range_differs", "range/%d" % first, "%d" % (firsts[0] + len(leaves)))
        found = list(_framed(first, files["range/%d" % first]))
        if not 0 < len(found) <= WIDTH - first % WIDTH or len(leaves) > MOST:
            raise LeftOut("range_differs", "range/%d" % first, "%d" % len(found))
        leaves += found
    span = Span(firsts[0] if firsts else 0, leaves)
    if not leaves or span.hi > size or _root(span, size, _hashes(files.get(_PROOF, b""))) != root:
        raise LeftOut("range_differs", "range/%d" % span.lo, "[%d, %d)" % (span.lo, span.hi))
    return span


def _framed(first: int, data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise LeftOut("range_differs", "range/%d" % first, "byte %d" % at)
        yield data[at + 2 : end]
        at = end


def _hashes(data: bytes) -> List[bytes]:
    try:
        hashes = [base64.b64decode(line, validate=True) for line in data.split(b"\n")[:-1]]
    except binascii.Error:
        hashes = [b""]
    if b"".join(base64.b64encode(one) + b"\n" for one in hashes) != data or any(len(one) != 32 for one in hashes):
        raise LeftOut("range_differs", _PROOF, "base64")
    return hashes


def _root(span: Span, size: int, proof: List[bytes]) -> Optional[bytes]:
    """The root of a tree of which these are the leaves [lo, hi); None unless the proof has exactly the other hashes."""
    rest = iter(proof)

    def walk(low: int, high: int) -> bytes:
        if high <= span.lo or span.hi <= low:
            return next(rest)
        if high - low == 1:
            return hashlib.sha256(b"\x00" + span.leaves[low - span.lo]).digest()
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        left = walk(low, middle)
        return hashlib.sha256(b"\x01" + left + walk(middle, high)).digest()

    try:
        found = walk(0, size)
    except StopIteration:
        return None
    return found if next(rest, None) is None else None
