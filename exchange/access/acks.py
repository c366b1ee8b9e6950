"""A consumer's word on what it got: it has a release, or has thrown it away. What nobody speaks of stays open."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from exchange.audit.entries import Entry, entry_id, make
from exchange.audit.log import AuditLog
from exchange.control.model import Principal
from exchange.errors import Invalid, Refused
from exchange.signing.pseudonyms import Actors

Outcome = Literal["received", "discarded", "purged"]
OUTCOMES: Final[Sequence[Outcome]] = get_args(Outcome)
MOST_ACKS: Final = 1_000  # at once


@dataclass(frozen=True, slots=True)
class Ack:
    """One release, by the index of its entry. `payload_digest` (`sha256:…`, of the records' bytes without the file's
    head) and `records` say what the consumer has; None: it does not say.
    """

    index: int
    outcome: Outcome = "received"
    payload_digest: str | None = None
    records: int | None = None


def acknowledge(
    audit: AuditLog, who: Principal, actors: Actors, now_ns: Callable[[], int], acks: Sequence[Ack]
) -> list[int]:
    """Writes the acknowledgements into the audit log, all or none; the index of each one's entry, in a checkpoint.

    The first word of a kind on a release stands: saying it again changes nothing and gives the same index.

    Raises:
        Invalid: `ack_count` for none or more than 1,000; `audit_entry_unknown`; `ack_differs` where the consumer has
            other bytes or another number of records than were handed over: it should read them again.
        Refused: `ack_not_own` for an entry that is no release to the consumer's department (not audited here).
    """
    if not 1 <= len(acks) <= MOST_ACKS:
        raise Invalid("ack_count", found=len(acks), most=MOST_ACKS)
    entries = [_entry(audit, who, actors, now_ns(), one) for one in acks]
    fresh = {entry.id: entry for entry in entries if not _known(audit, entry)}
    try:
        if fresh:
            audit.submit(list(fresh.values()))
    except Invalid as error:
        if error.code != "audit_id_reused":  # said at the same moment by another program of the consumer's
            raise
        return acknowledge(audit, who, actors, now_ns, acks)
    # A crash here: the entries will be in the log; who says it again gets their indexes.
    return [audit.wait(entry.id).index for entry in entries]


def _entry(audit: AuditLog, who: Principal, actors: Actors, now_ns: int, ack: Ack) -> Entry:
    kind, release = audit.entry(ack.index)
    if kind != "release" or release["recipient"] != who.department:
        raise Refused("ack_not_own", where=str(ack.index), department=who.department)
    for name, has in (("payload_digest", ack.payload_digest), ("released", ack.records)):
        if has is not None and has != release[name]:
            raise Invalid("ack_differs", where=str(ack.index), what=name, has=has, released=release[name])
    return make(
        "ack",
        entry_id("ack", release["id"], ack.outcome),
        now_ns,
        release=release["id"],
        index=ack.index,
        recipient=who.department,
        actor=actors.name(who.id),
        outcome=ack.outcome,
        records=ack.records,
        payload_digest=ack.payload_digest,
    )


def _known(audit: AuditLog, entry: Entry) -> bool:
    try:
        audit.wait(entry.id)
    except Invalid:
        return False
    return True
