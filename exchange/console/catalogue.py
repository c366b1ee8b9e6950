"""The catalogue and one dataset. What they show holds nothing of any subject, so looking at them is no entry."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from exchange.console.visits import Here

router: Final = APIRouter()
_PAGE: Final = 50


@router.get("/catalogue")
def catalogue(visit: Here, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> Response:
    """Every dataset, by name."""
    desk = visit.desk
    names = sorted(one["name"] for one in desk.listing("datasets"))
    shown = [desk.dataset(name) for name in names[(page - 1) * _PAGE : page * _PAGE]]
    rows = [(one, desk.freshness(one["name"], one["update_cycle"])) for one in shown]
    departments = desk.exchange.control.model().departments
    return visit.page(
        "catalogue.html", rows=rows, departments=departments, page=page, pages=-(-len(names) // _PAGE), total=len(names)
    )


@router.get("/datasets/{name}")
def dataset(visit: Here, name: str) -> Response:
    """One dataset: contract, fields with their classes, quality, freshness, who uses it."""
    desk = visit.desk
    found = desk.dataset(name)
    departments = desk.exchange.control.model().departments
    department = departments[found["department"]]
    own = department.id == desk.who.department
    return visit.page(
        "dataset.html",
        dataset=found,
        department=department,
        departments=departments,
        freshness=desk.freshness(found["name"], found["update_cycle"]),
        # How many there are says nothing of anybody; which they are is for the own department alone.
        letters=desk.dead_letter_count(found["name"]) if own or desk.has("auditor") else None,
        uses=desk.uses(found["name"]),
        own=own,
    )
