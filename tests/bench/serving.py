"""The exchange over HTTP, as a process that uses both cores: look-ups with their audit, reads in batches, the start.

The client is bytes over a socket by asyncio: it costs about 0.1 ms of CPU for each request, and runs on the same cores.
"""

import asyncio
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from exchange.control import commands as c
from exchange.control.tokens import new_token
from tests.bench import county, site
from tests.bench.clock import folder, percentile, unpin

_RECORDS: Final = 10_000
_BATCH: Final = 1_000
_READY_S: Final = 60
_TICK: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def measured(seconds: float, connections: Sequence[int], rounds: int) -> dict[str, Any]:
    """Tables by name: starts, look-ups, reads."""
    unpin()
    with folder() as place:
        token = _made(place / "site")
        ours, plain = ["-m", "exchange", "serve"], ["-m", "tests.bench.constant", str(place)]
        lookups: dict[str, Any] = {}
        reads: dict[str, Any] = {}
        starts: list[float] = []
        for count in connections:
            for name, words, case in (("constant bytes (baseline)", plain, False), ("look-up", ours, False)):
                with _served(place / "site", words) as (port, pid, ready_s):
                    starts += [ready_s] * (words is ours)
                    contents = [_lookup(token, number, in_case=case) for number in range(1_000)]
                    # The first look-up on each thread makes a gateway, its run in the log and its compiled view.
                    asyncio.run(_load(port, contents, count, seconds=max(seconds, 5)))
                    runs = [_run(port, pid, contents, count, seconds) for _ in range(rounds)]
                    lookups[f"{name}, {count:,} connection{'s' * (count > 1)}"] = max(runs, key=lambda one: one["/s"])
        with _served(place / "site", ours) as (port, _, _):
            contents = [_read(token, first) for first in range(0, _RECORDS, _BATCH)]
            bodies = asyncio.run(_load(port, contents, 1, requests=len(contents))).bodies
            for number, body in enumerate(bodies):
                (place / f"{number}.ndjson").write_bytes(body)
            reads["read, 1 connection"] = _reading(port, contents, 1, rounds)
            reads["read, 8 connections"] = _reading(port, contents, 8, rounds)
        with _served(place / "site", plain) as (port, _, _):
            files = [
                f"GET /files/{number}.ndjson HTTP/1.1\r\nHost: x\r\n\r\n".encode() for number in range(len(bodies))
            ]
            reads["static file, 1 connection (baseline)"] = _reading(port, files, 1, rounds)
            reads["static file, 8 connections (baseline)"] = _reading(port, files, 8, rounds)
    return {"look-ups": lookups, "reads": reads, "start to ready": {"exchange serve": {"s": round(min(starts), 2)}}}


@dataclass
class _Loaded:
    """What came back: seconds of each request, bodies where they were kept, how many were no 200."""

    seconds: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    wrong: int = 0


