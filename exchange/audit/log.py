"""The audit log as the rest of the exchange sees it: entries in, receipts out, and reading what is published."""

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from exchange.audit.entries import Entry, Receipt, encode
from exchange.audit.gate import Gate
from exchange.audit.lag import Lag, measured
from exchange.audit.note import Signer, check_origin, vkey
from exchange.audit.reading import LogReader, disk_cause, disk_faults
from exchange.audit.sequencer import CLOCK_STANDS, Committed, Sequencer, first_head, published_head
from exchange.audit.store import AuditStore, Head, Known, Row
from exchange.errors import ExchangeError, Invalid, Refused, Tampered, Unavailable
from exchange.names import canonical
from exchange.signing.merkle import leaf_hash

WAIT_S: Final = 5.0
_POLL_S: Final = 0.2  # for rows that came in other transactions and that nobody waits for
_SETTLE_S: Final = 0.002
_REMEMBERED: Final = 20_000  # outcomes kept in memory; older ones are looked up
_BEHIND: Final = "the clock is behind the last commit"
_CLOCK_FAULTS: Final = frozenset({_BEHIND, CLOCK_STANDS})
_ALARM: Final = logging.getLogger("exchange.audit")  # whoever serves makes lines of it; else nobody hears it
_ALARM.addHandler(logging.NullHandler())


@dataclass(slots=True)
class _Slot:
    """Where the outcome of an entry will lie."""

    ready: Gate = field(default_factory=Gate)
    outcome: tuple[int, int] | Mapping[str, object] | None = None  # (index, time), or why it was refused


def create(store: AuditStore, origin: str, key: Signer, now_ns: Callable[[], int]) -> str:
    """Makes an empty log and its verifier key, which it returns. Nothing else makes one.

    Raises:
        Invalid: `audit_exists`; `audit_key_malformed` for an origin with white space or a plus sign.
        Unavailable: `audit_stopped` when the disk fails.
    """
    head = first_head(check_origin(origin), key, now_ns())
    with disk_faults():
        store.begin(head)
        store.publish(head.checkpoint)
    # A crash between the two: opening the log publishes the checkpoint of the lock row.
    return vkey(origin, key.public)


