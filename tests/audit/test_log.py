"""Rules of the log: nothing resolves that is not in it, epochs hold, ids repeat harmlessly, faults stop it for good."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from exchange.audit import tables, tiles
from exchange.audit.log import AuditLog, _row, create
from exchange.audit.note import open_checkpoint
from exchange.audit.sequencer import Sequencer
from exchange.audit.verify import verify
from exchange.errors import Invalid, Refused, Tampered, Unavailable
from exchange.signing.merkle import leaf_hash
from tests.audit.building import (
    KEY,
    ORIGIN,
    START_NS,
    VKEY,
    clock,
    control,
    engine_at,
    grounds,
    log_at,
    new_log,
    refusal,
    release,
    store_at,
)

HOUR_NS = 3_600 * 10**9


def _reopened(folder: Path, start: int = START_NS + 10**12) -> AuditLog:
    return AuditLog(store_at(folder), KEY, clock(start))


def test_a_receipt_means_a_published_checkpoint(tmp_path: Path) -> None:
    """When `append` returns, the entry stands under the signed checkpoint in the file, provably."""
    with log_at(tmp_path) as log:
        for number in range(1, 5):
            receipt = log.append(control(number))
            shown = open_checkpoint((tmp_path / "audit/checkpoint").read_bytes(), VKEY)
            assert receipt.checkpoint == (tmp_path / "audit/checkpoint").read_bytes()
            assert (shown.size, log.size) == (receipt.size, receipt.size)
            assert log.entry(receipt.index) == ("control", dict(control(number).body))
            leaf = _leaf(log, receipt.index)
            assert tiles.included(leaf, receipt.index, receipt.size, log.proof(receipt.index), shown.root)
    assert verify(tmp_path / "audit", VKEY).ok


def _leaf(log: AuditLog, index: int) -> bytes:
    return leaf_hash(next(leaf for _, leaf in log._leaves(index, index + 1)))


def test_the_first_entries_of_a_log_are_schemas(tmp_path: Path) -> None:
    """The schema of schemas first, then each schema right before its first use, once."""
    with log_at(tmp_path) as log:
        log.append(control(1))
        log.append(control(2))
        log.append(release(1))
        shown = [(kind, body.get("kind")) for _, kind, body in log.entries(0, 99)]
    assert shown == [
        ("schema", "schema"), ("schema", "control"), ("control", None), ("control", None),
        ("schema", "release"), ("release", None),
    ]  # fmt: skip


def test_many_entries_in_flight(tmp_path: Path) -> None:
    """Threads that append at once get each its own entry; the log is whole, over several tiles."""
    with log_at(tmp_path) as log:
        receipts: dict[int, int] = {}

        def append(first: int) -> None:
            for number in range(first, first + 30):
                receipts[number] = log.append(control(number)).index

        threads = [threading.Thread(target=append, args=(first,)) for first in range(0, 300, 30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {body["version"]: at for at, kind, body in log.entries(0, 999) if kind == "control"} == receipts
        assert log.size == 302
        consistent = log.consistency(100)
        old = tiles.root_at(100, log._tile)
        assert tiles.consistent(100, 302, old, open_checkpoint(log.checkpoint(), VKEY).root, consistent)
    assert verify(tmp_path / "audit", VKEY, rules=False).ok  # the order of their versions is any


def test_a_large_batch_is_cut_into_commits(tmp_path: Path) -> None:
    """A commit takes at most 500 entries; the order of submission is the order of the log."""
    store = store_at(tmp_path)
    create(store, ORIGIN, KEY, clock())
    store.submit([_row(control(number)) for number in range(1200)])
    sequencer = Sequencer(store, KEY, clock(START_NS + 10**9))
    sizes = []
    while sequencer.commit() is not None:
        sizes.append(sequencer.head.size)
    assert sizes[-1] == 1202
    assert max(b - a for a, b in zip([0, *sizes], sizes, strict=False)) <= 500
    again = _reopened(tmp_path)
    assert [body["version"] for _, kind, body in again.entries(0, 2000) if kind == "control"] == list(range(1200))
    again.close()


def test_a_release_behind_its_epoch_is_refused(tmp_path: Path) -> None:
    """After an entry that raised an epoch no release under the old one enters, nor under one nobody ever raised."""
    with log_at(tmp_path) as log:
        for ground in grounds():
            log.append(ground)
        log.append(control(1, policy=1))
        log.append(release(1, epochs={"policy": 1}))
        log.append(control(2, policy=2))
        for counter, epochs in ((6, {"policy": 1}), (7, {"policy": 3}), (8, {"policy": 2, "case_1": 1})):
            late = release(counter, epochs=epochs)
            with pytest.raises(Refused, match="epoch_behind"):
                log.append(late)
            with pytest.raises(Refused, match="epoch_behind"):
                log.wait(late.id)
            with pytest.raises(Refused, match="epoch_behind"):
                log.append(late)
        log.append(release(2, epochs={"policy": 2}))
        assert log.epochs() == {"policy": 2}
        size = log.size
    again = _reopened(tmp_path)
    assert (again.epochs(), again.size) == ({"policy": 2}, size)
    with pytest.raises(Refused, match="epoch_behind"):
        again.append(release(6, epochs={"policy": 1}))
    again.close()
    assert verify(tmp_path / "audit", VKEY).ok


def test_order_within_one_commit_decides(tmp_path: Path) -> None:
    """Of entries taken together, a release before the revoke enters, one after it does not; lower is nothing."""
    with log_at(tmp_path) as log:
        log.append(control(1, policy=5))
        batch = [release(1, epochs={"policy": 5}), control(2, policy=4), release(2, epochs={"policy": 5})]
        log.submit([*batch, control(3, policy=6), release(3, epochs={"policy": 5})])
        assert log.wait(batch[0].id).index < log.wait(batch[2].id).index < log.wait(control(3, policy=6).id).index
        with pytest.raises(Refused, match="epoch_behind"):
            log.wait(release(3, epochs={"policy": 5}).id)


def test_sending_again_changes_nothing(tmp_path: Path) -> None:
    """The same entry has one index for ever, now and after a restart; another under its id is refused."""
    with log_at(tmp_path) as log:
        first = log.append(control(1))
        log.append(control(2))
        again = log.append(control(1))
        assert (again.index, again.at_ns) == (first.index, first.at_ns)
        assert again.size == log.size == 4
        with pytest.raises(Invalid, match="audit_id_reused"):
            log.submit([control(9), control(1, policy=1)])
        with pytest.raises(Invalid, match="audit_entry_unknown"):
            log.wait(control(9).id)
    opened = _reopened(tmp_path)
    receipt = opened.append(control(1))
    assert (receipt.index, receipt.at_ns, opened.size) == (first.index, first.at_ns, 4)
    opened.close()


def test_an_entry_in_the_callers_transaction(tmp_path: Path) -> None:
    """It is in the log if the transaction commits, and never was if it does not; nobody needs to wait for it."""
    with log_at(tmp_path) as log:
        engine: Engine = log._store._engine  # type: ignore[attr-defined]  # the same database as a control event's
        with engine.connect() as connection:
            log.add(connection, control(1))
            connection.rollback()
        with pytest.raises(Invalid, match="audit_entry_unknown"):
            log.wait(control(1).id)
        with engine.begin() as connection:
            log.add(connection, control(1))
        until = time.monotonic() + 5
        while log.size == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert log.size == 3
        with engine.begin() as connection:
            log.add(connection, control(2))
        assert log.wait(control(2).id).index == 3


def test_many_proofs_are_the_proofs_of_each(tmp_path: Path) -> None:
    """In the order of the log, however they are asked for; the hashes beside a range lead from it to the root; leaves
    of a range are those that stand there.
    """
    with log_at(tmp_path) as log:
        entries = [release(number) for number in range(300)]
        log.submit(entries)
        log.wait(entries[-1].id)
        size = log.size
        wanted = [size - 1, 3, 256, 255, 0, 290]
        shown = list(log.proved(wanted, size))
        assert shown == [(index, log.leaf(index), log.proof(index, size)) for index in sorted(wanted)]
        assert list(log.leaves(250, 260)) == [log.leaf(index) for index in range(250, 260)]
        assert list(log.leaves(-5, 10**9)) == [log.leaf(index) for index in range(size)]
        assert sorted(log.range_proof(7, 8, size)) == sorted(log.proof(7, size))
        assert log.range_proof(0, size, size) == []
        for ask in (lambda: list(log.proved([size], size)), lambda: log.range_proof(0, size + 1, size + 1)):
            with pytest.raises(Invalid) as error:
                ask()
            assert error.value.code == "audit_entry_unknown"


def test_reading_beyond_the_log(tmp_path: Path) -> None:
    """An index or size outside the published log is refused."""
    with log_at(tmp_path) as log:
        log.append(control(1))
        for call in (lambda: log.entry(3), lambda: log.entry(-1), lambda: log.proof(3), lambda: log.proof(0, 4)):
            with pytest.raises(Invalid, match="audit_entry_unknown"):
                call()
        with pytest.raises(Invalid, match="audit_entry_unknown"):
            log.consistency(4)
        assert list(log.entries(3, 10)) == []
        assert log.evidence(2).startswith(b"c2sp.org/tlog-proof@v1\nindex 2\n")
        assert log.origin == ORIGIN


def test_a_log_is_made_once_and_opened_only_where_one_is(tmp_path: Path) -> None:
    """Opening makes nothing; making a second log is refused."""
    with pytest.raises(Unavailable, match="audit_missing"):
        AuditLog(store_at(tmp_path), KEY, clock())
    new_log(tmp_path).close()
    with pytest.raises(Invalid, match="audit_exists"):
        create(store_at(tmp_path), ORIGIN, KEY, clock())
    with pytest.raises(Invalid, match="audit_key_malformed"):
        create(store_at(tmp_path), "two words", KEY, clock())


@pytest.mark.parametrize("step", [0, -1, -(10**12), -HOUR_NS])
def test_a_clock_that_does_not_advance_stops_the_log(tmp_path: Path, step: int) -> None:
    """Frozen or gone back: it stops, for a right that ends by time would live on; nothing was signed."""
    new_log(tmp_path).close()
    now = [START_NS + 10**9]
    log = AuditLog(store_at(tmp_path), KEY, lambda: now[0])
    before = log.append(control(1)).checkpoint
    now[0] += step
    with pytest.raises(Unavailable, match=r"audit_stopped.*clock"):
        log.append(control(2))
    with pytest.raises(Unavailable, match="audit_stopped"):
        log.submit([control(9)])
    log.close()
    assert (tmp_path / "audit/checkpoint").read_bytes() == before
    again = _reopened(tmp_path)
    assert again.append(control(2)).index == 3
    again.close()
    assert verify(tmp_path / "audit", VKEY).ok


def test_a_clock_that_ran_ahead_and_was_set_right(tmp_path: Path) -> None:
    """An hour ahead the log goes on; set right it is behind its last commit, says so, and waits until it is past it."""
    new_log(tmp_path).close()
    now = [START_NS + 10**12]

    def opened() -> AuditLog:
        return AuditLog(store_at(tmp_path), KEY, lambda: now[0])

    log = opened()
    log.append(control(1))
    now[0] += HOUR_NS
    ahead = log.append(control(2))
    now[0] -= HOUR_NS - 10**9
    with pytest.raises(Unavailable, match=r"audit_stopped.*clock"):
        log.append(control(3))
    log.close()
    again = opened()
    with pytest.raises(Unavailable, match=r"audit_stopped.*clock"):
        again.append(control(3))
    again.close()
    assert verify(tmp_path / "audit", VKEY, [ahead.checkpoint]).size == ahead.size
    now[0] += HOUR_NS
    later = opened()
    assert later.append(control(3)).index == ahead.index + 1
    later.close()
    assert verify(tmp_path / "audit", VKEY, [ahead.checkpoint]).ok


def test_two_sequencers_on_one_log(tmp_path: Path) -> None:
    """The second to commit loses the swap, and the log stays whole."""
    new_log(tmp_path).close()
    store = store_at(tmp_path)
    one, two = (Sequencer(store, KEY, clock(START_NS + start)) for start in (10**9, 10**10))
    for number, winner in ((1, one), (2, one)):
        store.submit([_row(control(number))])
        assert winner.commit() is not None
    store.submit([_row(control(3))])
    with pytest.raises(Unavailable, match="another sequencer"):
        two.commit()
    assert one.commit() is not None
    assert verify(tmp_path / "audit", VKEY).size == one.head.size == 5


def test_a_closed_log_refuses_everything(tmp_path: Path) -> None:
    """After `close` each call says so."""
    log = new_log(tmp_path)
    log.append(control(1))
    log.close()
    calls: list[Callable[[], Any]] = [
        lambda: log.append(control(2)), lambda: log.wait(control(1).id), lambda: log.size, log.checkpoint,
        log.epochs, lambda: log.entry(0), lambda: log.submit([]), lambda: log.proof(0),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(Unavailable, match="audit_stopped"):
            call()


def test_waiting_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry whose checkpoint does not come in time: `Unavailable`, and the same entry may be waited for again."""
    log = new_log(tmp_path)
    gate = threading.Event()
    assert log._sequencer is not None
    commit = log._sequencer.commit
    monkeypatch.setattr(log._sequencer, "commit", lambda: (gate.wait(5), commit())[1])
    time.sleep(0.25)  # the poll that runs without the gate
    with pytest.raises(Unavailable, match="audit_unavailable"):
        log.append(control(1), timeout_s=0.02)
    gate.set()
    assert log.append(control(1)).index == 2
    log.close()


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("audit_lock", "size = size + 1"),
        ("audit_lock", "size = size - 1"),
        ("audit_lock", "root = zeroblob(32)"),
        ("audit_lock", "checkpoint = zeroblob(9)"),
        ("audit_lock", "origin = 'other'"),
        ("audit_lock", "origin = 'no name'"),
        ("audit_lock", "root = 7"),
    ],
)
def test_a_changed_lock_row_is_found_at_opening(tmp_path: Path, table: str, change: str) -> None:
    """The lock row says what its signed checkpoint says, or the log is not opened."""
    with log_at(tmp_path) as log:
        log.append(control(1))
    with store_at(tmp_path)._engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {table} SET {change}")
    with pytest.raises(Tampered):
        _reopened(tmp_path)


