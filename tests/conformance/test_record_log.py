"""What every record log promises (`exchange.log.RecordLog`), tested on every engine.

An engine is a function from an empty folder to an open log of what is stored there: one line in `ENGINES`.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.envelope import Batch
from exchange.errors import Invalid
from exchange.log import RecordLog
from exchange.log.sqlite import SqliteRecordLog
from tests.log.kafka import kafka_log, modelled_log
from tests.log.memory import folder_in_memory
from tests.profiles import examples

Open = Callable[[Path], RecordLog]
ENGINES: dict[str, Open] = {
    "sqlite": lambda folder: SqliteRecordLog(folder / "records.db"),
    "modelled": modelled_log,
    "kafka": lambda folder: kafka_log("kafka", folder),
    "kafka+librdkafka": lambda folder: kafka_log("kafka+librdkafka", folder),
}
TOPIC = "ps.person"
PARTITIONS = 3


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory instead of pytest's."""
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Open:
    """Each engine in turn."""
    return ENGINES[request.param]


@pytest.fixture
def log(engine: Open, tmp_path: Path) -> Iterator[RecordLog]:
    """A log with one topic of three partitions and its dead letters."""
    made = engine(tmp_path)
    made.create(TOPIC, PARTITIONS)
    made.create(f"dead.{TOPIC}", 1)
    yield made
    made.close()


def batch(sequences: Sequence[int], partition: int = 0, topic: str = TOPIC, source: str = "src") -> Batch:
    """Records whose tag and value are made from their sequence."""
    tags = [sequence.to_bytes(16, "big") for sequence in sequences]
    values = [b"value %d" % sequence for sequence in sequences]
    return Batch(topic, partition, source, f"seal-{source}", 7, 1_795_420_800_123_456_789, sequences, tags, values)


def values_from(log: RecordLog, partition: int = 0, topic: str = TOPIC, limit: int = 10) -> list[bytes]:
    """All values of a partition, read as a reader does."""
    found: list[bytes] = []
    position = 0
    while (records := log.read(topic, partition, position, limit)).values:
        assert len(records.values) <= limit
        found += records.values
        position = records.next_position
    return found


def test_records_come_back_with_every_column(log: RecordLog) -> None:
    """Value, tag, schema id, position and headers are those that were appended."""
    (positions,) = log.append("src", 9, [batch([3, 5, 9], partition=1)])
    records = log.read(TOPIC, 1, 0, 100)
    assert (records.topic, records.partition) == (TOPIC, 1)
    assert list(records.positions) == list(positions)
    assert list(records.values) == [b"value 3", b"value 5", b"value 9"]
    assert list(records.tags) == [sequence.to_bytes(16, "big") for sequence in (3, 5, 9)]
    assert list(records.schema_ids) == [7, 7, 7]
    assert log.end(TOPIC, 1) > positions[-1]
    headers = [log.headers(TOPIC, 1, position) for position in positions]
    assert [one["id"] for one in headers] == ["src/3", "src/5", "src/9"]
    assert {one["time"] for one in headers} == {"2026-11-23T08:00:00.123456789Z"}
    assert {one["seal"] for one in headers} == {"seal-src"}


def test_reading_goes_on_where_it_ended(log: RecordLog) -> None:
    """Who has read to the end gets the next append whole from there, whatever lies between the two."""
    end = 0
    for sequence in range(1, 7):
        source = f"src-{sequence % 2}"
        ((at,),) = log.append(source, sequence, [batch([sequence], source=source)])
        following = log.read(TOPIC, 0, at + 1, 10)
        assert list(following.values) == []
        assert list(log.read(TOPIC, 0, end, 10).values) == [b"value %d" % sequence]
        end = following.next_position
    assert values_from(log) == [b"value %d" % sequence for sequence in range(1, 7)]


def test_a_new_log_is_empty(log: RecordLog) -> None:
    """No mark, no record, end 0, and reading goes on where it is."""
    records = log.read(TOPIC, 0, 0, 10)
    assert (log.mark("src"), log.end(TOPIC, 0), list(records.values), records.next_position) == (0, 0, [], 0)
    assert dict(log.topics()) == {TOPIC: PARTITIONS, f"dead.{TOPIC}": 1}


