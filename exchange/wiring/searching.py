"""What auditors ask of the log beside who saw a subject: which entries there are of a kind, by officer, department …

The index finds them; what is answered is read from the log itself. Each question is an entry before it is answered.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from exchange.control.model import Principal
from exchange.errors import Invalid, Refused

if TYPE_CHECKING:
    from exchange.audit.subjects import Wanted
    from exchange.wiring.exchange import Exchange

What = Literal["releases", "unconfirmed", "refusals", "grants", "policy", "openings", "queries", "keys"]
Row = dict[str, Any]

MOST_FOUND: Final = 10_000
_RELEASE: Final = (
    *("recipient", "actor", "dataset", "purpose", "case", "agreement", "action", "topic", "partition", "lo", "hi"),
    *("released", "excluded_count", "withheld", "fields", "format", "policy_revision", "payload_digest", "expires_ns"),
)
# Of each: the kind of entry, the aggregate of its control event, and what a row tells beside index and time.
_TOLD: Final[Mapping[What, tuple[str, str | None, Sequence[str]]]] = {
    "releases": ("release", None, _RELEASE),
    "unconfirmed": ("release", None, _RELEASE),
    "refusals": (
        *("refusal", None),
        ("consumer", "actor", "dataset", "purpose", "case", "agreement", "action", "reasons", "policy_revision"),
    ),
    "grants": ("control", "agreement", ("type", "agreement", "consumer", "dataset", "purpose", "actor", "department")),
    "policy": ("policy_revision", None, ("event", "revision", "previous", "actor", "department", "tests_digest")),
    "openings": ("control", "case", ("type", "case", "actor", "department")),
    "queries": ("audit_query", None, ("query", "actor", "department", "size", "results", "parameters_digest")),
    "keys": ("key", None, ("event", "use", "owner", "name", "algorithm", "actor")),
}
WHATS: Final[Sequence[What]] = get_args(What)


@dataclass(frozen=True, slots=True)
class Sought:
    """What is asked for; None: whatever. `officer` is an account's name, `field` a path that was shown; times in
    nanoseconds, from and before.
    """

    officer: str | None = None
    department: str | None = None
    dataset: str | None = None
    case: str | None = None
    purpose: str | None = None
    field: str | None = None
    from_ns: int | None = None
    until_ns: int | None = None


def columns(what: What) -> Sequence[str]:
    """What a row tells, in order."""
    return ("index", "time_ns", *_TOLD[what][2])


def search(exchange: "Exchange", who: Principal, what: What, sought: Sought, after: int, most: int) -> list[Row]:
    """The first `most` entries behind index `after`, in the order of the log; none where there are no more.

    For auditors. A consumer may ask for the `unconfirmed` releases of its own department.

    Raises:
        Refused: `auditor_required`, audited. Invalid: `search_range`: times the wrong way round, too many at once.
    """
    if "auditor" not in who.roles and not (what == "unconfirmed" and sought.department == who.department):
        exchange.refuse(who, f"audit {what}", Refused("auditor_required"))
    if not 1 <= most <= MOST_FOUND:
        raise Invalid("search_range", where="limit", found=most, needed=f"1 … {MOST_FOUND}")
    check_period(sought)
    wanted, told = wanted_of(exchange, what, sought), _TOLD[what][2]
    size = exchange.audit.size
    found = {index: facts for index, facts in exchange.followed().find(wanted, after, most).items() if index < size}
    parameters = {name: value for name, value in {**asdict(wanted), "after": after}.items() if value is not None}
    exchange.note_query(who, what, parameters=parameters, size=size, results=len(found))
    return [{"index": index, **_row(exchange, index, facts, told)} for index, facts in found.items()]


def check_period(sought: Sought) -> None:
    """Raises `Invalid("search_range")` for a period that ends before it begins, or when it begins."""
    if sought.from_ns is not None and sought.until_ns is not None and sought.until_ns <= sought.from_ns:
        raise Invalid("search_range", where="until", found=sought.until_ns, needed=f"> {sought.from_ns}")


def wanted_of(exchange: "Exchange", what: What, sought: Sought, below: int | None = None) -> "Wanted":
    """The question as the index takes it: the officer by pseudonym."""
    from exchange.audit.subjects import Wanted

    kind, aggregate, _ = _TOLD[what]
    asked = {**asdict(sought), "officer": None if sought.officer is None else exchange.actors.name(sought.officer)}
    return Wanted(**asked, kinds=(kind,), aggregate=aggregate, unconfirmed=what == "unconfirmed", below=below)


def _row(exchange: "Exchange", index: int, facts: Mapping[str, Any], told: Sequence[str]) -> Row:
    """What the entry itself says; what it is about (an agreement's parties), as the index has it."""
    from exchange.wiring.desk import plain

    _, body = exchange.audit.entry(index)
    return {
        "time_ns": body["time_ns"],
        **{name: plain(body[name] if name in body else facts.get(name)) for name in told},
    }


def every(exchange: "Exchange", who: Principal, what: What, sought: Sought, after: int = -1) -> Iterator[Row]:
    """All of them, page by page."""
    while rows := search(exchange, who, what, sought, after, MOST_FOUND):
        yield from rows
        after = rows[-1]["index"]
