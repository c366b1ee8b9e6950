"""A real `exchange serve` in a process of its own, and the plainest of clients for it: bytes over a socket."""

import asyncio
import json
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Final

from tests.simulator import CASE, CHECKER, DATASET, MEMBERS, PURPOSE, Site

_READY_S: Final = 30.0
_URL: Final = re.compile(r"https?://[^:\s]+:(\d+)")


@dataclass
class Served:
    """The process, its port, and the lines of its log so far."""

    site: Site
    process: "subprocess.Popen[str]"
    port: int
    lines: list[str] = field(default_factory=list)

    def ended(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after this signal."""
        self.process.send_signal(number)
        return self.process.wait(60)

    @property
    def logged(self) -> list[dict[str, object]]:
        """The log's lines."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]


@contextmanager
def served(site: Site, *words: str, **settings: object) -> Iterator[Served]:
    """`exchange serve WORDS` until the end of the block; settings like `http_head_seconds=1`."""
    more = {f"EXCHANGE_{name.upper()}": str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "exchange", "serve", "--port", "0", *words],
        env=site.environment(None, more),
        cwd=site.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    found = Served(site, process, 0)
    first: queue.Queue[str] = queue.Queue()
    readers = [
        threading.Thread(target=_follow, args=(process.stdout, found.lines, first), daemon=True),
        threading.Thread(target=_follow, args=(process.stderr, found.lines, first), daemon=True),
    ]
    for reader in readers:
        reader.start()
    try:
        matched = None
        while matched is None:
            try:
                matched = _URL.search(first.get(timeout=_READY_S))
            except queue.Empty:
                raise AssertionError(f"not ready: {process.poll()}, {found.lines}") from None
        found.port = int(matched[1])
        yield found
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for reader in readers:
            reader.join(10)
        process.stdout.close()
        process.stderr.close()


def _follow(stream: IO[str], lines: list[str], first: "queue.Queue[str]") -> None:
    for line in stream:
        lines.append(line.rstrip("\n"))
        first.put(line)


def request(site: Site, method: str, target: str, body: bytes = b"", who: str = CHECKER, more: str = "") -> bytes:
    """The bytes of a request."""
    token = (site.folder / "tokens" / f"{who}.token").read_text("utf-8").strip()
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{more}"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def lookup(site: Site) -> bytes:
    """The checker's look-up of the case's members."""
    body = json.dumps({"purpose": PURPOSE, "case": CASE, "ids": list(MEMBERS)}).encode()
    return request(site, "POST", f"/v1/datasets/{DATASET}/lookup", body)


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """One answer; `asyncio.IncompleteReadError` where it is cut off."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1]), headers, body


async def asked(port: int, content: bytes) -> tuple[int, dict[str, str], bytes]:
    """A request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(content)
        return await answer(reader)
    finally:
        writer.close()