def test_one_append_stores_batches_of_several_topics_and_the_mark(log: RecordLog) -> None:
    """Good records, dead letters and mark are there together, each in its partition."""
    batches = [batch([1, 4], 0), batch([2], 2), batch([3], 0, f"dead.{TOPIC}")]
    positions = log.append("src", 6, batches)
    assert [len(one) for one in positions] == [2, 1, 1]
    assert [values_from(log, number) for number in range(3)] == [[b"value 1", b"value 4"], [], [b"value 2"]]
    assert values_from(log, 0, f"dead.{TOPIC}") == [b"value 3"]
    assert log.mark("src") == 6


def test_a_mark_alone_may_rise(log: RecordLog) -> None:
    """Records that were refused for good raise the mark without being stored."""
    assert list(log.append("src", 5, [])) == []
    assert log.mark("src") == 5


@pytest.mark.parametrize(
    ("mark", "batches"),
    [
        (20, [batch([9, 20])]),
        (20, [batch([10, 20])]),
        (20, [batch([20], 0), batch([10], 1)]),
        (20, [batch([20, 15])]),
        (20, [batch([15, 15])]),
        (10, []),
        (9, []),
    ],
    ids=["below", "at the mark", "in the second batch", "falling", "twice", "same mark", "lower mark"],
)
def test_what_is_not_after_the_mark_changes_nothing(log: RecordLog, mark: int, batches: list[Batch]) -> None:
    """One sequence at or below the mark, or out of order, and nothing of the append is stored."""
    log.append("src", 10, [batch([10])])
    with pytest.raises(Invalid, match="sequence_not_after_mark"):
        log.append("src", mark, batches)
    assert (log.mark("src"), values_from(log, 0), values_from(log, 1)) == (10, [b"value 10"], [])


@pytest.mark.parametrize(
    ("mark", "batches"),
    [
        (2, [batch([1, 2], source="other")]),
        (2, [Batch(TOPIC, 0, "src", "s", 1, 1, [1, 2], [bytes(16)], [b"", b""])]),
        (2, [Batch(TOPIC, 0, "src", "s", 1, 1, [1, 2], [bytes(16)] * 2, [b""])]),
        (2, [Batch(TOPIC, 0, "src", "s", 1, 1, [1], [bytes(15)], [b""])]),
        (2, [Batch(TOPIC, 0, "src", "s", 1, 1, [0], [bytes(16)], [b""])]),
        (2**63, [Batch(TOPIC, 0, "src", "s", 1, 1, [2**63], [bytes(16)], [b""])]),
        (2, [Batch(TOPIC, 0, "src", "s", -1, 1, [1], [bytes(16)], [b""])]),
        (2, [Batch(TOPIC, 0, "src", "s", 1, -1, [1], [bytes(16)], [b""])]),
        (2, [Batch(TOPIC, 0, "src", "s", 1, 1, [1], [bytes(16)], [bytes((16 << 20) + 1)])]),
        (2, [batch([1], 0), batch([1], 1)]),
        (1, [batch([1, 2])]),
    ],
    ids=["source", "tags", "values", "tag", "zero", "huge", "schema", "time", "large", "twice", "mark"],
)
def test_a_malformed_batch_changes_nothing(log: RecordLog, mark: int, batches: list[Batch]) -> None:
    """Columns, tags, sequences, sizes or a mark that cannot be: refused before anything is stored."""
    with pytest.raises(Invalid, match="batch_malformed"):
        log.append("src", mark, batches)
    assert (log.mark("src"), [values_from(log, number) for number in range(3)]) == (0, [[], [], []])


@pytest.mark.parametrize(("topic", "partition"), [("ps.persom", 0), (TOPIC, 3), (TOPIC, -1)])
def test_an_unknown_place_is_refused(log: RecordLog, topic: str, partition: int) -> None:
    """A topic or partition that was not made: refused by every method, nothing stored."""
    for call in (
        lambda: log.append("src", 2, [batch([1]), batch([2], partition, topic)]),
        lambda: log.read(topic, partition, 0, 1),
        lambda: log.headers(topic, partition, 0),
        lambda: log.end(topic, partition),
    ):
        with pytest.raises(Invalid, match="topic_unknown") as caught:
            call()
        assert caught.value.facts["nearest"] == TOPIC
    assert (log.mark("src"), values_from(log)) == (0, [])


