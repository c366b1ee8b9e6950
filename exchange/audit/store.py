"""What the audit log needs of its storage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection

if TYPE_CHECKING:
    from exchange.audit.details import Detail


@dataclass(frozen=True, slots=True)
class Head:
    """The lock row: the last checkpoint that was committed, published or not. `committed_ns` is its time."""

    origin: str
    size: int
    root: bytes
    checkpoint: bytes
    committed_ns: int


@dataclass(frozen=True, slots=True)
class Row:
    """An entry in the outbox: `digest` is its leaf hash; epochs as canonical JSON objects, None when empty.

    A waiting row has its `leaf`; one that lacks it was tampered with. `details` are stored with it, and not given back.
    """

    id: bytes
    digest: bytes
    leaf: bytes | None
    kind: str
    raises: str | None
    rests_on: str | None
    seq: int = 0
    details: "Sequence[Detail]" = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What became of an entry: `index` and `committed_ns` when committed, `refused` (JSON of facts) when refused."""

    digest: bytes
    index: int | None
    committed_ns: int | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """All that one commit changes with the lock row: which rows got which index, which were refused and why
    (JSON of facts), the epochs that rose, the schemas that became known, by prefix, with their index.
    """

    taken: Sequence[tuple[int, int]]
    refused: Sequence[tuple[int, str]]
    epochs: Mapping[str, int]
    schemas: Mapping[bytes, int]


class AuditStore(Protocol):
    """Storage of one audit log.

    Guarantees, held by `tests/conformance/test_audit_store.py` on every engine:

    - Every call that changes something is durable when it returns, and all or nothing, except `write`, of which any
      files may be there after a crash, each whole.
    - A row whose transaction committed is given by `pending` until a `swap` or `refuse` names it, whatever order
      transactions committed in; rows come in the order of their insertion.
    - An id is taken once. The same id with the same digest changes nothing; with another it is
      `Invalid("audit_id_reused")`, and none of that call's rows is stored.
    - `swap` changes nothing unless the lock row has the size `old`: then `Unavailable("audit_stopped")`. Of two
      sequencers with the same head, one wins. Rows, epochs and schemas change in the same transaction.
    - `stage` comes before `swap`: a bundle that was staged is given by `staged`, unchanged, until `unstage`.
    - `write` never replaces a file that has other bytes (`Tampered("audit_log_damaged")`); the same bytes are fine.
    - `publish` replaces the checkpoint in one step: a reader sees the old one or the new one.
    - `lead` is true for one store of a log at a time. A store that leads and has lost its place changes nothing any
      more (`Unavailable("audit_stopped")`), so that whoever took the place is not disturbed.
    - After any error but `Invalid` whether the change was made is unknown: the caller stops and starts anew.
    - Broken storage gives `Tampered`, one that fails `Unavailable` or `OSError`, never a shorter answer.
    """

    def begin(self, head: Head) -> None:
        """Makes the log's lock row; `Invalid("audit_exists")` when there is one or the folder holds a log."""
        ...

    def head(self) -> Head | None:
        """The lock row; None when no log was begun."""
        ...

    def lead(self) -> bool:
        """Takes the place of the log's one sequencer when it is free; whether this store has it, until `close` or
        until its process dies. The thread that asked last is the sequencer's.
        """
        ...

    def resign(self) -> bool:
        """Gives the place up after a fault; whether this process may ask for it again and recover, else it stops."""
        ...

    def listen(self, wake: Callable[[], None]) -> None:
        """From now on calls `wake` on another thread when another process has called or published. It is a hint, which
        may be lost: look now and then all the same.
        """
        ...

    def call(self) -> None:
        """A hint to the sequencer in another process that rows wait; it never fails."""
        ...

    def add(self, connection: Connection, row: Row) -> None:
        """Puts a row into the outbox inside the caller's SQL transaction."""
        ...

    def submit(self, rows: Sequence[Row]) -> Sequence[bytes]:
        """Puts the rows into the outbox, in one transaction; the ids that stood there before."""
        ...

    def known(self, entry_id: bytes) -> Known | None:
        """What became of the entry; None when the id never came."""
        ...

    def known_of(self, ids: Sequence[bytes]) -> Mapping[bytes, Known]:
        """What became of these entries; an id that never came is not among them."""
        ...

    def waiting(self) -> int:
        """How many rows have no index and are not refused."""
        ...

    def pending(self, limit: int) -> Sequence[Row]:
        """The oldest rows that have no index and are not refused."""
        ...

    def refuse(self, refused: Sequence[tuple[int, str]]) -> None:
        """Marks rows as refused without a checkpoint."""
        ...

    def epochs(self) -> Mapping[str, int]:
        """Every epoch that was ever raised, with its value."""
        ...

    def schemas(self) -> Mapping[bytes, int]:
        """The index of every schema entry, by leaf prefix."""
        ...

    def stage(self, name: str, bundle: bytes) -> None:
        """Stores a staged bundle under its name `<size>-<root>`."""
        ...

    def staged(self, name: str) -> bytes | None:
        """A staged bundle; None when there is none of this name."""
        ...

    def unstage(self) -> None:
        """Removes every bundle and what a crash left half-written."""
        ...

    def swap(self, old: int, head: Head, change: Change) -> None:
        """The compare-and-swap of the lock row, with all that changes with it."""
        ...

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes tiles and entry bundles by their C2SP path."""
        ...

    def read(self, path: str) -> bytes | None:
        """A tile or entry bundle; None when it is not there."""
        ...

    def prune(self, paths: Sequence[str]) -> None:
        """Removes the partial tiles of these full tiles."""
        ...

    def publish(self, checkpoint: bytes) -> None:
        """Replaces the public checkpoint."""
        ...

    def published(self) -> bytes | None:
        """The public checkpoint; None before the first."""
        ...

    def close(self) -> None:
        """Gives back connections and the sequencer's place. The database's engine belongs to the caller."""
        ...
