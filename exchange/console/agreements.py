"""Agreements: the list, one with its life, and the forms by which three people make it. No subject is in them."""

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from exchange.console.terms_form import filled, masks_for, place_of, terms_of
from exchange.console.visits import Form, Here, Posted, Visit
from exchange.control import commands as c
from exchange.errors import ExchangeError, Invalid

router: Final = APIRouter()
_PAGE: Final = 50


@router.get("/agreements")
def agreements(visit: Here, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> Response:
    """All of them, the newest first."""
    rows = visit.desk.listing("agreements")[::-1]
    shown = rows[(page - 1) * _PAGE : page * _PAGE]
    departments = visit.desk.exchange.control.model().departments
    return visit.page("agreements.html", rows=shown, page=page, pages=-(-len(rows) // _PAGE), departments=departments)


@router.get("/agreements/new")
def new(visit: Here, dataset: Annotated[str, Query(max_length=200)] = "") -> Response:
    """The form of a request: first the dataset, then what is asked of it."""
    visit.desk.need("RequestAgreement", "steward", "department_system")
    return _form(visit, dataset, {}, None)


@router.post("/agreements")
def request(posted: Form) -> Response:
    """Requests an agreement; what is wrong is shown beside its field, and nothing that was typed is lost."""
    visit = posted.visit
    values = {name: value for name, value in posted.form.items() if isinstance(value, str)}
    values["actions"] = " ".join(one for one in posted.form.getlist("actions") if isinstance(one, str))
    name = posted.text("dataset")
    try:
        terms = terms_of(values, visit.desk.dataset(name), visit.desk.who.department, visit.desk.zone)
        told = visit.desk.execute(c.RequestAgreement(terms))
    except Invalid as error:
        return _form(visit, name, values, error)
    return visit.next(f"/agreements/{told.about}", "page_done_requested", agreement=told.about, index=told.index)


def _form(visit: Visit, name: str, values: dict[str, str], error: ExchangeError | None) -> Response:
    desk, model = visit.desk, visit.desk.exchange.control.model()
    shared = sorted(one.name for one in model.datasets.values() if one.share_type == "conditional")
    dataset = desk.dataset(name) if name else None
    contract = desk.exchange.contract(name) if name else None
    return visit.page(
        "agreement_new.html",
        400 if error else 200,
        datasets=shared,
        dataset=dataset,
        masks=masks_for(contract, model, desk.who.department) if contract else {},
        purposes=model.codes.get("purposes", {}),
        values=filled(values, desk.zone, visit.house.now_ns()),
        error=error,
        place=place_of(error, values) if error else "",
    )


@router.get("/agreements/{agreement}")
def one(visit: Here, agreement: str) -> Response:
    """One agreement: its life as a timeline, its terms, and what the reader may do with it."""
    return _agreement(visit, agreement, None)


def _agreement(visit: Visit, agreement: str, error: ExchangeError | None) -> Response:
    desk = visit.desk
    found = desk.agreement(agreement)
    terms = found["terms"]
    dataset = desk.dataset(terms["dataset"])
    owner, involved = dataset["department"], {found["requested_by"], found["reviewed_by"]}
    steward = desk.has("steward") and owner == desk.who.department
    authority, status = desk.has("sharing_authority"), found["status"]
    may = {
        "review": status == "requested" and steward and desk.who.id != found["requested_by"],
        "approve": status == "endorsed" and authority and desk.who.id not in involved,
        "reject": status in {"requested", "endorsed"} and authority,
        "revoke": status == "active" and (authority or steward),
    }
    return visit.page(
        "agreement.html",
        400 if error else 200,
        agreement=found,
        terms=terms,
        dataset=dataset,
        labels={one["path"]: one for one in dataset["fields"]},
        departments=desk.exchange.control.model().departments,
        purposes=desk.exchange.control.model().codes.get("purposes", {}),
        life=desk.history(agreement),
        may=may,
        error=error,
    )


def _done(posted: Posted, agreement: str, key: str, command: Callable[[], c.Command]) -> Response:
    """Does a command about an agreement; a wrong word is shown on its page, a refusal on one of its own."""
    try:
        told = posted.visit.desk.execute(command())
    except Invalid as error:
        return _agreement(posted.visit, agreement, error)
    return posted.visit.next(f"/agreements/{told.about}", key, agreement=told.about, index=told.index)


@router.post("/agreements/{agreement}/review")
def review(posted: Form, agreement: str) -> Response:
    """The provider's view."""
    verdict = "endorse" if posted.text("verdict") == "endorse" else "return"
    key = f"page_done_{verdict}"
    return _done(posted, agreement, key, lambda: c.ReviewAgreement(agreement, verdict, posted.text("note")))  # type: ignore[arg-type]  # one of the two words


@router.post("/agreements/{agreement}/approve")
def approve(posted: Form, agreement: str) -> Response:
    """It becomes active."""
    return _done(posted, agreement, "page_done_approve", lambda: c.ApproveAgreement(agreement))


@router.post("/agreements/{agreement}/reject")
def reject(posted: Form, agreement: str) -> Response:
    """The request is refused."""
    return _done(posted, agreement, "page_done_reject", lambda: c.RejectAgreement(agreement, posted.text("reason")))


@router.post("/agreements/{agreement}/revoke")
def revoke(posted: Form, agreement: str) -> Response:
    """It ends now."""
    return _done(posted, agreement, "page_done_revoke", lambda: c.RevokeAgreement(agreement, posted.text("reason")))
