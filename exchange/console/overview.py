"""The first page: figures, health, what waits for whoever reads, what happened last."""

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from exchange.console.visits import Here

router: Final = APIRouter()
_EVENTS: Final = 12


@router.get("/")
def overview(visit: Here) -> Response:
    """Figures come from marks and models that are in memory or one row each: nothing is counted for a page."""
    desk = visit.desk
    audit, marks = desk.exchange.audit, desk.exchange.publish_parts.marks
    model = desk.exchange.control.model()
    topics = desk.exchange.log.topics()
    published = sum(
        marks.committed(topic, partition) for topic in model.datasets for partition in range(topics.get(topic, 0))
    )
    figures = {
        "entries": audit.size,
        "published": published,
        "datasets": len(model.datasets),
        "agreements": sum(one.status == "active" for one in model.agreements.values()),
        "cases": sum(one.status == "open" for one in model.cases.values()),
        "departments": len(model.departments),
    }
    return visit.page(
        "overview.html",
        figures=figures,
        missing=desk.missing(),
        waiting=desk.waiting(),
        events=desk.latest()[:_EVENTS],
        policy=model.active_policy,
    )
