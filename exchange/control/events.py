"""The control events: their names with versions, what each one's data holds, which end rights, who is named in them.

An event's data is a JSON object with exactly the keys that `FORMS` gives for its name. A name is never used with other
keys: a change of form is a new version (`agreement.approved/2`), and the fold goes on reading the old one for ever.
Class paths never reach storage.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that was decided and is not stored yet."""

    aggregate: str
    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event: its place in the one order, its aggregate's version, who did it and when (UTC)."""

    position: int
    aggregate: str
    version: int
    name: str
    data: Mapping[str, Any]
    actor: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class Form:
    """What an event's data holds; whether it can end or narrow a right (`raises`)."""

    keys: frozenset[str]
    raises: bool


def _form(keys: str, *, raises: bool = False) -> Form:
    return Form(frozenset(keys.split()), raises)


# The first event of every aggregate with an epoch raises it too, so that the sequencer knows the name.
FORMS: Final[Mapping[str, Form]] = {
    "department.added/1": _form("id title_zh title_en region region_parent line_parent zone seal_key"),
    "principal.added/1": _form("principal department roles", raises=True),
    "principal.roles_changed/1": _form("principal roles", raises=True),
    "principal.suspended/1": _form("principal reason", raises=True),
    "token.issued/1": _form("principal token digest expires_ns"),
    "token.revoked/1": _form("principal token", raises=True),
    "schemas.assigned/1": _form("assigned"),
    "contract.accepted/1": _form(
        "dataset department steward contract share_type legal_basis subject_type subject_path schemas fields"
        " dead_schema_id",
        raises=True,
    ),
    "intake.opened/1": _form("dataset user"),
    "intake.closed/1": _form("dataset"),
    "case.opened/1": _form("case department departments subject_type title members member_count", raises=True),
    "case.members_changed/1": _form("case members member_count", raises=True),
    "case.closed/1": _form("case reason", raises=True),
    "agreement.requested/1": _form("agreement terms", raises=True),
    "agreement.endorsed/1": _form("agreement note"),
    "agreement.returned/1": _form("agreement note", raises=True),
    "agreement.approved/1": _form("agreement terms"),
    "agreement.rejected/1": _form("agreement reason", raises=True),
    "agreement.revoked/1": _form("agreement reason", raises=True),
    "agreement.expired/1": _form("agreement", raises=True),
    "policy.submitted/1": _form("revision tests report", raises=True),
    "policy.activated/1": _form("revision", raises=True),
    "policy.withdrawn/1": _form("revision reason", raises=True),
}

# Where a principal's id stands in an event, besides its actor: audit entries have pseudonyms there.
PRINCIPAL_KEYS: Final = frozenset({"principal", "steward"})
PRINCIPAL_AGGREGATE: Final = "principal/"


def raises(event: Event) -> dict[str, int]:
    """The epochs that this event raises: none, or its aggregate's, to the event's version.

    An epoch is named as its aggregate (`agreement/agr-17`, `case/…`, `principal/…`, `dataset/…`, `policy`). As the
    version of the last event that could have ended or narrowed a right, it rises strictly, and is 1 at creation.
    """
    return {event.aggregate: event.version} if FORMS[event.name].raises else {}
