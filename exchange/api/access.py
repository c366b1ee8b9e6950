"""Routes of the ACCESS path: one answer is one release, its bytes made once, its entry named in the headers."""

import base64
from collections.abc import Mapping, Sequence, Set
from typing import Annotated, Final, cast

from fastapi import APIRouter, Body, Query, Request
from starlette.responses import Response

from exchange.access import Release
from exchange.access.acks import Ack
from exchange.api.answers import Acks, Explain, Explanation, Indexes, Lookup
from exchange.api.caller import Asked, Signed, SignedRoute
from exchange.api.examples import EXAMPLES
from exchange.api.negotiation import wishes
from exchange.control.questions import Request as Question
from exchange.errors import Invalid
from exchange.view.formats import MEDIA_TYPES, Format

router: Final = APIRouter(tags=["access"], route_class=SignedRoute)
_BINARY: Final = {"type": "string", "format": "binary"}
_FORMS: Final = {
    MEDIA_TYPES[form].partition(";")[0]: form for form in cast("Sequence[Format]", ("jsonl", "csv", "avro", "arrow"))
}
_RECORDS: Final = {
    "description": "The records of one release; nothing in it where the plan shows none of them.",
    "content": {
        "application/x-ndjson": {"example": '{"person_id":"110105********002X","monthly_benefit_fen":10000}\n'},
        **{media: {"schema": _BINARY} for media in _FORMS if media != "application/x-ndjson"},
    },
    "headers": {
        "Exchange-Index": {"description": "index of the release's entry", "schema": {"type": "integer"}},
        "Exchange-Checkpoint": {"description": "a checkpoint that covers it, in base64", "schema": {"type": "string"}},
        "Exchange-Next-Position": {"description": "where the next read begins", "schema": {"type": "integer"}},
        "Exchange-Partitions": {"description": "partitions of the dataset", "schema": {"type": "integer"}},
        "Exchange-Head-Bytes": {"description": "bytes before the first record", "schema": {"type": "integer"}},
        "Exchange-Released": {"description": "records in it", "schema": {"type": "integer"}},
    },
}
_LARGEST: Final = 1 << 62


@router.get(
    "/datasets/{name}/records",
    operation_id="read",
    response_class=Response,
    responses={200: _RECORDS, 204: {"description": "Nothing is committed behind this position yet."}},
)
def read(
    request: Request,
    desk: Signed,
    name: str,
    purpose: Annotated[str, Query(examples=["dibao.initial_check"])],
    case: Annotated[str | None, Query(examples=["case-1"])] = None,
    field: Annotated[list[str] | None, Query(description="exactly these fields; none: all that is granted")] = None,
    partition: Annotated[int, Query(ge=0, le=_LARGEST)] = 0,
    position: Annotated[int, Query(ge=0, le=_LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000, description="records of the log in it at the most")] = 1_000,
) -> Response:
    """The next release of a partition from a position on, in the form that `Accept` likes best. Ask again from
    `Exchange-Next-Position` until the answer is 204; then it waits for new records.
    """
    form = _form(request)
    question = Question("read", name, purpose, case, tuple(field) if field else None)
    release = desk.batch(question, partition, position, form, limit)
    partitions = {"Exchange-Partitions": str(desk.exchange.partitions(name))}
    if release is None:
        return Response(status_code=204, headers={"Exchange-Next-Position": str(position), **partitions})
    return _answer(request, release, form, partitions)


@router.post("/datasets/{name}/lookup", operation_id="lookup", response_class=Response, responses={200: _RECORDS})
def lookup(
    request: Request, desk: Signed, name: str, body: Annotated[Lookup, Body(examples=[EXAMPLES["lookup"]])]
) -> Response:
    """The latest record of each of these subjects, as the plan allows; their ids stand in the body alone."""
    form = _form(request)
    question = Question("lookup", name, body.purpose, body.case, tuple(body.fields) if body.fields else None)
    return _answer(request, desk.lookup(question, body.ids, form), form, {})


@router.post("/datasets/{name}/explain", operation_id="explain")
def explain(
    desk: Signed, language: Asked, name: str, body: Annotated[Explain, Body(examples=[EXAMPLES["explain"]])]
) -> Explanation:
    """What would be decided, as a plan and in sentences; nothing is released, and the decision is audited."""
    question = Question(body.action, name, body.purpose, body.case, tuple(body.fields) if body.fields else None)
    plan, sentences = desk.explain(question, language)
    return Explanation(plan=plan, sentences=sentences)


@router.post("/acks", operation_id="acknowledge")
def acknowledge(desk: Signed, body: Annotated[Acks, Body(examples=[EXAMPLES["acknowledge"]])]) -> Indexes:
    """Confirms releases: that their records are `received`, or were `discarded` or `purged`. Saying it again changes
    nothing; a digest or a number that differs from what was handed over is told, and nothing is confirmed.
    """
    return Indexes(indexes=desk.acknowledge([Ack(**dict(one)) for one in body.acks]))


def _answer(request: Request, release: Release, form: Format, more: Mapping[str, str]) -> Response:
    request.app.state.metrics.released.inc(release.released)
    counts = {"Exchange-Released": release.released, "Exchange-Withheld": release.withheld}
    places = {"Exchange-Partition": release.partition, "Exchange-Next-Position": release.next_position}
    told = {**counts, **places, "Exchange-Index": release.index, "Exchange-Excluded": release.excluded}
    headers = {name: str(value) for name, value in told.items() if value is not None}
    headers["Exchange-Head-Bytes"] = str(len(release.head))
    headers["Exchange-Checkpoint"] = base64.b64encode(release.checkpoint).decode()
    return Response(release.head + release.payload, 200, {**headers, **more}, MEDIA_TYPES[form])


def _form(request: Request) -> Format:
    """The form that `Accept` likes best; JSON lines where anything will do (RFC 9110, section 12.5.1)."""
    wished = wishes(request.headers.get("accept") or "*/*")
    unwished = {media for media, quality in wished if not quality}
    for media, quality in sorted(wished, key=lambda one: -one[1]):
        found = _FORMS.get(media) or (_any_of(media, unwished) if media.endswith("/*") else None)
        if found is not None and quality:
            return found
    raise Invalid("format_refused", known=", ".join(_FORMS))


def _any_of(wanted: str, unwished: Set[str]) -> Format | None:
    """The first form in a range like `application/*` that is not ruled out by name."""
    kind = wanted.removesuffix("*").removeprefix("*/")
    return next((form for media, form in _FORMS.items() if media.startswith(kind) and media not in unwished), None)
