"""Routes of the control plane: every command by the table in `operations`, and what there is of each kind."""

import secrets
from collections.abc import Mapping
from dataclasses import fields
from inspect import Parameter, Signature
from typing import Annotated, Any, Final, get_type_hints

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, create_model

from exchange.api.answers import Days, Given, IssuedToken, Members, NewCase, NewToken, PolicyBundle, Row, rows_of
from exchange.api.caller import Signed, SignedRoute
from exchange.api.examples import EXAMPLES
from exchange.api.operations import DEFAULTS, OPERATIONS, Operation
from exchange.control import commands as c
from exchange.control.tokens import new_token
from exchange.policy import Bundle, modules
from exchange.wiring.desk import COLUMNS, Listing, LocalDesk, Told

router: Final = APIRouter(tags=["control"], route_class=SignedRoute)
_DAY_NS: Final = 86_400 * 1_000_000_000
_WORD: Final = Parameter.POSITIONAL_OR_KEYWORD


def _command_route(operation: Operation) -> None:
    """A route whose path and body fill the command's fields: its signature, which FastAPI reads, is made of them."""
    name = operation.command.__name__
    hints = get_type_hints(operation.command)
    given: dict[str, Any] = {one: (hints[one], DEFAULTS.get(one, ...)) for one in operation.body}
    form = create_model(f"{name}Body", __base__=Given, **given) if given else None

    def run(desk: LocalDesk, body: BaseModel | None = None, **places: str) -> Told:
        told = {**places, **{one: getattr(body, one) for one in operation.body}}
        return desk.execute(operation.command(**{one.name: told[one.name] for one in fields(operation.command)}))

    parameters = [Parameter("desk", _WORD, annotation=Signed)]
    parameters += [Parameter(place, _WORD, annotation=str) for place in operation.places]
    if form is not None:
        parameters.append(Parameter("body", _WORD, annotation=Annotated[form, Body(examples=[EXAMPLES[name]])]))
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # a function may have one
    router.add_api_route(
        operation.path,
        run,
        methods=[operation.method],
        operation_id=name,
        summary=(operation.command.__doc__ or "").partition("\n")[0],
        description=operation.command.__doc__,
        response_model=Told,
    )


def _listing_route(what: Listing) -> None:
    def run(desk: Signed) -> list[Row]:
        return desk.listing(what)

    form: Any = list[rows_of(what)]  # type: ignore[misc]  # a form made from `COLUMNS`
    summary = f"The {what} there are."
    name = f"list_{what}"
    router.add_api_route(f"/{what}", run, operation_id=name, summary=summary, description=summary, response_model=form)


for _operation in OPERATIONS:
    _command_route(_operation)
for _what in COLUMNS:
    _listing_route(_what)


@router.get("/datasets/{name}", operation_id="show_dataset")
def show_dataset(desk: Signed, name: str) -> Row:
    """A dataset: its contract's terms and its fields with their class, labels and tags."""
    return desk.dataset(name)


@router.get("/datasets/{name}/contract", operation_id="show_contract")
def show_contract(desk: Signed, name: str) -> Row:
    """A dataset's contract as it was accepted, its schemas written out: what records are written and checked with."""
    return desk.contract(name)


@router.get("/agreements/{agreement}", operation_id="show_agreement")
def show_agreement(desk: Signed, agreement: str) -> Row:
    """An agreement: who requested, reviewed and approved it, and its terms."""
    return desk.agreement(agreement)


@router.post("/tokens", operation_id="issue_token")
def issue_token(
    request: Request, desk: Signed, body: Annotated[NewToken, Body(examples=[EXAMPLES["issue_token"]])]
) -> IssuedToken:
    """A new token for an account. Who makes a token himself sends only its digest: see `IssueToken`."""
    return _issued(request, desk, body.principal, body.days)


@router.post("/tokens/{token}/rotate", operation_id="rotate_token")
def rotate_token(
    request: Request, desk: Signed, token: str, body: Annotated[Days, Body(examples=[EXAMPLES["rotate_token"]])]
) -> IssuedToken:
    """A new token for the account of this one, which is revoked once the new one is there."""
    made = _issued(request, desk, desk.holder_of(token), body.days)
    # A crash here: both tokens hold, and both are listed: rotate or revoke again.
    desk.execute(c.RevokeToken(token))
    return made


def _issued(request: Request, desk: LocalDesk, principal: str, days: int) -> IssuedToken:
    text, token, digest = new_token(secrets.token_bytes)
    expires = request.app.state.now_ns() + days * _DAY_NS
    told = desk.execute(c.IssueToken(principal, token, digest, expires))
    # A crash here: a token that nobody has; it is listed and can be revoked.
    return IssuedToken(id=token, token=text, principal=principal, expires_ns=expires, index=told.index)


@router.post("/cases", operation_id="open_case")
def open_case(desk: Signed, body: Annotated[NewCase, Body(examples=[EXAMPLES["open_case"]])]) -> Told:
    """Opens a case; the members' ids stand in the body, never in an address, and become tags."""
    return desk.open_case(body.id, body.subject_type, body.title, body.ids, body.departments)


@router.put("/cases/{case}/members", operation_id="change_members")
def change_members(
    desk: Signed, case: str, body: Annotated[Members, Body(examples=[EXAMPLES["change_members"]])]
) -> Told:
    """The members of an open case become exactly these."""
    return desk.change_members(case, body.ids)


@router.post("/policies", operation_id="submit_policy")
def submit_policy(desk: Signed, body: Annotated[PolicyBundle, Body(examples=[EXAMPLES["submit_policy"]])]) -> Told:
    """Submits a policy revision with the results of its own tests; another person approves it."""
    return desk.submit_policy(_bundle(body))


@router.post("/policies/test", operation_id="test_policy")
def test_policy(
    desk: Signed, body: Annotated[PolicyBundle, Body(examples=[EXAMPLES["submit_policy"]])]
) -> Mapping[str, bool]:
    """Runs a policy's own tests on the site's engine: each by its full name, and whether it held."""
    return desk.test_policy(_bundle(body))


def _bundle(body: PolicyBundle) -> Bundle:
    modules.check(body.modules, body.codes)
    return Bundle(body.modules, body.codes)
