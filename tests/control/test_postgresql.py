"""The control database on a real PostgreSQL: migrations, the order of events, seals, marks, a server that is away."""

import threading
from collections.abc import Iterator, Sequence

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, text

from exchange.audit import tables as audit_tables
from exchange.control import tables as control_tables
from exchange.control.database import check_revision, open_engine, upgrade
from exchange.control.events import Event, NewEvent
from exchange.control.store import SqlEventStore
from exchange.errors import Unavailable
from exchange.log import tables as log_tables
from exchange.log.seals import CommitMarks, Sealed, SealStore
from exchange.publish import transactions
from exchange.signing.keys import SigningKey, new_signing_key
from exchange.signing.seals import seal
from tests.control.failing import fails
from tests.services_postgres import Server

pytestmark = pytest.mark.postgres


@pytest.fixture(name="engine")
def _engine(postgres: str) -> Iterator[Engine]:
    engine = open_engine(postgres)
    yield engine
    engine.dispose()


def _nothing(_connection: Connection, _events: Sequence[Event]) -> None:
    """Nothing alongside."""


def test_migrations_make_the_tables_of_the_code(engine: Engine) -> None:
    """Neither has a table, column, index or constraint more than the other; an upgrade again changes nothing."""
    for metadata in (control_tables.METADATA, audit_tables.METADATA, log_tables.METADATA):
        with engine.connect() as connection:
            options = {"include_name": lambda name, kind, _, own=metadata: kind != "table" or name in own.tables}
            assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    upgrade(engine)
    check_revision(engine)


def test_two_programs_may_upgrade_at_once(postgres_server: Server) -> None:
    """The second one waits, and finds the tables made."""
    with postgres_server.database() as url:
        engines = [open_engine(url) for _ in range(3)]
        with fails(Unavailable, "control_database_revision"):
            check_revision(engines[0])
        threads = [threading.Thread(target=upgrade, args=(engine,)) for engine in engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for engine in engines:
            check_revision(engine)
            engine.dispose()


def test_a_reader_never_passes_over_a_late_commit(engine: Engine) -> None:
    """One append is held open, another begins after it: a reader that goes on from its last position sees nothing of
    the second before the first, because it cannot commit before it.
    """
    store, held, go = SqlEventStore(engine), threading.Event(), threading.Event()
    seen: list[int] = []

    def hold(_connection: Connection, _events: Sequence[Event]) -> None:
        held.set()
        assert go.wait(10)

    def append(name: str, alongside: object) -> None:
        event = NewEvent(name, "thing.done/1", {})
        store.append({name: 0}, [event], {}, actor="a", time_ns=1, alongside=alongside)  # type: ignore[arg-type]  # one of two functions

    late = threading.Thread(target=append, args=("late", hold))
    late.start()
    assert held.wait(10)
    early = threading.Thread(target=append, args=("early", _nothing))
    early.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    try:
        with engine.connect() as connection:
            while not connection.execute(text(waiting)).scalar():
                connection.rollback()
                assert early.is_alive()
        assert list(store.read(0, 10)) == []
    finally:
        go.set()
    while late.is_alive() or early.is_alive() or len(seen) < 2:
        seen += [event.position for event in store.read(seen[-1] if seen else 0, 10)]
    late.join()
    early.join()
    assert [event.aggregate for event in store.read(0, 10)] == ["late", "early"]
    assert seen == [1, 2]


def test_a_rolled_back_append_leaves_no_hole(engine: Engine) -> None:
    """Positions come from the head's row, not from a sequence: what was undone had none."""
    store = SqlEventStore(engine)

    def fail(_connection: Connection, _events: Sequence[Event]) -> None:
        raise Unavailable("audit_unavailable", seconds=5)

    for alongside, name in ((_nothing, "a"), (fail, "b"), (_nothing, "c")):
        event = NewEvent(name, "thing.done/1", {})
        try:
            store.append({name: 0}, [event], {}, actor="a", time_ns=1, alongside=alongside)
        except Unavailable:
            assert name == "b"
    assert [(event.position, event.aggregate) for event in store.read(0, 10)] == [(1, "a"), (2, "c")]


@pytest.fixture(name="key", scope="module")
def _key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return new_signing_key(tmp_path_factory.mktemp("key") / "seal.key")


def test_a_seal_is_kept_once_and_comes_back_whole(engine: Engine, key: SigningKey) -> None:
    """Whoever puts it, and several at once."""
    seals = SealStore(transactions(engine))
    made = seal(key, [b"1" * 32, b"2" * 32], dataset="d.s", department="d", delegate=True, now_ns=lambda: 5)
    sealed = Sealed(made, "d/s", "sha256:" + "0" * 64, None, 0, [3, 9], [b"1" * 32, b"2" * 32])
    threads = [threading.Thread(target=seals.put, args=(sealed,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seals.get(made.id) == sealed


def test_a_mark_is_raised_once_from_where_it_stands(engine: Engine) -> None:
    """Of several who raise it from the same place, be it the beginning, one does; the others wait and learn it."""
    transaction = transactions(engine)
    marks = CommitMarks(transaction)
    for lo, hi in ((0, 5), (5, 9)):
        won: list[bool] = []
        start = threading.Barrier(4)

        def race(lo: int, hi: int, won: list[bool], start: threading.Barrier) -> None:
            start.wait()
            with transaction() as connection:
                won.append(marks.raised(connection, "t", 0, lo, hi, b"entry"))

        threads = [threading.Thread(target=race, args=(lo, hi, won, start)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False, False, False, True]
        assert marks.committed("t", 0) == hi
