"""Rules for agreements: requested, reviewed and approved by three different people, then revoked or expired."""

from collections.abc import Mapping

from exchange.control import commands
from exchange.control.decision import Decision, need_department, need_role, need_state, one_of, text
from exchange.control.events import NewEvent
from exchange.control.model import Agreement, Dataset, Model, Principal
from exchange.control.terms import freeze, parse
from exchange.errors import Refused


def request(command: commands.RequestAgreement, actor: Principal, model: Model, now_ns: int) -> Decision:
    """By a steward or system of the consumer. Ids are given in order and never again."""
    need_role(actor, "steward", "department_system")
    terms = parse(command.terms, model, now_ns)
    need_department(actor, terms.consumer)
    name = f"agr-{len(model.agreements) + 1}"
    data = {"agreement": name, "terms": terms.to_document()}
    return Decision(
        [NewEvent(f"agreement/{name}", "agreement.requested/1", data)], name, _grounds(model, terms.dataset)
    )


def review(command: commands.ReviewAgreement, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward of the dataset's department, who is not the one that asked."""
    agreement, dataset = _found(command.agreement, model)
    need_role(actor, "steward")
    need_department(actor, dataset.department)
    need_state(f"agreement {agreement.id}", agreement.status, "requested")
    _other_person(actor, agreement.requested_by, "request", "review")
    verdict = one_of(command.verdict, ("endorse", "return"), where="verdict")
    data = {"agreement": agreement.id, "note": text(command.note, where="note")}
    return _one(agreement, "agreement.endorsed/1" if verdict == "endorse" else "agreement.returned/1", data, model)


def approve(command: commands.ApproveAgreement, actor: Principal, model: Model, now_ns: int) -> Decision:
    """By the sharing authority, a third person. The terms are checked again and frozen on the schema of now."""
    agreement, dataset = _found(command.agreement, model)
    need_role(actor, "sharing_authority")
    need_state(f"agreement {agreement.id}", agreement.status, "endorsed")
    _other_person(actor, agreement.requested_by, "request", "approve")
    _other_person(actor, agreement.reviewed_by, "review", "approve")
    terms = freeze(parse(agreement.terms.to_document(), model, now_ns), dataset)
    data = {"agreement": agreement.id, "terms": terms.to_document()}
    return _one(agreement, "agreement.approved/1", data, model)


def reject(command: commands.RejectAgreement, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By the sharing authority, before or after the review."""
    agreement, _ = _found(command.agreement, model)
    need_role(actor, "sharing_authority")
    need_state(f"agreement {agreement.id}", agreement.status, "requested", "endorsed")
    data = {"agreement": agreement.id, "reason": text(command.reason, where="reason")}
    return _one(agreement, "agreement.rejected/1", data, model)


def revoke(command: commands.RevokeAgreement, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward of the dataset's department or by the sharing authority."""
    agreement, dataset = _found(command.agreement, model)
    need_role(actor, "steward", "sharing_authority")
    if "sharing_authority" not in actor.roles:
        need_department(actor, dataset.department)
    need_state(f"agreement {agreement.id}", agreement.status, "active")
    data = {"agreement": agreement.id, "reason": text(command.reason, where="reason")}
    return _one(agreement, "agreement.revoked/1", data, model)


def expire(_command: commands.ExpireAgreements, actor: Principal, model: Model, now_ns: int) -> Decision:
    """By an operator or the sharing authority. A plan ends by its own time; this only writes it down."""
    need_role(actor, "operator", "sharing_authority")
    over = [
        NewEvent(f"agreement/{one.id}", "agreement.expired/1", {"agreement": one.id})
        for one in model.agreements.values()
        if one.status == "active" and one.terms.expires_ns <= now_ns
    ]
    return Decision(over, "")


def _found(name: str, model: Model) -> tuple[Agreement, Dataset]:
    agreement = model.agreement(name)
    return agreement, model.dataset(agreement.terms.dataset)


def _one(agreement: Agreement, name: str, data: Mapping[str, object], model: Model) -> Decision:
    event = NewEvent(f"agreement/{agreement.id}", name, data)
    return Decision([event], agreement.id, _grounds(model, agreement.terms.dataset))


def _grounds(model: Model, dataset: str) -> frozenset[str]:
    """What the rules for terms read besides the agreement itself."""
    return frozenset({f"dataset/{model.dataset(dataset).name}", "policy"})


def _other_person(actor: Principal, former: str | None, first: str, second: str) -> None:
    if former is None or actor.id == former:
        raise Refused("same_person", first=first, second=second)
