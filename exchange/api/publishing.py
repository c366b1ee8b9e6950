"""Routes of the PUBLISH path: a body of records, each record's fate in the answer; the mark; what was not published."""

import json
import re
from collections.abc import AsyncIterator
from itertools import islice
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from exchange.api.bodies import EVENTS, READERS, BodyAdapter, Content, Form
from exchange.api.caller import Signed, SignedRoute
from exchange.api.examples import BODIES
from exchange.api.fates import Accepted, Told
from exchange.errors import ExchangeError, Invalid
from exchange.log.dead_letters import topic_of
from exchange.publish import Published
from exchange.signing.seals import from_document
from exchange.wiring.desk import LocalDesk

router: Final = APIRouter(tags=["publish"], route_class=SignedRoute)
_MB: Final = 1 << 20
_PIECE: Final = 1 << 18
_LARGEST: Final = 1 << 62
_CHARSET: Final = re.compile(r'charset\s*=\s*"?([\w.:-]{1,40})', re.IGNORECASE)
_PAGE: Final = 1_000
_BINARY: Final = {"type": "string", "format": "binary"}
_CONTENT: Final = {media: {"example": BODIES[media]} if media in BODIES else {"schema": _BINARY} for media in READERS}
_BODY: Final = {"requestBody": {"required": True, "content": _CONTENT}}
MOST_SEALED: Final = 10_000
_SEAL: Final = "the department's own seal over all records of the body, 10,000 at the most, as JSON"
_MORE: Final = {
    408: "the body did not come in time",
    413: "too large, or too many records: `facts.last_sequence` tells what was taken",
    415: "no form, character set or packing that is taken",
}

Source = Annotated[str, Query(description="DEPARTMENT/NAME: a sequence of events", examples=["ny.renshe/pension-api"])]
Start = Annotated[int, Query(alias="from", ge=0, le=_LARGEST)]
Limit = Annotated[int, Query(ge=1, le=10_000)]


class Mark(BaseModel):
    """The highest sequence taken from a source; 0 where none was."""

    mark: int


class DeadLetter(BaseModel):
    """A record that could not be published: where it stood, why, and its shape; never a value."""

    source: str
    sequence: int
    code: str
    file: str
    row: int
    column: str
    shape: dict[str, str]


class DeadLetters(BaseModel):
    """Some of them, and from where on there may be more (null: there are none)."""

    rows: list[DeadLetter]
    next: int | None


class Withheld(BaseModel):
    """A release that left out records which could not be shown as agreed; `index` is that of its entry."""

    index: int
    time_ns: int
    agreement: str | None
    partition: int | None
    lo: int | None
    hi: int | None
    withheld: int
    # A field called `schema` would hide a method of the model's own.
    written_with: str | None = Field(alias="schema")


class WithheldPage(BaseModel):
    """Some of them, and from which index on there may be more (null: there are none)."""

    rows: list[Withheld]
    next: int | None


def _publisher(desk: Signed, name: str) -> LocalDesk:
    """Who may publish this dataset: anybody else is refused before his body is read."""
    desk.exchange.for_publisher(desk.who, name)
    return desk


Publisher = Annotated[LocalDesk, Depends(_publisher)]


async def _content(request: Request, desk: Publisher) -> AsyncIterator[Content]:
    """The body, unpacked, when all of it has come."""
    media, packing = _media(request), request.headers.get("content-encoding", "identity").strip().lower()
    if media not in READERS:
        raise Invalid("body_type_unknown", known=", ".join(READERS))
    if packing not in {"identity", "gzip", "x-gzip"}:
        raise Invalid("body_encoding_unknown")
    settings = desk.exchange.settings
    most = settings.number("http.body_mb") * _MB
    with Content(settings.path("data"), most, packed=packing != "identity") as content:
        held = bytearray()
        async for piece in request.stream():
            held += piece
            if len(held) >= _PIECE:
                await run_in_threadpool(content.add, bytes(held))
                held.clear()
        await run_in_threadpool(content.add, bytes(held))
        content.ended()
        yield content


