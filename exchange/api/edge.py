"""The edge: what every request goes through before anything is done, and every answer on its way out.

It gives each request an id of its own (never one from outside, which might be somebody's), bounds its body in size and
in time, cuts off a client that does not take its answer, sets the headers that browsers ask for, counts, and writes one
line of JSON for each request: the route, never the address asked for, which might hold anything.
"""

import asyncio
import json
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request

from exchange.api.metrics import Metrics
from exchange.api.operations import PREFIX
from exchange.api.problems import Answer, ClientGoneError, problem, unexpected
from exchange.errors import ExchangeError, Invalid, Unavailable

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

TRANSPORT: Final = "exchange.transport"  # in a scope's extensions: what the edge may cut off
FULL: Final = "exchange.full"  # there, too: this connection is one too many, and its requests are only told so
HEAD: Final = 32 << 10  # bytes of a request before its body: its address and its headers
SMALL: Final = 4 << 20  # of a body that is no batch of records: contracts, policies, lists of ids
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_GONE: Final = 499  # of whoever went away or was cut off; in the log only, nobody is told it
_DIGITS: Final = 19  # of a body's length; more is longer than any limit
_LAST: Final = frozenset(
    {"server_busy", "head_too_large", "body_too_large", "body_slow"}
)  # what comes on after these is not read
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Limits:
    """`records_bytes` bounds a body of records, `body_s` its arrival, `slow_s` a client's taking of the answer."""

    records_bytes: int
    body_s: float
    slow_s: float


@dataclass
class _Passage:
    """One request and what is to be told of it."""

    began: float
    status: int = 0
    received: int = 0
    sent: int = 0
    started: bool = False
    state: dict[str, Any] = field(default_factory=dict)


class Edge:
    """The app with the edge around it; `write` takes a line for each request, `random_bytes` makes ids."""

    def __init__(
        self,
        app: App,
        limits: Limits,
        metrics: Metrics,
        random_bytes: Callable[[int], bytes],
        write: Callable[[str], None],
        answer: Answer = problem,
    ) -> None:
        self._app, self._limits, self._metrics, self._random, self._write = app, limits, metrics, random_bytes, write
        self._answer = answer

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401  # ASGI's own
        """Serves one connection's scope (ASGI 3)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = _Passage(time.monotonic())
        passage.state = scope.setdefault("state", {})
        passage.state["request_id"] = self._random(8).hex()
        self._metrics.in_flight.inc()
        try:
            await self._passed(scope, receive, send, passage)
        finally:
            self._metrics.in_flight.dec()
            self._told(scope, passage)

    def cut_off(self) -> None:
        """A client that held back too long was cut off."""
        self._metrics.cut_off.inc()

    async def _passed(self, scope: Any, receive: Receive, send: Send, passage: _Passage) -> None:  # noqa: ANN401
        outward = self._outward(scope, send, passage)
        inward = self._inward(scope, receive, passage)
        try:
            self._check_admitted(scope)
            self._check_declared(scope)
            await self._app(scope, inward, outward)
        except ClientGoneError:
            passage.status, passage.state["code"] = _GONE, "client_gone"
        except Exception as error:  # noqa: BLE001  # the outermost frame: nothing is told but that there was a fault
            if not isinstance(error, ExchangeError):
                self._fault(error, passage)
            if not passage.started:
                answer = self._answer(Request(scope), error if isinstance(error, ExchangeError) else unexpected())
                with suppress(ClientGoneError):
                    await answer(scope, receive, outward)

    def _check_admitted(self, scope: Any) -> None:  # noqa: ANN401
        """A connection beyond the limit is told to come later, and closed."""
        if scope.get("extensions", {}).get(FULL):
            raise Unavailable("server_busy")

    def _check_declared(self, scope: Any) -> None:  # noqa: ANN401
        """A body that says itself that it is too large is not even read; nor is one behind too long a head."""
        head = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if head + sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD:
            raise Invalid("head_too_large", limit=HEAD)
        declared = [value for name, value in scope["headers"] if name == b"content-length"]
        most = self._most(scope)
        if not all(one.isdigit() and len(one) < _DIGITS and int(one) <= most for one in declared):
            raise Invalid("body_too_large", limit=most)

    def _most(self, scope: Any) -> int:  # noqa: ANN401
        return self._limits.records_bytes if scope["path"].endswith("/records") else SMALL

    def _inward(self, scope: Any, receive: Receive, passage: _Passage) -> Receive:  # noqa: ANN401
        until, most = passage.began + self._limits.body_s, self._most(scope)
        whole = False

        async def inward() -> Message:
            nonlocal whole
            if whole:  # what comes now is the client's going away: that may take as long as the answer does
                return await receive()
            try:
                async with asyncio.timeout(max(until - time.monotonic(), 0.001)):
                    message = await receive()
            except TimeoutError:
                raise Invalid("body_slow", seconds=self._limits.body_s) from None
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            passage.received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if passage.received > most:
                raise Invalid("body_too_large", limit=most)
            return message

        return inward

    def _outward(self, scope: Any, send: Send, passage: _Passage) -> Send:  # noqa: ANN401
        async def outward(message: Message) -> None:
            if message["type"] == "http.response.start":
                passage.started, passage.status = True, message["status"]
                own = {name for name, _ in message["headers"]}
                request_id = passage.state["request_id"].encode()
                message["headers"] = [
                    *message["headers"],
                    (b"request-id", request_id),
                    *(pair for pair in _HEADERS if pair[0] not in own),
                    *([(b"connection", b"close")] if passage.state.get("code") in _LAST else []),
                ]
            else:
                passage.sent += len(message.get("body", b""))
            try:
                async with asyncio.timeout(self._limits.slow_s):
                    await send(message)
            except TimeoutError:
                self.cut_off()
                transport = scope.get("extensions", {}).get(TRANSPORT)
                if transport is not None:
                    transport.abort()
                raise ClientGoneError from None

        return outward

    def _fault(self, error: Exception, passage: _Passage) -> None:
        """Where in the program it was, without the error's own words, in which a value might stand."""
        frames = traceback.extract_tb(error.__traceback__)
        at = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
        line = {"time_ns": time.time_ns(), "request": passage.state["request_id"], "fault": type(error).__name__}
        self._write(json.dumps({**line, "at": at}))

    def _told(self, scope: Any, passage: _Passage) -> None:  # noqa: ANN401
        """One line, and the metrics, of a request that is over."""
        route = _route(scope)
        seconds = time.monotonic() - passage.began
        # A client may send any word as its method, somebody's id among them.
        method = scope["method"] if scope["method"] in _METHODS else "-"
        status = passage.status or _GONE
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        self._metrics.received.inc(passage.received)
        self._metrics.sent.inc(passage.sent)
        code = passage.state.get("code")
        if code:
            self._metrics.problems.labels(code).inc()
        line = {
            "time_ns": time.time_ns(),
            "request": passage.state["request_id"],
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1_000, 1),
            "in": passage.received,
            "out": passage.sent,
            "who": passage.state.get("who"),
            "code": code,
        }
        self._write(json.dumps(line))


def _route(scope: Any) -> str:  # noqa: ANN401
    """The route's own path, with its places as they are named; `-` for an address that there is not."""
    path = str(getattr(scope.get("route"), "path", ""))
    if not path:
        return "-"
    return path if path.startswith(PREFIX) or not scope["path"].startswith(PREFIX) else PREFIX + path
