"""What all pages share, and how they come into the app: routes, the style sheet, errors that are pages."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from exchange.api.caller import Callers
from exchange.api.operations import PREFIX
from exchange.api.problems import Answer, headers_of, problem, status_of
from exchange.console.sessions import Sessions, Tries
from exchange.errors import ExchangeError
from exchange.messages import Language, describe, error_codes, text
from exchange.wiring.verification import Verifications

if TYPE_CHECKING:
    from exchange.console.visits import Visit
    from exchange.wiring import Exchange

_TEMPLATES: Final = Path(__file__).parent / "templates"
_STYLE: Final = (_TEMPLATES / "style.css").read_bytes()
STYLE: Final = f"/style-{hashlib.sha256(_STYLE).hexdigest()[:16]}.css"
_ADDRESSES: Final = frozenset({"page_unknown", "method_refused"})
_A_YEAR: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class House:
    """What the pages of one serving process share. `secure`: browsers reach it by TLS alone."""

    exchange: "Exchange"
    callers: Callers
    sessions: Sessions
    tries: Tries
    verifications: Verifications
    now_ns: Callable[[], int]
    secure: bool

    @property
    def cookie(self) -> str:
        """The name of the session's cookie; by `__Host-` a browser holds it to this very host (RFC 6265bis)."""
        return "__Host-session" if self.secure else "session"


def mount(app: FastAPI) -> Answer:
    """Adds the pages to the app of an exchange; how errors are answered from then on."""
    from exchange.console import agreements, auditing, catalogue, letters, overview, reading, searching, signing_in

    error_codes()  # the catalogue is parsed before the first page rather than for it
    exchange, now_ns = app.state.exchange, app.state.now_ns
    app.state.house = house = House(
        exchange=exchange,
        callers=app.state.callers,
        sessions=Sessions(now_ns, exchange.random_bytes),
        tries=Tries(now_ns),
        verifications=Verifications(exchange),
        now_ns=now_ns,
        secure=app.state.secure,
    )
    for room in (signing_in, overview, catalogue, reading, agreements, letters, auditing, searching):
        app.include_router(room.router, include_in_schema=False)
    app.add_api_route(STYLE, _style, include_in_schema=False)

    def answer(request: Request, error: ExchangeError) -> Response:
        return _page(house, request, error) if _for_people(request) else problem(request, error)

    return answer


def _style() -> Response:
    return Response(_STYLE, media_type="text/css; charset=utf-8", headers={"Cache-Control": _A_YEAR})


def _for_people(request: Request) -> bool:
    """Whether a page is asked for: at one's address, or by a browser at any that is not the API's."""
    if request.url.path.startswith(PREFIX):
        return False
    own = getattr(request.scope.get("endpoint"), "__module__", "").startswith(__package__)
    return own or "text/html" in request.headers.get("accept", "")


def _page(house: House, request: Request, error: ExchangeError) -> Response:
    """The error as a page; whoever is not signed in, or not any more, is shown where to."""
    from exchange.console.visits import Visit, cookie_of

    state = request.scope.setdefault("state", {})
    state["code"] = error.code
    status = status_of(error)
    if status != 401:
        visit = state.get("visit") or _visitor(house, request)
        what, todo = _said(error, visit.language)
        heading = "page_nothing_here" if status == 404 else f"page_error_{error.family}"
        told = {"heading": heading, "what": what, "todo": todo, "error": error}
        return visit.page("error.html", status, headers_of(error), request_id=state.get("request_id", ""), **told)
    had = cookie_of(house, request)
    house.sessions.close(had)
    if error.code == "token_missing" and not had and request.method == "GET":
        return RedirectResponse("/sign-in", 303)
    answer = Visit(house, request, None, None).page("sign_in.html", status, headers_of(error), error=error)
    answer.delete_cookie(house.cookie, path="/", secure=house.secure, httponly=True, samesite="strict")
    return answer


def _said(error: ExchangeError, language: Language) -> tuple[str, str]:
    """What happened and what to do; of an address, in words for people rather than for programs."""
    what, todo = describe(error, language)
    return (what, text("page_nothing_todo", language)) if error.code in _ADDRESSES else (what, todo)


def _visitor(house: House, request: Request) -> "Visit":
    """Whoever came to an address that no route has, with the own menu where it is somebody known."""
    from exchange.console.visits import Visit, signed_in

    with suppress(ExchangeError, KeyError):  # the error of the address is what is told; before the app there is none
        return signed_in(request)
    return Visit(house, request, None, None)