@pytest.mark.parametrize(("position", "limit"), [(-1, 1), (0, 0), (0, -1)])
def test_a_senseless_read_is_refused(log: RecordLog, position: int, limit: int) -> None:
    """Positions start at 0, limits at 1."""
    with pytest.raises(Invalid, match="position_unknown"):
        log.read(TOPIC, 0, position, limit)


def test_headers_of_a_position_without_a_record_are_refused(log: RecordLog) -> None:
    """Before the first and after the last record there is nothing to tell."""
    log.append("src", 1, [batch([1])])
    for position in (-1, log.end(TOPIC, 0)):
        with pytest.raises(Invalid, match="position_unknown"):
            log.headers(TOPIC, 0, position)


def test_reading_beyond_the_end_waits_there(log: RecordLog) -> None:
    """A reader that is ahead gets nothing and keeps its position."""
    log.append("src", 1, [batch([1])])
    assert log.read(TOPIC, 0, 50, 10).next_position == 50


def test_a_topic_keeps_its_partitions(log: RecordLog) -> None:
    """Made again with the same number: nothing happens, and its records stay; with another: refused."""
    log.append("src", 1, [batch([1])])
    log.create(TOPIC, PARTITIONS)
    for partitions in (PARTITIONS + 1, 0, -1, 10**9):
        with pytest.raises(Invalid, match="topic_partitions"):
            log.create(TOPIC, partitions)
    with pytest.raises(Invalid, match="name_malformed"):
        log.create("No Topic", 1)
    assert values_from(log) == [b"value 1"]


def test_what_was_appended_is_there_after_opening_again(engine: Open, tmp_path: Path) -> None:
    """Records, marks, topics and positions outlive the process; positions are not used twice."""
    first = engine(tmp_path)
    first.create(TOPIC, PARTITIONS)
    first.append("src", 2, [batch([1, 2])])
    end = first.end(TOPIC, 0)
    first.close()
    second = engine(tmp_path)
    assert (second.mark("src"), second.end(TOPIC, 0), dict(second.topics())) == (2, end, {TOPIC: PARTITIONS})
    assert second.append("src", 3, [batch([3])])[0][0] >= end
    assert values_from(second) == [b"value 1", b"value 2", b"value 3"]
    second.close()


