"""Records on pages: one's own view of them, and the same records as every reader sees them, side by side."""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from exchange.console.visits import Form, Here, Visit
from exchange.control.questions import Request as Question
from exchange.errors import ExchangeError, Invalid, Refused
from exchange.wiring.preview import Place, SideBySide
from exchange.wiring.reading_room import MOST_RECORDS

router: Final = APIRouter()
_MOST_CELLS: Final = 420  # of one page: it stays below 100 KB
_ASKED: Final = ("dataset", "purpose", "case", "partition", "position")
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
Position = Annotated[int, Query(ge=0, le=1 << 62)]


@router.get("/side-by-side")
def choose(visit: Here) -> Response:
    """The steward's own datasets, to choose from."""
    desk = visit.desk
    desk.need("side by side", "steward")
    return visit.page("choose.html", rows=own_datasets(visit), heading="page_side_by_side", leads="side-by-side")


@router.get("/datasets/{name}/side-by-side")
def side_by_side(
    visit: Here,
    name: str,
    case: Annotated[str, Query(max_length=100)] = "",
    partition: Position = 0,
    position: Position = 0,
) -> Response:
    """The same records as provider, clerk and checker see them. The own column is a release; without a case named, the
    first one that the department may use.
    """
    desk = visit.desk
    desk.exchange.owned_by(desk.who, name, "side by side")
    subject = desk.exchange.control.model().dataset(name).subject_type
    cases = [one for one in desk.cases() if one["subject_type"] == subject]
    chosen = case or (cases[0]["id"] if cases else None)
    found = desk.side_by_side(name, chosen, Place(partition, position), visit.language)
    most = max(min(MOST_RECORDS, _MOST_CELLS // max(len(found.paths) * len(found.columns), 1)), 1)
    return visit.page(
        "side_by_side.html",
        dataset=desk.dataset(name),
        found=found,
        records=_turned(found, most),
        left=max(len(found.columns[0].rows or ()) - most, 0),
        cases=cases,
        chosen=chosen,
        departments=desk.exchange.control.model().departments,
    )


def _turned(found: SideBySide, most: int) -> list[list[Any]]:
    """Per record, what each column shows of it: None where it is left out."""
    count = min(len(found.columns[0].rows or ()), most)
    return [[column.rows[place] if column.rows else None for column in found.columns] for place in range(count)]


@router.get("/records")
def records_form(visit: Here) -> Response:
    """What to read, for which purpose, in which case."""
    visit.desk.need("read", "steward", "department_system")
    return _records(visit, dict.fromkeys(_ASKED, ""), None, None)


@router.post("/records")
def records(posted: Form) -> Response:
    """One release for whoever is signed in, with its plan in sentences; or why there is none."""
    visit = posted.visit
    visit.desk.need("read", "steward", "department_system")
    asked = {name: posted.text(name) for name in _ASKED}
    place = Place(*(int(asked[one]) if _NUMBER.fullmatch(asked[one]) else 0 for one in ("partition", "position")))
    question = Question("read", asked["dataset"], asked["purpose"], asked["case"] or None)
    try:
        found = visit.desk.records(question, place, visit.language)
    except (Invalid, Refused) as error:
        return _records(visit, asked, None, error)
    return _records(visit, asked, found, None)


def _records(visit: Visit, asked: dict[str, str], found: Any, error: ExchangeError | None) -> Response:  # noqa: ANN401
    desk, model = visit.desk, visit.desk.exchange.control.model()
    most = _MOST_CELLS // max(len(found.column.masks), 1) if found else 0
    return visit.page(
        "records.html",
        400 if error else 200,
        asked=asked,
        found=found,
        most=most,
        error=error,
        dataset=desk.dataset(asked["dataset"]) if found else None,
        datasets=sorted(model.datasets),
        purposes=model.codes.get("purposes", {}),
        cases=desk.cases(),
    )


def own_datasets(visit: Visit) -> list[dict[str, Any]]:
    """The datasets of the own department, with their titles."""
    desk = visit.desk
    own = [one["name"] for one in desk.listing("datasets") if one["department"] == desk.who.department]
    return [desk.dataset(name) for name in sorted(own)]
