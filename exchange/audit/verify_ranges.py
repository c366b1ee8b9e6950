"""Rules of the offline verifier for what was read and how often: positions, counters, a gateway's runs.

Part of `verify`, and like it written without the code that it judges.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

Report = Callable[[str, int, str], None]

_MAX_RANGE: Final = 1 << 22  # positions in a release: 10,000 records, wherever a log leaves gaps


class Ranges:
    """What publishers committed, and that releases show nothing else."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.blind = False
        self._ends: dict[str, int] = {}  # topic/partition → end of what is committed, from 0 without gaps

    def dump(self) -> dict[str, int]:
        """All that later entries are judged by."""
        return self._ends

    def load(self, dumped: Mapping[str, int]) -> None:
        """What `dump` gave."""
        self._ends = dict(dumped)

    def commit(self, index: int, body: Mapping[str, Any]) -> None:
        """A publisher's commit follows the one before it."""
        place, lo, hi = f"{body['topic']}/{body['partition']}", body["lo"], body["hi"]
        end = self._ends.get(place, 0)
        if lo != end and not self.blind:
            self._report("commit_range", index, f"{place}: [{lo}, {hi}) does not follow {end}")
        if not 0 < body["count"] <= hi - lo:
            self._report("commit_range", index, f"{place}: {body['count']} records in [{lo}, {hi})")
        self._ends[place] = max(end, hi)

    def release(self, index: int, body: Mapping[str, Any]) -> None:
        """A release shows only committed positions, and its numbers fit them."""
        if body["lo"] is not None or body["hi"] is not None:
            self._range(index, body)
        elif body["excluded"] is not None:
            self._report("excluded_malformed", index, "its bitmap does not fit its range")
        if not len(body["tags"]) == len(body["partitions"]) == len(body["positions"]):
            self._report("release_counts", index, "tags, partitions and positions are not equally many")
        for partition, position in zip(body["partitions"], body["positions"], strict=False):
            if position is not None:
                self._inside(index, f"{body['topic']}/{partition}", position, position + 1)

    def _range(self, index: int, body: Mapping[str, Any]) -> None:
        lo, hi = body["lo"], body["hi"]
        self._inside(index, f"{body['topic']}/{body['partition']}", lo, hi)
        held_back = body["excluded_count"] + body["withheld"]
        if body["excluded"] is not None:
            bits = _unfolded(body["excluded"], lo, hi)
            if bits is None:
                self._report("excluded_malformed", index, "its bitmap does not fit its range")
            elif int.from_bytes(bits, "little").bit_count() != held_back:
                self._report("release_counts", index, f"{held_back} records held back, the bitmap has another number")
        elif held_back:
            self._report("release_counts", index, f"{held_back} records held back, and no bitmap")
        if (
            min(body["released"], body["excluded_count"], body["withheld"]) < 0
            or body["released"] + held_back > hi - lo
        ):
            self._report("release_counts", index, f"more records than [{lo}, {hi}) has positions")

    def _inside(self, index: int, place: str, lo: int, hi: int) -> None:
        end = self._ends.get(place, 0)
        if not 0 <= lo < hi or (hi > end and not self.blind):
            self._report("range_uncommitted", index, f"{place}: [{lo}, {hi}), publishers committed [0, {end})")


class Runs:
    """Counters without gap or double, and runs that name the end of the one before."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.blind = False
        self._counters: dict[str, tuple[int, dict[int, int]]] = {}  # run/what → next number, those beyond it
        self._used: dict[str, dict[str, int]] = {}  # run → highest number by agreement or dataset
        self._last: dict[str, str] = {}  # gateway → its last run
        self._over: set[str] = set()

    def dump(self) -> dict[str, Any]:
        """All that later entries are judged by."""
        counters = {key: [following, sorted(ahead.items())] for key, (following, ahead) in self._counters.items()}
        return {"counters": counters, "used": self._used, "last": self._last, "over": sorted(self._over)}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """What `dump` gave."""
        self._counters = {key: (following, dict(ahead)) for key, (following, ahead) in dumped["counters"].items()}
        self._used = {run: dict(used) for run, used in dumped["used"].items()}
        self._last, self._over = dict(dumped["last"]), set(dumped["over"])

    def opened(self, index: int, body: Mapping[str, Any]) -> None:
        """A run opens, and says what the one before it used."""
        run, gateway = body["run"].hex(), body["gateway"] or ""
        before = self._last.get(gateway)
        told = body["previous"].hex() if body["previous"] is not None else None
        if run in self._used:
            self._report("run_order", index, f"run {run} opened before")
        if told != before and not self.blind:
            self._report(
                "run_order", index, f"gateway {gateway}: the run before was {before or '-'}, not {told or '-'}"
            )
        elif told is not None and not self.blind and body["previous_counters_digest"] != _digest(self._used[told]):
            self._report("run_end_differs", index, f"run {told} used other release numbers than this one says")
        if before is not None:
            self._over.add(before)
        self._used.setdefault(run, {})
        self._last[gateway] = run

    def count(self, index: int, run_bytes: object, what: object, counter: object) -> None:
        """A release number of a run is used up."""
        if not (isinstance(run_bytes, bytes) and isinstance(what, str) and isinstance(counter, int)):
            raise TypeError
        run = run_bytes.hex()
        if not self.blind:
            if run not in self._used:
                self._report("run_unknown", index, f"run {run} was not opened before")
            elif run in self._over:
                self._report("run_order", index, f"run {run} was over: its gateway had opened another")
        used = self._used.setdefault(run, {})
        used[what] = max(counter, used.get(what, 0))
        key = f"{run}/{what}"
        following, ahead = self._counters.get(key, (1, {}))
        if counter < following or counter in ahead:
            self._report("counter_repeated", index, f"run {run}, {what}: number {counter} was used before")
            return
        ahead[counter] = index
        while following in ahead:
            del ahead[following]
            following += 1
        self._counters[key] = (following, ahead)

    def close(self) -> None:
        """What can be said only at the end."""
        if self.blind:
            return
        for key, (following, ahead) in self._counters.items():
            if ahead:
                run, _, what = key.partition("/")
                place = ahead[min(ahead)]
                self._report("counter_gap", place, f"run {run}, {what}: number {following} is missing")


def _digest(counters: Mapping[str, int]) -> str:
    text = json.dumps(counters, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _unfolded(bitmap: bytes, lo: int, hi: int) -> bytes | None:
    """The bitmap, where it is zlib of exactly one bit for each position; never unfolds more than that."""
    length = (hi - lo + 7) // 8
    if not 0 < hi - lo <= _MAX_RANGE:
        return None
    unfold = zlib.decompressobj()
    try:
        bits = unfold.decompress(bitmap, length + 1)
    except zlib.error:
        return None
    return bits if len(bits) == length and unfold.eof and not unfold.unused_data else None
