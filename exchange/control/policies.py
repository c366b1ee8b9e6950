"""Rules for policy revisions: tested, submitted by one person, made active by another."""

from collections.abc import Mapping
from typing import Final

from exchange.control import commands
from exchange.control.decision import Decision, exact_keys, malformed, need_role, need_state, shallow, text
from exchange.control.events import NewEvent
from exchange.control.model import Model, Policy, Principal
from exchange.errors import Invalid, Refused
from exchange.names import canonical, check, digest_bytes, nearest

AGGREGATE: Final = "policy"
MAX_BUNDLE: Final = 8 * 2**20
WAITING: Final = 4  # of the revisions that wait for approval, so many are given to OPA
MAKERS: Final = ("steward", "sharing_authority")


def submit(command: commands.SubmitPolicy, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward or the sharing authority; with tests, all of which held."""
    need_role(actor, *MAKERS)
    body = _bundle(command.bundle)
    revision = digest_bytes(body)
    count, report = _tested(command.tests)
    known = model.policies.get(revision)
    need_state("policy", known.status if known else "new", "new", "superseded", "withdrawn")
    digest = digest_bytes(report)
    event = NewEvent(AGGREGATE, "policy.submitted/1", {"revision": revision, "tests": count, "report": digest})
    return Decision([event], revision, documents={revision: body, digest: report})


def _bundle(bundle: object) -> bytes:
    shallow(bundle, where="bundle")
    document = exact_keys(bundle, ("modules", "codes"), where="bundle")
    modules, codes = document["modules"], document["codes"]
    if not isinstance(modules, Mapping) or not modules or not all(isinstance(one, str) for one in modules.values()):
        raise malformed("bundle.modules", "object: path to Rego text, at least one")
    purposes = codes.get("purposes", {}) if isinstance(codes, Mapping) else None
    if not isinstance(purposes, Mapping) or not all(isinstance(one, Mapping) for one in purposes.values()):
        raise malformed("bundle.codes", "object; purposes: object of objects")
    body = canonical({"codes": codes, "modules": modules})
    if len(body) > MAX_BUNDLE:
        raise Invalid("event_too_large", where="bundle", size=len(body), largest=MAX_BUNDLE)
    return body


def _tested(tests: object) -> tuple[int, bytes]:
    """How many tests held, and the report as a document."""
    if not isinstance(tests, Mapping) or not tests:
        raise Refused("policy_untested")
    failed = sorted(str(name) for name, held in tests.items() if held is not True)
    if failed:
        raise Refused("policy_tests_failed", count=len(failed), first=failed[0][:200])
    return len(tests), canonical(dict(tests))


def approve(command: commands.ApprovePolicy, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward or the sharing authority, who did not submit it. The former active revision is superseded."""
    need_role(actor, *MAKERS)
    revision = check("digest", command.revision, where="revision")
    policy = model.policies.get(revision)
    if policy is None:
        pending = (one.revision for one in model.policies.values() if one.status == "submitted")
        raise Invalid("unknown_policy", name=revision, nearest=nearest(revision, pending) or "-")
    need_state("policy", policy.status, "submitted")
    if policy.submitted_by == actor.id:
        raise Refused("same_person", first="submit", second="approve")
    return Decision([NewEvent(AGGREGATE, "policy.activated/1", {"revision": revision})], revision)


def may_approve(actor: Principal, policy: Policy | None) -> bool:
    """Whether this person's approval of it would be taken."""
    waits = policy is not None and policy.status == "submitted" and policy.submitted_by != actor.id
    return waits and bool(actor.roles & set(MAKERS))


def spread(model: Model) -> list[str]:
    """The revisions that may be asked for now or soon: the active one, the one before it, for questions in flight, and
    the newest of those that wait for approval.
    """
    former = [one for one in model.policies.values() if one.status == "superseded" and one.activated_ns is not None]
    last = sorted(former, key=lambda one: one.activated_ns or 0)[-1:]
    waiting = [one for one in model.policies.values() if one.status == "submitted"][-WAITING:]
    return [*([model.active_policy] if model.active_policy else []), *(one.revision for one in (*last, *waiting))]


def withdraw(command: commands.WithdrawPolicy, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward or the sharing authority, at once and alone: it only takes rights away."""
    need_role(actor, *MAKERS)
    if model.active_policy is None:
        raise Refused("no_active_policy")
    data = {"revision": model.active_policy, "reason": text(command.reason, where="reason")}
    return Decision([NewEvent(AGGREGATE, "policy.withdrawn/1", data)], model.active_policy)
