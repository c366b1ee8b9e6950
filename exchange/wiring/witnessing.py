"""Anchors: checkpoints of the log that witnesses have signed, each an entry of the log itself.

    1 look      has the log grown by anything but anchors since the witness signed last?
    2 ask       the witness signs the published checkpoint, or says what it has seen instead
    3 anchor    the signed checkpoint becomes an entry; who reads the log has the evidence with it

A crash after 2 leaves a signature that is nowhere: the witness is asked again. Only the process asks in which the log's
sequencer is: so one does, however many gateways there are.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exchange.audit.entries import entry_id, make
from exchange.audit.log import AuditLog
from exchange.audit.note import open_checkpoint
from exchange.audit.witness import Witness, cosigned, parse_witnesses
from exchange.errors import ExchangeError, Tampered
from exchange.names import digest_bytes
from exchange.site import VKEY

if TYPE_CHECKING:
    from exchange.settings import Settings

_ALARM: Final = logging.getLogger("exchange.audit")
_LOOKED_AT: Final = 4_096  # entries; a log that grew by more than that has surely grown by something
_LAST_S: Final = 2.0
_NOT_GROWTH: Final = frozenset({"anchor", "schema"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What a witness has seen: the size of the log, when it says so (nanoseconds); or why it was not to be had."""

    size: int = 0
    time_ns: int | None = None
    problem: ExchangeError | None = None


class Witnessing:
    """The witnesses of a site's log. Any thread may use it; one at a time asks."""

    def __init__(self, audit: AuditLog, vkey: str, now_ns: Callable[[], int], witnesses: Sequence[Witness]) -> None:
        self._audit, self._vkey, self._now_ns, self._witnesses = audit, vkey, now_ns, witnesses
        self._seen: dict[str, Seen] = {one.name: Seen() for one in witnesses}
        self._asking = threading.Lock()

    def seen(self) -> Mapping[str, Seen]:
        """What each witness has seen, as far as this process knows."""
        return dict(self._seen)

    def round(self) -> Mapping[str, Seen]:
        """Asks every witness for which there is something new; what each has seen now.

        A witness that contradicts the log is told to the logger `exchange.audit`, and asked again the next time.
        """
        with self._asking:
            if not self._audit.leads:
                return self.seen()
            for witness in self._witnesses:
                former = self._seen[witness.name]
                try:
                    self._seen[witness.name] = self._asked(witness, former)
                except ExchangeError as error:
                    self._seen[witness.name] = Seen(former.size, former.time_ns, error)
                    if isinstance(error, Tampered):
                        _ALARM.error("a witness contradicts the audit log", extra={"cause": str(error)})
            return self.seen()

    def _asked(self, witness: Witness, former: Seen) -> Seen:
        audit = self._audit
        note = audit.checkpoint()
        checkpoint = open_checkpoint(note, self._vkey)
        if former.time_ns is not None and not self._has_grown(former.size, checkpoint.size):  # 1
            return Seen(former.size, former.time_ns)
        found = cosigned(
            witness, former.size, lambda old: audit.consistency(old, checkpoint.size), note, checkpoint.size
        )  # 2
        # A crash here: the witness has signed this size, and will say so when it is asked next.
        audit.append(
            make(
                "anchor",
                entry_id("anchor", witness.name, checkpoint.size, checkpoint.root, found.time_s),
                self._now_ns(),
                type="witness",
                authority=witness.name,
                size=checkpoint.size,
                root=checkpoint.root,
                authority_ns=found.time_s * 1_000_000_000,
                evidence=found.note,
                evidence_digest=digest_bytes(found.note),
            )
        )  # 3
        return Seen(checkpoint.size, found.time_s * 1_000_000_000)

    def _has_grown(self, since: int, size: int) -> bool:
        """Whether there is anything but anchors behind: they would otherwise go on for ever by themselves."""
        if size - since > _LOOKED_AT:
            return True
        return any(kind not in _NOT_GROWTH for _, kind, _ in self._audit.entries(since, size))

    @contextmanager
    def running(self, pause_s: float) -> Iterator[None]:
        """Asks in a thread of its own, at once and then after each pause, while the block lasts."""
        stop = threading.Event()

        def run() -> None:
            while not stop.is_set():
                self.round()
                stop.wait(pause_s)

        thread = threading.Thread(target=run, name="witnesses", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(_LAST_S)  # one that hangs is not waited for: what it then says finds the log closed


def witnessing_of(settings: "Settings", audit: AuditLog, now_ns: Callable[[], int]) -> Witnessing | None:
    """The witnesses that the settings name; None where there are none. Raises `parse_witnesses`'s errors."""
    found = parse_witnesses(settings.text("audit.witnesses"))
    if not found:
        return None
    return Witnessing(audit, settings.path(VKEY).read_text("utf-8").strip(), now_ns, found)