def test_files_that_do_not_fit_the_lock_row(tmp_path: Path) -> None:
    """A tile changed or lost at the right edge, an older lock row (a restored backup): not opened, nothing signed."""
    with log_at(tmp_path) as log:
        log.append(control(1))
        older = log._store.head()
        log.append(control(2))
    audit = tmp_path / "audit"
    for name in ("tile/0/000.p/4", "tile/entries/000.p/4", "checkpoint"):
        good = (audit / name).read_bytes()
        for bad in (good[:-1], bytes([good[0] ^ 1]) + good[1:], None):
            (audit / name).unlink()
            if bad is not None:
                (audit / name).write_bytes(bad)
            if (name, bad) == ("checkpoint", None):
                continue  # a checkpoint that is gone is published again from the lock row
            with pytest.raises(Tampered):
                _reopened(tmp_path)
        (audit / name).write_bytes(good)
    assert older is not None
    with store_at(tmp_path)._engine.begin() as connection:
        old = {"size": older.size, "root": older.root, "checkpoint": older.checkpoint}
        connection.execute(tables.LOCK.update().values(**old))
    with pytest.raises(Tampered, match="never committed here"):
        _reopened(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        *("leaf = X'00'", "leaf = NULL", "digest = zeroblob(32)", "raises = '['", "raises = '7'", "raises = NULL"),
        *("raises = '{\"policy\":2}'", "rests_on = '{\"policy\":1}'", "id = zeroblob(16)", "kind = 'contro'"),
    ],
)
def test_a_waiting_entry_that_was_changed_is_not_signed(tmp_path: Path, change: str) -> None:
    """The outbox is not trusted: a leaf that differs from its digest, or from its row, stops the sequencer."""
    new_log(tmp_path).close()
    store = store_at(tmp_path)
    store.submit([_row(control(1, policy=1))])
    with store._engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE audit_outbox SET {change}")
    with pytest.raises(Tampered, match="audit_outbox"):
        Sequencer(store, KEY, clock(START_NS + 10**12)).commit()
    assert verify(tmp_path / "audit", VKEY).size == 0


