"""From a question to a complete plan. The policy's answer is trusted in nothing that the question can check."""

from collections.abc import Mapping
from typing import Any, Final

from exchange.errors import Invalid, Refused, Unavailable
from exchange.names import canonical
from exchange.plan import PLAN_FORMAT, Plan, Question
from exchange.policy import PolicyEngine

_ALLOW: Final = frozenset(("effect", "reasons", "fields", "rows", "obligations", "expires_ns", "schema", "epochs"))
_DENY: Final = frozenset(("effect", "reasons"))


class _Unfit(Exception):
    """The policy's answer does not fit the question; the text says in a word what is wrong."""


def decide(engine: PolicyEngine, question: Question, revision: str, epoch: int) -> Plan:
    """The plan for a question under the policy of this revision and epoch.

    A fault of policy or engine is a deny with the reason `policy_undefined`, `policy_error` or `policy_unavailable`,
    never an exception and never a narrower plan. An allow names only fields that the dataset has (exactly those asked
    for, when the question lists them), only epochs of the question, among them the principal's, the case's and those of
    the agreements it rests on, and ends no later than they do.
    """
    try:
        body = engine.evaluate(canonical(question.document))
        document = _completed(body, question, revision, epoch)
        plan = Plan.from_document(document)
        if plan.allowed:
            _check(plan, question.document, epoch)
    except Refused as error:
        return _denied(question, revision, error.code, str(error.facts.get("detail", "")))
    except Unavailable:
        return _denied(question, revision, "policy_unavailable", "engine")
    except Invalid as error:
        return _denied(question, revision, "policy_error", error.code)
    except _Unfit as error:
        return _denied(question, revision, "policy_error", str(error))
    return plan


def _completed(body: Mapping[str, Any], question: Question, revision: str, epoch: int) -> dict[str, Any]:
    allow = body.get("effect") == "allow"
    if body.keys() != (_ALLOW if allow else _DENY):
        raise _Unfit("keys")
    document = {**_asked(question, revision), **body}
    if allow and isinstance(body["epochs"], Mapping):
        document["epochs"] = {**body["epochs"], "policy": epoch}
    return document


def _asked(question: Question, revision: str) -> dict[str, Any]:
    """What a plan repeats of its question."""
    asked = question.document
    return {
        "format": PLAN_FORMAT,
        "dataset": asked["dataset"]["name"],
        "schema": asked["dataset"]["schema"],
        "subject": asked["dataset"]["subject"],
        "purpose": asked["purpose"],
        "case": asked["case"]["id"] if asked["case"] else None,
        "obligations": [],
        "expires_ns": 0,
        "policy_revision": revision,
    }


def _denied(question: Question, revision: str, code: str, detail: str) -> Plan:
    reason = {"code": code, **({"detail": detail} if detail else {})}
    document = {**_asked(question, revision), "effect": "deny", "reasons": [reason]}
    return Plan.from_document(document)


def _check(plan: Plan, asked: Mapping[str, Any], epoch: int) -> None:
    grounds = _grounds(plan, asked)
    schemas = {agreement["schema"] for agreement in grounds} or {asked["dataset"]["schema"]}
    if {plan.schema} != schemas:
        raise _Unfit("schema")
    shown = {grant.path for grant in plan.fields}
    if not shown <= asked["dataset"]["fields"].keys():
        raise _Unfit("fields.unknown")
    if asked["fields"] is not None and shown != set(asked["fields"]):
        raise _Unfit("fields.asked")
    if not asked["now_ns"] < plan.expires_ns:
        raise _Unfit("expires_ns.past")
    if any(plan.expires_ns > agreement["expires_ns"] for agreement in grounds):
        raise _Unfit("expires_ns.agreement")
    _check_epochs(plan, asked, grounds, epoch)


def _grounds(plan: Plan, asked: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The agreements of the question that the plan rests on, by its reasons."""
    known = {agreement["id"]: agreement for agreement in asked["agreements"]}
    grounds = []
    for reason in plan.reasons:
        if reason["code"] == "agreement":
            agreement = known.get(str(reason.get("agreement")))
            if agreement is None or reason.get("revision") != agreement["revision"]:
                raise _Unfit("reasons.agreement")
            grounds.append(agreement)
    if not plan.reasons:
        raise _Unfit("reasons")
    return grounds


def _check_epochs(plan: Plan, asked: Mapping[str, Any], grounds: list[Mapping[str, Any]], epoch: int) -> None:
    principal, case = asked["principal"], asked["case"]
    held = {f"agreement/{one['id']}": one["epoch"] for one in asked["agreements"]}
    must = {f"agreement/{one['id']}": one["epoch"] for one in grounds}
    must |= {"policy": epoch, f"principal/{principal['id']}": principal["epoch"]}
    if case:
        must[f"case/{case['id']}"] = case["epoch"]
    if not plan.epochs.items() <= (held | must).items():
        raise _Unfit("epochs.unknown")
    if not must.items() <= plan.epochs.items():
        raise _Unfit("epochs.missing")
