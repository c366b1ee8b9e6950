"""Whose request it is: a bearer token, nothing else; and in which language its answer is."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

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


def language(request: Request) -> Language:
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


def _desk(request: Request, bearer: Bearer) -> LocalDesk:
    callers: Callers = request.app.state.callers
    found = callers.desk(bearer.credentials if bearer else None)
    request.scope.setdefault("state", {})["who"] = found.who.id
    return found


Signed = Annotated[LocalDesk, Depends(_desk)]  # what a route takes that works for somebody
