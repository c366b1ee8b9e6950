"""What every event store promises (`exchange.control.EventStore`), on every engine."""

import random
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from exchange.control import EventStore
from exchange.control.events import Event, NewEvent
from exchange.control.store import SqlEventStore, open_engine, upgrade
from exchange.errors import Tampered, Unavailable
from exchange.log.server import is_server
from exchange.names import canonical, digest_bytes
from tests.control.failing import fails
from tests.profiles import examples


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without events, to be copied: its migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("events") / "control.db"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def again(request: pytest.FixtureRequest, empty: Path, tmp_path: Path) -> Iterator[Callable[[], EventStore]]:
    """Opens the same store once more."""
    server = request.param == "postgres"
    url = request.getfixturevalue("postgres") if server else f"sqlite:///{shutil.copy(empty, tmp_path)}"
    stores: list[SqlEventStore] = []

    def opened() -> EventStore:
        stores.append(SqlEventStore(open_engine(url)))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def store(again: Callable[[], EventStore]) -> EventStore:
    """A new, empty store."""
    return again()


def _nothing(_connection: Connection, _events: Sequence[Event]) -> None:
    """Nothing alongside."""


def _append(store: EventStore, expected: dict[str, int], *names: str, **more: Any) -> Sequence[Event]:
    events = [NewEvent(name, "thing.done/1", {"to": name}) for name in names]
    options: dict[str, Any] = {"documents": {}, "actor": "a.b", "time_ns": 7, "alongside": _nothing, **more}
    return store.append(expected, events, options.pop("documents"), **options)


def test_what_is_appended_is_read(again: Callable[[], EventStore]) -> None:
    """Positions over all aggregates, versions within each, every other part as it was given; by another opening too."""
    first = _append(again(), {"a": 0, "b": 0}, "a", "b", "a")
    second = _append(again(), {"a": 2}, "a")
    assert [(one.position, one.aggregate, one.version) for one in [*first, *second]] == [
        (1, "a", 1),
        (2, "b", 1),
        (3, "a", 2),
        (4, "a", 3),
    ]
    assert [*first, *second] == list(again().read(0, 10))
    assert list(again().read(1, 2)) == list(first[1:])
    assert list(again().read(4, 2)) == []
    assert again().head() == 4


def test_the_events_of_an_aggregate_are_its_own(again: Callable[[], EventStore]) -> None:
    """By version, whatever stands between them; of one that there is not, none."""
    first = _append(again(), {"a": 0, "b": 0}, "a", "b", "a")
    second = _append(again(), {"a": 2}, "a")
    assert list(again().of("a")) == [first[0], first[2], *second]
    assert list(again().of("b")) == [first[1]]
    assert list(again().of("c")) == []


@pytest.mark.parametrize("expected", [{"a": 0}, {"a": 2}, {"a": 1, "b": 1}, {"b": 0, "a": 0}])
def test_another_version_than_expected_is_a_conflict(store: EventStore, expected: dict[str, int]) -> None:
    """Of an aggregate that is written and of one that the decision only rests on; nothing happens then."""
    _append(store, {"a": 0}, "a")
    with fails(Unavailable, "events_conflict"):
        _append(store, {**expected, "c": 0}, "c")
    assert len(store.read(0, 10)) == 1
    _append(store, {"a": 1, "b": 0, "c": 0}, "c")


def test_a_failure_alongside_leaves_nothing(store: EventStore) -> None:
    """Neither events nor documents; the positions are given to the next append."""

    def failing(connection: Connection, _events: Sequence[Event]) -> None:
        connection.execute(text("UPDATE event_head SET id = 5"))
        raise Unavailable("audit_unavailable")

    body = canonical(["x"])
    with pytest.raises(Unavailable):
        _append(store, {"a": 0}, "a", documents={digest_bytes(body): body}, alongside=failing)
    assert list(store.read(0, 10)) == []
    with fails(Tampered, "document_missing"):
        store.document(digest_bytes(body))
    assert _append(store, {"a": 0}, "a")[0].position == 1


def test_what_is_written_alongside_commits_with_the_events(store: EventStore) -> None:
    """It sees the events with their positions, on the connection of their transaction."""
    seen: list[Event] = []

    def writing(connection: Connection, events: Sequence[Event]) -> None:
        seen.extend(events)
        assert connection.in_transaction()
        assert connection.execute(text("SELECT count(*) FROM events")).scalar() == len(events)

    assert list(_append(store, {"a": 0}, "a", "a", alongside=writing)) == seen


