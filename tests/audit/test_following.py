"""Several logs on one store: one is the sequencer, the others follow it, and one of them takes its place."""

import threading
import time
from pathlib import Path

import pytest

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.lag import Lag, measured
from exchange.audit.log import AuditLog, create
from exchange.audit.note import vkey
from exchange.audit.verify import verify
from exchange.errors import Refused, Tampered, Unavailable
from exchange.signing.keys import new_signing_key
from tests.audit.building import KEY, ORIGIN, START_NS, VKEY, clock, control, engine_at, release


class Place:
    """The one place of a sequencer, in this process: what a server's advisory lock is between processes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Shared(EmbeddedAuditStore):
    """A store whose place is taken by one log at a time, and that can be made to fail."""

    def __init__(self, folder: Path, place: Place) -> None:
        super().__init__(folder / "audit", engine_at(folder))
        self._place, self._has = place, False
        self.down = False

    def lead(self) -> bool:
        if self.down:
            raise Unavailable("audit_stopped", cause="down")
        self._has = self._has or self._place.lock.acquire(blocking=False)
        return self._has

    def resign(self) -> bool:
        if self._has:
            self._has = False
            self._place.lock.release()
        return True

    def close(self) -> None:
        self.resign()


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    place = Place()
    create(Shared(tmp_path, place), ORIGIN, KEY, clock())
    return place


def _opened(folder: Path, place: Place, start: int) -> AuditLog:
    return AuditLog(Shared(folder, place), KEY, clock(START_NS + start * 10**12))


def test_followers_get_their_receipts(tmp_path: Path, place: Place) -> None:
    """Whichever log an entry comes to, it is in the one sequence; the other sees it too."""
    first, second = _opened(tmp_path, place, 1), _opened(tmp_path, place, 2)
    indexes = [log.append(control(number)).index for number, log in enumerate([first, second, second, first], 1)]
    assert indexes == [2, 3, 4, 5]
    assert [first._sequencer is None, second._sequencer is None] == [False, True]
    second.settle()
    assert [kind for _, kind, _ in second.entries(0, 9)] == ["schema", "schema", *["control"] * 4]
    assert second.append(control(1)).index == 2
    for log in (second, first):
        log.close()


def test_epochs_hold_for_followers(tmp_path: Path, place: Place) -> None:
    """A release that rests on what another process has ended is refused, and the follower says so."""
    first, second = _opened(tmp_path, place, 1), _opened(tmp_path, place, 2)
    first.append(control(1, policy=1))
    second.append(release(1, epochs={"policy": 1}))
    first.append(control(2, policy=2))
    with pytest.raises(Refused, match="epoch_behind"):
        second.append(release(2, epochs={"policy": 1}))
    second.settle()
    assert second.epochs()["policy"] == 2
    for log in (second, first):
        log.close()


def test_a_follower_takes_the_place(tmp_path: Path, place: Place) -> None:
    """When the sequencer stops the follower goes on where it left off; what waited meanwhile is in the log once."""
    first, second = _opened(tmp_path, place, 1), _opened(tmp_path, place, 2)
    first.append(control(1))
    kept = first.checkpoint()
    first.close()
    assert second.append(control(2)).index == 3
    assert second._sequencer is not None
    third = _opened(tmp_path, place, 3)
    assert third.append(control(3)).index == 4
    for log in (third, second):
        log.close()
    assert verify(tmp_path / "audit", VKEY, [kept]).ok


def test_a_sequencer_with_a_fault_gives_up_its_place(tmp_path: Path, place: Place) -> None:
    """A clock that stands still stops one process, which says so; the next one's clock is its own, and both go on."""
    frozen = AuditLog(Shared(tmp_path, place), KEY, lambda: START_NS)
    with pytest.raises(Unavailable, match="clock does not advance"):
        frozen.append(control(1), timeout_s=0.3)
    second = _opened(tmp_path, place, 2)
    assert second.append(control(1)).index == 2
    while second._sequencer is None:  # the frozen one tries, too, and fails
        second.append(control(2))
    while frozen._fault is not None:  # until it has seen that another one goes on
        time.sleep(0.01)
    assert frozen.append(control(3)).index == second.size - 1
    second.close()
    frozen.close()


