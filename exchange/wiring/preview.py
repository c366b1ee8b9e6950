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
from exchange.errors import ExchangeError, Invalid, Refused
from exchange.plan import Question

if TYPE_CHECKING:
    from exchange.access import Release
    from exchange.control.model import Model, Principal
    from exchange.messages import Language
    from exchange.wiring.exchange import Exchange

Shown = Mapping[str, Any]  # by path: what is shown of a field
HIDDEN: Final = "\0hidden"  # in a value's place: the consumer sees it, the steward's own release did not
_TELLS_NOTHING: Final = frozenset({"null", "redact"})
_LONGEST_READ: Final = 10_000  # records of a case may lie anywhere


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
    more: int | None
    unshown: int


@dataclass(frozen=True, slots=True)
class Own:
    """A release for the caller: its column, its entry, and where the next one begins."""

    column: Column
    index: int | None
    more: int | None


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

    now = exchange.now_ns()
    document = facts(model, who, request, id="q-" + exchange.random_bytes(16).hex(), now_ns=now)
    plan = exchange.decide(Question.from_document(document), model)
    sentences = explain(plan, exchange.contract(request.dataset), language, exchange.settings.zone)
    agreement = next((str(one["agreement"]) for one in plan.reasons if one["code"] == "agreement"), None)
    masks = {one.path: dict(one.mask) for one in plan.fields}
    rows: list[Shown | None] | None = None
    if plan.allowed:
        view = exchange.view(plan, model)
        applied = view.apply(*records)
        shown = values_of(written(view, applied.values, "jsonl"), list(masks))
        rows = [None] * len(records[0])
        for place, values in zip(applied.kept, shown, strict=True):
            rows[place] = {path: _disclosed(own, masks, path, value) for path, value in values.items()}
    return Column(who.department, request.purpose, agreement, sentences, masks, rows)


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
    exchange: "Exchange", who: "Principal", request: Request, position: int, most: int, language: "Language"
) -> "tuple[Own, Release | None]":
    """What the caller's own release shows of a dataset from a position of its first partition on; refused, the column
    says why, and nothing is released. The refusal is in the audit log.
    """
    from exchange.view.sentences import explain

    with exchange.lent_gateway() as gateway:
        plan = gateway.explain(who, request)
        sentences = explain(plan, exchange.contract(request.dataset), language, exchange.settings.zone)
        masks = {one.path: dict(one.mask) for one in plan.fields}
        nothing = Column(who.department, request.purpose, None, sentences, masks, None)
        length = _LONGEST_READ if request.case else most
        try:
            release = gateway.batch(who, request, 0, position, "jsonl", length)
        except (Refused, Invalid) as error:
            if error.code != "question_refused" and not _empty(exchange, request, error):
                raise
            return Own(nothing, None, None), None
    agreement = next((str(one["agreement"]) for one in plan.reasons if one["code"] == "agreement"), None)
    rows = values_of(release.payload, list(masks)) if release else []
    own = Column(who.department, request.purpose, agreement, sentences, masks, rows)
    if release is None:
        return Own(own, None, None), None
    until = exchange.publish_parts.marks.committed(request.dataset, 0)
    more = release.next_position if (release.next_position or until) < until else None
    return Own(own, release.index, more), release


def _empty(exchange: "Exchange", request: Request, error: ExchangeError) -> bool:
    """Whether it only says that nothing was published yet."""
    return error.code == "position_unknown" and not exchange.log.topics().get(request.dataset)
