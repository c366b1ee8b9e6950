"""Rules of the offline verifier for the sealed subject index: segments follow one another, and the lists over the audit
log itself are made again from its entries.

Part of `verify`, and like it written without the code that it judges. The rows stand in temporary files, in the order
of the entries: memory grows with one segment, not with the log.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import IO, Any, Final

from exchange.audit.verify_forms import peaks, tree

Report = Callable[[str, int, str], None]

_PAGE: Final = 256  # rows
_SPAN: Final = 16_384  # positions in one row of `@ranges` at the most
_WIDTHS: Final[Mapping[str, int]] = {"@named": 24, "@ranges": 40}
_NAMING: Final = frozenset(("release", "refusal", "audit_query"))
_LONGEST: Final = 1 << 22  # positions in a release
_SPOOLED: Final = 1 << 20


class Segments:
    """What the log says of its sealed index, against its own entries. Segments over entries before those that came here
    cannot be made again, and are counted in `unseen`.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.blind = False
        self.unseen = 0
        self._start: int | None = None
        self._ends: dict[str, int] = {}  # list or topic/partition → up to where it is sealed
        self._counts: dict[str, list[list[int]]] = {}  # topic/partition → ends of commits, records before each
        self._rows = {name: _Rows(width) for name, width in _WIDTHS.items()}

    def dump(self) -> dict[str, Any]:
        """All that later entries are judged by, but the rows."""
        return {"ends": self._ends, "counts": self._counts, "unseen": self.unseen}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """What `dump` gave."""
        self._ends, self.unseen = dict(dumped["ends"]), dumped["unseen"]
        self._counts = {place: [list(one) for one in counts] for place, counts in dumped["counts"].items()}

    def take(self, index: int, kind: str, body: Mapping[str, Any]) -> None:
        """The rows that an entry gives; each entry comes here, in order."""
        if self._start is None:
            self._start = index
        if kind in _NAMING and body["tags"]:
            self._rows["@named"].add([tag + _bytes(index) for tag in sorted(set(body["tags"]))])
        if kind == "release" and body["lo"] is not None:
            self._rows["@ranges"].add(list(_range_rows(index, body)))

    def commit(self, body: Mapping[str, Any]) -> None:
        """A publisher's commit: so many records more."""
        counts = self._counts.setdefault(f"{body['topic']}/{body['partition']}", [[0, 0]])
        counts.append([body["hi"], counts[-1][1] + body["count"]])

    def sealed(self, index: int, body: Mapping[str, Any]) -> None:
        """A segment: it goes on where others are, covers only what is there, and says what the log says."""
        topic, lo, hi = body["topic"], body["lo"], body["hi"]
        place = f"{topic}/{body['partition']}"
        end = self._ends.get(place, 0)
        if not 0 <= lo < hi or (lo > end and not self.blind):
            self._report("segment_span", index, f"{place}: [{lo}, {hi}), sealed up to {end}")
        self._ends[place] = max(end, hi)
        if topic in _WIDTHS:
            self._of_log(index, body)
        elif not self.blind:
            self._of_records(index, place, body)

    def close(self) -> None:
        """Gives back the temporary files."""
        for rows in self._rows.values():
            rows.close()

    def _of_log(self, index: int, body: Mapping[str, Any]) -> None:
        lo, hi = body["lo"], body["hi"]
        if hi > index or body["partition"]:
            self._report("segment_span", index, f"{body['topic']}: [{lo}, {hi}) of entries before this one")
        elif self.blind:
            return
        elif self._start is None or lo < self._start:
            self.unseen += 1
        elif (body["count"], body["root"], body["digest"]) != self._rows[body["topic"]].sealed(lo, hi):
            self._report("segment_differs", index, f"{body['topic']}: [{lo}, {hi})")

    def _of_records(self, index: int, place: str, body: Mapping[str, Any]) -> None:
        """Records are not in this log, but how many there are."""
        lo, hi, counts = body["lo"], body["hi"], self._counts.get(place, [[0, 0]])
        if hi > counts[-1][0]:
            self._report("segment_span", index, f"{place}: [{lo}, {hi}), publishers committed [0, {counts[-1][0]})")
            return
        before = {one[0]: one[1] for one in counts}
        most = next(number for end, number in counts if end >= hi) - max(n for end, n in counts if end <= lo)
        exact = lo in before and hi in before
        if body["count"] > most or (exact and body["count"] != most):
            self._report(
                "segment_differs", index, f"{place}: {body['count']} records in [{lo}, {hi}), committed: {most}"
            )
        done = [one for one in counts if one[0] <= hi][:-1]
        self._counts[place] = counts[len(done) :]


class _Rows:
    """Rows of one list, in the order of the entries that they are of; each ends with the index of its entry."""

    def __init__(self, width: int) -> None:
        self._width, self._count = width, 0
        self._made: IO[bytes] | None = None

    def add(self, rows: list[bytes]) -> None:
        if rows:
            self._file.write(b"".join(rows))
            self._count += len(rows)

    def sealed(self, lo: int, hi: int) -> tuple[int, bytes, str]:
        """Count, root and digest of the segment over the entries [lo, hi)."""
        first, last = self._first(lo), self._first(hi)
        self._file.seek(first * self._width)
        data = self._file.read((last - first) * self._width)
        self._file.seek(0, 2)
        ordered = sorted(data[at : at + self._width] for at in range(0, len(data), self._width))
        pages = [b"".join(ordered[at : at + _PAGE]) for at in range(0, len(ordered), _PAGE)]
        hashes = [hashlib.sha256(b"\x00" + page).digest() for page in pages]
        digest = hashlib.sha256(b"".join([*pages, *hashes])).hexdigest()
        return len(ordered), tree(peaks(hashes)), f"sha256:{digest}"

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    @property
    def _file(self) -> IO[bytes]:
        if self._made is None:
            self._made = tempfile.SpooledTemporaryFile(_SPOOLED)  # noqa: SIM115 - closed by `close`
        return self._made

    def _first(self, index: int) -> int:
        """The number of the first row of an entry at or behind this index."""
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            self._file.seek((middle + 1) * self._width - 8)
            if int.from_bytes(self._file.read(8), "big") < index:
                low = middle + 1
            else:
                high = middle
        return low


def _range_rows(index: int, body: Mapping[str, Any]) -> Iterator[bytes]:
    lo, hi, partition = body["lo"], body["hi"], body["partition"]
    if not (0 <= lo < hi <= lo + _LONGEST and partition >= 0):
        return  # no range of a release: it is named by another rule
    place = _place(body["topic"], partition)
    for first in range(lo, hi, _SPAN):
        yield place + _bytes(first) + _bytes(min(first + _SPAN, hi)) + _bytes(index)


@lru_cache(1_000)
def _place(topic: str, partition: int) -> bytes:
    return hashlib.sha256(topic.encode() + b"\x00" + partition.to_bytes(4, "big")).digest()[:16]


def _bytes(number: int) -> bytes:
    return number.to_bytes(8, "big")