def test_a_follower_outlives_a_store_that_is_down(tmp_path: Path, place: Place) -> None:
    """It signs nothing, so it looks again; who waits gets `Unavailable` in time, and the receipt by asking again."""
    first = _opened(tmp_path, place, 1)
    store = Shared(tmp_path, place)
    second = AuditLog(store, KEY, clock(START_NS + 9 * 10**12))
    store.down = True
    time.sleep(0.25)  # a look that was under way
    second.submit([control(1)])
    with pytest.raises(Unavailable, match="cause=down"):
        second.wait(control(1).id, timeout_s=0.05)
    store.down = False
    assert second.append(control(1)).index == 2
    for log in (second, first):
        log.close()


def test_a_log_that_went_back_stops_its_followers(tmp_path: Path, place: Place) -> None:
    """An older checkpoint than the one seen before is a restored copy, or a forgery."""
    first = _opened(tmp_path, place, 1)
    old = first.checkpoint()
    first.append(control(1))
    second = _opened(tmp_path, place, 2)
    (tmp_path / "audit" / "checkpoint").write_bytes(old)
    second._thread.join()
    with pytest.raises(Unavailable, match="audit_stopped"):
        second.append(control(1))
    for log in (second, first):
        log.close()


def test_nobody_follows_what_is_not_there(tmp_path: Path) -> None:
    """While another process has the place and no log was made, there is nothing to open."""
    place = Place()
    assert Shared(tmp_path, place).lead()
    with pytest.raises(Unavailable, match="audit_missing"):
        _opened(tmp_path, place, 1)


def test_a_log_that_cannot_be_opened_gives_its_place_back(tmp_path: Path, place: Place) -> None:
    """A sequencer that does not come to be holds nothing."""
    (tmp_path / "audit" / "checkpoint").write_bytes(b"something else")
    with pytest.raises(Tampered):
        _opened(tmp_path, place, 1)
    assert place.lock.acquire(blocking=False)


def test_who_has_the_public_key_alone_follows(tmp_path: Path, place: Place) -> None:
    """It never takes the place, free as it is; its entries wait for somebody who may, and its receipts are as good."""
    follower = AuditLog(Shared(tmp_path, place), VKEY, clock(START_NS + 10**12))
    with pytest.raises(Unavailable, match="audit_unavailable"):
        follower.append(control(1), 0.3)
    assert follower.leads is False
    assert follower.lag().waiting == 1
    assert follower.lag().waiting_s > 0  # by the entry's own time
    leader = _opened(tmp_path, place, 2)
    receipt = follower.wait(control(1).id)
    assert (receipt.index, leader.leads, follower.leads) == (2, True, False)
    follower.settle()
    assert follower.lag() == Lag(0, 0, 0.0)
    for log in (follower, leader):
        log.close()


def test_another_logs_public_key_follows_nothing(tmp_path: Path, place: Place) -> None:
    """A checkpoint that this key has not signed opens nothing, and whoever leads is not disturbed."""
    other = vkey(ORIGIN, new_signing_key(tmp_path / "other.key").public)
    with pytest.raises(Tampered, match="audit_note_invalid"):
        AuditLog(Shared(tmp_path, place), other, clock(START_NS + 10**12))
    _opened(tmp_path, place, 2).close()


def test_settling_does_not_wait_for_what_comes_later(tmp_path: Path, place: Place) -> None:
    """A follower's run begins while others go on submitting without a pause."""
    leader, follower = _opened(tmp_path, place, 1), _opened(tmp_path, place, 2)
    over = threading.Event()

    def crowd() -> None:
        for number in range(1, 10**6):
            leader.append(control(number))
            if over.is_set():
                return

    busy = threading.Thread(target=crowd)
    busy.start()
    try:
        for number in range(10):
            follower.submit([release(number)])
            follower.settle()
            assert follower.lag().unseen >= 0
    finally:
        over.set()
        busy.join()
    for log in (follower, leader):
        log.close()


def test_what_is_committed_and_not_seen_is_counted(tmp_path: Path, place: Place) -> None:
    """The lag of a view is the lock row's size less what is seen."""
    log = _opened(tmp_path, place, 1)
    size = log.append(control(1)).index + 1
    assert measured(Shared(tmp_path, place), size - 2, START_NS, log._decoded) == Lag(2, 0, 0.0)
    log.close()
