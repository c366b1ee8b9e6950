"""The read model: what is so, folded from the control events by `exchange.control.projections`.

Everything here is immutable by convention: a fold makes new dictionaries and never changes those of a model that
somebody holds. Times are UTC nanoseconds, digests `sha256:…`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from exchange.control.tokens import authentic, token_id
from exchange.errors import Invalid, Refused
from exchange.names import nearest
from exchange.plan.shapes import shown

T = TypeVar("T")
AgreementStatus = Literal["requested", "endorsed", "returned", "active", "rejected", "revoked", "expired"]
PolicyStatus = Literal["submitted", "active", "superseded", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Department:
    """An organisation that takes part, with its places in both trees; `seal_key` is its public key in hex."""

    id: str
    title_zh: str
    title_en: str
    region: str
    region_parent: str | None
    line_parent: str | None
    zone: str
    seal_key: str


@dataclass(frozen=True, slots=True)
class Principal:
    """An account. `epoch` rises whenever a right of it may have ended."""

    id: str
    department: str
    roles: frozenset[str]
    epoch: int
    status: Literal["active", "suspended"]


@dataclass(frozen=True, slots=True)
class Token:
    """A key to an account: the digest of its text, never the text."""

    id: str
    principal: str
    digest: str
    expires_ns: int
    revoked: bool


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """One version (from 1) of a dataset's schema, its wire id and its fingerprint."""

    version: int
    schema_id: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a department publishes, by its contract's newest revision.

    `contract` is the digest of the contract's document; `fields` has every leaf of the current (last) schema, in the
    schema's order, with its class and tags; `epoch` rises with every revision.
    """

    name: str
    department: str
    steward: str
    contract: str
    revision: int
    epoch: int
    share_type: str
    legal_basis: str
    subject_type: str
    subject_path: str
    schemas: tuple[SchemaVersion, ...]
    fields: Mapping[str, tuple[str, tuple[str, ...]]]
    dead_schema_id: int

    @property
    def current(self) -> SchemaVersion:
        """The schema that records are written with now."""
        return self.schemas[-1]


@dataclass(frozen=True, slots=True)
class TermsField:
    """A field that the consumer sees, and under which mask (plan.md, "Fields and masks")."""

    path: str
    mask: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """What an agreement allows.

    `schema` is the fingerprint of the schema it was approved on; it is empty until then, and a field may still name a
    whole record. Afterwards every field is a leaf.
    """

    consumer: str
    dataset: str
    schema: str
    purpose: str
    legal_basis: str
    actions: tuple[str, ...]
    fields: tuple[TermsField, ...]
    rows: Mapping[str, Any]
    case_bound: bool
    zone: str
    counts: bool
    not_before_ns: int
    expires_ns: int
    purge_by: str | None

    def to_document(self) -> dict[str, Any]:
        """The terms as JSON values, complete: what an event, a question and `terms.parse` hold."""
        return {
            "actions": list(self.actions),
            "case_bound": self.case_bound,
            "consumer": self.consumer,
            "counts": self.counts,
            "dataset": self.dataset,
            "expires_ns": self.expires_ns,
            "fields": [{"mask": dict(one.mask), "path": one.path} for one in self.fields],
            "legal_basis": self.legal_basis,
            "not_before_ns": self.not_before_ns,
            "purge_by": self.purge_by,
            "purpose": self.purpose,
            "rows": dict(self.rows),
            "schema": self.schema,
            "zone": self.zone,
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """A permission and the people who made it. `reason` is why it ended, or the reviewer's note before."""

    id: str
    revision: int
    epoch: int
    status: AgreementStatus
    terms: Terms
    requested_by: str
    reviewed_by: str | None = None
    approved_by: str | None = None
    ended_by: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """The matter a read is for. `members` names a set of tags in the documents; `departments` may use it."""

    id: str
    epoch: int
    status: Literal["open", "closed"]
    subject_type: str
    members: str
    member_count: int
    department: str
    departments: tuple[str, ...]
    opened_ns: int
    opened_by: str
    title: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy revision, named by the digest of its bundle's document; `report` is that of its tests' results."""

    revision: str
    status: PolicyStatus
    submitted_by: str
    tests: int
    report: str
    approved_by: str | None = None
    activated_ns: int | None = None


@dataclass(frozen=True, slots=True)
class SchemaUse:
    """What a wire id stands for: a schema, by fingerprint, and the registry subject that first had it."""

    schema_id: int
    fingerprint: str
    subject: str


@dataclass(frozen=True, slots=True)
class Model:
    """All of it, at one position of the event store.

    `epochs` maps an epoch's name (`agreement/agr-17`, `case/…`, `principal/…`, `dataset/…`, `policy`) to its value;
    `versions` an aggregate to its version; `intakes` a dataset to the account at the Kafka brokers that may send its
    records; `codes` holds the active policy bundle's code tables, empty without one.
    """

    position: int = 0
    departments: Mapping[str, Department] = field(default_factory=dict)
    principals: Mapping[str, Principal] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)
    datasets: Mapping[str, Dataset] = field(default_factory=dict)
    schemas: Mapping[int, SchemaUse] = field(default_factory=dict)
    intakes: Mapping[str, str] = field(default_factory=dict)
    agreements: Mapping[str, Agreement] = field(default_factory=dict)
    agreement_index: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    cases: Mapping[str, Case] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    active_policy: str | None = None
    epochs: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    codes: Mapping[str, Any] = field(default_factory=dict)

    def dataset(self, name: object) -> Dataset:
        """That dataset; else `Invalid("unknown_dataset")` with the nearest name there is."""
        return _find(self.datasets, name, "unknown_dataset")

    def case(self, case_id: object, department: str) -> Case:
        """That case, when this department may use it; else `Invalid("unknown_case")`: others are not told of it."""
        found = self.cases.get(case_id) if isinstance(case_id, str) else None
        if found is not None and department in found.departments:
            return found
        usable = [case.id for case in self.cases.values() if department in case.departments]
        raise Invalid("unknown_case", name=shown(case_id), nearest=nearest(shown(case_id), usable) or "-")

    def agreements_for(self, consumer: str, dataset: str) -> tuple[Agreement, ...]:
        """Every agreement of this consumer for this dataset, whatever its status, oldest first."""
        return tuple(self.agreements[one] for one in self.agreement_index.get((consumer, dataset), ()))

    def agreement(self, agreement_id: object) -> Agreement:
        """That agreement; else `Invalid("unknown_agreement")`."""
        return _find(self.agreements, agreement_id, "unknown_agreement")

    def principal(self, principal_id: object) -> Principal:
        """That account; else `Invalid("unknown_principal")`."""
        return _find(self.principals, principal_id, "unknown_principal")

    def department(self, department_id: object) -> Department:
        """That department; else `Invalid("unknown_department")`."""
        return _find(self.departments, department_id, "unknown_department")

    def principal_for(self, token_text: str, now_ns: int) -> Principal:
        """Whose token this is.

        Raises:
            Refused: `token_unknown` for an unknown id, a wrong secret and a malformed text alike; only who has the
                secret learns `token_expired`, `token_revoked` or `principal_suspended`.
        """
        token = self.tokens.get(token_id(token_text))
        if not authentic(token_text, token.digest if token else None) or token is None:
            raise Refused("token_unknown")
        if token.revoked:
            raise Refused("token_revoked")
        if token.expires_ns <= now_ns:
            raise Refused("token_expired")
        principal = self.principals[token.principal]
        if principal.status != "active":
            raise Refused("principal_suspended")
        return principal


def _find(known: Mapping[str, T], name: object, code: str) -> T:
    if isinstance(name, str) and name in known:
        return known[name]
    raise Invalid(code, name=shown(name), nearest=nearest(shown(name), known) or "-")
