"""The same records as several people see them: what a department's steward may look at before it agrees, and after.

The steward's own view is a release like any other. The views of others are a *preview*: what the policy would let
them see of exactly the records that were just released to the steward, who learns nothing of a record beyond the own
release (`_disclosed`). It is the steward's query in the audit log, never a consumer's decision.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from exchange.control.questions import Request, facts
from exchange.errors import Refused
from exchange.plan import Plan, Question

if TYPE_CHECKING:
    from exchange.access import Gateway, Release
    from exchange.control.model import Model, Principal
    from exchange.messages import Language
    from exchange.wiring.exchange import Exchange

Shown = Mapping[str, Any]  # by path: what is shown of a field
HIDDEN: Final = "\0hidden"  # in a value's place: the consumer sees it, the steward's own release did not
_TELLS_NOTHING: Final = frozenset({"null", "redact"})
_LONGEST_READ: Final = 10_000  # records of a case may lie anywhere
_MOST_RELEASES: Final = 16  # of one page


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a dataset a release begins."""

    partition: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """How one department sees the records: its plan in sentences, the mask of each field shown, and of each record
    what is shown, None where the plan leaves it out. Without `rows` it sees nothing, and the sentences say why.
    """

    department: str
    purpose: str
    agreement: str | None
    sentences: Sequence[str]
    masks: Mapping[str, Mapping[str, Any]]
    rows: Sequence[Shown | None] | None


@dataclass(frozen=True, slots=True)
class SideBySide:
    """The own column first. `index` is the own release's entry, `more` where the next records begin."""

    columns: Sequence[Column]
    paths: Sequence[str]
    index: int | None
    more: Place | None
    unshown: int


@dataclass(frozen=True, slots=True)
class Own:
    """A release for the caller: its column, its entry, and where the next one begins."""

    column: Column
    index: int | None
    more: Place | None


def values_of(payload: bytes, paths: Sequence[str]) -> list[Shown]:
    """The records of a payload of JSON lines, each as field → value."""
    return [{path: _at(record, path) for path in paths} for record in map(json.loads, payload.splitlines())]


def _at(record: Any, path: str) -> Any:  # noqa: ANN401  # JSON
    """The value at a path; under a list or map, all that stands there."""
    for name in path.partition("[")[0].partition("{")[0].split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record


