"""The control path: command ▶ decide ▶ events and audit entries in one transaction ▶ checkpoint ▶ outcome."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from exchange.control import EventStore, commands
from exchange.control.decide import decide
from exchange.control.decision import Decision
from exchange.control.entries import entries, refusal
from exchange.control.events import Event
from exchange.control.model import Model, Principal
from exchange.control.projections import fold
from exchange.errors import Refused, Unavailable
from exchange.signing.pseudonyms import Actors
from exchange.site import no_reserve

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from exchange.audit.entries import Entry, Receipt

ATTEMPTS: Final = 16
_PAGE: Final = 1_000
_SETS: Final = 32  # of members kept in memory; beyond it all are forgotten and read again when needed


class Audit(Protocol):
    """The part of `exchange.audit.log.AuditLog` that the control path uses."""

    def add(self, connection: Connection, entry: Entry) -> None:
        """Puts the entry into the outbox, in the caller's transaction."""
        ...

    def submit(self, entries: Sequence[Entry]) -> None:
        """Puts the entries into the outbox in a transaction of its own."""
        ...

    def wait(self, entry_id: bytes, timeout_s: float = 5.0) -> Receipt:
        """Returns when the entry is in a published checkpoint."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a command did: its events (none: all was so already), and where the last entry of them stands.

    `about` is the id of what was made or changed: `agr-17`, a policy revision, a dataset's name.
    """

    events: Sequence[Event]
    receipt: Receipt | None
    about: str


class Control:
    """The control plane of one site; it may be used from any thread.

    A command returns when its entries are in a checkpoint: from then on no release rests on what it ended.
    """

    def __init__(
        self,
        store: EventStore,
        audit: Audit,
        actors: Actors,
        now_ns: Callable[[], int],
        room: Callable[[], None] = no_reserve,
        first: int = 0,
    ) -> None:
        self._store = store
        self._audit = audit
        self._actors = actors
        self._now_ns = now_ns
        self._room = room
        self._model = Model()
        self._members: dict[str, frozenset[bytes]] = {}
        self._lock = threading.Lock()
        self._refusals = itertools.count(first)  # another number in every process of one exchange

    def model(self) -> Model:
        """The read model, caught up with every event committed before the call."""
        with self._lock:
            model = self._model
            while events := self._store.read(model.position, _PAGE):
                model = fold(model, events)
            if model.active_policy != self._model.active_policy:
                model = replace(model, codes=self._codes(model.active_policy))
            self._model = model
            return model

    def lag(self) -> int:
        """How many events this process has not taken in yet; whatever is asked of it takes them in first."""
        return max(self._store.head() - self._model.position, 0)

    def history(self, aggregate: str) -> Sequence[Event]:
        """Every event of an aggregate (`agreement/agr-17`), in their order."""
        return self._store.of(aggregate)

    def after(self, position: int, limit: int) -> Sequence[Event]:
        """At most `limit` events after a position, in their order."""
        return self._store.read(position, limit)

    def latest(self, count: int) -> Sequence[Event]:
        """The last events of all, oldest first."""
        return self._store.read(max(self.model().position - count, 0), count)

    def document(self, digest: str) -> Any:  # noqa: ANN401 - a JSON value: a contract, a set of tags, a policy bundle
        """The JSON value of a document that an event names."""
        return self._store.document(digest)

    def members(self, digest: str) -> frozenset[bytes]:
        """The subject tags of a case's set of members; a digest stands for the same set for ever."""
        known = self._members.get(digest)
        if known is None:
            if len(self._members) >= _SETS:
                self._members.clear()
            known = self._members[digest] = frozenset(bytes.fromhex(tag) for tag in self._store.document(digest))
        return known

    def execute(self, actor: Principal, command: commands.Command) -> Outcome:
        """Does what the command says, or raises why not; what was done is in a checkpoint on return.

        Raises:
            Invalid: the command is malformed; nothing happened.
            Refused: the rules say no; the refusal is in a checkpoint.
            Unavailable: `control_contention`, `disk_reserve` (nothing happened), or the audit log's: the command may
                have been done.
            Tampered: the event store or the audit log is not what was written.
        """
        if not isinstance(command, commands.ENDING):
            self._room()
        try:
            return self._attempts(actor, command)
        except Refused as error:
            time_ns, attempt = self._now_ns(), next(self._refusals)
            entry = refusal(type(command).__name__, [error.code], actor, attempt, time_ns, self._actors)
            self._audit.submit([entry])
            self._audit.wait(entry.id)
            raise

    def bootstrap(self, first: commands.Bootstrap) -> Outcome:
        """Makes the first department and authority of an empty site: `exchange init` alone does this."""
        return self._attempts(None, first)

    def _attempts(self, actor: Principal | None, command: commands.Command) -> Outcome:
        for _ in range(ATTEMPTS):
            model = self.model()
            now_ns = self._now_ns()
            decision = decide(command, actor, model, now_ns)
            if not decision.events:
                return Outcome((), None, decision.about)
            try:
                return self._commit(decision, model.principals[actor.id] if actor else None, model, now_ns)
            except Unavailable as error:
                if error.code != "events_conflict":
                    raise
        raise Unavailable("control_contention", command=type(command).__name__)

    def _commit(self, decision: Decision, actor: Principal | None, model: Model, now_ns: int) -> Outcome:
        """Steps 3 to 5: one transaction, the checkpoint, the outcome."""
        read = decision.rests_on | {event.aggregate for event in decision.events}
        expected = {aggregate: model.versions.get(aggregate, 0) for aggregate in sorted(read)}
        department = actor.department if actor else None
        made: list[Entry] = []

        def alongside(connection: Connection, stored: Sequence[Event]) -> None:
            made.extend(entries(stored, department, model, self._actors))
            for entry in made:
                self._audit.add(connection, entry)

        events = self._store.append(
            expected,
            decision.events,
            decision.documents,
            actor=actor.id if actor else decision.about,
            time_ns=now_ns,
            alongside=alongside,
        )
        # A crash here: the events count from now on, and the sequencer finds their entries in the outbox when it opens.
        receipts = [self._audit.wait(entry.id) for entry in made]
        return Outcome(events, max(receipts, key=lambda receipt: receipt.index), decision.about)

    def _codes(self, revision: str | None) -> dict[str, Any]:
        return self._store.document(revision)["codes"] if revision else {}
