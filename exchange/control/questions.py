"""The facts that a question carries (plan.md, "Question"): everything the policy sees, taken from one model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from exchange.control.model import Agreement, Model, Principal
from exchange.errors import Invalid
from exchange.names import check

FORMAT: Final = "exchange.question/1"
# Requests that never became a permission are no candidates; one that ended is, so that the refusal can say how.
_ONCE_ACTIVE: Final = frozenset({"active", "suspended", "revoked", "expired"})


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; `fields` None means all that is granted, a list exactly these."""

    action: str
    dataset: str
    purpose: str
    case: str | None = None
    fields: tuple[str, ...] | None = None


def facts(model: Model, who: Principal, request: Request, *, id: str, now_ns: int) -> dict[str, Any]:  # noqa: A002  # plan.md's word
    """The question's document, complete but for `lookup`; `who` is taken as it is in the model.

    A case that the department may not use, or that does not exist, is null: outsiders learn nothing of it.

    Raises:
        Invalid: `unknown_dataset`, with the nearest name; `unknown_principal`; `name_malformed` for a purpose or
            field that has no such form: what is asked stands in the audit log for ever, so it is no place for an id.
    """
    check("purpose", request.purpose, where="purpose")
    for path in request.fields or ():
        check("path", path, where="fields")
    account = model.principal(who.id)
    dataset = model.dataset(request.dataset)
    department = model.department(account.department)
    candidates = model.agreements_for(account.department, request.dataset)
    return {
        "format": FORMAT,
        "id": id,
        "now_ns": now_ns,
        "action": request.action,
        "zone": department.zone,
        "principal": {
            "id": account.id,
            "department": account.department,
            "roles": sorted(account.roles),
            "epoch": account.epoch,
        },
        "on_behalf_of": None,
        "dataset": {
            "name": dataset.name,
            "schema": dataset.current.fingerprint,
            "share_type": dataset.share_type,
            "subject": {"type": dataset.subject_type, "path": dataset.subject_path},
            "fields": {
                path: {"class": security_class, "tags": list(tags)}
                for path, (security_class, tags) in dataset.fields.items()
            },
        },
        "purpose": request.purpose,
        "fields": None if request.fields is None else list(request.fields),
        "case": _case(model, account, request.case),
        "agreements": [_candidate(one) for one in candidates if one.status in _ONCE_ACTIVE],
    }


def with_lookup(document: dict[str, Any], tags: Sequence[bytes], members: frozenset[bytes] | None) -> dict[str, Any]:
    """The same question about these subjects; `outside` are those that are no members of the question's case."""
    outside = [tag.hex() for tag in tags if members is not None and tag not in members]
    return {**document, "lookup": {"tags": [tag.hex() for tag in tags], "outside": outside}}


def _case(model: Model, who: Principal, case_id: str | None) -> dict[str, Any] | None:
    if case_id is None:
        return None
    try:
        case = model.case(case_id, who.department)
    except Invalid:
        return None
    return {
        "id": case.id,
        "epoch": case.epoch,
        "status": case.status,
        "members": case.members,
        "opened_ns": case.opened_ns,
    }


def _candidate(agreement: Agreement) -> dict[str, Any]:
    return {
        "id": agreement.id,
        "revision": agreement.revision,
        "epoch": agreement.epoch,
        "status": agreement.status,
        **agreement.terms.to_document(),
    }
