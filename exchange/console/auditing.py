"""An auditor's pages: who saw a subject, the audit log, its entries and proofs. Each look is itself an entry."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from exchange.audit.details import named
from exchange.audit.drawing import draw_path
from exchange.console.rendering import rendered
from exchange.console.searching import labelled, period, titles
from exchange.console.visits import Form, Here, Posted, Visit
from exchange.errors import ExchangeError, Invalid, Tampered
from exchange.names import has_wrong_check

router: Final = APIRouter()
_ROWS: Final = 20  # of a page, whose size stays below 100 KB
_ENTRIES: Final = 25
_MOST_FIELDS: Final = 30  # named in one row; the page of the entry has all
_MOST_BYTES: Final = 96_000  # of a page with its drawings; what does not fit is drawn on the pages of the entries
_AROUND: Final = 200  # bytes of the page around a drawing
_LARGEST: Final = 1 << 62
_LONGEST_ID: Final = 100
_DIGITS: Final = 19  # of a number; more is larger than any index
_MOST_NOTE: Final = 65_536  # bytes of a checkpoint that is sent along
_MOST_OF_ENTRY: Final = 200  # fields shown, on the page of one entry
_MOST_RANGES: Final = 200
Index = Annotated[int, Path(ge=0, le=_LARGEST)]


@dataclass(frozen=True)
class Looked:
    """What was asked of who saw somebody: the subject by its tag, and from when until when as typed. `doubtful`: that
    tag is of a number whose check digit is wrong, and nobody has said yet that it is meant.
    """

    values: Mapping[str, str]
    tag: str = ""
    doubtful: bool = False


@router.get("/who-saw")
def who_saw_form(visit: Here) -> Response:
    """The question. The id goes into the body of a form, never into an address."""
    visit.desk.need("audit who-saw", "auditor")
    return _who_saw(visit, Looked({}), None)


@router.post("/who-saw")
def who_saw(posted: Form) -> Response:
    """Releases and refusals that concern a subject, the newest first; the subject is shown by its tag alone."""
    posted.visit.desk.need("audit who-saw", "auditor")
    return _answered(posted, None)


@router.post("/who-saw/bundle")
def bundle(posted: Form) -> Response:
    """The answer as a file that proves itself, from a checkpoint that the auditor kept where one came along."""
    visit, kept = posted.visit, posted.file("kept")
    visit.desk.need("audit bundle", "auditor")
    try:
        made = visit.desk.bundle_of(posted.text("tag"), [kept.file.read(_MOST_NOTE)] if kept else [])
    except (Invalid, Tampered) as error:
        return _answered(posted, type(error)(error.code, where="kept" if kept else "", **error.facts))
    headers = {"Content-Disposition": 'attachment; filename="who-saw.evidence.zip"'}
    return Response(made, media_type="application/zip", headers=headers)


def _answered(posted: Posted, error: ExchangeError | None) -> Response:
    """The answer to a form; its fields keep what was typed, except who was asked about."""
    visit, desk = posted.visit, posted.visit.desk
    values = {name: posted.text(name) for name in ("subject_type", "from", "until", "before")}
    tag = posted.text("tag")
    try:
        begin, until = period(visit, values)
        if not tag:
            subject_type, one_id = values["subject_type"] or "person", _one_id(posted.text("subject"))
            tag = desk.tag(subject_type, one_id, as_written=True)
            if has_wrong_check(subject_type, one_id):
                doubt = Invalid("subject_check_digit", where="subject")
                return _who_saw(visit, Looked(values, tag, doubtful=True), None, doubt)
        found = desk.who_saw_tag(tag)
    except Invalid as wrong:
        return _who_saw(visit, Looked(values), None, wrong)
    rows = [
        one
        for one in reversed(found)
        if one["index"] < _before(values["before"])
        and (begin is None or begin <= one["time_ns"])
        and (until is None or one["time_ns"] < until)
    ]
    return _who_saw(visit, Looked(values, tag), rows, error)


def _before(typed: str) -> int:
    return int(typed) if typed.isdecimal() and len(typed) < _DIGITS else _LARGEST


def _one_id(text: str) -> str:
    if not text or len(text) > _LONGEST_ID:
        raise Invalid("subject_unnamed", where="subject")
    return text


def _who_saw(
    visit: Visit, looked: Looked, rows: list[dict[str, Any]] | None, error: ExchangeError | None = None
) -> Response:
    model = visit.desk.exchange.control.model()
    shown = [
        {**row, "path": None, "fields": labelled(visit, row["dataset"], row["fields"] or ())}
        for row in (rows or [])[:_ROWS]
    ]
    facts: dict[str, Any] = {
        "looked": looked,
        "tag": looked.tag,
        "rows": None if rows is None else shown,
        "total": len(rows or ()),
        "older": shown[-1]["index"] if rows and len(rows) > len(shown) else None,
        "most": _MOST_FIELDS,
        "kinds": sorted({one.subject_type for one in model.datasets.values()} - {"none"}) or ["person"],
        "departments": model.departments,
        "titles": titles(visit, shown),
        "agreements": model.agreements,
        "purposes": model.codes.get("purposes", {}),
        "revisions": visit.desk.revisions() if shown else {},
        "error": error,
        "place": error.where if error else "",
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
    desk, model = visit.desk, visit.desk.exchange.control.model()
    found = desk.entry(index)
    fields = labelled(visit, found.get("dataset"), json.loads(found["fields"])) if found.get("fields") else []
    beside = desk.detail(index) if named(found) else None
    return visit.page(
        "entry.html",
        beside=beside,
        entry=found,
        fields=fields[:_MOST_OF_ENTRY],
        fields_left=max(len(fields) - _MOST_OF_ENTRY, 0),
        excluded=_positions(found),
        decision=desk.place(found.get("decision")),
        revisions=desk.revisions(),
        departments=model.departments,
        titles=titles(visit, [found]),
        datasets=model.datasets,
        agreements=model.agreements,
        purposes=model.codes.get("purposes", {}),
        path=_drawn(visit, index),
    )


def _positions(entry: Mapping[str, Any]) -> tuple[str, int] | None:
    """The positions that a release held back, as ranges, and how many they are; None where it held back none, or says
    so in a way that nobody can read.
    """
    if not entry.get("excluded") or entry["lo"] is None or entry["hi"] is None:
        return None
    length = max(entry["hi"] - entry["lo"], 0)
    try:
        bits = zlib.decompressobj().decompress(bytes.fromhex(entry["excluded"]), (length + 7) // 8)
    except zlib.error:
        return None
    held = [at for at in range(min(length, len(bits) * 8)) if bits[at >> 3] >> (at & 7) & 1]
    ranges: list[list[int]] = []
    for at in held:
        if ranges and ranges[-1][1] == at - 1:
            ranges[-1][1] = at
        else:
            ranges.append([at, at])
    told = [f"{entry['lo'] + a}" + (f"–{entry['lo'] + b}" if b > a else "") for a, b in ranges[:_MOST_RANGES]]
    return ", ".join(told) + (" …" if len(ranges) > _MOST_RANGES else ""), len(held)


@router.get("/audit/entries/{index}/proof")
def proof(visit: Here, index: Index) -> Response:
    """The proof of an entry (C2SP tlog-proof), to be kept and checked elsewhere."""
    return _file(visit.desk.evidence(index), f"entry-{index}.tlog-proof")


def _file(content: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="text/plain; charset=utf-8", headers=headers)
