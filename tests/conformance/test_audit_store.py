"""The guarantees of `AuditStore`, on every engine."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Engine

from exchange.audit import details
from exchange.audit.details import Detail, DetailClass
from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.postgresql import PostgresAuditStore
from exchange.audit.store import AuditStore, Change, Head, Row
from exchange.audit.tables import DETAILS
from exchange.control.database import open_engine
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.signing.merkle import leaf_hash
from tests.audit.building import engine_at

_AGES: Final[tuple[tuple[DetailClass, int], ...]] = (("decision", 5), ("decision", 7), ("query", 6))
HEAD = Head("log.example", 0, bytes(32), b"checkpoint 0", 1)
Open = Callable[[], AuditStore]


def _row(number: int, leaf: bytes = b"leaf") -> Row:
    return Row(number.to_bytes(16, "big"), leaf_hash(leaf), leaf, "control", None, '{"policy":1}')


def _moved(size: int) -> Head:
    return Head("log.example", size, bytes([size]) * 32, b"checkpoint %d" % size, 1 + size)


def _nothing(**what: object) -> Change:
    return Change(**{"taken": (), "refused": (), "epochs": {}, "schemas": {}, **what})  # type: ignore[arg-type]  # a short way to say it


# Rows and files: both embedded, both on a server, or the rows on a server and the files in a folder.
@pytest.fixture(params=["embedded", "postgres", "folder-postgres"], name="kind")
def _kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="engine")
def _engine(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = engine_at(tmp_path) if kind == "embedded" else open_engine(request.getfixturevalue("postgres"))
    yield engine
    engine.dispose()


@pytest.fixture(name="again")
def _again(kind: str, tmp_path: Path, engine: Engine) -> Open:
    """Opens the store anew, on what the former one left."""
    if kind == "postgres":
        return lambda: PostgresAuditStore(engine)
    return lambda: EmbeddedAuditStore(tmp_path / "audit", engine)


@pytest.fixture(name="store")
def _store(again: Open) -> AuditStore:
    store = again()
    store.begin(HEAD)
    return store


def test_a_log_is_begun_once(store: AuditStore, again: Open) -> None:
    """The lock row stands after `begin`, and a second one changes nothing."""
    assert store.head() == HEAD
    with pytest.raises(Invalid, match="audit_exists"):
        again().begin(_moved(5))
    assert again().head() == HEAD


def test_a_folder_in_use_is_no_place_for_a_log(again: Open, kind: str, tmp_path: Path) -> None:
    """Nothing is begun over files of another log."""
    if kind == "postgres":
        again().publish(b"x")
    else:
        (tmp_path / "audit").mkdir()
        (tmp_path / "audit" / "checkpoint").write_bytes(b"x")
    assert again().head() is None
    with pytest.raises(Invalid, match="audit_exists"):
        again().begin(HEAD)


def test_rows_wait_until_they_are_named(store: AuditStore, again: Open) -> None:
    """Rows come in order and come again until a swap or a refusal names them; their fate is kept for ever."""
    assert store.submit([_row(1), _row(2)]) == []
    assert store.submit([_row(3)]) == []
    waiting = again().pending(10)
    assert store.waiting() == len(waiting)
    assert [row.id for row in waiting] == [_row(n).id for n in (1, 2, 3)]
    assert (waiting[0].leaf, waiting[0].rests_on, waiting[0].raises) == (b"leaf", '{"policy":1}', None)
    assert [row.id for row in store.pending(2)] == [_row(1).id, _row(2).id]
    store.swap(0, _moved(1), _nothing(taken=[(waiting[1].seq, 0)], refused=[(waiting[0].seq, '{"why":1}')]))
    assert [row.id for row in again().pending(10)] == [_row(3).id]
    store.refuse([(waiting[2].seq, "{}")])
    assert (again().pending(10), again().waiting()) == ([], 0)
    ids = [_row(n).id for n in (1, 2, 3, 4)]
    fates = [again().known(one) for one in ids]
    assert again().known_of(ids) == {one: fate for one, fate in zip(ids, fates, strict=True) if fate}
    assert [(one.index, one.committed_ns, one.refused) if one else None for one in fates] == [
        (None, None, '{"why":1}'), (0, 2, None), (None, None, "{}"), None,
    ]  # fmt: skip


def test_a_row_of_a_slow_transaction_is_not_passed_over(store: AuditStore, engine: Engine) -> None:
    """A row that becomes visible after later ones were taken still waits: there is no high-water mark."""
    with engine.connect() as connection:
        store.add(connection, _row(1))
        assert store.pending(10) == []
        connection.commit()
    store.submit([_row(2)])
    first, second = store.pending(10)
    store.swap(0, _moved(1), _nothing(taken=[(second.seq, 0)]))
    assert [row.id for row in store.pending(10)] == [first.id]


def test_a_row_belongs_to_its_transaction(store: AuditStore, engine: Engine) -> None:
    """What the caller rolls back never was."""
    with engine.connect() as connection:
        store.add(connection, _row(1))
        connection.rollback()
    assert store.pending(10) == []
    assert store.known(_row(1).id) is None


def test_an_id_is_taken_once(store: AuditStore, engine: Engine) -> None:
    """Again with the same content: nothing. With other content: refused, and nothing of that call is stored."""
    store.submit([_row(1)])
    assert store.submit([_row(1), _row(2)]) == [_row(1).id]
    with pytest.raises(Invalid, match="audit_id_reused"):
        store.submit([_row(3), _row(1, b"other")])
    with engine.connect() as connection, pytest.raises(Invalid, match="audit_id_reused"):
        store.add(connection, _row(2, b"other"))
    assert [row.id for row in store.pending(10)] == [_row(1).id, _row(2).id]


def test_details_come_with_their_row(store: AuditStore, engine: Engine) -> None:
    """Stored with it or not at all, once; found by their name; deleted by class and age, and by nothing else."""
    one, two, three = (Detail.of(kind, at, bytes(16), {"a": at}) for kind, at in _AGES)
    row = replace(_row(1), details=(one, two))
    store.submit([row])
    assert store.submit([row]) == [row.id]
    with pytest.raises(Invalid, match="audit_id_reused"):
        store.submit([replace(_row(1, b"other"), details=(three,))])
    assert [details.read(engine, each.name) for each in (one, two, three)] == [{"a": 5}, {"a": 7}, None]
    store.submit([replace(_row(2), details=(three,))])
    assert (details.due(engine, "decision", 7), details.due(engine, "query", 7)) == (1, 1)
    assert details.remove(engine, "decision", 7) == 1
    assert [details.read(engine, each.name) for each in (one, two, three)] == [None, {"a": 7}, {"a": 6}]
    with engine.begin() as connection:
        connection.execute(DETAILS.update().where(DETAILS.c.kind == "query").values(name=one.name))
    with pytest.raises(Tampered, match="detail_damaged"):
        details.read(engine, one.name)


def test_many_submit_at_once(store: AuditStore) -> None:
    """Each of many threads gets its own answer: the one that reuses an id is refused, the others are stored."""
    store.submit([_row(0)])
    failed: list[int] = []

    def submit(number: int) -> None:
        try:
            store.submit([_row(number), _row(0, b"other")] if number % 5 == 0 else [_row(number)])
        except Invalid:
            failed.append(number)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(1, 41)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(failed) == [n for n in range(1, 41) if n % 5 == 0]
    assert {row.id for row in store.pending(100)} == {_row(n).id for n in range(41) if n % 5 or n == 0}


def test_of_two_sequencers_one_wins(store: AuditStore, again: Open) -> None:
    """A swap from a head that is no longer there changes nothing at all."""
    store.submit([_row(1)])
    seq = store.pending(1)[0].seq
    store.swap(0, _moved(1), _nothing(epochs={"policy": 1}))
    with pytest.raises(Unavailable, match="audit_stopped"):
        again().swap(0, _moved(2), _nothing(taken=[(seq, 1)], epochs={"policy": 9}, schemas={b"12345678": 0}))
    assert again().head() == _moved(1)
    assert (again().epochs(), again().schemas()) == ({"policy": 1}, {})
    assert [row.seq for row in again().pending(9)] == [seq]


def test_a_swap_that_takes_what_does_not_wait(store: AuditStore) -> None:
    """A row that vanished between reading and swapping stops everything: nothing is changed."""
    with pytest.raises(Tampered, match="audit_log_damaged"):
        store.swap(0, _moved(1), _nothing(taken=[(77, 0)]))
    assert store.head() == HEAD


def test_epochs_and_schemas_change_with_the_head(store: AuditStore, again: Open) -> None:
    """They are those of the last swap, an epoch with its newest value."""
    store.swap(0, _moved(1), _nothing(epochs={"a": 1, "b": 1}, schemas={b"12345678": 0}))
    store.swap(1, _moved(2), _nothing(epochs={"a": 2}))
    assert (again().epochs(), again().schemas()) == ({"a": 2, "b": 1}, {b"12345678": 0})


def test_staged_bytes_stay_until_unstaged(store: AuditStore, again: Open) -> None:
    """A bundle comes back unchanged, and `unstage` leaves nothing."""
    assert store.staged("1-ab") is None
    store.stage("1-ab", b"bundle")
    assert again().staged("1-ab") == b"bundle"
    again().unstage()
    assert store.staged("1-ab") is None


def test_tiles_are_written_once(store: AuditStore, again: Open) -> None:
    """The same bytes again are fine; other bytes are refused and the file stays."""
    store.write({"tile/0/000.p/1": b"one", "tile/entries/000.p/1": b"two"})
    store.write({"tile/0/000.p/1": b"one", "tile/0/000.p/2": b"three"})
    with pytest.raises(Tampered, match=r"audit_log_damaged at tile/0/000\.p/1"):
        store.write({"tile/0/000.p/1": b"other"})
    assert again().read("tile/0/000.p/1") == b"one"
    assert again().read("tile/0/000") is None
    store.write({"tile/0/000": b"full"})
    store.prune(["tile/0/000", "tile/9/000"])
    assert [again().read(path) for path in ("tile/0/000.p/1", "tile/0/000.p/2", "tile/0/000")] == [None, None, b"full"]


def test_the_checkpoint_is_replaced(store: AuditStore, again: Open) -> None:
    """The last one published is the one read."""
    assert store.published() is None
    for text in (b"first", b"second"):
        store.publish(text)
        assert again().published() == text


def test_a_database_without_the_tables_is_no_store(tmp_path: Path) -> None:
    """A database of another kind gives one clear error, never the driver's."""
    (tmp_path / "control.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(Tampered, match="audit_log_damaged"):
        EmbeddedAuditStore(tmp_path, open_engine(f"sqlite:///{tmp_path / 'control.db'}")).head()
