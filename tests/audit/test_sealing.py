"""Sealing the index: what the sealed part says is what the index says, and every part of it is proved."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from exchange.audit.log import AuditLog
from exchange.audit.sealing import SPAN, Segmented, Segments, rows_of, segments_of, tiling
from exchange.audit.segments import PAGE, Sealed, pages_root
from exchange.audit.subjects import SubjectIndex
from exchange.errors import Tampered
from tests.audit.building import clock, log_at, release
from tests.audit.test_subjects import (  # noqa: F401  # `_index_of` is a fixture
    RECORDS,
    TAGS,
    TOPICS,
    Open,
    _entries,
    _index_of,
    _reader,
    index_at,
)

ENDS = {place: rows[-1][0] + 1 for place, rows in RECORDS.items()}


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> Iterator[AuditLog]:
    with log_at(tmp_path) as log:
        entries = _entries(random.Random(11))
        log.submit(entries)
        log.wait(entries[-1].id)
        yield log


def _segments(folder: Path, log: AuditLog) -> Segments:
    return Segments(folder / "segments", log, _reader(RECORDS), clock())


def _named_in(log: AuditLog) -> list[Segmented]:
    return segments_of(log.entries(0, log.size))


def _index(folder: Path, log: AuditLog) -> SubjectIndex:
    index = index_at(folder / "index.db")
    index.follow(TOPICS, _reader(RECORDS), log)
    return index


def test_the_sealed_part_finds_what_the_index_finds(tmp_path: Path, log: AuditLog) -> None:
    """Every sighting is among what the segments show, and what is beyond them was excluded by a bitmap; each part is
    proved by root and count alone.
    """
    segments, made = _segments(tmp_path, log), []
    size = log.size
    count = segments.seal([], log.size, ENDS, 1, lambda: made.append(1))
    assert count == len(made) == len(ENDS) + 2 == len(_named_in(log))
    index = _index(tmp_path, log)
    for tag in TAGS:
        answer = segments.answer([tag], _named_in(log))
        assert (answer.entries, answer.records) == (size, ENDS)
        seen = {one.index for one in index.who_saw(tag) if one.index < size}
        assert seen <= answer.indexes
        bodies = {index: log.entry(index)[1] for index in answer.indexes - seen}
        assert all(body["excluded"] for body in bodies.values())
        for part in answer.parts:
            pages = -(-part.segment.sealed.count // PAGE)
            assert pages_root(pages, part.pages, part.proof) == part.segment.sealed.root
    index.close()


def test_sealing_goes_on_where_it_was(tmp_path: Path, log: AuditLog) -> None:
    """Only what is behind the known segments is sealed, and only when enough of it waits; another sealer's same
    segment is taken for one's own.
    """
    segments = _segments(tmp_path, log)
    first = segments.seal([], log.size, ENDS, 1, lambda: None)
    assert first == 4
    size = log.size
    known = _named_in(log)
    assert segments.seal(known, log.size, ENDS, 1_000, lambda: None) == 0
    assert log.size == size
    assert segments.seal(known, log.size, ENDS, 1, lambda: None) == 2  # the entries that the first sealing made
    again = _segments(tmp_path / "other", log)
    before = {one.index: one for one in _named_in(log)}
    for one in before.values():
        again.remake(one)
    assert {one.name for one in (tmp_path / "other" / "segments").iterdir()} == {
        one.name for one in (tmp_path / "segments").iterdir()
    }


def test_a_missing_file_is_made_again_and_a_changed_log_is_noticed(tmp_path: Path, log: AuditLog) -> None:
    """Files are derived; what cannot be made as it was sealed is no answer."""
    segments = _segments(tmp_path, log)
    segments.seal([], log.size, ENDS, 1, lambda: None)
    known = _named_in(log)
    before = {tag: segments.answer([tag], known).indexes for tag in TAGS}
    for file in (tmp_path / "segments").iterdir():
        file.unlink()
    assert {tag: segments.answer([tag], known).indexes for tag in TAGS} == before
    for file in (tmp_path / "segments").iterdir():
        file.unlink()
    fewer = {place: rows[:-1] for place, rows in RECORDS.items()}
    other = Segments(tmp_path / "segments", log, _reader(fewer), clock())
    with pytest.raises(Tampered):
        other.answer(TAGS[:1], known)


@pytest.mark.parametrize(
    ("spans", "chosen"),
    [
        ([(0, 10), (10, 20)], [(0, 10), (10, 20)]),
        ([(0, 10), (0, 20), (10, 20), (20, 30)], [(0, 20), (20, 30)]),
        ([(0, 10), (11, 20)], [(0, 10)]),
        ([(5, 10)], []),
        ([(0, 10), (5, 15), (10, 12)], [(0, 10), (10, 12)]),
    ],
)
def test_segments_tile_from_the_beginning(spans: Sequence[tuple[int, int]], chosen: Sequence[tuple[int, int]]) -> None:
    """Without a gap and without an overlap; what does not fit on is of no use."""
    some = [Segmented(at, "t", 0, lo, hi, Sealed(0, b"", "")) for at, (lo, hi) in enumerate(spans)]
    assert [(one.lo, one.hi) for one in tiling(reversed(some))] == chosen


def test_a_long_range_is_found_from_each_of_its_positions(tmp_path: Path) -> None:
    """It stands in pieces, none longer than is looked back for."""
    with log_at(tmp_path) as log:
        log.append(release(1, lo=5, hi=5 + 3 * SPAN + 7))
        rows = list(rows_of("ranges", log.entries(0, log.size)))
        numbers = [[int.from_bytes(row[at : at + 8], "big") for at in (16, 24, 32)] for row in rows]
        assert [lo for lo, _, _ in numbers] == [5 + number * SPAN for number in range(4)]
        assert [hi for _, hi, _ in numbers] == [*(5 + number * SPAN for number in (1, 2, 3)), 5 + 3 * SPAN + 7]
        assert {index for _, _, index in numbers} == {2}


def test_index_and_segments_are_made_again(tmp_path: Path, log: AuditLog, index_of: Open) -> None:
    """On each engine, from the logs alone: another index names the same segments and answers alike, another folder
    gets the same files under the same roots.
    """
    index, segments = index_of("index"), _segments(tmp_path, log)
    segments.seal([], log.size, ENDS, 1, lambda: None)
    index.follow(TOPICS, _reader(RECORDS), log)
    known, told = index.segments(), {tag: index.who_saw(tag) for tag in TAGS}
    proved = {tag: segments.answer([tag], known) for tag in TAGS}
    again, other = index_of("again"), _segments(tmp_path / "other", log)
    again.follow(TOPICS, _reader(RECORDS), log)
    assert again.segments() == known == _named_in(log)
    assert {tag: again.who_saw(tag) for tag in TAGS} == told
    assert {tag: other.answer([tag], again.segments()) for tag in TAGS} == proved
    for one in (tmp_path / "segments").iterdir():
        assert (tmp_path / "other" / "segments" / one.name).read_bytes() == one.read_bytes()


def test_however_often_a_little_is_sealed_few_segments_cover_the_log(tmp_path: Path, log: AuditLog) -> None:
    """One that is no longer than what is new is taken into it; records stay as they were sealed."""
    segments = _segments(tmp_path, log)
    for number in range(12):
        segments.seal(_named_in(log), log.size, ENDS, 1, lambda: None)
        log.append(release(1_000 + number, lo=0, hi=10))
    tiles = [one for one in _named_in(log) if one.topic == "@named"]
    assert len(tiles) == 12
    assert 2 <= len(tiling(tiles)) <= 5
    assert len([one for one in _named_in(log) if one.list == "records"]) == len(ENDS)
    answer = segments.answer(TAGS[:1], _named_in(log))
    index = _index(tmp_path, log)
    assert {one.index for one in index.who_saw(TAGS[0]) if one.index < answer.entries} <= answer.indexes
    index.close()


def test_what_was_released_beyond_the_sealed_records_is_not_whole(tmp_path: Path) -> None:
    """Of a partition that no segment covers, or behind the sealed positions: nobody can say whose they were."""
    with log_at(tmp_path) as log:
        log.append(release(1, lo=60, hi=199))
        log.append(release(2, lo=0, hi=5, partition=1))
        segments = _segments(tmp_path, log)
        segments.seal([], log.size, ENDS, 1, lambda: None)
        known = _named_in(log)
        assert segments.answer(TAGS[:1], known).whole
        assert not segments.answer(TAGS[:1], [one for one in known if one.partition != 1]).whole
        short = _segments(tmp_path / "short", log)
        others = [one for one in known if one.hi != 199]
        short.seal(others, log.size, {("ps.person", 0): 190}, 1, lambda: None)
        assert not short.answer(TAGS[:1], [one for one in _named_in(log) if one.hi != 199]).whole
