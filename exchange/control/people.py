"""Rules for departments, accounts, roles and tokens."""

import re
from typing import Final

from exchange.control import commands
from exchange.control.decision import (
    DAY_NS,
    Decision,
    instant,
    malformed,
    need_role,
    need_state,
    one_of,
    text,
    words,
)
from exchange.control.events import NewEvent
from exchange.control.model import Model, Principal
from exchange.control.tokens import TOKEN_ID
from exchange.errors import Invalid, Refused
from exchange.names import ROLES, ZONES, check

# GB/T 39477: operating, auditing and granting are kept apart, so none of these goes with any other role.
ALONE: Final = frozenset({"auditor", "operator", "sharing_authority"})
LONGEST_TOKEN_NS: Final = 3_653 * DAY_NS  # ten years
_SEAL_KEY: Final = re.compile("[0-9a-f]{64}")


def bootstrap(command: commands.Bootstrap, model: Model, now_ns: int) -> Decision:
    """The first department, authority and token: only where nothing is yet."""
    if model.position:
        raise Refused("wrong_state", what="site", found="in use", allowed="empty")
    department, principal = command.department, check("principal", command.principal, where="principal")
    added = {"principal": principal, "department": department.id, "roles": ["sharing_authority"]}
    events = [
        _department(department, model),
        NewEvent(f"principal/{principal}", "principal.added/1", added),
        _token(model, principal, command.token, command.digest, command.expires_ns, now_ns),
    ]
    return Decision(events, principal)


def add_department(command: commands.AddDepartment, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By the sharing authority; both parents exist already, so that no tree has a circle."""
    need_role(actor, "sharing_authority")
    for parent in (command.region_parent, command.line_parent):
        if parent is not None:
            model.department(parent)
    return Decision([_department(command, model)], command.id)


def _department(command: commands.AddDepartment, model: Model) -> NewEvent:
    name = check("department", command.id, where="id")
    if name in model.departments:
        raise Invalid("already_exists", where="id", name=name)
    if not _matches(_SEAL_KEY, command.seal_key):
        raise malformed("seal_key", "64 lowercase hex digits (Ed25519)")
    data = {
        "id": name,
        "title_zh": text(command.title_zh, where="title_zh"),
        "title_en": text(command.title_en, where="title_en"),
        "region": check("region", command.region, where="region"),
        "region_parent": command.region_parent,
        "line_parent": command.line_parent,
        "zone": one_of(command.zone, ZONES, where="zone"),
        "seal_key": command.seal_key,
    }
    return NewEvent(f"department/{name}", "department.added/1", data)


def _matches(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def add_principal(command: commands.AddPrincipal, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By the sharing authority, into a department that exists. An account's id is never given again."""
    need_role(actor, "sharing_authority")
    name = check("principal", command.id, where="id")
    if name in model.principals:
        raise Invalid("already_exists", where="id", name=name)
    department = model.department(command.department).id
    data = {"principal": name, "department": department, "roles": _roles(command.roles)}
    return Decision([NewEvent(f"principal/{name}", "principal.added/1", data)], name)


def change_roles(command: commands.ChangeRoles, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By the sharing authority, never for itself."""
    target = _another(command.principal, actor, model)
    data = {"principal": target.id, "roles": _roles(command.roles)}
    return Decision([NewEvent(f"principal/{target.id}", "principal.roles_changed/1", data)], target.id)


def suspend_principal(command: commands.SuspendPrincipal, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By the sharing authority, never itself: a site without an authority could not be mended."""
    target = _another(command.principal, actor, model)
    data = {"principal": target.id, "reason": text(command.reason, where="reason")}
    return Decision([NewEvent(f"principal/{target.id}", "principal.suspended/1", data)], target.id)


def _another(principal: str, actor: Principal, model: Model) -> Principal:
    need_role(actor, "sharing_authority")
    target = model.principal(principal)
    if target.id == actor.id:
        raise Refused("own_account")
    need_state("principal", target.status, "active")
    return target


def _roles(roles: object) -> list[str]:
    named = [one_of(role, ROLES, where="roles") for role in words(roles, where="roles")]
    if not named:
        raise malformed("roles", "at least one role")
    alone = sorted(ALONE & set(named))
    if alone and len(named) > 1:
        raise Refused("role_exclusive", role=alone[0])
    return sorted(named)


def issue_token(command: commands.IssueToken, actor: Principal, model: Model, now_ns: int) -> Decision:
    """By the sharing authority for any account, and by each account for itself."""
    target = model.principal(command.principal)
    if target.id != actor.id:
        need_role(actor, "sharing_authority")
    need_state("principal", target.status, "active")
    event = _token(model, target.id, command.token, command.digest, command.expires_ns, now_ns)
    return Decision([event], command.token)


def _token(model: Model, principal: str, token: str, digest: str, expires_ns: int, now_ns: int) -> NewEvent:
    if not _matches(TOKEN_ID, token):
        raise malformed("token", "16 lowercase hex digits")
    if token in model.tokens:
        raise Invalid("already_exists", where="token", name=token)
    expires = instant(expires_ns, where="expires_ns")
    if not now_ns < expires <= now_ns + LONGEST_TOKEN_NS:
        raise Invalid("period_malformed", where="expires_ns")
    data = {
        "principal": principal,
        "token": token,
        "digest": check("digest", digest, where="digest"),
        "expires_ns": expires,
    }
    return NewEvent(f"principal/{principal}", "token.issued/1", data)


def revoke_token(command: commands.RevokeToken, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By the sharing authority, or by the account that has it."""
    token = model.tokens.get(command.token) if _matches(TOKEN_ID, command.token) else None
    if token is None or token.principal != actor.id:
        need_role(actor, "sharing_authority")
    if token is None:
        raise Invalid("unknown_token", where="token")
    need_state("token", "revoked" if token.revoked else "valid", "valid")
    data = {"principal": token.principal, "token": token.id}
    return Decision([NewEvent(f"principal/{token.principal}", "token.revoked/1", data)], token.id)
