"""The exchange broken on purpose: `mutants.py NAME` in the place of `exchange`, in the gateway's process alone.

A witness that lets one of these live proves nothing.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from exchange.access.flight import Flight
from exchange.audit.entries import Entry, Receipt
from exchange.audit.log import AuditLog
from exchange.cli.main import main
from exchange.log.kafka import python
from exchange.log.kafka.clients import Outgoing

_GAP_S: Final = 0.1  # what a fault may fall into


def marks_apart() -> None:
    """Records are written without a transaction, and their mark after them."""
    clients: Any = python
    plain = clients.KafkaProducer
    transactional = ("transactional_id", "transaction_timeout_ms", "enable_idempotence", "acks")

    def producer(**options: Any) -> Any:
        kept = {name: value for name, value in options.items() if name not in transactional}
        made = plain(**kept, acks="all", enable_idempotence=False)
        made.init_transactions = made.begin_transaction = made.commit_transaction = lambda: None
        return made

    def transact(self: Any, batches: Sequence[Outgoing]) -> Sequence[range]:
        spans = self._sent(batches[:-1])
        time.sleep(_GAP_S)
        spans += self._sent(batches[-1:])
        return [range(first, last + 1) for first, last in spans]

    clients.KafkaProducer = producer
    python._Writer.transact = transact  # type: ignore[method-assign]  # this process is the mutant


def release_before_audit() -> None:
    """A release is handed over before its entry is in a checkpoint; its number is guessed."""
    releases: set[bytes] = set()
    submit, wait = Flight._submit, AuditLog.wait

    def submitted(self: Flight, entries: list[Entry]) -> None:
        releases.update(entry.id for entry in entries)
        submit(self, entries)

    def waited(self: AuditLog, entry_id: bytes, timeout_s: float = 5.0) -> Receipt:
        if entry_id not in releases:
            return wait(self, entry_id, timeout_s)
        return Receipt(self.size, self.size, self.checkpoint(), time.time_ns())

    Flight._submit, AuditLog.wait = submitted, waited  # type: ignore[method-assign]  # this process is the mutant


MUTANTS: Final[Mapping[str, Callable[[], None]]] = {one.__name__: one for one in (marks_apart, release_before_audit)}

if __name__ == "__main__":
    MUTANTS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
