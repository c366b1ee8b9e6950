"""A browser without scripts, in process: it keeps cookies, follows no link by itself, sends the forms it is shown."""

import asyncio
import html
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from exchange.api.app import create_app
from exchange.console import mount
from exchange.wiring import Exchange
from tests.simulator import Site

BASE: Final = "http://exchange.test"
_CSRF: Final = re.compile(r'name="csrf" value="([0-9a-f]*)"')


class Browser:
    """One browser; `language` is what it likes, `page` the last one that it was shown."""

    def __init__(self, app: Any, runner: asyncio.Runner, language: str = "en") -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("192.0.2.1", 4711))
        headers = {"accept": "text/html,*/*;q=0.8", "accept-language": language}
        self.client = httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)
        self._runner = runner
        self.csrf = ""

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, no redirect followed."""
        answer = self._runner.run(self.client.request(method, path, **more))
        found = _CSRF.search(answer.text) if answer.headers.get("content-type", "").startswith("text/html") else None
        self.csrf = found[1] if found else self.csrf
        return answer

    def get(self, path: str, **more: Any) -> httpx.Response:
        """A page."""
        return self.send("GET", path, **more)

    def post(self, path: str, data: Mapping[str, Any] | None = None, **more: Any) -> httpx.Response:
        """A form of the last page, with its secret."""
        return self.send("POST", path, data={"csrf": self.csrf, **(data or {})}, **more)

    def follow(self, answer: httpx.Response) -> httpx.Response:
        """Where an answer sends the browser on to."""
        assert answer.status_code == 303, (answer.status_code, said(answer))
        return self.get(answer.headers["location"])


class Town:
    """A site, open, with its app; `later_ns` moves the clock on, `lines` are those of its log."""

    def __init__(self, site: Site, exchange: Exchange, runner: asyncio.Runner, clock: "Clock", secure: bool) -> None:
        self.site, self.exchange, self.clock = site, exchange, clock
        self.lines: list[str] = []
        self.app = create_app(exchange, clock, self.lines.append, secure=secure, mount=mount)
        self._runner = runner
        self._browsers: dict[tuple[str, str], Browser] = {}

    def stranger(self, language: str = "en") -> Browser:
        """A browser of nobody who is known."""
        return Browser(self.app, self._runner, language)

    def browser(self, who: str, language: str = "en", *, own: bool = False) -> Browser:
        """A browser in which somebody is signed in; `own`: of this caller alone."""
        if own or (who, language) not in self._browsers:
            found = self.stranger(language)
            answer = found.post("/sign-in", {"token": self.token(who)})
            found.follow(found.follow(answer))
            if own:
                return found
            self._browsers[who, language] = found
        return self._browsers[who, language]

    def token(self, who: str) -> str:
        """Somebody's token."""
        return (self.site.folder / "tokens" / f"{who}.token").read_text().strip()

    @property
    def size(self) -> int:
        """The size of the audit log, once all that was submitted before is in it."""
        self.exchange.audit.settle()
        return self.exchange.audit.size

    def entries(self, kind: str, since: int = 0) -> list[Mapping[str, Any]]:
        """The audit log's entries of a kind, from an index on."""
        audit = self.exchange.audit
        return [body for _, one, body in audit.entries(since, audit.size) if one == kind]


class Clock:
    """The real time, and later."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns, self.later_ns = now_ns, 0

    def __call__(self) -> int:
        """Now."""
        return self._now_ns() + self.later_ns


@contextmanager
def opened(site: Site, runner: asyncio.Runner, *, secure: bool = False) -> Iterator[Town]:
    """The site, served in process until the end of the block."""
    import os
    import time

    from exchange.wiring import open_exchange

    clock = Clock(time.time_ns)
    with open_exchange(site.root, "test", {}, clock, os.urandom) as exchange:
        yield Town(site, exchange, runner, clock, secure)


def said(answer: httpx.Response) -> str:
    """The text of a page, as it is read."""
    body = re.sub(r"(?s)<(title|svg)[ >].*?</\1>", " ", answer.text)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


def write(path: Path, text: str) -> Path:
    """A file with this text."""
    path.write_text(text, "utf-8")
    return path