def test_two_who_wait_for_the_same_old_entry_both_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one looks up what became of it, another begins to wait: nothing comes any more, and he looks himself."""
    with log_at(tmp_path) as log:
        index = log.append(control(1)).index
    log = _reopened(tmp_path)
    looking, go = threading.Event(), threading.Event()
    settled = log._settled

    def slowly(entry_id: bytes) -> Any:
        looking.set()
        go.wait(5)
        return settled(entry_id)

    monkeypatch.setattr(log, "_settled", slowly)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(log.wait(control(1).id).index)) for _ in range(2)]
    threads[0].start()
    assert looking.wait(5)
    threads[1].start()
    # Until he waits, or has been told by the log's own look at what is settled.
    while not found and not any(slot.ready.waited for slot in list(log._slots.values())):
        time.sleep(0.001)
    go.set()
    for thread in threads:
        thread.join()
    assert found == [index, index]
    log.close()


def test_little_is_kept_of_an_entry_beside_the_log(tmp_path: Path) -> None:
    """When an entry has its index, the control database gives back the room of its leaf."""
    with log_at(tmp_path) as log:
        for first in range(0, 2_000, 500):
            log.submit([refusal(number, reasons=["x" * 500]) for number in range(first, first + 500)])
            log.settle()
    with engine_at(tmp_path).connect() as connection:
        pages, free = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "freelist_count")
        )
    assert (pages - free) * 4_096 < 2_000 * 200
