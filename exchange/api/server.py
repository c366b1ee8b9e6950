"""The process that serves: sockets, patience with clients, and an end that leaves nothing half done (uvicorn)."""

import asyncio
import json
import logging
import os
import signal
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from exchange.api.app import Mount, create_app
from exchange.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from exchange.wiring import Exchange

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_HEAD_S: Final = 10.0  # for the head of a request, from its first byte or from the connection
_HEAD_BYTES: Final = 32 * 1024
_LONGEST_SOCKET: Final = 100  # the path of a Unix socket has 107 bytes at most


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and with which certificate (files; empty: none)."""

    host: str
    port: int
    certificate: str
    key: str
    behind_proxy: bool

    def checked(self) -> "Address":
        """The same; `Invalid("serve_address_refused")` where tokens would go over a network in plain."""
        if self.host not in _LOOPBACK and not self.certificate and not self.behind_proxy:
            raise Invalid("serve_address_refused", host=self.host)
        return self


def serve(
    exchange: "Exchange",
    address: Address,
    now_ns: Callable[[], int],
    write: Callable[[str], None],
    on_ready: Callable[[str], None],
    mount: Mount | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; `on_ready` gets the URL when requests are answered; `mount`: see `create_app`.

    At the end nothing new is taken, what is in flight ends or, after `http.stop_seconds`, is cut off: then its release
    may be in the audit log without anybody having got it, never the other way round.

    Raises:
        Invalid: `serve_address_refused`, `serve_certificate_wrong`. Unavailable: `serve_address_taken`.
    """
    address.checked()
    _log_to(write)
    exchange.opened_all()
    settings = exchange.settings
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(address))
        local, path = stack.enter_context(_local_socket(settings.path("data/serve.sock")))
        config = uvicorn.Config(
            create_app(exchange, now_ns, write, secure=bool(address.certificate) or address.behind_proxy, mount=mount),
            http=PatientProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=settings.number("http.connections"),
            timeout_graceful_shutdown=settings.number("http.stop_seconds"),
            h11_max_incomplete_event_size=_HEAD_BYTES,
        )
        config.load()
        config.ssl = _tls(address)
        scheme, port = "https" if address.certificate else "http", listening.getsockname()[1]
        host = f"[{address.host}]" if ":" in address.host else address.host

        def ready() -> None:
            exchange.announce(path)
            on_ready(f"{scheme}://{host}:{port}")

        _Server(config, local, ready).run([listening])


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, and no longer patient with a head that does not come to its end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """The head of the first request is due."""
        super().connection_made(transport)
        self._due: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        super().connection_lost(exc)
        self._head_came()

    def data_received(self, data: bytes) -> None:
        """The first byte of a further request makes its head due."""
        if not self._answering():
            self._expect_head()
        super().data_received(data)

    def handle_events(self) -> None:
        """A request has begun: its body and its answer are bounded by the edge, which may cut off the connection."""
        super().handle_events()
        if self._answering():
            self._head_came()
            extensions: dict[str, Any] = self.cycle.scope.setdefault("extensions", {})
            extensions["exchange.transport"] = self.transport

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever its annotation says
        return cycle is not None and not cycle.response_complete

    def _expect_head(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(_HEAD_S, self.transport.abort)

    def _head_came(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


class _Server(uvicorn.Server):
    """Also listens, without TLS, on a Unix socket for the command line; ends in order on SIGTERM and SIGINT."""

    def __init__(self, config: uvicorn.Config, local: socket.socket, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._local, self._on_ready = local, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_unix_server(self._protocol, sock=self._local))
        self._on_ready()

    def _protocol(self) -> PatientProtocol:
        return PatientProtocol(self.config, self.server_state, self.lifespan.state)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's, raises no signal again at the end: the exchange is yet to be closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


@contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    try:
        family, kind, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
    except OSError as error:
        raise _taken(address, error) from None
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(place)
            listening.listen(1_024)
        except OSError as error:
            raise _taken(address, error) from None
        yield listening


def _taken(address: Address, error: OSError) -> Unavailable:
    detail = error.strerror or type(error).__name__
    return Unavailable("serve_address_taken", host=address.host, port=address.port, detail=detail)


@contextmanager
def _local_socket(path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The Unix socket of a site, its owner's alone; in a folder of its own where the site's path is too long for it."""
    with ExitStack() as stack:
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exchange-"))) / "serve.sock"
        path.unlink(missing_ok=True)  # of a process that was killed: the lock says that none lives
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        former = os.umask(0o177)
        try:
            local.bind(str(path))
        finally:
            os.umask(former)
        stack.callback(path.unlink, missing_ok=True)
        yield local, str(path)


def _tls(address: Address) -> ssl.SSLContext | None:
    if not address.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(address.certificate, address.key or None)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(
            "serve_certificate_wrong", where=address.certificate, detail=error.strerror or str(error)
        ) from None
    return context


def _log_to(write: Callable[[str], None]) -> None:
    """What the server itself warns of (a malformed request, say) becomes a line like any other."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = {"time_ns": time.time_ns(), "level": record.levelname.lower(), "message": str(record.msg)}
            write(json.dumps(line))

    logger = logging.getLogger("uvicorn.error")
    logger.handlers, logger.propagate = [Handler()], False
    logger.setLevel(logging.WARNING)