class _Client(asyncio.Protocol):
    """One connection: a request, its answer, the next."""

    def __init__(self, following: Callable[[], bytes | None], loaded: _Loaded, done: "asyncio.Future[None]") -> None:
        self._following, self._loaded, self._done = following, loaded, done
        self._buffer = bytearray()
        self._head, self._whole, self._began = 0, 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        if not self._done.done():
            self._loaded.wrong += 1
            self._done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._whole:
            self._head = self._buffer.find(b"\r\n\r\n") + 4
            if self._head < 4:
                return
            at = self._buffer.find(b"content-length: ") + 16
            self._whole = self._head + int(self._buffer[at : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) >= self._whole:
            self._loaded.seconds.append(time.perf_counter() - self._began)
            self._loaded.wrong += not self._buffer.startswith(b"HTTP/1.1 200")
            if self._whole - self._head > _BATCH:
                self._loaded.bodies.append(bytes(self._buffer[self._head : self._whole]))
            self._buffer.clear()
            self._send()

    def _send(self) -> None:
        content, self._whole = self._following(), 0
        if content is None:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(content)


async def _load(
    port: int, contents: Sequence[bytes], connections: int, *, requests: int = 1 << 60, seconds: float = 3_600
) -> _Loaded:
    """So many requests over so many connections, or as many as begin in so many seconds."""
    loaded, left, loop = _Loaded(), iter(range(requests)), asyncio.get_running_loop()
    until = time.perf_counter() + seconds

    def following() -> bytes | None:
        number = next(left, None)
        return None if number is None or time.perf_counter() > until else contents[number % len(contents)]

    waited = [loop.create_future() for _ in range(connections)]
    for done in waited:
        await loop.create_connection(lambda done=done: _Client(following, loaded, done), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*waited)
    return loaded


def _run(port: int, pid: int, contents: Sequence[bytes], connections: int, seconds: float) -> dict[str, Any]:
    before, begun = _cpu(pid), time.perf_counter()
    loaded = asyncio.run(_load(port, contents, connections, seconds=seconds))
    wall, cpu = time.perf_counter() - begun, _cpu(pid) - before
    count = len(loaded.seconds)
    return {
        "/s": round(count / wall),
        "p50 ms": round(percentile(loaded.seconds, 0.5) * 1_000, 1),
        "p99 ms": round(percentile(loaded.seconds, 0.99) * 1_000, 1),
        "server CPU ms": round(cpu / count * 1_000, 2),
        "not 200": loaded.wrong,
    }


def _reading(port: int, contents: Sequence[bytes], connections: int, rounds: int) -> dict[str, Any]:
    requests = len(contents) * rounds
    begun = time.perf_counter()
    loaded = asyncio.run(_load(port, contents, connections, requests=requests))
    wall = time.perf_counter() - begun
    size = sum(map(len, loaded.bodies))
    return {
        "records/s": f"{round(requests * _BATCH / wall):,}",
        "MB/s": round(size / wall / 1e6, 1),
        "p99 ms": round(percentile(loaded.seconds, 0.99) * 1_000, 1),
        "not 200": loaded.wrong,
    }


def _cpu(pid: int) -> float:
    """CPU seconds of a process and its children that live (the policy's worker)."""
    if not Path("/proc").exists():
        return 0.0
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat.parent.name) == pid or int(fields[1]) == pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK


def _made(root: Path) -> str:
    """A site with records and a case; the token of the consumer's system."""
    site.make(root)
    text, identity, digest = new_token(secrets.token_bytes)
    with site.opened(root) as exchange:
        system = f"svc.{site.CONSUMER}"
        expires = time.time_ns() + 3_600 * 1_000_000_000
        exchange.control.execute(site.who(exchange, system), c.IssueToken(system, identity, digest, expires))
        provider = site.who(exchange, f"svc.{site.PROVIDER}")
        exchange.publish(provider, county.Stream(_RECORDS), county.DATASET, lambda _: None)
        site.open_case(exchange, [county.person_id(number) for number in range(1_000)])
    return text


@contextmanager
def _served(root: Path, words: Sequence[str]) -> Iterator[tuple[int, int, float]]:
    """Port, process id, and the seconds from start to ready."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words, "--port", "0"],
        env={**os.environ, "EXCHANGE_SITE": str(root), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    first: queue.Queue[str] = queue.Queue()

    def follow() -> None:
        for line in process.stdout or ():
            if not line.startswith("{"):
                first.put(line)

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    try:
        line = ""
        while "http://" not in line:
            line = first.get(timeout=_READY_S)
        ready_s = time.perf_counter() - begun
        yield int(line.partition("http://127.0.0.1:")[2].split()[0]), process.pid, ready_s
    finally:
        process.terminate()
        process.wait(30)
        reader.join(10)
        process.stdout.close()


def _request(token: str, method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return head.encode() + b"\r\n" + body


def _lookup(token: str, number: int, *, in_case: bool) -> bytes:
    asked = site.IN_CASE if in_case else site.FREE
    body = {"purpose": asked.purpose, "case": asked.case, "ids": [county.person_id(number)]}
    return _request(token, "POST", f"/v1/datasets/{county.DATASET}/lookup", json.dumps(body).encode())


def _read(token: str, position: int) -> bytes:
    query = f"purpose={site.FREE.purpose}&position={position}&limit={_BATCH}"
    return _request(token, "GET", f"/v1/datasets/{county.DATASET}/records?{query}")
