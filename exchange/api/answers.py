"""The forms of what the API answers and takes, beside the commands of `exchange.control.commands` themselves."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from exchange.access.acks import MOST_ACKS, Outcome
from exchange.wiring.desk import COLUMNS, Listing

Row = dict[str, Any]


class Given(BaseModel):
    """A body: exactly these keys, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewToken(Given):
    """For whom, and for how long."""

    principal: str
    days: int = Field(90, ge=1, le=3_650)


class Days(Given):
    """For how long."""

    days: int = Field(90, ge=1, le=3_650)


class IssuedToken(BaseModel):
    """A new token: `token` is its text, in this answer and nowhere else."""

    id: str
    token: str
    principal: str
    expires_ns: int
    index: int | None


class NewCase(Given):
    """A case; `ids` are its members, which become tags and go no further."""

    id: str
    title: str
    ids: list[str] = Field(min_length=1, max_length=10_000)
    subject_type: str = "person"
    departments: list[str] = Field(default_factory=list, max_length=1_000)


class Members(Given):
    """The members of a case from now on."""

    ids: list[str] = Field(min_length=1, max_length=10_000)


class PolicyBundle(Given):
    """A policy: Rego modules by file name, and the code tables that they read as `data.codes`."""

    modules: dict[str, str] = Field(min_length=1, max_length=1_000)
    codes: dict[str, Any]


class Lookup(Given):
    """Which subjects (`ids`), for what; `fields` None: all that is granted."""

    purpose: str
    ids: list[str] = Field(min_length=1, max_length=1_000)
    case: str | None = None
    fields: list[str] | None = None


class Acknowledged(Given):
    """A release, by the index of its entry; the digest and the number of records, where the consumer says them."""

    index: int = Field(ge=0, le=1 << 62)
    outcome: Outcome = "received"
    payload_digest: str | None = Field(None, pattern="^sha256:[0-9a-f]{64}$")
    records: int | None = Field(None, ge=0, le=1 << 62)


class Acks(Given):
    """What a consumer confirms."""

    acks: list[Acknowledged] = Field(min_length=1, max_length=MOST_ACKS)


class Indexes(BaseModel):
    """Where the acknowledgements stand in the audit log, in the order in which they were given."""

    indexes: list[int]


class Explain(Given):
    """What would be asked."""

    purpose: str
    case: str | None = None
    fields: list[str] | None = None
    action: str = Field("read", pattern="^(read|lookup)$")


class Explanation(BaseModel):
    """The plan as a document (`exchange.plan/1`), and in sentences."""

    plan: Row
    sentences: list[str]


class Subjects(Given):
    """Whom an auditor asks about. A person's id with a wrong check digit is asked for `as_written`, or not at all."""

    ids: list[str] = Field(min_length=1, max_length=1_000)
    subject_type: str = "person"
    as_written: bool = False


class BundleAsked(Subjects):
    """Whom an auditor asks about, and the checkpoints that he kept: the bundle shows that the log continues them."""

    kept: list[str] = Field(default_factory=list, max_length=100)


class SearchAsked(Given):
    """Which entries an auditor asks for (times in nanoseconds since 1970, UTC, from and before), whether the bundle is
    to hold all entries of the period and not those alone that were found, and the checkpoints that he kept.
    """

    officer: str | None = Field(None, max_length=300)
    department: str | None = Field(None, max_length=300)
    dataset: str | None = Field(None, max_length=300)
    case: str | None = Field(None, max_length=300)
    purpose: str | None = Field(None, max_length=300)
    field: str | None = Field(None, max_length=300)
    from_ns: int | None = Field(None, ge=0, le=1 << 62)
    until_ns: int | None = Field(None, ge=0, le=1 << 62)
    complete: bool = False
    kept: list[str] = Field(default_factory=list, max_length=100)


class Problem(BaseModel):
    """What went wrong (RFC 9457): `type` is a page of this server; `code`, `family`, `where` and `facts` are for
    programs, `detail` (what) and `do` for people, in the language asked for. `request` finds its log line.
    """

    type: str
    title: str
    status: int
    detail: str
    do: str
    code: str
    family: Literal["invalid", "refused", "unavailable", "tampered"]
    where: str
    facts: dict[str, str]
    reasons: list[str]
    request: str


class Me(BaseModel):
    """Whose token it is."""

    id: str
    department: str
    roles: list[str]
    zone: str


class Figure(BaseModel):
    """One figure, counted in the logs."""

    what: str
    name: str
    count: int | None


class Segments(BaseModel):
    """How many segments were made."""

    segments: int


class Expired(BaseModel):
    """How many details of each class were deleted."""

    details: dict[str, int]


class Evidence(BaseModel):
    """The proof of an entry as C2SP tlog-proof, and the checkpoint that it proves it against."""

    text: str


def rows_of(what: Listing) -> type[BaseModel]:
    """The form of a listing's rows, from its columns."""
    columns: dict[str, Any] = dict.fromkeys(COLUMNS[what], (Any, ...))
    return create_model(what.removesuffix("ies").removesuffix("s").capitalize() + "Row", **columns)
