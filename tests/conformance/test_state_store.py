"""What every state store promises (`exchange.state.StateStore`), tested on every engine.

An engine is a function from an empty folder to an open store of what is stored there: one line in `ENGINES`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.envelope import Batch, Stored
from exchange.log.server import open_server
from exchange.log.sqlite import SqliteRecordLog
from exchange.state import Latest, StateStore, follow
from exchange.state.postgresql import PostgresStateStore
from exchange.state.sqlite import SqliteStateStore
from tests.log.memory import folder_in_memory
from tests.profiles import examples
from tests.services_postgres import schema_of

Open = Callable[[Path], StateStore]
ENGINES: dict[str, Open] = {
    "sqlite": lambda folder: SqliteStateStore(folder / "state.db"),
    "postgres": lambda folder: PostgresStateStore(open_server(schema_of(folder))),
}
TOPIC = "ps.person"
TAGS = [bytes([number]) + bytes(15) for number in range(4)] + [bytes(15) + b"\1"]


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
def state(engine: Open, tmp_path: Path) -> Iterator[StateStore]:
    """An empty store."""
    made = engine(tmp_path)
    yield made
    made.close()


def stored(tags: list[bytes], first: int = 0, topic: str = TOPIC, partition: int = 0) -> Stored:
    """Records of these subjects at `first` and after; their values say where they stand."""
    positions = range(first, first + len(tags))
    values = [b"value %d" % position for position in positions]
    return Stored(topic, partition, positions, [7] * len(tags), tags, values, positions.stop)


def test_a_new_state_knows_nobody(state: StateStore) -> None:
    """Nothing is known, and it is current to position 0."""
    assert dict(state.get(TOPIC, TAGS)) == {}
    assert state.current_to(TOPIC, 0) == 0


def test_the_latest_record_of_each_subject_is_kept(state: StateStore) -> None:
    """Within a batch and over batches the last one counts; subjects without a record are left out."""
    state.apply(stored([TAGS[0], TAGS[1], TAGS[0]]))
    state.apply(stored([TAGS[1]], 3))
    assert dict(state.get(TOPIC, TAGS[:3])) == {
        TAGS[0]: Latest(TAGS[0], 0, 2, 7, b"value 2"),
        TAGS[1]: Latest(TAGS[1], 0, 3, 7, b"value 3"),
    }
    assert state.current_to(TOPIC, 0) == 4


def test_an_older_record_never_replaces_a_newer_one(state: StateStore) -> None:
    """An earlier part of the log, applied late or again, changes nothing."""
    state.apply(stored([TAGS[0], TAGS[1]], 5))
    state.apply(stored([TAGS[0], TAGS[2]], 0))
    state.apply(stored([TAGS[0], TAGS[1]], 5))
    assert {tag: one.position for tag, one in state.get(TOPIC, TAGS).items()} == {TAGS[0]: 5, TAGS[1]: 6, TAGS[2]: 1}
    assert state.current_to(TOPIC, 0) == 7


def test_topics_and_partitions_are_apart(state: StateStore) -> None:
    """The same subject in two topics has two records; each partition has its own position."""
    state.apply(stored([TAGS[0]]))
    state.apply(stored([TAGS[0]], 5, "mca.benefit"))
    state.apply(stored([TAGS[1]], 2, partition=1))
    assert state.get(TOPIC, [TAGS[0]])[TAGS[0]].position == 0
    assert state.get("mca.benefit", [TAGS[0]])[TAGS[0]].position == 5
    assert [state.current_to(TOPIC, number) for number in range(3)] == [1, 3, 0]


def test_records_without_subjects_move_the_position(state: StateStore) -> None:
    """Positions may rise by more than one: an empty read moves on too, and never back."""
    state.apply(Stored(TOPIC, 0, [], [], [], [], 9))
    state.apply(Stored(TOPIC, 0, [], [], [], [], 4))
    assert state.current_to(TOPIC, 0) == 9


def test_dropping_forgets_one_topic(state: StateStore) -> None:
    """Only that topic, with its positions; it can be built again."""
    state.apply(stored(TAGS[:2]))
    state.apply(stored(TAGS[:2], topic="mca.benefit"))
    state.drop(TOPIC)
    assert (dict(state.get(TOPIC, TAGS)), state.current_to(TOPIC, 0)) == ({}, 0)
    assert len(state.get("mca.benefit", TAGS)) == 2
    state.apply(stored(TAGS[:1]))
    assert len(state.get(TOPIC, TAGS)) == 1


def test_what_was_applied_is_there_after_opening_again(engine: Open, tmp_path: Path) -> None:
    """Records and position are durable together."""
    first = engine(tmp_path)
    first.apply(stored(TAGS[:2]))
    first.close()
    second = engine(tmp_path)
    assert (len(second.get(TOPIC, TAGS)), second.current_to(TOPIC, 0)) == (2, 2)
    second.close()


@pytest.mark.parametrize("name", sorted(ENGINES))
@settings(max_examples=examples(20), deadline=None)
@given(
    tags=st.lists(st.sampled_from(TAGS), min_size=1, max_size=30),
    cuts=st.lists(st.tuples(st.integers(0, 29), st.integers(1, 30)), max_size=6),
)
def test_older_records_never_win(name: str, tags: list[bytes], cuts: list[tuple[int, int]]) -> None:
    """Pieces of the log applied in any order, twice or overlapping, and then all of it: each subject's last record."""
    with folder_in_memory() as folder:
        state = ENGINES[name](folder)
        newest: dict[bytes, int] = {}
        for start, count in cuts:
            piece = tags[start : start + count]
            state.apply(stored(piece, start))
            newest.update({tag: max(newest.get(tag, 0), start + at) for at, tag in enumerate(piece)})
            found = state.get(TOPIC, TAGS)
            assert {tag: latest.position for tag, latest in found.items()} == newest
        state.apply(stored(tags))
        last = {tag: position for position, tag in enumerate(tags)}
        assert {tag: one.position for tag, one in state.get(TOPIC, TAGS).items()} == {**newest, **last}
        assert all(one.value == b"value %d" % one.position for one in state.get(TOPIC, TAGS).values())
        state.close()


def test_following_again_from_nothing_gives_the_same(engine: Open, tmp_path: Path) -> None:
    """Followed in portions, or dropped and followed anew: equal; never beyond what the log has."""
    log = SqliteRecordLog(tmp_path / "records.db")
    log.create(TOPIC, 1)
    for at in range(6):
        tags = [TAGS[(at + offset) % 4] for offset in range(3)]
        values = [b"%d" % (at * 3 + offset) for offset in range(3)]
        sequences = range(at * 3 + 1, at * 3 + 4)
        log.append("src", at * 3 + 3, [Batch(TOPIC, 0, "src", "seal", 1, 1, sequences, tags, values)])
    state = engine(tmp_path)
    follow(state, log.read, TOPIC, 0, until=10, limit=4)
    assert state.current_to(TOPIC, 0) >= 10
    follow(state, log.read, TOPIC, 0, until=18, limit=1)
    once = dict(state.get(TOPIC, TAGS))
    state.drop(TOPIC)
    follow(state, log.read, TOPIC, 0, until=99)
    assert dict(state.get(TOPIC, TAGS)) == once
    assert state.current_to(TOPIC, 0) == 18
    assert {latest.position for latest in once.values()} == {12, 15, 16, 17}  # of tags 0 to 3
    state.close()
    log.close()