def test_a_document_is_named_by_its_bytes_and_kept_once(store: EventStore) -> None:
    """To store it again changes nothing; an append may have documents and no events."""
    body = canonical({"members": ["甲"]})
    name = digest_bytes(body)
    _append(store, {}, documents={name: body})
    _append(store, {"a": 0}, "a", documents={name: body})
    assert store.document(name) == {"members": ["甲"]}


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("DELETE FROM events WHERE position = 2", "events_missing"),
        ("DELETE FROM events WHERE position = 3", "events_missing"),
        ("UPDATE events SET position = 9 WHERE position = 3", "events_missing"),
        ("UPDATE events SET data = '{' WHERE position = 1", "event_damaged"),
        ("UPDATE events SET data = '[1]' WHERE position = 1", "event_damaged"),
        ("UPDATE events SET data = '" + "[" * 100_000 + "' WHERE position = 1", "event_damaged"),
        ("UPDATE events SET data = x'ff' WHERE position = 1", "event_damaged"),
        ("UPDATE events SET name = x'ff' WHERE position = 1", "event_damaged"),
        ("UPDATE events SET version = 'one' WHERE position = 1", "event_damaged"),
        ("UPDATE events SET data = CAST(x'ff22' AS TEXT) WHERE position = 1", "control_database_damaged"),
        ("DROP TABLE events", "control_database_damaged"),
    ],
)
def test_changed_rows_are_never_read_as_events(again: Callable[[], EventStore], damage: str, code: str) -> None:
    """A hole, a cut end, a moved row, other bytes: tampered, not a shorter answer."""
    store = again()
    if _on_server(store) and ("x'ff" in damage or "'one'" in damage):
        pytest.skip("a server keeps values of a column's own type only")
    _append(store, {"a": 0}, "a", "a", "a")
    _by_hand(store, damage)
    with fails(Tampered, code):
        again().read(0, 10)


def test_an_aggregate_with_a_hole_is_not_read(store: EventStore) -> None:
    """An event of it that is gone is missed by its version."""
    _append(store, {"a": 0}, "a", "a", "a")
    _by_hand(store, "DELETE FROM events WHERE position = 2")
    with fails(Tampered, "events_missing"):
        store.of("a")


def test_an_append_does_not_build_on_a_cut_end(again: Callable[[], EventStore]) -> None:
    """Where the last event is gone, nothing takes its position."""
    store = again()
    _append(store, {"a": 0}, "a", "a")
    _by_hand(store, "DELETE FROM events WHERE position = 2")
    with fails(Tampered, "events_missing"):
        _append(again(), {"a": 1}, "a")
    _by_hand(store, "DELETE FROM event_head")
    with fails(Tampered, "events_missing"):
        _append(again(), {"a": 1}, "a")


def test_a_changed_document_is_not_given_out(store: EventStore) -> None:
    """Its name is its digest."""
    body = canonical([1])
    _append(store, {}, documents={digest_bytes(body): body})
    _by_hand(store, "UPDATE documents SET body = " + ("'[2]'" if _on_server(store) else "x'5b325d'"))
    with fails(Tampered, "document_damaged"):
        store.document(digest_bytes(body))


def _on_server(store: EventStore) -> bool:
    assert isinstance(store, SqlEventStore)
    return is_server(store._engine)


def _by_hand(store: EventStore, statement: str) -> None:
    assert isinstance(store, SqlEventStore)
    with store._engine.begin() as connection:
        connection.exec_driver_sql(statement)


def test_writers_at_once_lose_no_event_and_readers_skip_none(again: Callable[[], EventStore]) -> None:
    """Three writers on two aggregates, each trying again on a conflict, beside a reader that goes on from its last."""
    done, seen = threading.Event(), [0]

    def write(seed: int) -> int:
        store, chance, written = again(), random.Random(seed), 0
        while written < 3:
            name = chance.choice("ab")
            version = sum(1 for one in store.read(0, 1_000) if one.aggregate == name)
            with suppress(Unavailable):  # a conflict: somebody else was first
                written += len(_append(store, {name: version}, name))
        return written

    def read() -> None:
        store = again()
        while not (done.is_set() and not store.read(seen[-1], 1)):
            seen.extend(event.position for event in store.read(seen[-1], 5))

    with ThreadPoolExecutor(4) as pool:
        reader = pool.submit(read)
        try:
            assert sum(pool.map(write, range(3))) == 9
        finally:
            done.set()
        reader.result()
    assert seen == list(range(10))


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=8))
def test_versions_are_those_of_a_list(store: EventStore, appends: list[tuple[str, int]]) -> None:
    """Against the plainest reference: an append goes through exactly when the version is the list's."""
    reference = [event.aggregate for event in store.read(0, 1_000)]
    for name, version in appends:
        if reference.count(name) == version:
            assert _append(store, {name: version}, name)[0].position == len(reference) + 1
            reference.append(name)
        else:
            with pytest.raises(Unavailable):
                _append(store, {name: version}, name)
    assert [event.aggregate for event in store.read(0, 1_000)] == reference
