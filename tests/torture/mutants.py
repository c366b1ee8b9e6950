"""Our own order of writes, broken on purpose: a harness that lets one of these live proves nothing.

Each is applied in the child alone, by replacing functions. `step` is called in the gap that the mutation opens: it does
nothing when kills are random, and hangs where the gap shall be hit for certain.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final

from exchange import publish
from exchange.audit import sequencer
from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.entries import Entry, Receipt
from exchange.audit.log import AuditLog
from exchange.audit.store import Change, Head
from exchange.envelope import Batch
from exchange.log.sqlite import SqliteRecordLog
from tests.torture import site
from tests.torture.judge import Broken
from tests.torture.oracle import UNREADABLE, check_disk
from tests.torture.rounds import Kill, Prepared, Rounds, recover, run_child
from tests.torture.told import Ledger, Tell
from tests.torture.work import Work

Step = Callable[[], None]
_HANG_S: Final = 60.0


def _replace(owner: Any, name: str, new: Any) -> Any:
    """Puts `new` in the place of a function that is there, and returns the old one."""
    old = getattr(owner, name)
    setattr(owner, name, new)
    return old


def release_before_wait(step: Step) -> None:
    """A release is handed over when its entry was submitted, not when it is in a checkpoint."""
    releases: set[bytes] = set()
    handed: list[bytes] = []

    def submit(self: AuditLog, entries: Sequence[Entry], *, soon: bool = True) -> None:
        releases.update(entry.id for entry in entries if entry.kind == "release")
        real_submit(self, entries, soon=soon)

    def wait(self: AuditLog, entry_id: bytes, timeout_s: float = 5.0) -> Receipt:
        if entry_id not in releases:
            return real_wait(self, entry_id, timeout_s)  # type: ignore[no-any-return]  # it is what was replaced
        handed.append(entry_id)
        return Receipt(-1, self.size, self.checkpoint(), time.time_ns())

    def stage(self: EmbeddedAuditStore, name: str, bundle: bytes) -> None:
        if releases:
            step()
        real_stage(self, name, bundle)

    real_submit, real_wait = _replace(AuditLog, "submit", submit), _replace(AuditLog, "wait", wait)
    real_stage = _replace(EmbeddedAuditStore, "stage", stage)


def swap_before_stage(step: Step) -> None:
    """The lock row moves on before the bundle that it commits is durable."""
    held: list[tuple[str, bytes]] = []

    def stage(_self: EmbeddedAuditStore, name: str, bundle: bytes) -> None:
        held.append((name, bundle))

    def swap(self: EmbeddedAuditStore, old: int, head: Head, change: Change) -> None:
        real_swap(self, old, head, change)
        step()
        real_stage(self, *held.pop())

    real_swap = _replace(EmbeddedAuditStore, "swap", swap)
    real_stage = _replace(EmbeddedAuditStore, "stage", stage)


def checkpoint_before_tiles(step: Step) -> None:
    """The checkpoint is public before the entries that it signs."""

    def write(self: EmbeddedAuditStore, files: Mapping[str, bytes]) -> None:
        head = self.head()
        assert head is not None
        self.publish(head.checkpoint)
        step()
        real_write(self, files)

    real_write = _replace(EmbeddedAuditStore, "write", write)


def told_before_published(step: Step) -> None:
    """Who waits is told when the lock row has moved, before tiles and checkpoint are there."""

    def wait(self: AuditLog, entry_id: bytes, timeout_s: float = 5.0) -> Receipt:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            known, head = store[0].known(entry_id), store[0].head()
            if known is not None and known.refused is not None:
                break
            if known is not None and known.index is not None and head is not None:
                return Receipt(known.index, head.size, head.checkpoint, head.committed_ns)
            time.sleep(0.000_2)
        return real_wait(self, entry_id, timeout_s)  # type: ignore[no-any-return]  # it is what was replaced

    def write(self: EmbeddedAuditStore, files: Mapping[str, bytes]) -> None:
        step()
        real_write(self, files)

    def opening(self: EmbeddedAuditStore, *arguments: Any) -> None:
        real_opening(self, *arguments)
        store.append(self)

    store: list[EmbeddedAuditStore] = []
    real_opening = _replace(EmbeddedAuditStore, "__init__", opening)
    real_wait, real_write = _replace(AuditLog, "wait", wait), _replace(EmbeddedAuditStore, "write", write)


def no_epochs(_step: Step) -> None:
    """The sequencer takes releases whose right has ended."""
    _replace(sequencer, "_behind", lambda _row, _epochs: None)


def acknowledged_before_commit(_step: Step) -> None:
    """A source is told that its records are in when they are in the log, before they have their `record.commit`."""
    _replace(publish, "commit", lambda *_: None)


def mark_before_records(step: Step) -> None:
    """The source's mark is raised in a transaction of its own, before the records."""

    def append(self: SqliteRecordLog, source: str, mark: int, batches: Sequence[Batch]) -> Sequence[Sequence[int]]:
        real_append(self, source, mark, [])
        step()
        with self._database.writing() as connection:
            return [self._store(connection, batch) for batch in batches]

    real_append = _replace(SqliteRecordLog, "append", append)


@dataclass(frozen=True)
class Mutant:
    """`damage` breaks the code; `action` is one of `work.ACTIONS` that meets it.

    `fatal` is when a kill shows it: in the "gap", or when the action has "ended" though the gap is open.
    """

    damage: Callable[[Step], None]
    action: str
    fatal: str


MUTANTS: Final = {
    "release_before_wait": Mutant(release_before_wait, "read", "ended"),
    "swap_before_stage": Mutant(swap_before_stage, "opening", "gap"),
    "checkpoint_before_tiles": Mutant(checkpoint_before_tiles, "opening", "gap"),
    "told_before_published": Mutant(told_before_published, "opening", "ended"),
    "no_epochs": Mutant(no_epochs, "raced", "ended"),
    "acknowledged_before_commit": Mutant(acknowledged_before_commit, "publish", "ended"),
    "mark_before_records": Mutant(mark_before_records, "publish", "gap"),
}


def hunted(prepared: Prepared, name: str, seed: str, most: int) -> int:
    """In how many random rounds the mutant was caught; 0 when it lived through them."""
    mutant = MUTANTS[name]
    damage = partial(mutant.damage, lambda: None)
    made = Prepared(prepared.site, prepared.key, prepared.folder, damage, mutant.action)
    rounds = Rounds(made, f"{seed}.{name}")
    while rounds.tally.rounds < most and rounds.run():
        pass
    rounds.close()
    return rounds.tally.rounds if rounds.tally.failures else 0


def cornered(prepared: Prepared, name: str, seed: str) -> str:
    """What the oracle says when the process dies exactly in the mutant's gap; empty when it says nothing."""
    mutant, ledger = MUTANTS[name], Ledger(prepared.key)
    root, random = site.copy(prepared.site, prepared.folder / f"cornered-{name}"), Random(seed)

    def body(tell: Tell) -> None:
        def step() -> None:
            tell("doing", "gap")
            time.sleep(_HANG_S)

        mutant.damage(step)
        with site.opened(root) as exchange:
            getattr(Work(exchange, random, tell), mutant.action)()
            tell("doing", "ended")
            time.sleep(_HANG_S)

    at = f'["doing", "{mutant.fatal}"]'.encode()
    try:
        ledger.take(run_child(body, Kill(0.0, 1, at))[0])
        check_disk(root, ledger)
        ledger.take(run_child(lambda tell: recover(root, ledger, random, tell))[0])
        check_disk(root, ledger)
    except (Broken, *UNREADABLE) as error:
        return str(error)
    return ledger.error
