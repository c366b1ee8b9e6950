"""Whose request it is: a bearer token, nothing else; and in which language its answer is."""

import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from exchange.api.problems import language_asked
from exchange.errors import Invalid, Refused
from exchange.messages import Language
from exchange.wiring.desk import LocalDesk

if TYPE_CHECKING:
    from exchange.wiring import Exchange

_SCHEME: Final = HTTPBearer(auto_error=False, description="a token of `exchange token issue`: xt1.…")
_BURST: Final = 60  # refused tokens that get an entry of their own in a minute; the others are only counted
_MINUTE_NS: Final = 60_000_000_000

Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)]


async def language(request: Request) -> Language:
    """The language of an answer, by `Accept-Language`."""
    return language_asked(request.headers.get("accept-language", ""))


Asked = Annotated[Language, Depends(language)]


@dataclass
class Callers:
    """Makes the desk of whoever a token belongs to.

    A refused token is an entry of the audit log, at most 60 in a minute: beyond that somebody is trying tokens, and
    shall not fill the log with it; each is counted (`exchange_refusals_total`).
    """

    exchange: "Exchange"
    now_ns: Callable[[], int]

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._window_ns = self._refused = 0

    def desk(self, token: str | None) -> LocalDesk:
        """The desk of this token's principal.

        Raises:
            Invalid: `token_missing`. Refused: `token_unknown`, `token_expired`, `token_revoked`,
                `principal_suspended`.
        """
        if not token:
            raise Invalid("token_missing")
        try:
            who = self.exchange.control.model().principal_for(token, self.now_ns())
        except Refused as refusal:
            if self._told():
                self.exchange.refuse(None, "sign in", refusal)
            raise
        return LocalDesk(self.exchange, who)

    def _told(self) -> bool:
        now = self.now_ns()
        with self._lock:
            if not 0 <= now - self._window_ns < _MINUTE_NS:
                self._window_ns, self._refused = now, 0
            self._refused += 1
            return self._refused <= _BURST


class SignedRoute(APIRoute):
    """A route that asks whose request it is before it reads any of the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute`."""
        handler = super().get_route_handler()

        async def signed(request: Request) -> Response:
            await run_in_threadpool(desk_of, request, await _SCHEME(request))
            return await handler(request)

        return signed


def desk_of(request: Request, bearer: HTTPAuthorizationCredentials | None) -> LocalDesk:
    """The desk of whoever asks; as `Callers.desk`. From now on the request is known to be theirs."""
    callers: Callers = request.app.state.callers
    found = callers.desk(bearer.credentials if bearer else None)
    request.state.who, request.state.desk = found.who.id, found
    return found


async def _desk(request: Request, bearer: Bearer) -> LocalDesk:
    known: LocalDesk | None = getattr(request.state, "desk", None)
    return known if known is not None else await run_in_threadpool(desk_of, request, bearer)


Signed = Annotated[LocalDesk, Depends(_desk)]  # what a route takes that works for somebody
