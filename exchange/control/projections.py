"""The fold: control events, in order, into the read model. Pure: what a model holds depends on the events alone."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from exchange.control.events import FORMS, Event, raises
from exchange.control.model import (
    Agreement,
    AgreementStatus,
    Case,
    Dataset,
    Department,
    Model,
    Policy,
    Principal,
    SchemaUse,
    SchemaVersion,
    Terms,
    TermsField,
    Token,
)
from exchange.errors import Tampered, Unavailable


@dataclass
class _Draft:
    """The parts of the next model: copies, so that the model that was folded from stays as it is."""

    departments: dict[str, Department]
    principals: dict[str, Principal]
    tokens: dict[str, Token]
    datasets: dict[str, Dataset]
    schemas: dict[int, SchemaUse]
    intakes: dict[str, str]
    agreements: dict[str, Agreement]
    agreement_index: dict[tuple[str, str], tuple[str, ...]]
    cases: dict[str, Case]
    policies: dict[str, Policy]
    active_policy: str | None
    epochs: dict[str, int]
    versions: dict[str, int]


def apply(model: Model, event: Event) -> Model:
    """The model after one event; see `fold`."""
    return fold(model, [event])


def fold(model: Model, events: Iterable[Event]) -> Model:
    """The model after these events, which follow its position without a gap.

    Raises:
        Tampered: `events_missing`, `event_unknown`, `event_damaged` (keys or values that no version of ours wrote).
        Unavailable: `event_from_newer_version`: this program is older than what wrote the event.
    """
    draft = _Draft(
        departments=dict(model.departments),
        principals=dict(model.principals),
        tokens=dict(model.tokens),
        datasets=dict(model.datasets),
        schemas=dict(model.schemas),
        intakes=dict(model.intakes),
        agreements=dict(model.agreements),
        agreement_index=dict(model.agreement_index),
        cases=dict(model.cases),
        policies=dict(model.policies),
        active_policy=model.active_policy,
        epochs=dict(model.epochs),
        versions=dict(model.versions),
    )
    position = model.position
    for event in events:
        if event.position != position + 1 or event.version != draft.versions.get(event.aggregate, 0) + 1:
            raise Tampered("events_missing", after=position)
        _take(draft, event)
        position = event.position
    return replace(model, position=position, **vars(draft))


def _take(draft: _Draft, event: Event) -> None:
    _check_form(event)
    draft.versions[event.aggregate] = event.version
    draft.epochs.update(raises(event))
    try:
        _HANDLERS[event.name](draft, event, event.data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Tampered("event_damaged", position=event.position) from error


def _check_form(event: Event) -> None:
    form = FORMS.get(event.name)
    if form is None:
        stem = event.name.partition("/")[0]
        if any(name.partition("/")[0] == stem for name in FORMS):
            raise Unavailable("event_from_newer_version", position=event.position, name=event.name)
        raise Tampered("event_unknown", position=event.position)
    if event.data.keys() != form.keys:
        raise Tampered("event_damaged", position=event.position)


def _department_added(draft: _Draft, _event: Event, data: Mapping[str, Any]) -> None:
    draft.departments[data["id"]] = Department(**data)


def _principal_added(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    roles = frozenset(data["roles"])
    principal = Principal(data["principal"], data["department"], roles, draft.epochs[event.aggregate], "active")
    draft.principals[principal.id] = principal


def _roles_changed(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    _principal(draft, event, data, roles=frozenset(data["roles"]))


def _principal_suspended(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    _principal(draft, event, data, status="suspended")


def _principal(draft: _Draft, event: Event, data: Mapping[str, Any], **changes: Any) -> None:  # noqa: ANN401 - fields
    former = draft.principals[data["principal"]]
    draft.principals[former.id] = replace(former, epoch=draft.epochs[event.aggregate], **changes)


def _token_issued(draft: _Draft, _event: Event, data: Mapping[str, Any]) -> None:
    principal = draft.principals[data["principal"]].id
    draft.tokens[data["token"]] = Token(data["token"], principal, data["digest"], data["expires_ns"], revoked=False)


def _token_revoked(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    _principal(draft, event, data)
    draft.tokens[data["token"]] = replace(draft.tokens[data["token"]], revoked=True)


def _schemas_assigned(draft: _Draft, _event: Event, data: Mapping[str, Any]) -> None:
    for one in data["assigned"]:
        if one["schema_id"] in draft.schemas:
            raise KeyError("schema_id")
        draft.schemas[one["schema_id"]] = SchemaUse(one["schema_id"], one["fingerprint"], one["subject"])


def _contract_accepted(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    plain = {
        key: data[key]
        for key in ("department", "steward", "contract", "share_type", "legal_basis", "subject_type", "subject_path")
    }
    draft.datasets[data["dataset"]] = Dataset(
        name=data["dataset"],
        revision=event.version,
        epoch=draft.epochs[event.aggregate],
        schemas=tuple(SchemaVersion(**one) for one in data["schemas"]),
        fields={one["path"]: (one["class"], tuple(one["tags"])) for one in data["fields"]},
        dead_schema_id=data["dead_schema_id"],
        **plain,
    )


def _intake_opened(draft: _Draft, _event: Event, data: Mapping[str, Any]) -> None:
    draft.intakes[data["dataset"]] = data["user"]


def _intake_closed(draft: _Draft, _event: Event, data: Mapping[str, Any]) -> None:
    del draft.intakes[data["dataset"]]


def _case_opened(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    draft.cases[data["case"]] = Case(
        id=data["case"],
        epoch=draft.epochs[event.aggregate],
        status="open",
        subject_type=data["subject_type"],
        members=data["members"],
        member_count=data["member_count"],
        department=data["department"],
        departments=tuple(data["departments"]),
        opened_ns=event.time_ns,
        opened_by=event.actor,
        title=data["title"],
    )


def _case_changed(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    former, epoch = draft.cases[data["case"]], draft.epochs[event.aggregate]
    draft.cases[former.id] = replace(former, epoch=epoch, members=data["members"], member_count=data["member_count"])


def _case_closed(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    former = draft.cases[data["case"]]
    draft.cases[former.id] = replace(former, epoch=draft.epochs[event.aggregate], status="closed")


def _requested(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    terms = _terms(data["terms"])
    name, epoch = data["agreement"], draft.epochs[event.aggregate]
    draft.agreements[name] = Agreement(name, event.version, epoch, "requested", terms, event.actor)
    key = (terms.consumer, terms.dataset)
    draft.agreement_index[key] = (*draft.agreement_index.get(key, ()), name)


def _reviewed(status: AgreementStatus) -> "Handler":
    def handle(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
        _agreement(draft, event, data, status=status, reviewed_by=event.actor, reason=data["note"])

    return handle


def _approved(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    terms = _terms(data["terms"])
    _agreement(draft, event, data, status="active", approved_by=event.actor, terms=terms)


def _ended(status: AgreementStatus) -> "Handler":
    def handle(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
        _agreement(draft, event, data, status=status, ended_by=event.actor, reason=data.get("reason", ""))

    return handle


def _agreement(draft: _Draft, event: Event, data: Mapping[str, Any], **changes: Any) -> None:  # noqa: ANN401 - fields
    former, epoch = draft.agreements[data["agreement"]], draft.epochs[event.aggregate]
    draft.agreements[former.id] = replace(former, revision=event.version, epoch=epoch, **changes)


def _terms(document: Mapping[str, Any]) -> Terms:
    fields = tuple(TermsField(one["path"], one["mask"]) for one in document["fields"])
    return Terms(**{**document, "actions": tuple(document["actions"]), "fields": fields})


def _policy_submitted(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    draft.policies[data["revision"]] = Policy(data["revision"], "submitted", event.actor, data["tests"], data["report"])


def _policy_activated(draft: _Draft, event: Event, data: Mapping[str, Any]) -> None:
    if draft.active_policy is not None:
        draft.policies[draft.active_policy] = replace(draft.policies[draft.active_policy], status="superseded")
    draft.active_policy = data["revision"]
    draft.policies[data["revision"]] = replace(
        draft.policies[data["revision"]], status="active", approved_by=event.actor, activated_ns=event.time_ns
    )


def _policy_withdrawn(draft: _Draft, _event: Event, data: Mapping[str, Any]) -> None:
    draft.policies[data["revision"]] = replace(draft.policies[data["revision"]], status="withdrawn")
    draft.active_policy = None


Handler = Callable[[_Draft, Event, Mapping[str, Any]], None]
_HANDLERS: Final[Mapping[str, Handler]] = {
    "department.added/1": _department_added,
    "principal.added/1": _principal_added,
    "principal.roles_changed/1": _roles_changed,
    "principal.suspended/1": _principal_suspended,
    "token.issued/1": _token_issued,
    "token.revoked/1": _token_revoked,
    "schemas.assigned/1": _schemas_assigned,
    "contract.accepted/1": _contract_accepted,
    "intake.opened/1": _intake_opened,
    "intake.closed/1": _intake_closed,
    "case.opened/1": _case_opened,
    "case.members_changed/1": _case_changed,
    "case.closed/1": _case_closed,
    "agreement.requested/1": _requested,
    "agreement.endorsed/1": _reviewed("endorsed"),
    "agreement.returned/1": _reviewed("returned"),
    "agreement.approved/1": _approved,
    "agreement.rejected/1": _ended("rejected"),
    "agreement.revoked/1": _ended("revoked"),
    "agreement.expired/1": _ended("expired"),
    "policy.submitted/1": _policy_submitted,
    "policy.activated/1": _policy_activated,
    "policy.withdrawn/1": _policy_withdrawn,
}
