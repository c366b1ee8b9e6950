"""The control plane: commands are decided into events, events are folded into the read model."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # SQLAlchemy takes 0.3 s to import, and this package is read on every start
    from sqlalchemy import Connection

    from exchange.control.events import Event, NewEvent

    Alongside = Callable[[Connection, Sequence[Event]], None]


class EventStore(Protocol):
    """The control plane's events and the documents that they name.

    Guarantees, held by `tests/conformance/test_event_store.py` on every engine:

    - `append` is all or nothing over its events, its documents and what `alongside` writes on the same connection,
      and durable when it returns. With an exception, from `alongside` too, nothing of it is ever seen.
    - An aggregate's events have the versions 1, 2, 3 … An append names the version it *expects* of every aggregate
      it writes and of any other it rests on; where one differs, nothing happens: `Unavailable("events_conflict")`,
      and the caller decides again on what is so now. Of two appends that rest on the same aggregate, and of which one
      writes it, one has the conflict.
    - Events have positions 1, 2, 3 … without a gap, in the order of the commits: whoever has read up to a position
      and sees a later one has missed none. (SQLite has this from its single writer. An engine with many writers
      must hand out positions under a lock that it keeps until the commit.)
    - A document is immutable and named by the SHA-256 of its bytes; to store it again changes nothing.
    - Whatever is read is what was written, or `Tampered`; a store that is down or busy is `Unavailable`.
    """

    def append(
        self,
        expected: Mapping[str, int],
        events: "Sequence[NewEvent]",
        documents: Mapping[str, bytes],
        *,
        actor: str,
        time_ns: int,
        alongside: "Alongside",
    ) -> "Sequence[Event]":
        """Stores the events, in this order; `expected` maps each aggregate to its version (0: it does not exist)."""
        ...

    def read(self, after: int, limit: int) -> "Sequence[Event]":
        """At most `limit` events of the positions after `after`, in order."""
        ...

    def head(self) -> int:
        """The position of the last event; 0 when there is none."""
        ...

    def of(self, aggregate: str) -> "Sequence[Event]":
        """Every event of an aggregate, by version; none where there is no such aggregate."""
        ...

    def document(self, digest: str) -> Any:  # noqa: ANN401 - a JSON value of whatever shape its writer gave it
        """The JSON value of that digest; `Tampered("document_missing")` without one: only events name documents."""
        ...

    def close(self) -> None:
        """Gives back files and connections."""
        ...
