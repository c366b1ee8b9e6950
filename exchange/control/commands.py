"""What a person may ask of the control plane: one frozen dataclass for each command, the later API's bodies.

A command holds plain values only. Its rules (who may, when, with what) stand in `exchange.control.decide`; ids are
checked there too, so that a command made from any input is safe to hand over. Times are UTC nanoseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal


@dataclass(frozen=True)
class AddDepartment:
    """A department joins (by the sharing authority).

    `region` is its division code; `region_parent` and `line_parent` are department ids, its places in the tree of
    regions (块) and of authority (条), or None at the top. `seal_key` is the hex of its Ed25519 public key.
    """

    id: str
    title_zh: str
    title_en: str
    region: str
    region_parent: str | None
    line_parent: str | None
    zone: str
    seal_key: str


@dataclass(frozen=True)
class AddPrincipal:
    """A person or a service gets an account in a department (by the sharing authority)."""

    id: str
    department: str
    roles: Sequence[str]


@dataclass(frozen=True)
class ChangeRoles:
    """The roles of another account become exactly these (by the sharing authority)."""

    principal: str
    roles: Sequence[str]


@dataclass(frozen=True)
class SuspendPrincipal:
    """Another account ends for good (by the sharing authority)."""

    principal: str
    reason: str


@dataclass(frozen=True)
class IssueToken:
    """A token for an account (by the sharing authority, or by the account itself).

    `token` and `digest` come from `exchange.control.tokens.new_token`; the secret itself never gets here.
    """

    principal: str
    token: str
    digest: str
    expires_ns: int


@dataclass(frozen=True)
class RevokeToken:
    """A token ends (by the sharing authority, or by the account it belongs to)."""

    token: str


@dataclass(frozen=True)
class SubmitContract:
    """A dataset's contract, new or revised (by a steward of the owning department).

    `contract` is the document form of `exchange.contracts.Contract`. The same contract again changes nothing.
    """

    contract: Mapping[str, Any]


@dataclass(frozen=True)
class OpenIntake:
    """An account at the Kafka brokers may send a dataset's records (by a steward of the dataset's department).

    `user` is the brokers' name for it (`User:NAME`). Another account replaces the one before it.
    """

    dataset: str
    user: str


@dataclass(frozen=True)
class CloseIntake:
    """Nobody may send a dataset's records by Kafka any more (by a steward of its department, or the authority)."""

    dataset: str


@dataclass(frozen=True)
class OpenCase:
    """A matter that reads are for (by a steward or system of the department that handles it).

    `members` are subject tags of `subject_type` in hex; `departments` those that may use the case, besides the owner.
    """

    id: str
    subject_type: str
    title: str
    members: Sequence[str]
    departments: Sequence[str]


@dataclass(frozen=True)
class ChangeCaseMembers:
    """The members of an open case become exactly these (by a steward or system of its department)."""

    case: str
    members: Sequence[str]


@dataclass(frozen=True)
class CloseCase:
    """The matter is over (by a steward or system of its department). It is never opened again."""

    case: str
    reason: str


@dataclass(frozen=True)
class RequestAgreement:
    """A department asks for a dataset (by its steward or system). `terms`: see `exchange.control.terms`."""

    terms: Mapping[str, Any]


@dataclass(frozen=True)
class ReviewAgreement:
    """The provider's view of a request (by a steward of the dataset's department)."""

    agreement: str
    verdict: Literal["endorse", "return"]
    note: str


@dataclass(frozen=True)
class ApproveAgreement:
    """The agreement becomes active, its terms frozen (by the sharing authority, a third person)."""

    agreement: str


@dataclass(frozen=True)
class RejectAgreement:
    """The request is refused (by the sharing authority)."""

    agreement: str
    reason: str


@dataclass(frozen=True)
class RevokeAgreement:
    """An active agreement ends (by a steward of the provider, or the sharing authority)."""

    agreement: str
    reason: str


@dataclass(frozen=True)
class ExpireAgreements:
    """Writes down, for every agreement whose time is over, that it is (by an operator or the sharing authority)."""


@dataclass(frozen=True)
class SubmitPolicy:
    """A policy revision to be approved (by a steward or the sharing authority).

    `bundle` is `{"modules": {path: Rego}, "codes": {table: …}}`; `tests` each test's full name and whether it held.
    """

    bundle: Mapping[str, Any]
    tests: Mapping[str, bool]


@dataclass(frozen=True)
class ApprovePolicy:
    """The submitted revision becomes the active one (by another steward or the sharing authority)."""

    revision: str


@dataclass(frozen=True)
class WithdrawPolicy:
    """The active revision is taken away: from now on every question is refused."""

    reason: str


@dataclass(frozen=True)
class Bootstrap:
    """The first department, its sharing authority and the token of that account; only into an empty store."""

    department: AddDepartment
    principal: str
    token: str
    digest: str
    expires_ns: int


# What ends rights and gives none: it is done on a full disk, too.
ENDING: Final = (
    SuspendPrincipal,
    RevokeToken,
    CloseIntake,
    CloseCase,
    RejectAgreement,
    RevokeAgreement,
    ExpireAgreements,
    WithdrawPolicy,
)

Command = (
    AddDepartment
    | AddPrincipal
    | ChangeRoles
    | SuspendPrincipal
    | IssueToken
    | RevokeToken
    | SubmitContract
    | OpenIntake
    | CloseIntake
    | OpenCase
    | ChangeCaseMembers
    | CloseCase
    | RequestAgreement
    | ReviewAgreement
    | ApproveAgreement
    | RejectAgreement
    | RevokeAgreement
    | ExpireAgreements
    | SubmitPolicy
    | ApprovePolicy
    | WithdrawPolicy
    | Bootstrap
)
