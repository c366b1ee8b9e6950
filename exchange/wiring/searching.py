"""What auditors ask of the log beside who saw a subject: which entries there are of a kind, by officer, department …

The index finds them; what is answered is read from the log itself. Each question is an entry before it is answered.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

from exchange.control.model import Principal
from exchange.errors import Invalid, Refused

if TYPE_CHECKING:
    from exchange.audit.subjects import Wanted
    from exchange.wiring.exchange import Exchange

What = Literal["releases", "unconfirmed", "refusals", "grants", "policy", "openings", "queries", "keys"]
Row = dict[str, Any]

MOST_FOUND: Final = 10_000
MOST_TABLE: Final = 100_000  # rows of a table that is made for a browser, and how far results are counted
_PORTION: Final = 5_000
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
# By what else than time the entries of each can be told apart.
_PEOPLE: Final = ("officer", "department")
FILTERS: Final[Mapping[What, Sequence[str]]] = {
    "releases": (*_PEOPLE, "dataset", "purpose", "case", "field"),
    "unconfirmed": (*_PEOPLE, "dataset", "purpose", "case", "field"),
    "refusals": (*_PEOPLE, "dataset", "purpose", "case"),
    "grants": (*_PEOPLE, "dataset", "purpose"),
    "policy": _PEOPLE,
    "openings": (*_PEOPLE, "case"),
    "queries": _PEOPLE,
    "keys": _PEOPLE,
}
_END_NS: Final = 1 << 62  # in the year 2116
_DAY: Final = 10  # characters of YYYY-MM-DD


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


@dataclass(frozen=True, slots=True)
class Span:
    """Which of the found are given: those behind the index `after`; with `before` the last ones before that index. With
    `size` the log counts as it was when it had so many entries: what was found then is found again.
    """

    after: int = -1
    before: int | None = None
    size: int | None = None


def search(exchange: "Exchange", who: Principal, what: What, sought: Sought, span: Span, most: int) -> list[Row]:
    """The first `most` entries of the span, in the order of the log; none where there are no more.

    For auditors. A consumer may ask for the `unconfirmed` releases of its own department.

    Raises:
        Refused: `auditor_required`, audited.
        Invalid: `search_range`: times the wrong way round, too many at once. `search_filter_unusable`.
    """
    check_may(exchange, who, what, sought)
    if not 1 <= most <= MOST_FOUND:
        raise Invalid("search_range", where="limit", found=most, needed=f"1 … {MOST_FOUND}")
    check_period(sought)
    wanted = wanted_of(exchange, what, sought, span.size)
    told = _TOLD[what][2]
    size = exchange.audit.size if span.size is None else span.size
    index = exchange.followed()
    found = {at: facts for at, facts in index.find(wanted, span.after, most, span.before).items() if at < size}
    asked = {**asdict(wanted), "after": span.after, "before": span.before}
    parameters = {name: value for name, value in asked.items() if value is not None}
    exchange.note_query(who, what, parameters=parameters, size=size, results=len(found))
    return [{"index": at, **_row(exchange, at, facts, told)} for at, facts in found.items()]


def check_may(exchange: "Exchange", who: Principal, what: What, sought: Sought) -> None:
    """Whether somebody may ask this: `Refused("auditor_required")`, audited, for whoever may not."""
    if "auditor" not in who.roles and not (what == "unconfirmed" and sought.department == who.department):
        exchange.refuse(who, f"audit {what}", Refused("auditor_required"))


def count(exchange: "Exchange", what: What, sought: Sought, span: Span, most: int) -> int:
    """How many there are in a span, counted no further than to `most`: for whoever has just been told some of them."""
    wanted = wanted_of(exchange, what, sought, span.size)
    return exchange.followed().count(wanted, span.after, most, span.before)


@dataclass(frozen=True, slots=True)
class Found:
    """One page of what was found, the newest first: `total` of all there are and `newer` ones than these, neither
    counted beyond `MOST_TABLE`; whether there are `older` ones.
    """

    rows: Sequence[Row]
    total: int
    newer: int
    older: bool


def page(exchange: "Exchange", who: Principal, what: What, sought: Sought, span: Span, most: int) -> Found:
    """A page of the search over the log as it was at `span.size`; the question is an entry as that of `search` is.

    Raises:
        As `search`. Invalid: `search_cursor`: the span begins or ends at an entry that this question does not find.
    """
    size = exchange.audit.size if span.size is None else span.size
    newest = span.before is None and span.after < 0
    asked = Span(before=size, size=size) if newest else Span(span.after, span.before, size)
    rows = search(exchange, who, what, sought, asked, most)
    for where, at in (("after", span.after if span.after >= 0 else None), ("before", span.before)):
        if at is not None and not count(exchange, what, sought, Span(at - 1, at + 1, size), 1):
            raise Invalid("search_cursor", where=where)
    total = count(exchange, what, sought, Span(size=size), MOST_TABLE + 1)
    if not rows:
        return Found([], total, 0, older=False)
    newer = count(exchange, what, sought, Span(rows[-1]["index"], size=size), MOST_TABLE + 1)
    older = count(exchange, what, sought, Span(before=rows[0]["index"], size=size), 1) > 0
    return Found(rows[::-1], total, newer, older)


def every(exchange: "Exchange", who: Principal, what: What, sought: Sought, size: int | None) -> Iterator[Row]:
    """All that is found in the log as it was at a size, in its order, portion by portion: each is a question.

    Raises:
        As `search`. Invalid: `search_too_many`, beyond `MOST_TABLE`.
    """
    span = Span(size=exchange.audit.size if size is None else size)
    rows = search(exchange, who, what, sought, span, _PORTION)
    if len(rows) == _PORTION and count(exchange, what, sought, span, MOST_TABLE + 1) > MOST_TABLE:
        raise Invalid("search_too_many", most=f"{MOST_TABLE:,}", what=what)
    yield from rows
    while len(rows) == _PORTION:
        rows = search(exchange, who, what, sought, Span(rows[-1]["index"], size=span.size), _PORTION)
        yield from rows


def wanted_of(exchange: "Exchange", what: What, sought: Sought, size: int | None = None) -> "Wanted":
    """The question as the index takes it: the officer by pseudonym; over the log as it was at a size.

    Raises:
        Invalid: `search_filter_unusable`: a control character.
    """
    from exchange.audit.subjects import Wanted

    kind, aggregate, _ = _TOLD[what]
    asked = asdict(sought)
    for name, value in asked.items():
        if isinstance(value, str) and not value.isprintable():  # a database takes no NUL, and no name has one
            raise Invalid("search_filter_unusable", where=name)
    officer = None if sought.officer is None else exchange.actors.name(asked.pop("officer"))
    more = {"kinds": (kind,), "aggregate": aggregate, "unconfirmed": what == "unconfirmed", "size": size}
    return Wanted(**{**asked, "officer": officer, **more})


def check_period(sought: Sought) -> None:
    """Raises `Invalid("search_range")` for a period that ends before it begins, or when it begins."""
    if sought.from_ns is not None and sought.until_ns is not None and sought.until_ns <= sought.from_ns:
        raise Invalid("search_range", where="until", found=sought.until_ns, needed=f"> {sought.from_ns}")


def _row(exchange: "Exchange", index: int, facts: Mapping[str, Any], told: Sequence[str]) -> Row:
    """What the entry itself says; what it is about (an agreement's parties), as the index has it."""
    from exchange.wiring.desk import plain

    _, body = exchange.audit.entry(index)
    return {
        "time_ns": body["time_ns"],
        **{name: plain(body[name] if name in body else facts.get(name)) for name in told},
    }


def moment(given: str, zone: ZoneInfo, *, after: bool = False) -> int:
    """A day or a time of day as people write them, in nanoseconds; without an offset it is the site's. A day given as
    the end (`after`) is within the period.

    Raises:
        ValueError: it is neither.
    """
    try:
        at = datetime.fromisoformat(given)
        if len(given) == _DAY:
            at = datetime.combine(at.date(), time.min) + timedelta(days=1 if after else 0)
        at = at if at.tzinfo else at.replace(tzinfo=zone)
        return min(max(int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1_000, 0), _END_NS)
    except OverflowError:
        raise ValueError from None
