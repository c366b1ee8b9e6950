"""A partition's records in portions that do not depend on the engine: how a site carries its log to another one.

A portion is one line of JSON, `{"next": N, "runs": [[first, count, source, seal, schema_id, time_ns], …]}`, and then,
of all its records in order: the sequences (8 bytes each, big-endian), the tags (16), the lengths of the values (4), the
values. A run is of one batch and stands at positions that follow one another; positions between runs hold no record.
A portion holds at most 1,000 records, and about 4 MiB of values: the same records give the same bytes on every engine.
"""

import json
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

from exchange.envelope import Batch
from exchange.errors import Invalid
from exchange.log import RecordLog
from exchange.log.blocks import LARGEST_VALUE, MOST_RECORDS
from exchange.names import canonical
from exchange.signing.tags import TAG_BYTES

Placed = tuple[int, Batch]  # the position of its first record, the records
_ROOMY: Final = 4 << 20
_KINDS: Final = (int, int, str, str, int, int)
_BROKEN: Final = (ValueError, KeyError, TypeError, RecursionError, OverflowError)


@dataclass(slots=True)
class _Collected:
    """Records on their way into a portion; `marks` are source, seal, schema id and time of each."""

    positions: list[int]
    marks: list[tuple[str, str, int, int]]
    sequences: list[int]
    tags: list[bytes]
    values: list[bytes]
    size: int = 0

    def runs(self) -> Iterator[tuple[int, int]]:
        """[start, stop) of each run."""
        cuts = [
            at
            for at in range(1, len(self.positions))
            if self.marks[at] != self.marks[at - 1] or self.positions[at] != self.positions[at - 1] + 1
        ]
        return pairwise([0, *cuts, len(self.positions)])


def portions(log: RecordLog, topic: str, partition: int) -> Iterator[bytes]:
    """All of a partition's records, portion after portion."""
    collected = _Collected([], [], [], [], [])
    position = 0
    while (stored := log.read(topic, partition, position, MOST_RECORDS)).positions:
        position = stored.next_position
        for at, schema_id, tag, value in zip(
            stored.positions, stored.schema_ids, stored.tags, stored.values, strict=True
        ):
            headers = log.headers(topic, partition, at)
            source, _, sequence = headers["id"].rpartition("/")
            if collected.positions and (
                len(collected.positions) == MOST_RECORDS or collected.size + len(value) > _ROOMY
            ):
                yield _packed(collected)
                collected = _Collected([], [], [], [], [])
            collected.positions.append(at)
            collected.marks.append((source, headers["seal"], schema_id, _nanoseconds(headers["time"])))
            collected.sequences.append(int(sequence))
            collected.tags.append(tag)
            collected.values.append(value)
            collected.size += len(value)
    if collected.positions:
        yield _packed(collected)


def opened(topic: str, partition: int, data: bytes, where: str) -> list[Placed]:
    """The runs of a portion; `Invalid("export_unreadable")` for what is none."""
    broken = Invalid("export_unreadable", where=where, detail="records")
    line, _, rest = data.partition(b"\n")
    try:
        runs = [tuple(one) for one in json.loads(line)["runs"]]
        counts = [run[1] for run in runs if tuple(map(type, run)) == _KINDS]
    except _BROKEN:
        raise broken from None
    total = sum(counts)
    if len(counts) != len(runs) or min(counts, default=1) < 1 or not 0 < total <= MOST_RECORDS:
        raise broken
    lengths = _numbers(rest[24 * total : 28 * total], 4)
    ends = [28 * total, *accumulate(lengths, initial=28 * total)][1:]
    if len(lengths) != total or max(lengths) > LARGEST_VALUE or ends[-1] != len(rest):
        raise broken
    sequences = _numbers(rest[: 8 * total], 8)
    tags = [rest[at : at + TAG_BYTES] for at in range(8 * total, 24 * total, TAG_BYTES)]
    values = [rest[begin:end] for begin, end in pairwise(ends)]
    placed, start, at = [], 0, 0
    for first, count, source, seal, schema_id, time_ns in runs:
        if first < at:
            raise broken
        stop, at = start + count, first + count
        columns = sequences[start:stop], tags[start:stop], values[start:stop]
        placed.append((first, Batch(topic, partition, source, seal, schema_id, time_ns, *columns)))
        start = stop
    return placed


def after(placed: Sequence[Placed], position: int) -> list[Placed]:
    """What of it stands at or after a position."""
    rest = []
    for first, batch in placed:
        skipped = max(0, position - first)
        if skipped < len(batch.sequences):
            columns = batch.sequences[skipped:], batch.tags[skipped:], batch.values[skipped:]
            rest.append((first + skipped, replace(batch, sequences=columns[0], tags=columns[1], values=columns[2])))
    return rest


def _packed(of: _Collected) -> bytes:
    runs = [[of.positions[start], stop - start, *of.marks[start]] for start, stop in of.runs()]
    head = canonical({"next": of.positions[-1] + 1, "runs": runs})
    sequences = b"".join(sequence.to_bytes(8, "big") for sequence in of.sequences)
    lengths = b"".join(len(value).to_bytes(4, "big") for value in of.values)
    return b"".join((head, b"\n", sequences, *of.tags, lengths, *of.values))


def _numbers(data: bytes, width: int) -> Sequence[int]:
    numbers = array("Q" if width == 8 else "I", data[: len(data) // width * width])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tolist()


@lru_cache(maxsize=64)
def _nanoseconds(time: str) -> int:
    """The time of a record's header (`blocks.rfc3339`) in nanoseconds since 1970."""
    return int(datetime.fromisoformat(time[:19] + "+00:00").timestamp()) * 1_000_000_000 + int(time[20:29])
