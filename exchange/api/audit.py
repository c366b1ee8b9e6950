"""Routes for auditors: who saw a subject, entries, their proofs, the checkpoint. Each question is itself audited."""

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Body, Path, Query
from starlette.responses import PlainTextResponse, Response

from exchange.api.answers import BundleAsked, Expired, Figure, Me, Row, SearchAsked, Segments, Subjects
from exchange.api.caller import Signed, SignedRoute
from exchange.api.examples import EXAMPLES
from exchange.wiring.searching import MOST_FOUND, WHATS, Sought, What

router: Final = APIRouter(tags=["audit"], route_class=SignedRoute)
_LARGEST: Final = 1 << 62
Index = Annotated[int, Path(ge=0, le=_LARGEST, examples=[0])]
Word = Annotated[str | None, Query(max_length=300)]
Time = Annotated[int | None, Query(ge=0, le=_LARGEST, description="nanoseconds since 1970, UTC")]
_ABOUT: Final[Mapping[What, str]] = {
    "releases": "What was released, to whom, under what.",
    "unconfirmed": "Releases that their recipient never confirmed.",
    "refusals": "What was refused, to whom, and why.",
    "grants": "What became of agreements: requested, approved, revoked.",
    "policy": "Policy revisions: submitted, made active, withdrawn.",
    "openings": "Cases opened, changed and closed.",
    "queries": "What auditors asked.",
    "keys": "Keys added and ended.",
}
_ZIP: Final = {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
_TEXT: Final = {"content": {"text/plain": {"schema": {"type": "string"}}}}


@router.post("/audit/who-saw", operation_id="who_saw")
def who_saw(desk: Signed, body: Annotated[Subjects, Body(examples=[EXAMPLES["who_saw"]])]) -> list[Row]:
    """Every release and refusal that concerns these subjects, each with whether its inclusion proof holds."""
    return desk.who_saw(body.subject_type, body.ids, as_written=body.as_written)


def _search(what: What) -> None:
    def search(
        desk: Signed,
        officer: Word = None,
        department: Word = None,
        dataset: Word = None,
        case: Word = None,
        purpose: Word = None,
        field: Word = None,
        from_ns: Time = None,
        until_ns: Time = None,
        after: Annotated[int, Query(ge=-1, le=_LARGEST, description="the last index of the page before")] = -1,
        limit: Annotated[int, Query(ge=1, le=MOST_FOUND)] = 100,
    ) -> list[Row]:
        sought = Sought(officer, department, dataset, case, purpose, field, from_ns, until_ns)
        return desk.search(what, sought, after, limit)

    search.__doc__ = f"{_ABOUT[what]} In the order of the log; ask again with `after` until the answer is empty."
    router.get(f"/audit/{what}", operation_id=f"audit_{what}", summary=_ABOUT[what].rstrip("."))(search)


for _what in WHATS:
    _search(_what)


@router.post("/audit/seal", operation_id="seal_index")
def seal(desk: Signed) -> Segments:
    """Seals the index over both logs: answers about subjects up to here can then be proved to leave nothing out."""
    return Segments(segments=desk.seal_index())


@router.post("/audit/bundle", operation_id="audit_bundle", response_class=Response, responses={200: _ZIP})
def audit_bundle(desk: Signed, body: Annotated[BundleAsked, Body(examples=[EXAMPLES["audit_bundle"]])]) -> Response:
    """Who saw these subjects, with all that proves it, as one file: `exchange-verify.pyz` checks it anywhere."""
    kept = [note.encode("utf-8", "replace") for note in body.kept]
    made = desk.evidence_bundle(body.subject_type, body.ids, kept, as_written=body.as_written)
    return Response(made, media_type="application/zip")


@router.post("/audit/{what}/bundle", operation_id="audit_search_bundle", response_class=Response, responses={200: _ZIP})
def audit_search_bundle(
    desk: Signed,
    what: Annotated[What, Path(examples=["releases"])],
    body: Annotated[SearchAsked, Body(examples=[EXAMPLES["audit_search_bundle"]])],
) -> Response:
    """What a search finds, with all that proves it, as one file; `complete`: with all entries of the period."""
    asked = body.model_dump(exclude={"complete", "kept"})
    kept = [note.encode("utf-8", "replace") for note in body.kept]
    made = desk.search_bundle(what, Sought(**asked), kept, complete=body.complete)
    return Response(made, media_type="application/zip")


@router.get("/audit/entries/{index}", operation_id="audit_entry")
def entry(desk: Signed, index: Index) -> Row:
    """An entry of the audit log, its bytes in hex."""
    return desk.entry(index)


@router.get(
    "/audit/entries/{index}/proof",
    operation_id="audit_proof",
    response_class=PlainTextResponse,
    responses={200: _TEXT},
)
def proof(desk: Signed, index: Index) -> PlainTextResponse:
    """The proof of an entry (C2SP tlog-proof), under the checkpoint that stands in it."""
    return PlainTextResponse(desk.evidence(index))


@router.get("/audit/entries/{index}/detail", operation_id="audit_detail")
def detail(desk: Signed, index: Index) -> Row:
    """What an entry's details hold; `deleted` says which are gone because their period is over."""
    return desk.detail(index)


@router.post("/audit/expire", operation_id="expire_details")
def expire(desk: Signed) -> Expired:
    """Deletes the details of entries whose class's period is over; the entries stay."""
    return Expired(details=dict(desk.expire_details()))


@router.get("/audit/checkpoint", operation_id="checkpoint", response_class=PlainTextResponse, responses={200: _TEXT})
def checkpoint(desk: Signed) -> PlainTextResponse:
    """The published checkpoint, a C2SP signed note. Keep it: it shows later that nothing before it was changed."""
    return PlainTextResponse(desk.checkpoint())


@router.get("/status", operation_id="status", tags=["site"])
def status(desk: Signed) -> list[Figure]:
    """Figures of the site, counted in its logs: that takes as long as they are."""
    return [Figure(**row) for row in desk.status()]


@router.get("/me", operation_id="me", tags=["site"])
def me(desk: Signed) -> Me:
    """Whose token this is, and the zone in which the site shows times."""
    return Me(**desk.me(), zone=desk.zone.key)
