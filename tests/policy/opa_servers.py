"""Real OPA servers for tests, which pull what the exchange would serve from a real HTTP server in this process."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from exchange.policy import Bundle
from exchange.policy.opa_bundle import RESOURCE, Archive, archive, configuration
from exchange.policy.opa_server import OpaServer, OpaServerEngine, servers
from exchange.policy.revisions import Shelf
from exchange.signing.keys import BundleKey, new_bundle_key
from tests.policy.engines import opa_path

TOKEN = "of-the-bundle"
PATIENCE_S = 20.0
# Ends with whoever holds its input; says the number of OPA's process.
_LEASH = '"$@" </dev/null >/dev/null 2>log & echo $!; read -r _; kill -9 $!; wait $!'


class BundleServer:
    """Serves what `archive` gives, for the token; `down` answers nobody; every request is counted."""

    def __init__(self, key: BundleKey) -> None:
        self.key, self.shelf = key, Shelf()
        self.kept: dict[str, Bundle] = {}
        self.other: Archive | None = None  # served in the place of ours
        self.down = False
        self.asked = 0
        self._packed: tuple[list[str], Archive] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked += 1
                time.sleep(0.02)
                outer.serve(self)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that was killed."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def keep(self, bundle: Bundle) -> None:
        """This one is active now; the one before it stays."""
        last = [one for one in self.kept.values() if one != bundle][-1:]
        self.kept = {one.revision: one for one in (*last, bundle)}

    def archive(self) -> Archive:
        """Ours."""
        held = self.shelf.held()  # first: what leaves the shelf meanwhile is kept already
        wanted = {**held, **self.kept}
        names = sorted(wanted)
        if self._packed is None or self._packed[0] != names:
            self._packed = names, archive([wanted[one] for one in names], self.key)
        return self._packed[1]

    def serve(self, asked: BaseHTTPRequestHandler) -> None:
        """One request."""
        served = self.other or self.archive()
        body = served.body
        if self.down:
            status, body = 503, b""
        elif asked.path != f"/{RESOURCE}" or asked.headers["Authorization"] != f"Bearer {TOKEN}":
            status, body = 401, b""
        elif asked.headers["If-None-Match"] == served.etag:
            status, body = 304, b""
        else:
            status = 200
        asked.send_response(status)
        asked.send_header("ETag", served.etag)
        asked.send_header("Content-Length", str(len(body)))
        asked.end_headers()
        with suppress(OSError):
            asked.wfile.write(body)

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


class Opa:
    """One `opa run --server` in a folder; `configured` is its configuration, or it lies there already."""

    def __init__(self, folder: Path, configured: dict[str, Any] | None, *words: str, port: int = 0) -> None:
        self.port = port or free_port()
        self._folder, self._words = folder, words
        if configured is not None:
            folder.mkdir(exist_ok=True)
            (folder / "bundle.token").write_text(TOKEN + "\n")
            (folder / "opa.json").write_text(json.dumps(configured))
        self.start()

    def start(self) -> None:
        """Starts it, at the same port again, until it answers."""
        options = ["--addr", f"127.0.0.1:{self.port}", "--config-file", "opa.json", "--log-level", "error"]
        command = [str(opa_path()), "run", "--server", "--skip-version-check", *options, *self._words]
        leash = ["/bin/sh", "-c", _LEASH, "sh", *command]
        self._shell = subprocess.Popen(
            leash, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self._folder
        )
        assert self._shell.stdout is not None
        self.process = int(self._shell.stdout.readline())
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(URLError, OSError), urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1):
                return
            time.sleep(0.02)
        raise AssertionError((self._folder / "log").read_text())

    @property
    def log(self) -> str:
        """What it has said of faults."""
        return (self._folder / "log").read_text("utf-8")

    def server(self, **options: str) -> OpaServer:
        """It, as the engine sees it."""
        (found,) = servers("opa+http", f"//127.0.0.1:{self.port}", **options)
        return found

    def kill(self) -> None:
        """SIGKILL, and waits for its end."""
        for pipe in (self._shell.stdin, self._shell.stdout):
            assert pipe is not None
            pipe.close()
        self._shell.wait()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configured(url: str, key: BundleKey) -> dict[str, Any]:
    """OPA's configuration as we write it, but it looks without a pause."""
    made = configuration(url, key, "")
    made["bundles"]["exchange"]["polling"] = {"min_delay_seconds": 0, "max_delay_seconds": 0}
    return made


class World:
    """A bundle server and an OPA that pulls from it."""

    def __init__(self, folder: Path) -> None:
        self.key = new_bundle_key(folder / "bundle.key")
        self.bundles = BundleServer(self.key)
        self.opa = Opa(folder / "opa", configured(self.bundles.url, self.key))

    def engine(self, deadline_s: float) -> "SpreadEngine":
        """An engine on it."""
        return SpreadEngine([self.opa.server()], deadline_s, self.bundles)

    def close(self) -> None:
        """Ends both."""
        self.opa.kill()
        self.bundles.close()


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """One, until the end of the block."""
    made = World(folder)
    try:
        yield made
    finally:
        made.close()


class SpreadEngine(OpaServerEngine):
    """The engine as wiring uses it: a bundle becomes the loaded one where every server has it."""

    def __init__(self, asked: list[OpaServer], deadline_s: float, bundles: BundleServer) -> None:
        super().__init__(asked, deadline_s, 0.5, bundles.shelf)
        self._bundles = bundles

    def load(self, bundle: Bundle | None) -> None:
        """Offers it first."""
        if bundle is None:
            super().load(None)
            return
        with self.offering(bundle, PATIENCE_S):
            self._pulled_again()
            self._bundles.keep(bundle)
            super().load(bundle)

    def _pulled_again(self) -> None:
        """Until OPA has taken what it was about to pull when this was offered: a bundle of an earlier test, which OPA
        had still, may be missing from that. An OPA asks for one bundle after the other; there are two in one test.
        """
        begun, until = self._bundles.asked, time.monotonic() + PATIENCE_S
        while self._bundles.asked < begun + 3 and time.monotonic() < until:
            time.sleep(0.005)
