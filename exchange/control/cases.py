"""Rules for cases: the matters that reads are for."""

from collections.abc import Collection
from typing import Final

from exchange.control import commands
from exchange.control.decision import Decision, malformed, need_department, need_role, need_state, text, words
from exchange.control.events import NewEvent
from exchange.control.model import Case, Model, Principal
from exchange.errors import Invalid
from exchange.names import canonical, check, digest_bytes

MAX_MEMBERS: Final = 100_000
HANDLERS: Final = ("steward", "department_system")


def open_case(command: commands.OpenCase, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward or system of the department that handles the matter; an id is never given again."""
    need_role(actor, *HANDLERS)
    name = check("case", command.id, where="id")
    if name in model.cases:
        raise Invalid("already_exists", where="id", name=name)
    users = {model.department(one).id for one in words(command.departments, where="departments")}
    digest, body, count = _members(command.members)
    data = {
        "case": name,
        "department": actor.department,
        "departments": sorted(users | {actor.department}),
        "subject_type": check("subject_type", command.subject_type, where="subject_type"),
        "title": text(command.title, where="title"),
        "members": digest,
        "member_count": count,
    }
    return Decision([NewEvent(f"case/{name}", "case.opened/1", data)], name, documents={digest: body})


def change_members(command: commands.ChangeCaseMembers, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward or system of the case's own department, while it is open."""
    case = _own_open(command.case, actor, model)
    digest, body, count = _members(command.members)
    data = {"case": case.id, "members": digest, "member_count": count}
    return Decision([NewEvent(f"case/{case.id}", "case.members_changed/1", data)], case.id, documents={digest: body})


def close_case(command: commands.CloseCase, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward or system of the case's own department; for good."""
    case = _own_open(command.case, actor, model)
    data = {"case": case.id, "reason": text(command.reason, where="reason")}
    return Decision([NewEvent(f"case/{case.id}", "case.closed/1", data)], case.id)


def _own_open(name: str, actor: Principal, model: Model) -> Case:
    need_role(actor, *HANDLERS)
    case = model.case(name, actor.department)
    need_department(actor, case.department)
    need_state(f"case {case.id}", case.status, "open")
    return case


def _members(members: object) -> tuple[str, bytes, int]:
    """The set's digest (as `names.set_digest`), its document and its size; a member said twice is one member."""
    if isinstance(members, str) or not isinstance(members, Collection) or len(members) > MAX_MEMBERS:
        raise malformed("members", f"list of at most {MAX_MEMBERS} tags")
    tags = sorted({check("tag", tag, where="members") for tag in members})
    body = canonical(tags)
    return digest_bytes(body), body, len(tags)
