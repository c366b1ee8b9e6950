"""The process that serves: sockets, patience with clients, and an end that leaves nothing half done (uvicorn)."""

import asyncio
import json
import logging
import os
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from exchange.api.app import Mount, create_app
from exchange.api.edge import HEAD
from exchange.api.patience import Patience, PatientProtocol
from exchange.errors import Invalid, Unavailable
from exchange.wiring.details import expiring

if TYPE_CHECKING:
    from exchange.wiring import Exchange

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_SPARE_FILES: Final = 256  # files that the engines hold open beside the connections
_LAST_PORT: Final = 65_535
# Many threads that wait for the disk and one that signs: at Python's 5 ms each waits for the others' turns, and a
# look-up took twice the CPU (`make bench ARGS=http`).
_SWITCH_S: Final = 0.000_5
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
        """The same; `Invalid("serve_address_refused")` where tokens would go over a network in plain, `setting_wrong`
        for a port that there is not.
        """
        if not 0 <= self.port <= _LAST_PORT:
            raise Invalid("setting_wrong", where="--port", name="http.port", expected=f"0 … {_LAST_PORT}")
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
    """Serves until SIGTERM or SIGINT; `on_ready` gets the URL when requests are answered.

    At the end nothing new is taken, what is in flight ends or, after `http.stop_seconds`, is cut off: then its release
    may be in the audit log without anybody having got it, never the other way round.

    Raises:
        Invalid: `serve_address_refused`, `setting_wrong`, `serve_certificate_wrong`.
        Unavailable: `serve_address_taken`.
    """
    address.checked()
    _log_to(write)
    sys.setswitchinterval(_SWITCH_S)
    exchange.opened_all()
    settings = exchange.settings
    app = create_app(exchange, now_ns, write, secure=bool(address.certificate) or address.behind_proxy, mount=mount)
    patience = Patience(
        on_cut_off=app.cut_off,
        head_s=settings.number("http.head_seconds"),
        slow_s=settings.number("http.slow_seconds"),
        connections=_connections(settings.number("http.connections")),
    )
    protocol: Any = partial(PatientProtocol, patience)
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(address))
        local, path = stack.enter_context(_local_socket(settings.path("data/serve.sock")))
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="on",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.number("http.stop_seconds"),
            h11_max_incomplete_event_size=HEAD,
        )
        config.load()
        if exchange.mirror is not None:
            stack.enter_context(exchange.mirror.running())
        stack.enter_context(expiring(exchange))
        if exchange.witnessing is not None:
            stack.enter_context(exchange.witnessing.running(settings.number("audit.witness_seconds")))
        config.ssl = _tls(address)
        scheme, port = "https" if address.certificate else "http", listening.getsockname()[1]
        host = f"[{address.host}]" if ":" in address.host else address.host

        def ready() -> None:
            exchange.announce(path)
            on_ready(f"{scheme}://{host}:{port}")

        _Server(config, protocol, local, ready).run([listening])


class _Server(uvicorn.Server):
    """Also listens, without TLS, on a Unix socket for the command line; ends in order on SIGTERM and SIGINT."""

    def __init__(
        self,
        config: uvicorn.Config,
        protocol: Callable[..., PatientProtocol],
        local: socket.socket,
        on_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._make, self._local, self._on_ready = protocol, local, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_unix_server(self._protocol, sock=self._local))
        self._on_ready()

    def _protocol(self) -> PatientProtocol:
        return self._make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

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
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, place = found[0]
        # By its protocol asyncio knows that TCP_NODELAY is to be set; without it each answer waits 40 ms for an ACK.
        listening = socket.socket(family, kind, protocol)
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
    """What the server itself warns of (a malformed request, say), and the audit log's alarms, become lines like any
    other: the first line of the sentence, unfilled, for what fills it may be a value; and a `cause` in our own words.
    """

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = {
                "time_ns": time.time_ns(),
                "level": record.levelname.lower(),
                "message": str(record.msg).partition("\n")[0],
                **({"cause": record.cause} if hasattr(record, "cause") else {}),
            }
            write(json.dumps(line))

    for name in ("uvicorn.error", "asyncio", "exchange.audit"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Handler()], False
        logger.setLevel(logging.WARNING)


def _connections(wanted: int) -> int:
    """As many connections as are wanted, or as this process may have files open."""
    if os.name == "nt":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return min(wanted, max(soft - _SPARE_FILES, 1))
    return wanted
