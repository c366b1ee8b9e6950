"""A client of the app in this process: what ASGI says, byte for byte, without a socket and without a library's manners.

with calling(site) as api:
    answer = api.post("/v1/datasets/x/lookup", {"ids": []}, who=CHECKER)
    assert (answer.status, answer.code) == (400, "request_malformed")
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlencode

from exchange.api.app import create_app
from tests.simulator import Site

if TYPE_CHECKING:
    from exchange.api.edge import Edge
    from exchange.wiring import Exchange

Headers = Iterable[tuple[str | bytes, str | bytes]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
JSON: Final = ("Content-Type", "application/json")


@dataclass(frozen=True)
class Answer:
    """What came back; header names are in lower case, of several alike the last."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def json(self) -> Any:
        """The JSON document that it is."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the problem that it is; empty where it is none."""
        return str(self.json["code"]) if "problem" in self.headers.get("content-type", "") else ""

    @property
    def said(self) -> tuple[int, str]:
        """Status and code."""
        return self.status, self.code


@dataclass
class Api:
    """The app over a site's exchange; `lines` are those that it logged; `later_ns` moves its clock on."""

    site: Site
    exchange: "Exchange"
    runner: asyncio.Runner
    lines: list[str] = field(default_factory=list)
    later_ns: int = 0

    @cached_property
    def app(self) -> "Edge":
        """As `exchange serve` makes it."""
        return create_app(self.exchange, lambda: time.time_ns() + self.later_ns, self.lines.append)

    @property
    def logged(self) -> list[dict[str, Any]]:
        """The log's lines, parsed."""
        return [json.loads(line) for line in self.lines]

    def token(self, who: str) -> str:
        """Somebody's token."""
        return (self.site.folder / "tokens" / f"{who}.token").read_text("utf-8").strip()

    def get(self, target: str, who: str | None = None, headers: Headers = (), **query: Any) -> Answer:
        """GET; the query's values may be lists."""
        return self.ask("GET", target + ("?" + urlencode(query, doseq=True) if query else ""), who, headers)

    def post(self, target: str, body: object = None, who: str | None = None, headers: Headers = ()) -> Answer:
        """POST of a JSON value, or of bytes as they are."""
        return self.ask("POST", target, who, headers, body)

    def put(self, target: str, body: object, who: str | None = None, headers: Headers = ()) -> Answer:
        """PUT of a JSON value."""
        return self.ask("PUT", target, who, headers, body)

    def ask(
        self, method: str, target: str, who: str | None = None, headers: Headers = (), body: object = None
    ) -> Answer:
        """One request to its end."""
        return self.runner.run(self.asked(method, target, who, headers, body))

    async def asked(
        self,
        method: str,
        target: str,
        who: str | None = None,
        headers: Headers = (),
        body: object = None,
        receive: Receive | None = None,
    ) -> Answer:
        """The same inside a loop, where `receive` may tell the body in its own way."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        own: list[tuple[str | bytes, str | bytes]] = list(headers)
        own += [("Authorization", f"Bearer {self.token(who)}")] if who else []
        own += [JSON] if body is not None and not any(_raw(name) == b"content-type" for name, _ in own) else []
        sent: list[MutableMapping[str, Any]] = []

        async def whole() -> MutableMapping[str, Any]:
            if sent and not sent[-1].get("more_body"):
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(_raw(name), value if isinstance(value, bytes) else value.encode()) for name, value in own],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8431),
            "state": {},
        }
        await self.app(scope, receive or whole, send)
        if not sent:
            return Answer(0, {}, b"")  # nobody was there any more
        told = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], told, b"".join(one.get("body", b"") for one in sent[1:]))


def _raw(name: str | bytes) -> bytes:
    return (name if isinstance(name, bytes) else name.encode()).lower()


@contextmanager
def calling(site: Site) -> Iterator[Api]:
    """The app over this site, until the end of the block."""
    with asyncio.Runner() as runner, site.opened() as exchange:
        exchange.opened_all()
        yield Api(site, exchange, runner)
