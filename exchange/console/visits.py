"""One request for a page: who, in which language, and the page that answers it."""

import hmac
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import HTMLResponse, RedirectResponse, Response

from exchange.api.problems import language_asked
from exchange.console.rendering import rendered
from exchange.console.sessions import Session
from exchange.errors import Invalid
from exchange.messages import Language
from exchange.wiring.reading_room import ReadingRoom

if TYPE_CHECKING:
    from exchange.console.house import House

_LANGUAGES: Final[Mapping[str, Language]] = {"zh": "zh", "en": "en"}
_A_YEAR_S: Final = 365 * 86_400
_MOST_FIELDS: Final = 2_000
_MOST_FILES: Final = 1
_MOST_TOLD: Final = 20


@dataclass(frozen=True)
class Visit:
    """Whoever asks for a page; without a desk it is nobody who is known."""

    house: "House"
    request: Request
    session: Session | None
    room: ReadingRoom | None

    @property
    def desk(self) -> ReadingRoom:
        """The desk of who is signed in; `Invalid("token_missing")` for nobody."""
        if self.room is None:
            raise Invalid("token_missing")
        return self.room

    @property
    def language(self) -> Language:
        """As chosen by `?lang=` or before (in a cookie), else as the browser asks."""
        for chosen in (self.request.query_params.get("lang"), self.request.cookies.get("lang")):
            if language := _LANGUAGES.get(chosen or ""):
                return language
        return language_asked(self.request.headers.get("accept-language", ""))

    def page(
        self,
        template: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **facts: Any,  # noqa: ANN401
    ) -> Response:
        """The page of a template."""
        told = self.session.told[:] if self.session else []
        if self.session:
            del self.session.told[: len(told)]
        own = {"Content-Language": self.language, "Vary": "Accept-Language, Cookie", "Referrer-Policy": "same-origin"}
        # (with no referrer at all, browsers do not tell the origin of a form either, which `_check_origin` asks for)
        answer = HTMLResponse(rendered(self, template, told=told, **facts), status, {**own, **(headers or {})})
        if self.request.query_params.get("lang") in _LANGUAGES:
            answer.set_cookie(
                "lang", self.language, _A_YEAR_S, path="/", secure=self.house.secure, httponly=True, samesite="lax"
            )
        return answer

    def next(self, path: str, key: str = "", **facts: object) -> Response:
        """Sends the browser on to a page, which tells the sentence first: a form sent is never sent twice."""
        if key and self.session:
            self.session.told = [*self.session.told, (key, dict(facts))][-_MOST_TOLD:]
        return RedirectResponse(path, 303)


@dataclass(frozen=True)
class Posted:
    """A form that somebody who is signed in has sent from one of our pages."""

    visit: Visit
    form: FormData

    def text(self, name: str) -> str:
        """A field's text without white space around it; empty where it is not there."""
        value = self.form.get(name)
        return value.strip() if isinstance(value, str) else ""

    def file(self, name: str) -> UploadFile | None:
        """A file; None where none was chosen."""
        value = self.form.get(name)
        return value if isinstance(value, UploadFile) and value.filename else None


def cookie_of(house: "House", request: Request) -> str | None:
    """What the session's cookie holds; None without one."""
    return request.cookies.get(house.cookie)


def anyone(request: Request) -> Visit:
    """Whoever comes, signed in or not."""
    house: House = request.app.state.house
    visit = Visit(house, request, None, None)
    request.scope.setdefault("state", {})["visit"] = visit
    return visit


def signed_in(request: Request) -> Visit:
    """Whoever is signed in; the token is checked again.

    Raises:
        Invalid: `token_missing`. Refused: the token, or its account, is good no more.
    """
    house: House = request.app.state.house
    session = house.sessions.find(cookie_of(house, request))
    local = house.callers.desk(session.token if session else None)
    visit = Visit(house, request, session, ReadingRoom(house.exchange, local.who, house.verifications))
    state = request.scope.setdefault("state", {})
    state["visit"], state["who"] = visit, local.who.id
    return visit


Anyone = Annotated[Visit, Depends(anyone)]
Here = Annotated[Visit, Depends(signed_in)]


async def posted(request: Request, visit: Here) -> AsyncIterator[Posted]:
    """A form of ours, by its secret and by where the browser says that it stood.

    Raises:
        Invalid: `form_foreign`.
    """
    check_origin(request)
    async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS) as form:
        given, session = form.get("csrf"), visit.session
        if (
            session is None
            or not isinstance(given, str)
            or not hmac.compare_digest(given.encode(), session.csrf.encode())
        ):
            raise Invalid("form_foreign")
        yield Posted(visit, form)


Form = Annotated[Posted, Depends(posted)]


def check_origin(request: Request) -> None:
    """Refuses a form that stood on another site's page, as far as the browser tells; `Invalid("form_foreign")`."""
    fetched, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if fetched is not None:
        good = fetched == "same-origin"
    else:
        good = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not good:
        raise Invalid("form_foreign")
