"""The app: every route over one exchange, behind the edge."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from fastapi import FastAPI

from exchange import __version__
from exchange.api import access, audit, bundles, control, description, health, log, problems, publishing
from exchange.api.caller import Callers
from exchange.api.edge import Edge, Limits
from exchange.api.metrics import Metrics
from exchange.api.operations import PREFIX
from exchange.wiring.public_log import PublicLog

if TYPE_CHECKING:
    from exchange.wiring import Exchange

Mount = Callable[[FastAPI], problems.Answer]
_MB: Final = 1 << 20
_ABOUT: Final = (
    "Departments publish records; a policy decides each request; what is released is in the audit log first. "
    "Answers of records are one release each: `Exchange-Index` names its entry. Errors are RFC 9457 problems."
)


def create_app(
    exchange: "Exchange",
    now_ns: Callable[[], int],
    write: Callable[[str], None],
    *,
    secure: bool = False,
    mount: Mount | None = None,
) -> Edge:
    """The ASGI app of this exchange; `write` takes a line of JSON for each request, `secure` says that browsers reach
    it by TLS alone.
    """
    settings = exchange.settings
    threads = settings.number("http.threads")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = threads
        yield

    app = FastAPI(
        title="Exchange",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # such an answer would name whatever host the request said
    )
    app.state.exchange, app.state.now_ns, app.state.secure = exchange, now_ns, secure
    app.state.metrics, app.state.callers = Metrics(), Callers(exchange, now_ns)
    answer = problems.problem if mount is None else mount(app)
    problems.install(app, answer)
    app.state.public_log = PublicLog(exchange)
    app.include_router(health.router)
    app.include_router(log.router)
    app.include_router(bundles.router)
    for room in (control, publishing, access, audit):
        app.include_router(room.router, prefix=PREFIX)
    description.install(app)
    limits = Limits(
        records_bytes=settings.number("http.body_mb") * _MB,
        body_s=settings.number("http.body_seconds"),
        slow_s=settings.number("http.slow_seconds"),
    )
    return Edge(app, limits, app.state.metrics, secrets.token_bytes, write, answer)
