"""The state on a real PostgreSQL: rows that were changed or lost, several followers, another format."""

import random
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from exchange.envelope import Stored
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log.server import open_server
from exchange.state.postgresql import PostgresStateStore
from tests.control.failing import fails
from tests.services_postgres import Server

pytestmark = pytest.mark.postgres

TOPIC = "ps.person"
TAGS = [random.Random(number).randbytes(16) for number in range(800)]


def stored(first: int = 0) -> Stored:
    """One record for each subject."""
    positions = range(first, first + len(TAGS))
    values = [b"value %05d " % position * 10 for position in positions]
    return Stored(TOPIC, 0, positions, [7] * len(TAGS), TAGS, values, positions.stop)


@pytest.fixture(name="engine")
def _engine(postgres_server: Server) -> Iterator[Engine]:
    with postgres_server.database() as url:
        engine = open_server(url)
        yield engine
        engine.dispose()


@pytest.fixture(name="state")
def _state(engine: Engine) -> PostgresStateStore:
    """A state in which every subject had two records."""
    state = PostgresStateStore(engine)
    state.apply(stored())
    state.apply(stored(len(TAGS)))
    return state


def test_what_was_applied_is_found(state: PostgresStateStore) -> None:
    """Everybody's latest record, many asked at once."""
    found = state.get(TOPIC, TAGS)
    assert [found[tag].position for tag in TAGS] == list(range(800, 1_600))
    assert state.current_to(TOPIC, 0) == 1_600


TAG = "decode('" + TAGS[5].hex() + "', 'hex')"


@pytest.mark.parametrize(
    "change",
    [
        f"DELETE FROM state_latest WHERE tag = {TAG}",
        f"UPDATE state_latest SET value = '\\x00' WHERE tag = {TAG}",
        f"UPDATE state_latest SET position = 3 WHERE tag = {TAG}",
        f"UPDATE state_latest SET digest = '\\x00' WHERE tag = {TAG}",
        f"UPDATE state_latest SET tag = set_byte(tag, 9, get_byte(tag, 9) # 1) WHERE tag = {TAG}",
        "DELETE FROM state_bucket",
        "UPDATE state_bucket SET sum = set_byte(sum, 3, get_byte(sum, 3) # 1)",
        "DROP TABLE state_bucket",
    ],
)
def test_a_changed_row_is_found_when_its_bucket_is_asked(
    state: PostgresStateStore, engine: Engine, change: str
) -> None:
    """Lost, changed, put back or moved: tampered, never a missing record."""
    with engine.begin() as connection:
        connection.exec_driver_sql(change)
    with fails(Tampered, "state_damaged"):
        state.get(TOPIC, [TAGS[5]])


def test_a_row_put_back_to_an_older_one_is_found(state: PostgresStateStore, engine: Engine) -> None:
    """With its own old digest: the bucket's sum knows better."""
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE old AS SELECT * FROM state_latest")
    state.apply(stored(2 * len(TAGS)))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM state_latest WHERE tag = {TAG}")
        connection.exec_driver_sql(f"INSERT INTO state_latest SELECT * FROM old WHERE tag = {TAG}")
    with fails(Tampered, "state_damaged"):
        state.get(TOPIC, [TAGS[5]])


def test_a_changed_position_is_found(state: PostgresStateStore, engine: Engine) -> None:
    """A follower would leave out, or take again, what it says."""
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE state_current SET position = 7")
    with fails(Tampered, "state_damaged"):
        state.current_to(TOPIC, 0)


def test_followers_at_once_agree(engine: Engine) -> None:
    """Three exchanges take in the same log, in pieces in any order, beside a reader: the sums hold at every look."""
    stores = [PostgresStateStore(engine) for _ in range(4)]
    pieces = [stored(first) for first in range(0, 8_000, 800)]
    done = threading.Event()

    def follow(store: PostgresStateStore, seed: int) -> None:
        for piece in random.Random(seed).sample(pieces, len(pieces)):
            store.apply(piece)

    def read() -> None:
        while not done.is_set():
            stores[3].get(TOPIC, TAGS[:50])

    reader = threading.Thread(target=read)
    threads = [threading.Thread(target=follow, args=(store, seed)) for seed, store in enumerate(stores[:3])]
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    assert {latest.position for latest in stores[0].get(TOPIC, TAGS).values()} == set(range(7_200, 8_000))


def test_another_format_and_a_server_that_is_away(state: PostgresStateStore, engine: Engine) -> None:
    """Another version's tables are refused at opening; no server is `Unavailable`."""
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE state_format SET number = 9")
    with fails(Invalid, "state_format"):
        PostgresStateStore(engine)
    with fails(Unavailable, "state_unavailable"):
        PostgresStateStore(open_server("postgresql:///x?host=/nonexistent"))
    assert state.current_to(TOPIC, 0) == 1_600
