"""An auditor's pages: who saw a subject, the audit log, its entries and proofs. Each look is itself an entry."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from exchange.audit.drawing import draw_path
from exchange.console.rendering import rendered
from exchange.console.visits import Form, Here, Visit
from exchange.errors import ExchangeError, Invalid

router: Final = APIRouter()
_ROWS: Final = 20  # of a page, whose size stays below 100 KB
_ENTRIES: Final = 25
_MOST_FIELDS: Final = 30  # named in one row; the page of the entry has all
_MOST_BYTES: Final = 96_000  # of a page with its drawings; what does not fit is drawn on the pages of the entries
_AROUND: Final = 200  # bytes of the page around a drawing
_LARGEST: Final = 1 << 62
_LONGEST_ID: Final = 100
Index = Annotated[int, Path(ge=0, le=_LARGEST)]


@router.get("/who-saw")
def who_saw_form(visit: Here) -> Response:
    """The question. The id goes into the body of a form, never into an address."""
    visit.desk.need("audit who-saw", "auditor")
    return _who_saw(visit, None, None, None)


@router.post("/who-saw")
def who_saw(posted: Form) -> Response:
    """Releases and refusals that concern a subject, the newest first; the subject is shown by its tag alone."""
    visit, desk = posted.visit, posted.visit.desk
    desk.need("audit who-saw", "auditor")
    before = posted.text("before")
    try:
        kind, as_written = posted.text("subject_type") or "person", bool(posted.text("as_written"))
        tag = posted.text("tag") or desk.tag(kind, _one_id(posted.text("subject")), as_written=as_written)
        found = desk.who_saw_tag(tag)
    except Invalid as error:
        return _who_saw(visit, None, None, error)
    until = int(before) if before.isdecimal() and len(before) < 19 else _LARGEST
    return _who_saw(visit, tag, [one for one in reversed(found) if one["index"] < until], None)


def _one_id(text: str) -> str:
    if not text or len(text) > _LONGEST_ID:
        raise Invalid("subject_unnamed", where="subject")
    return text


def _who_saw(visit: Visit, tag: str | None, rows: list[dict[str, Any]] | None, error: ExchangeError | None) -> Response:
    model = visit.desk.exchange.control.model()
    shown = [{**row, "path": None} for row in (rows or [])[:_ROWS]]
    facts: dict[str, Any] = {
        "tag": tag,
        "rows": None if rows is None else shown,
        "total": len(rows or ()),
        "older": shown[-1]["index"] if rows and len(rows) > len(shown) else None,
        "most": _MOST_FIELDS,
        "kinds": sorted({one.subject_type for one in model.datasets.values()} - {"none"}) or ["person"],
        "departments": model.departments,
        "error": error,
    }
    left = _MOST_BYTES - len(rendered(visit, "who_saw.html", told=[], **facts).encode())
    for row in shown:
        drawn = _drawn(visit, row["index"])
        left -= len(drawn.encode()) + _AROUND
        if left < 0:
            break
        row["path"] = drawn
    return visit.page("who_saw.html", 400 if error else 200, **facts)


def _drawn(visit: Visit, index: int) -> str:
    """The inclusion of an entry as a drawing; a proof that does not hold is an error, never drawn."""
    proof = visit.desk.proof(index)
    return draw_path(proof.index, proof.size, proof.leaf, proof.hashes, proof.root, proof.origin, visit.language)


@router.get("/audit")
def log(visit: Here, before: Annotated[int | None, Query(ge=0, le=_LARGEST)] = None) -> Response:
    """The log: its size, its checkpoint, the last verification, its entries."""
    desk = visit.desk
    rows = desk.log_page(before, _ENTRIES)
    note = desk.checkpoint().decode()
    _, size, root = note.split("\n")[:3]
    return visit.page(
        "audit.html",
        size=int(size),
        rows=rows,
        note=note,
        root=root,
        vkey=desk.log_key(),
        verdict=desk.verification(),
        older=rows[-1]["index"] if rows and rows[-1]["index"] else None,
    )


@router.post("/audit/verify")
def verify(posted: Form) -> Response:
    """Begins a verification of the whole log."""
    posted.visit.desk.verify()
    return posted.visit.next("/audit")


@router.get("/audit/checkpoint")
def checkpoint(visit: Here) -> Response:
    """The signed note, to be kept elsewhere."""
    return _file(visit.desk.checkpoint(), "checkpoint.txt")


@router.get("/audit/entries/{index}")
def entry(visit: Here, index: Index) -> Response:
    """One entry: its body, and its path to the checkpoint."""
    found = visit.desk.entry(index)
    return visit.page("entry.html", entry=found, path=_drawn(visit, index))


@router.get("/audit/entries/{index}/proof")
def proof(visit: Here, index: Index) -> Response:
    """The proof of an entry (C2SP tlog-proof), to be kept and checked elsewhere."""
    return _file(visit.desk.evidence(index), f"entry-{index}.tlog-proof")


def _file(content: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="text/plain; charset=utf-8", headers=headers)