@router.post(
    "/datasets/{name}/records",
    operation_id="publish",
    response_model=Accepted,
    openapi_extra=_BODY,
    responses={status: {"description": text} for status, text in _MORE.items()},
)
def publish(
    request: Request,
    desk: Publisher,
    content: Annotated[Content, Depends(_content)],
    name: str,
    source: Source,
    first: Annotated[
        int | None, Query(ge=1, le=_LARGEST, description="sequence of the first record", examples=[1])
    ] = None,
    fates: Annotated[Literal["all", "bad"], Query(description="which records the answer lists")] = "all",
    seal: Annotated[str | None, Header(alias="Exchange-Seal", max_length=4_096, description=_SEAL)] = None,
) -> JSONResponse:
    """Publishes the records of the body as the events (source, first), (source, first + 1) … of a dataset. Events as
    the command line sends them (`application/vnd.exchange.events+ndjson`) have their own sequences.

    What is wrong with a record makes it a dead letter and the others go on. Sending the same again changes nothing: a
    sequence at or below the source's mark is `already` there. Where a body cannot be read on, what came before that
    place stays taken, and the problem's `facts` say what: `taken`, `dead_letters`, `already`, `last_sequence`. A
    department that seals with its own key sends the seal along: then all of the body is taken, or nothing. The answer
    lists at most 10,000 records: of a larger body only those that were not taken.
    """
    media = _media(request)
    if first is None and media != EVENTS:
        raise Invalid("first_missing")
    settings, told = desk.exchange.settings, Told(topic_of(name), only_bad=fates == "bad")
    form = _form(desk, name, first or 1, request)
    own = None if seal is None else from_document(_json(seal))
    most = settings.number("publish.request_records") if own is None else MOST_SEALED
    adapter = BodyAdapter(source, READERS[media](content, form), form.notes, most, sealed=own is not None)
    sums = Published(source, 0, 0, 0, 0, 0)

    def on_batch(so_far: Published) -> None:
        nonlocal sums
        sums = so_far

    try:
        sums = desk.publish(adapter, name, on_batch, own, told.add)
    except ExchangeError as error:
        if not sums.batches:
            raise
        raise type(error)(error.code, where=error.where, **{**error.facts, **_counts(sums)}) from None
    finally:
        metrics = request.app.state.metrics.published
        for fate, count in (("taken", sums.taken), ("dead_letter", sums.rejected), ("already", sums.already)):
            metrics.labels(fate).inc(count)
    answer = {"dataset": name, "source": source, **_counts(sums), **told.document(), "notes": form.notes}
    return JSONResponse(answer)


@router.get("/datasets/{name}/mark", operation_id="mark")
def mark(desk: Signed, name: str, source: Source) -> Mark:
    """The highest sequence taken from a source of events of the dataset's department."""
    return Mark(mark=desk.mark(name, source))


@router.get("/datasets/{name}/dead-letters", operation_id="dead_letters")
def dead_letters(desk: Signed, name: str, start: Start = 0, limit: Limit = _PAGE) -> DeadLetters:
    """The dataset's dead letters, for its own department; ask again from `next` until it is null."""
    found = list(islice(desk.exchange.dead_letters(desk.who, name, start), limit))
    rows = [DeadLetter(**letter) for _, letter in found]
    return DeadLetters(rows=rows, next=found[-1][0] if len(found) == limit else None)


@router.get("/datasets/{name}/withheld", operation_id="withheld")
def withheld(desk: Signed, name: str, start: Start = 0, limit: Limit = _PAGE) -> WithheldPage:
    """The releases that left out records which could not be shown as agreed, for the department that owns them."""
    found = list(islice(desk.exchange.withheld(desk.who, name, start), limit))
    rows = [Withheld(**row) for row in found]
    return WithheldPage(rows=rows, next=found[-1]["index"] + 1 if len(found) == limit else None)


def _counts(sums: Published) -> dict[str, int]:
    return {
        "taken": sums.taken,
        "dead_letters": sums.rejected,
        "already": sums.already,
        "last_sequence": sums.last_sequence,
    }


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _media(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _form(desk: LocalDesk, name: str, first: int, request: Request) -> Form:
    dataset, contract = desk.exchange.control.model().dataset(name), desk.exchange.contract(name)
    by_fingerprint = {schema.fingerprint: schema for schema in contract.schemas}
    writers = {one.schema_id: by_fingerprint[one.fingerprint] for one in dataset.schemas}
    charset = _CHARSET.search(request.headers.get("content-type", ""))
    return Form(contract, writers, first, charset[1].lower() if charset else "")