class AuditLog(LogReader):
    """The log, open, with its sequencer's thread. Any thread may use it.

    Where the store is shared by several processes one of them is the sequencer; the thread of any other follows what
    that one publishes, and takes its place when it is free (then it recovers, as at an opening).

    `key` signs checkpoints; who has only the log's verifier key (vkey) in its place follows and never leads.

    Opening recovers: it raises `Unavailable("audit_missing")` and `Tampered` as `Sequencer` does. After any fault of
    the sequencer (disk, clock, a second sequencer) nothing is ever signed from its memory again. On a server the place
    is given up, and whoever takes it next, this process too, recovers first; else, and after `Tampered` everywhere,
    every call is `Unavailable("audit_stopped")` until the log is opened anew. While a fault lasts, or the clock is
    behind the last commit, `check` says so; its beginning and its end are told to the logger `exchange.audit`.
    """

    def __init__(self, store: AuditStore, key: Signer | str, now_ns: Callable[[], int]) -> None:
        super().__init__(store)
        self._now_ns = now_ns
        self._key, self._signer = key, None if isinstance(key, str) else key
        self._sequencer: Sequencer | None = None
        self._published: Head
        self._seeing = threading.Lock()
        try:
            with disk_faults():
                if self._signer is not None and store.lead():
                    self._lead(self._signer)
                else:
                    self._published = self._shown()
        except ExchangeError:
            store.close()
            raise
        self._stopped: str | None = None  # for good
        self._fault: str | None = None  # what keeps this process from seeing or making a checkpoint just now
        self._lock = threading.Lock()
        self._slots: dict[bytes, _Slot] = {}
        self._outcomes: OrderedDict[bytes, tuple[int, int] | Mapping[str, object]] = OrderedDict()
        self._wake = threading.Event()
        store.listen(self._wake.set)
        self._thread = threading.Thread(target=self._run, name="audit-sequencer", daemon=True)
        self._thread.start()

    def add(self, connection: Connection, entry: Entry) -> None:
        """Puts the entry into the log's outbox inside the caller's SQL transaction. `wait` after the commit.

        Raises:
            Invalid: as `encode`; `audit_id_reused` for an id that stands for another entry.
        """
        self.check_running()
        self._store.add(connection, _row(entry))

    def submit(self, entries: Sequence[Entry], *, soon: bool = True) -> None:
        """Puts the entries into the outbox in one transaction, durable on return: they will be in the log.

        The same id with an equal entry changes nothing. Raises as `add`; then none of them is stored. Where another
        entry follows at once, `soon=False` lets both be in one commit; if none does, this one is in the log all the
        same, a moment later.
        """
        self.check_running()
        if self._fault in _CLOCK_FAULTS:  # it may take long to be mended, and these entries speak of now
            raise Unavailable("audit_stopped", cause=self._fault)
        rows = [_row(entry) for entry in entries]
        with self._lock:
            fresh = [row.id for row in rows if row.id not in self._slots and row.id not in self._outcomes]
            self._slots.update((entry_id, _Slot()) for entry_id in fresh)
        try:
            before = self._store.submit(rows)
        except ExchangeError:
            self._forget(fresh)
            raise
        self._forget(before)  # `wait` looks up what became of these
        if soon:
            self._call()

    def wait(self, entry_id: bytes, timeout_s: float = WAIT_S) -> Receipt:
        """Returns when the entry is in a published checkpoint: only then may what it speaks of happen.

        Waiting again, or later, gives the same index and time, and a checkpoint that covers it.

        Raises:
            Refused: `epoch_behind`: the entry is not in the log and never will be under this id.
            Unavailable: `audit_unavailable` after `timeout_s`: wait again, or send the same entry again;
                `audit_stopped`.
            Invalid: `audit_entry_unknown` for an id that was never submitted (or its transaction not committed).
        """
        until = time.monotonic() + timeout_s
        while True:
            self.check_running()
            with self._lock:
                outcome, slot = self._outcomes.get(entry_id), self._slots.get(entry_id)
                known = outcome is not None or slot is not None
                if not known:
                    slot = self._slots[entry_id] = _Slot()
            if not known:
                outcome = self._settled(entry_id)  # after the slot is there: what comes later will fill it
                if outcome is not None:
                    self._forget([entry_id])  # nothing will fill it any more
                self._call()
            if outcome is None and slot is not None:
                forgotten = slot.ready.wait(max(until - time.monotonic(), 0)) and slot.outcome is None
                outcome = slot.outcome
                if forgotten and time.monotonic() < until:
                    continue  # whoever made the slot has no use for it: look for oneself
            if outcome is None:
                self.check()
                raise Unavailable("audit_unavailable", seconds=timeout_s)
            return self._receipt(outcome)

    def append(self, entry: Entry, timeout_s: float = WAIT_S) -> Receipt:
        """`submit` and `wait`."""
        self.submit([entry])
        return self.wait(entry.id, timeout_s)

    def settle(self, timeout_s: float = WAIT_S) -> None:
        """Returns when all that was submitted before is in the published log, or refused.

        Raises:
            Unavailable: `audit_unavailable` after `timeout_s`; `audit_stopped`.
        """
        until = time.monotonic() + timeout_s
        last = max((row.seq for row in self._store.pending(_REMEMBERED)), default=0)
        self._call()
        needed: int | None = None  # the size that covers it: what others go on submitting is not waited for
        while True:
            self._wake.set()
            first = next(iter(self._store.pending(1)), None) if needed is None else None
            if needed is None and (first is None or first.seq > last):
                head = self._store.head()  # after the look at what waits: it covers what waits no more
                needed = head.size if head else 0
            self.check_running()
            if needed is not None and needed <= self._published.size:
                return
            if time.monotonic() > until:
                raise Unavailable("audit_unavailable", seconds=timeout_s)
            time.sleep(_SETTLE_S)

    def check(self) -> None:
        """Returns when this process knows of nothing that keeps an entry from its checkpoint.

        Raises:
            Unavailable: `audit_stopped`, with the cause.
        """
        self.check_running()
        if self._fault is not None:
            raise Unavailable("audit_stopped", cause=self._fault)

    @property
    def size(self) -> int:
        """The number of entries under the published checkpoint, of now: another process may have published it."""
        return self._looked().size

    @property
    def size_seen(self) -> int:
        """The size of the last published checkpoint that was seen here; asks no store."""
        return self._published.size

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._published.origin

    def checkpoint(self) -> bytes:
        """The published checkpoint of now, a signed note."""
        return self._looked().checkpoint

    def place(self, entry_id: bytes) -> int | None:
        """The index of the published entry of this id; None where there is none."""
        outcome = self._outcome(self._store.known(entry_id))
        return outcome[0] if isinstance(outcome, tuple) else None

    def epochs(self) -> Mapping[str, int]:
        """Every epoch that entries of the log have raised, with its value."""
        self.check_running()
        sequencer = self._sequencer
        return self._store.epochs() if sequencer is None else dict(sequencer.epochs)

    @property
    def leads(self) -> bool:
        """Whether the log's sequencer is in this process just now."""
        return self._sequencer is not None

    def lag(self) -> Lag:
        """How far this process's view of the log is behind; as `measured`, and `Unavailable("audit_stopped")`."""
        self.check_running()
        return measured(self._store, self._published.size, self._now_ns(), self._decoded)

    def check_running(self) -> None:
        """Raises `Unavailable("audit_stopped")` where the log was closed or stopped for good; asks no store."""
        if self._stopped is not None:
            raise Unavailable("audit_stopped", cause=self._stopped)

    def close(self) -> None:
        """Ends the sequencer after the commit it is at. What was submitted waits for the next start."""
        self._stop("closed")
        self._wake.set()
        self._thread.join()
        self._store.close()

    def _run(self) -> None:
        cause = "a fault in the sequencer"
        try:
            if self._sequencer is not None:
                self._store.lead()  # the place that the opening took is this thread's from now on
            while self._stopped is None:
                committed = self._step()
                if committed is None:
                    self._wake.wait(_POLL_S)
                    self._wake.clear()
                else:
                    self._resolve(committed)
        except ExchangeError as error:
            cause = _cause(error)
        except OSError as error:
            cause = disk_cause(error)
        finally:
            if self._stopped is None:
                _ALARM.error("the audit log has stopped", extra={"cause": cause})
            self._stop(cause)
            self._store.close()  # with the sequencer's place: another process may take it

    def _step(self) -> Committed | None:
        """One commit; or one look at what another process has committed, or at its place. None: nothing to do now."""
        committed = None
        try:
            if self._sequencer is not None:
                committed = self._sequencer.commit()
                self._note(None if committed is not None else self._behind())
            elif self._signer is not None and self._store.lead():
                self._lead(self._signer)  # whether its clock goes on it learns with the next commit
            else:
                self._see()
                self._note(None)
        except Unavailable as error:
            self._sequencer = None
            self._note(_cause(error))
            if not self._store.resign():
                raise
        if committed is None:
            self._tell_settled()  # in another process, or by the sequencer that was here before
        return committed

    def _behind(self) -> str | None:
        """That the clock went back: the sequencer would sign nothing. Where nothing waits nobody would learn it."""
        return _BEHIND if self._now_ns() < self._published.committed_ns else None

    def _note(self, fault: str | None) -> None:
        """What keeps entries from their checkpoint now; an alarm when that begins or changes, a line when it ends."""
        former, self._fault = self._fault, fault
        if fault is not None and fault != former:
            _ALARM.error("the audit log makes no checkpoint", extra={"cause": fault})
        elif fault is None and former is not None:
            _ALARM.warning("the audit log goes on")

    def _lead(self, signer: Signer) -> None:
        """Becomes the sequencer, from storage alone, as at every opening."""
        self._sequencer = Sequencer(self._store, signer, self._now_ns)
        with self._seeing:  # whoever looks meanwhile may have an older answer of the store
            self._published = self._sequencer.head

    def _shown(self) -> Head:
        """What is published, its signature checked."""
        return published_head(self._store, self._key)

    def _looked(self) -> Head:
        """What is published now: who follows must ask, for what was told through another process is in it."""
        self.check_running()
        if self._sequencer is None:
            with disk_faults():
                self._see()
        return self._published

    def _see(self) -> None:
        """Sees what the sequencer in another process has published."""
        with self._seeing:  # else an older answer of the store might come after a newer one
            if self._store.published() == self._published.checkpoint:
                return
            head = self._shown()
            if head.size < self._published.size:
                raise Tampered("audit_log_damaged", where="checkpoint", detail="the published log went back")
            self._published = head

    def _tell_settled(self) -> None:
        """Tells those who wait here what became of their entries in another process."""
        with self._lock:
            waiting = list(self._slots)
        if not waiting:
            return
        with suppress(Unavailable):
            found = self._store.known_of(waiting)
            self._tell({entry_id: self._outcome(known) for entry_id, known in found.items()})

    def _resolve(self, committed: Committed) -> None:
        at_ns = committed.head.committed_ns
        outcomes: dict[bytes, tuple[int, int] | Mapping[str, object]] = dict(committed.refused)
        outcomes.update({entry_id: (index, at_ns) for entry_id, index in committed.indexes.items()})
        with self._seeing:
            self._published = committed.head
        self._tell(outcomes)

    def _tell(self, outcomes: Mapping[bytes, tuple[int, int] | Mapping[str, object] | None]) -> None:
        """Remembers these outcomes and wakes who waits for them; None: not known yet."""
        known = {entry_id: outcome for entry_id, outcome in outcomes.items() if outcome is not None}
        with self._lock:
            self._outcomes.update(known)
            while len(self._outcomes) > _REMEMBERED:
                self._outcomes.popitem(last=False)
            slots = [(self._slots.pop(entry_id, None), outcome) for entry_id, outcome in known.items()]
        for slot, outcome in slots:
            if slot is not None:
                slot.outcome = outcome
                slot.ready.open()

    def _call(self) -> None:
        """Wakes the sequencer, in whatever process it is."""
        self._wake.set()
        if self._sequencer is None:
            self._store.call()

    def _stop(self, cause: str) -> None:
        with self._lock:
            self._stopped = self._stopped or cause
            slots, self._slots = list(self._slots.values()), {}
        for slot in slots:
            slot.ready.open()

    def _forget(self, ids: Sequence[bytes]) -> None:
        """Lets go of slots that nothing will fill; who waits for one looks again."""
        with self._lock:
            slots = [self._slots.pop(entry_id, None) for entry_id in ids]
        for slot in slots:
            if slot is not None:
                slot.ready.open()

    def _settled(self, entry_id: bytes) -> tuple[int, int] | Mapping[str, object] | None:
        """The outcome by the outbox's word; None while the entry waits for its checkpoint."""
        self.check_running()
        known = self._store.known(entry_id)
        if known is None:
            self._forget([entry_id])
            raise Invalid("audit_entry_unknown", entry=entry_id.hex())
        return self._outcome(known)

    def _outcome(self, known: Known | None) -> tuple[int, int] | Mapping[str, object] | None:
        if known is not None and known.refused is not None:
            facts: Mapping[str, object] = json.loads(known.refused)
            return facts
        if known is None or known.index is None or known.committed_ns is None or known.index >= self._published.size:
            return None
        return known.index, known.committed_ns

    def _receipt(self, outcome: tuple[int, int] | Mapping[str, object]) -> Receipt:
        if not isinstance(outcome, tuple):
            raise Refused("epoch_behind", where="", **outcome)
        head = self._published
        return Receipt(outcome[0], head.size, head.checkpoint, outcome[1])


def _cause(error: ExchangeError) -> str:
    return str(error.facts.get("cause", error))


def _row(entry: Entry) -> Row:
    leaf = encode(entry)
    raises, rests_on = (canonical(dict(one)).decode() if one else None for one in (entry.raises, entry.rests_on))
    return Row(entry.id, leaf_hash(leaf), leaf, entry.kind, raises, rests_on, details=entry.details)