def released_positions(body: Mapping[str, Any], positions: Sequence[int]) -> list[int]:
    """The places among these positions that a release's entry says were handed over."""
    length = body["hi"] - body["lo"]
    bits = zlib.decompressobj().decompress(body["excluded"], (length + 7) // 8) if body["excluded"] else b""

    def kept(position: int) -> bool:
        offset = position - body["lo"]
        return not (offset >> 3 < len(bits) and bits[offset >> 3] >> (offset & 7) & 1)

    return [place for place, position in enumerate(positions) if kept(position)]


def others(
    exchange: "Exchange",
    model: "Model",
    own: Column,
    release: "Release",
    case: str | None,
    most: int,
    language: "Language",
) -> Iterator[Column]:
    """The columns of every department that has an agreement in force for the dataset of this release."""
    _, body = exchange.audit.entry(release.index)
    dataset = str(body["dataset"])
    stored = exchange.log.read(dataset, body["partition"], body["lo"], body["hi"] - body["lo"]).up_to(body["hi"])
    places = released_positions(body, stored.positions)[:most]
    records = tuple([column[place] for place in places] for column in (stored.schema_ids, stored.values, stored.tags))
    for who, purpose in _readers(model, dataset, own.department):
        usable = case if case and who.department in model.cases[case].departments else None
        request = Request("read", dataset, purpose, usable)
        yield _column(exchange, model, who, request, records, own, language)


def _readers(model: "Model", dataset: str, owner: str) -> "Iterator[tuple[Principal, str]]":
    """For each consumer and purpose in force, one account that may read."""
    reading = set(model.codes.get("roles", {}).get("reading", ()))
    pairs = dict.fromkeys(
        (one.terms.consumer, one.terms.purpose)
        for one in model.agreements.values()
        if one.status == "active" and one.terms.dataset == dataset and one.terms.consumer != owner
    )
    for consumer, purpose in pairs:
        for who in model.principals.values():
            if who.department == consumer and who.status == "active" and who.roles & reading:
                yield who, purpose
                break


def _column(
    exchange: "Exchange",
    model: "Model",
    who: "Principal",
    request: Request,
    records: tuple[list[Any], ...],
    own: Column,
    language: "Language",
) -> Column:
    from exchange.view.formats import body as written
    from exchange.view.sentences import explain

    plan = _planned(exchange, model, who, request)
    sentences = explain(plan, exchange.contract(request.dataset), language, exchange.settings.zone)
    masks = {one.path: dict(one.mask) for one in plan.fields}
    rows: list[Shown | None] | None = None
    if plan.allowed:
        view = exchange.view(plan, model)
        applied = view.apply(*records)
        shown = values_of(written(view, applied.values, "jsonl"), list(masks))
        rows = [None] * len(records[0])
        for place, values in zip(applied.kept, shown, strict=True):
            rows[place] = {path: _disclosed(own, masks, path, value) for path, value in values.items()}
    return Column(who.department, request.purpose, _agreement(plan), sentences, masks, rows)


def _planned(exchange: "Exchange", model: "Model", who: "Principal", request: Request) -> Plan:
    """What the policy says to a question, asked for nobody: it leaves no entry, and nothing rests on it but words."""
    identity, now = "q-" + exchange.random_bytes(16).hex(), exchange.now_ns()
    return exchange.decide(Question.from_document(facts(model, who, request, id=identity, now_ns=now)), model)


def _agreement(plan: Plan) -> str | None:
    return next((str(one["agreement"]) for one in plan.reasons if one["code"] == "agreement"), None)


def _disclosed(own: Column, masks: Mapping[str, Mapping[str, Any]], path: str, value: Any) -> Any:  # noqa: ANN401
    """The value as another sees it, when the own release shows as much; else only that the other sees something.

    A pseudonym is never shown: beside the record it would tell whom the consumer's pseudonym means.
    """
    mask, ours = masks[path], own.masks.get(path)
    plain = ours is not None and (ours["kind"] == "keep" or ours == mask)
    if mask["kind"] != "pseudonym" and (plain or mask["kind"] in _TELLS_NOTHING):
        return value
    return HIDDEN


def own_column(
    exchange: "Exchange", who: "Principal", request: Request, place: Place, most: int, language: "Language"
) -> "tuple[Own, Release | None]":
    """What the caller's own release shows of a dataset from a place on; refused, the column says why, and nothing is
    released. The refusal is in the audit log.

    Raises:
        Invalid: `position_unknown`, and as `Gateway.batch`. Unavailable: as `Gateway.batch`.
    """
    from exchange.view.sentences import explain

    release, more, refused = None, None, False
    with exchange.lent_gateway() as gateway:
        try:
            release, more = _first_shown(exchange, gateway, who, request, place, most)
        except Refused as error:
            if error.code != "question_refused":
                raise
            refused = True
    # The words are the policy's of now; what was shown under which mask is what the release's own entry says.
    plan = _planned(exchange, exchange.control.model(), who, request)
    sentences = explain(plan, exchange.contract(request.dataset), language, exchange.settings.zone)
    masks = {one.path: dict(one.mask) for one in plan.fields}
    if release is not None:
        masks = {one["path"]: one["mask"] for one in json.loads(exchange.audit.entry(release.index)[1]["fields"])}
    rows = None if refused else values_of(release.payload, list(masks)) if release else []
    own = Column(who.department, request.purpose, _agreement(plan), sentences, masks, rows)
    return Own(own, release.index if release else None, more), release


def _first_shown(
    exchange: "Exchange", gateway: "Gateway", who: "Principal", request: Request, place: Place, most: int
) -> "tuple[Release | None, Place | None]":
    """The first release from a place on that shows a record, over all partitions, and where the next one begins.

    Those before it, which showed none since the row condition left all out, are releases in the audit log too; after
    some of them the page says that there may be more.
    """
    partitions, at = exchange.log.topics().get(request.dataset, 0), place
    found: Release | None = None
    for _ in range(_MOST_RELEASES):
        length = _LONGEST_READ if request.case else most
        found = gateway.batch(who, request, at.partition, at.position, "jsonl", length)
        until = exchange.publish_parts.marks.committed(request.dataset, at.partition)
        position = until if found is None or found.next_position is None else found.next_position
        at = Place(at.partition, position) if position < until else Place(at.partition + 1, 0)
        if at.partition >= partitions:
            return found, None
        if found is not None and found.released:
            break
    return found, at
