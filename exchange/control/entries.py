"""Control events and refusals as audit entries. People stand in them by pseudonym alone: leaves are for ever."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from exchange.audit.entries import Entry, embedded, entry_id, make
from exchange.control.events import PRINCIPAL_AGGREGATE, PRINCIPAL_KEYS, Event, raises
from exchange.control.model import Model, Principal
from exchange.names import digest
from exchange.signing.pseudonyms import Actors

_POLICY_STEPS: Final = {
    "policy.submitted/1": "submitted",
    "policy.activated/1": "activated",
    "policy.withdrawn/1": "withdrawn",
}


def entries(events: Sequence[Event], department: str | None, before: Model, actors: Actors) -> list[Entry]:
    """One `control` entry for each event, in order; a `policy_revision` or `key` entry beside it where it is one.

    An event's id follows from its aggregate and version, so that the same event never has two entries.
    """
    made: list[Entry] = []
    for event in events:
        made.append(_control(event, department, actors))
        if event.name in _POLICY_STEPS:
            made.append(_policy_revision(event, department, before, actors))
        if event.name == "department.added/1":
            made.append(_seal_key(event, actors))
    return made


def refusal(command: str, codes: Sequence[str], actor: Principal, attempt: int, time_ns: int, actors: Actors) -> Entry:
    """That a command of a known actor was refused; `attempt` tells refusals of one moment apart."""
    return make(
        "refusal",
        entry_id("control.refusal", command, actor.id, attempt, time_ns),
        time_ns,
        reasons=list(codes),
        consumer=actor.department,
        actor=actors.name(actor.id),
    )


def told(event: Event, actors: Actors) -> dict[str, Any]:
    """What the `control` entry of an event tells of it, but for the data themselves."""
    return {
        "type": event.name,
        "aggregate": _aggregate(event.aggregate, actors),
        "version": event.version,
        "position": event.position,
        "actor": actors.name(event.actor),
        "data_digest": digest(_pseudonymous(event.data, actors)),
    }


def _control(event: Event, department: str | None, actors: Actors) -> Entry:
    return make(
        "control",
        entry_id("control", event.aggregate, event.version),
        event.time_ns,
        **told(event, actors),
        department=department,
        data=embedded(_pseudonymous(event.data, actors)),
        raises=dict(actors.epochs(raises(event))),
    )


def _pseudonymous(data: Mapping[str, Any], actors: Actors) -> dict[str, Any]:
    return {key: actors.name(value) if key in PRINCIPAL_KEYS else value for key, value in data.items()}


def _aggregate(name: str, actors: Actors) -> str:
    if not name.startswith(PRINCIPAL_AGGREGATE):
        return name
    return PRINCIPAL_AGGREGATE + actors.name(name.removeprefix(PRINCIPAL_AGGREGATE))


def _policy_revision(event: Event, department: str | None, before: Model, actors: Actors) -> Entry:
    revision = event.data["revision"]
    policy = before.policies.get(revision)
    reviewed = event.name == "policy.activated/1"
    reviewer = {"actor": actors.name(event.actor), "public": None, "signature": None}
    return make(
        "policy_revision",
        entry_id("policy_revision", event.aggregate, event.version),
        event.time_ns,
        event=_POLICY_STEPS[event.name],
        revision=revision,
        previous=before.active_policy,
        actor=actors.name(event.actor),
        department=department,
        tests_digest=event.data.get("report") or (policy.report if policy else None),
        reviewers=[reviewer] if reviewed else [],
        raises={},  # the control entry just before it raises the epoch
    )


def _seal_key(event: Event, actors: Actors) -> Entry:
    return make(
        "key",
        entry_id("key", event.aggregate, event.version),
        event.time_ns,
        event="added",
        use="seal",
        owner=event.data["id"],
        algorithm="ed25519",
        public=bytes.fromhex(event.data["seal_key"]),
        actor=actors.name(event.actor),
    )