def test_publishers_at_the_same_time_lose_and_double_nothing(log: RecordLog) -> None:
    """Threads that append to the same partition, each for its source, and readers beside them."""

    def publish(source: str) -> None:
        for at in range(20):
            log.append(source, at + 1, [batch([at + 1], source=source)])

    threads = [threading.Thread(target=publish, args=(f"src{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    seen = values_from(log)
    for thread in threads:
        thread.join()
    after = values_from(log)
    assert after[: len(seen)] == seen
    assert sorted(after) == sorted([b"value %d" % (at + 1) for at in range(20)] * 4)


Appends = list[list[tuple[int, int]]]  # appends of (partition, number of records)


@pytest.mark.parametrize("name", sorted(ENGINES))
@settings(max_examples=examples(25), deadline=None)
@given(
    appends=st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=4), max_size=6),
    limit=st.integers(1, 50),
    start=st.integers(0, 60),
)
def test_the_log_is_the_list_of_what_was_appended(name: str, appends: Appends, limit: int, start: int) -> None:
    """For any appends, limit and starting position: each partition reads as the list that a reference keeps."""
    expected: dict[int, list[tuple[int, bytes]]] = {number: [] for number in range(PARTITIONS)}
    sequence = 0
    with folder_in_memory() as folder:
        log = ENGINES[name](folder)
        log.create(TOPIC, PARTITIONS)
        for append in appends:
            batches = []
            for partition, count in append:
                batches.append(batch(range(sequence + 1, sequence + count + 1), partition))
                sequence += count
            sequence += 1
            for one, positions in zip(batches, log.append("src", sequence, batches), strict=True):
                expected[one.partition] += zip(positions, one.values, strict=True)
        for partition, records in expected.items():
            places = [position for position, _ in records]
            assert places == sorted(set(places))
            found: list[tuple[int, bytes]] = []
            position = start
            while (read := log.read(TOPIC, partition, position, limit)).values:
                found += zip(read.positions, read.values, strict=True)
                position = read.next_position
            assert found == [record for record in records if record[0] >= start]
        log.close()


def placed(log: RecordLog) -> None:
    """Ten positions, of which 1, 2, 5, 6 and 7 hold records; the end is 10."""
    log.place(TOPIC, 0, [(1, batch([1, 2])), (5, batch([5, 9, 10]))], 10)


def test_placed_records_have_exactly_their_positions(log: RecordLog) -> None:
    """From every position on a reader gets the records at or after it, at most so many, and goes on behind them."""
    placed(log)
    records = log.read(TOPIC, 0, 0, 100)
    assert list(records.positions) == [1, 2, 5, 6, 7]
    assert list(records.values) == [b"value %d" % one for one in (1, 2, 5, 9, 10)]
    for start in range(10):
        for limit in (1, 2, 3, 11):
            found: list[int] = []
            position = start
            while (part := log.read(TOPIC, 0, position, limit)).positions:
                assert len(part.positions) <= limit
                found += part.positions
                position = part.next_position
            assert found == [one for one in (1, 2, 5, 6, 7) if one >= start]
    assert log.end(TOPIC, 0) == 10
    assert log.headers(TOPIC, 0, 6)["id"] == "src/9"


def test_a_position_that_holds_no_record_has_no_headers(log: RecordLog) -> None:
    """Whether a reader has just passed it or not."""
    placed(log)
    for read_before in (False, True):
        if read_before:
            log.read(TOPIC, 0, 0, 100)
        for position in (0, 3, 4, 8, 9, 10):
            with pytest.raises(Invalid, match="position_unknown"):
                log.headers(TOPIC, 0, position)


def test_what_is_placed_raises_no_mark_and_publishing_goes_on_behind_it(log: RecordLog) -> None:
    """The next append has the end or a later position; marks are raised by themselves."""
    placed(log)
    assert (log.mark("src"), dict(log.marks())) == (0, {})
    log.append("src", 10, [])
    log.append("other", 3, [])
    assert dict(log.marks()) == {"other": 3, "src": 10}
    ((first, *_),) = log.append("src", 12, [batch([11, 12])])
    assert first >= 10
    assert list(log.read(TOPIC, 0, 8, 1).positions) == [first]
    assert dict(log.marks()) == {"other": 3, "src": 12}


def test_nothing_is_placed_before_the_end(log: RecordLog) -> None:
    """A position is never used twice, and an empty place is not filled later."""
    placed(log)
    with pytest.raises(Invalid, match="position_unknown"):
        log.place(TOPIC, 0, [(9, batch([20]))], 11)
    with pytest.raises(Invalid, match="position_unknown"):
        log.place(TOPIC, 0, [(12, batch([20, 21]))], 13)
    log.place(TOPIC, 2, [], 4)
    assert (log.end(TOPIC, 2), values_from(log, 2)) == (4, [])


@given(runs=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=6), tail=st.integers(0, 2))
@settings(max_examples=examples(15))
def test_placing_at_once_or_piece_by_piece_is_the_same(runs: list[tuple[int, int]], tail: int) -> None:
    """Any gaps and runs: what is read is what was placed, however many calls it took."""
    at, sequence = 0, 0
    pieces: list[tuple[int, Batch]] = []
    for skipped, count in runs:
        pieces.append((at + skipped, batch(list(range(sequence + 1, sequence + 1 + count)))))
        at, sequence = at + skipped + count, sequence + count
    expected = [at for first, one in pieces for at in range(first, first + len(one.sequences))]
    for name in ("sqlite", "modelled"):
        with folder_in_memory() as folder:
            log = ENGINES[name](folder)
            log.create(TOPIC, PARTITIONS)
            log.place(TOPIC, 0, pieces, at + tail)
            for first, one in pieces:
                log.place(TOPIC, 1, [(first, replace(one, partition=1))], first + len(one.sequences))
            log.place(TOPIC, 1, [], at + tail)
            for number in range(2):
                found = log.read(TOPIC, number, 0, 1_000)
                assert (list(found.positions), log.end(TOPIC, number)) == (expected, at + tail)
            log.close()
