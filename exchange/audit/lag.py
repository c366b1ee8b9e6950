"""How far one process's view of the audit log is behind what was submitted and committed by all."""

from dataclasses import dataclass
from typing import Any, Final, Protocol

from exchange.audit.store import AuditStore

_SECOND_NS: Final = 1_000_000_000


class Decode(Protocol):
    """Kind and body of a leaf."""

    def __call__(self, leaf: bytes, /) -> tuple[str, dict[str, Any]]:
        """Decodes it."""
        ...


@dataclass(frozen=True, slots=True)
class Lag:
    """`unseen` entries are committed and not seen here yet; `waiting` ones wait for the sequencer, the oldest of them
    for `waiting_s` seconds, by the time that stands in it.
    """

    unseen: int
    waiting: int
    waiting_s: float


def measured(store: AuditStore, seen: int, now_ns: int, decode: Decode) -> Lag:
    """The lag of a process that sees `seen` entries, asked of the store now.

    Raises:
        Unavailable, Tampered: the store cannot be asked, or is not what was written.
    """
    head, waiting = store.head(), store.waiting()
    oldest = next((row.leaf for row in store.pending(1) if row.leaf is not None), None)
    age_ns = 0 if oldest is None else max(now_ns - int(decode(oldest)[1]["time_ns"]), 0)
    return Lag(max((head.size if head else 0) - seen, 0), waiting, age_ns / _SECOND_NS)
