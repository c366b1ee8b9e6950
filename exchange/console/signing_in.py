"""Signing in by token, and out."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from exchange.console.sessions import WHOLE_NS
from exchange.console.visits import Anyone, Form, check_origin, cookie_of
from exchange.errors import ExchangeError, Invalid, Refused

router: Final = APIRouter()
_LONGEST_TOKEN: Final = 500


async def _token(request: Request) -> str:
    """The token of a sign-in form, which is not in anybody's name yet."""
    check_origin(request)
    async with request.form(max_files=0, max_fields=10) as form:
        given = form.get("token")
        return given.strip()[:_LONGEST_TOKEN] if isinstance(given, str) else ""


@router.get("/sign-in")
def sign_in_page(visit: Anyone) -> Response:
    """The form."""
    return visit.page("sign_in.html", error=None)


@router.post("/sign-in")
def sign_in(visit: Anyone, token: Annotated[str, Depends(_token)]) -> Response:
    """Opens a session; a refused token is in the audit log, as the API's are."""
    house, address = visit.house, visit.request.client.host if visit.request.client else ""
    try:
        house.callers.desk(token)
    except (Refused, Invalid) as error:
        house.tries.failed(address)
        return _refused(visit, error)
    house.sessions.close(cookie_of(house, visit.request))  # a new name for a new person: nothing is taken over
    answer = RedirectResponse("/signed-in", 303)
    answer.set_cookie(
        house.cookie,
        house.sessions.open(token),
        WHOLE_NS // 1_000_000_000,
        path="/",
        secure=house.secure,
        httponly=True,
        samesite="strict",
    )
    return answer


def _refused(visit: Anyone, error: ExchangeError) -> Response:
    visit.request.scope["state"]["code"] = error.code
    return visit.page("sign_in.html", 401, {"WWW-Authenticate": "Bearer"}, error=error)


@router.get("/signed-in")
def signed_in(visit: Anyone) -> Response:
    """Where the form leads to: here it shows whether the browser kept the cookie.

    Raises:
        Invalid: `cookies_needed`.
    """
    if not cookie_of(visit.house, visit.request):
        raise Invalid("cookies_needed")
    return RedirectResponse("/", 303)


@router.post("/sign-out")
def sign_out(posted: Form) -> Response:
    """Ends the session."""
    house = posted.visit.house
    house.sessions.close(cookie_of(house, posted.visit.request))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(house.cookie, path="/", secure=house.secure, httponly=True, samesite="strict")
    return answer
