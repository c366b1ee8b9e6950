"""Records of `ps.hukou_person` (11 fields) as an adapter hands them over: plausible, different, made from a number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from exchange.source import Place, SourceBatch

DATASET: Final = "ps.hukou_person"
SOURCE: Final = "ny.gongan/bench"
_BORN: Final = date(1936, 1, 1)
_FAMILY: Final = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
_GIVEN: Final = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超兰霞平"
_REGIONS: Final = ("431126103201", "431126104203", "431126101005", "431126107210", "430525111200")
_STATUS: Final = ("ACTIVE", "ACTIVE", "ACTIVE", "MOVED_OUT", "DECEASED")


def person_id(number: int) -> str:
    """The subject of record `number`; another for each below 10^9. None looks like a spreadsheet's rounded number."""
    return f"431126{number:09d}{number % 996 + 1:03d}"


def value(number: int) -> dict[str, Any]:
    """Record `number`. One in five lies in another county, two in three have no photograph."""
    name = _FAMILY[number % 20] + _GIVEN[number // 20 % 20] + _GIVEN[number // 400 % 20]
    moved = number % 5 == 3
    return {
        "person_id": person_id(number),
        "name": name,
        "sex": "MF"[number % 2],
        "birth_date": _BORN + timedelta(days=number * 7 % 32_000),
        "household_id": f"4311260{number // 3:09d}",
        "relation_to_head": ("户主", "配偶", "子女")[number % 3],
        "hukou_region": _REGIONS[number % 5],
        "status": _STATUS[number % 5],
        "status_date": date(2024, 1 + number % 12, 1) if moved else None,
        "ethnicity": "汉族" if number % 4 else "瑶族",
        "photo_ref": None if number % 3 else f"photo/2024/{number:09d}.jpg",
    }


def batch(first: int, count: int) -> SourceBatch:
    """Records first … first + count - 1, each with its number + 1 as its sequence."""
    numbers = range(first, first + count)
    places = [Place("bench.csv", number + 2) for number in numbers]
    return SourceBatch([number + 1 for number in numbers], [value(number) for number in numbers], places)


@dataclass(frozen=True)
class Ready:
    """An adapter over batches that lie in memory."""

    ready: Sequence[SourceBatch]
    source: str = SOURCE
    notes: Sequence[str] = ()

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        """See `Adapter.batches`."""
        return (one for one in self.ready if one.sequences[-1] > mark and len(one.sequences) <= limit)


@dataclass(frozen=True)
class Stream:
    """An adapter that makes records as they are asked for: for what memory publishing needs."""

    count: int
    source: str = SOURCE
    notes: Sequence[str] = ()

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        """See `Adapter.batches`."""
        for first in range(mark, self.count, limit):
            yield batch(first, min(limit, self.count - first))
