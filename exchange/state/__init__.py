"""The state: the latest record of each subject, rebuilt from the record log at any time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from exchange.envelope import Stored


@dataclass(frozen=True, slots=True)
class Latest:
    """A subject's latest record in one topic, and where it stands in the log."""

    tag: bytes
    partition: int
    position: int
    schema_id: int
    value: bytes


class StateStore(Protocol):
    """The latest record for each tag of each topic, with the position it is current to.

    Guarantees (`tests/conformance/test_state_store.py`): `apply` is all or nothing with `current_to`; applying again
    or out of order never puts an older record over a newer one; what is stored depends only on the log, so a store
    that was dropped and followed again is equal; broken storage gives `Tampered`, never a missing record.
    """

    def current_to(self, topic: str, partition: int) -> int:
        """The position up to which (exclusive) the state has taken the log in."""
        ...

    def apply(self, records: Stored) -> None:
        """Takes in records that were read at `current_to`, and moves it to `records.next_position`."""
        ...

    def get(self, topic: str, tags: Sequence[bytes]) -> Mapping[bytes, Latest]:
        """The latest record of each of these subjects that has one."""
        ...

    def drop(self, topic: str) -> None:
        """Forgets the topic, to be rebuilt."""
        ...

    def close(self) -> None:
        """Gives back files and connections."""
        ...


# (topic, partition, position, limit) → records: a record log's `read`.
Read = Callable[[str, int, int, int], Stored]


def follow(state: StateStore, read: Read, topic: str, partition: int, until: int, limit: int = 5_000) -> None:
    """Brings the state up to position `until` and no further: what lies behind it may not be committed yet.

    A crash between two batches costs nothing: it goes on from there.
    """
    while (position := state.current_to(topic, partition)) < until:
        records = read(topic, partition, position, min(limit, until - position)).up_to(until)
        if records.next_position <= position:
            return
        state.apply(records)
