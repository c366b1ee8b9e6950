"""Whether a site's stores say what its audit log says: record for record, event for event."""

from collections.abc import Iterator
from typing import Any, Final

from exchange.audit.log import AuditLog
from exchange.control.entries import told
from exchange.control.store import SqlEventStore
from exchange.errors import Tampered
from exchange.log.dead_letters import topic_of
from exchange.log.seals import Sealed
from exchange.publish import PublishParts
from exchange.signing import merkle
from exchange.signing.pseudonyms import Actors
from exchange.signing.seals import seal_leaves

_AT_ONCE: Final = 10_000


def check_commits(parts: PublishParts) -> int:
    """Every `record.commit` entry against the records, whose values against the leaves that their seal signs; how many
    records these are.

    Raises:
        Tampered: `log_differs`, naming the entry; `seal_missing`, `seal_broken`; `log_damaged`.
    """
    sealed: Sealed | None = None
    total = 0
    for index, kind, body in parts.audit.entries(0, parts.audit.size):
        if kind == "record_commit":
            if sealed is None or sealed.seal.id != body["seal"]:
                sealed = parts.seals.get(body["seal"])
            _check_commit(parts, sealed, index, body)
            total += int(body["count"])
    return total


def _check_commit(parts: PublishParts, sealed: Sealed, index: int, body: dict[str, Any]) -> None:
    differs = Tampered("log_differs", where=f"{body['topic']}/{body['partition']}", entry=index)
    leaf_of = dict(zip(sealed.sequences, sealed.leaves, strict=True))
    dead = body["topic"] == topic_of(sealed.seal.dataset)
    hashed: list[bytes] = []
    for position, tag, value, headers in _records(parts, body):
        source, _, sequence = headers["id"].rpartition("/")
        leaf = leaf_of.get(int(sequence))
        if leaf is None or (headers["seal"], source) != (sealed.seal.id, sealed.source):
            raise differs
        if not dead:
            (made,) = seal_leaves(sealed.seal.dataset, source, (int(sequence),), sealed.schema, (value,))
            if made != leaf:
                raise differs
        hashed.append(position.to_bytes(8, "big") + tag + leaf)
    if len(hashed) != body["count"] or merkle.root(merkle.leaf_hashes(hashed)) != body["root"]:
        raise differs


def _records(parts: PublishParts, body: dict[str, Any]) -> Iterator[tuple[int, bytes, bytes, Any]]:
    topic, partition, position, hi = body["topic"], body["partition"], body["lo"], body["hi"]
    while position < hi:
        stored = parts.log.read(topic, partition, position, min(_AT_ONCE, hi - position)).up_to(hi)
        for at, tag, value in zip(stored.positions, stored.tags, stored.values, strict=True):
            yield at, tag, value, parts.log.headers(topic, partition, at)
        if stored.next_position <= position:
            return
        position = stored.next_position


def check_control(events: SqlEventStore, audit: AuditLog, actors: Actors) -> int:
    """Every `control` entry against its event, and every event has one; how many there are.

    Raises:
        Tampered: `events_differ`, naming the position; what reading events raises.
    """
    entries = {body["position"]: body for _, kind, body in audit.entries(0, audit.size) if kind == "control"}
    position = 0
    while found := events.read(position, _AT_ONCE):
        for one in found:
            said = {**told(one, actors), "time_ns": one.time_ns}
            body = entries.pop(one.position, {})
            if {name: body.get(name) for name in said} != said:
                raise Tampered("events_differ", where=str(one.position))
        position = found[-1].position
    for missing in entries:
        raise Tampered("events_differ", where=str(missing))
    return position
