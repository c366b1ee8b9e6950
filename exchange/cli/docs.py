"""`docs`: the manual, without a network."""

import argparse
import signal
from pathlib import Path

from exchange.cli.options import Commands, command
from exchange.cli.terminal import Terminal
from exchange.errors import Unavailable
from exchange.messages import Language

_HOST = "127.0.0.1"
_LOOK_S = 0.2


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `docs`."""
    docs = command(commands, "docs", _docs, common, language)
    docs.add_argument("--port", type=int, default=8430)
    docs.add_argument("--out", type=Path, metavar="DIR")


def _docs(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.manual import files, write

    if parsed.out is not None:
        write(parsed.out)
        terminal.show({"folder": str(parsed.out)}, [str(parsed.out / terminal.language / "index.html")])
        return
    _serve(terminal, parsed.port, {f"/{name}": content.encode() for name, content in files().items()})


def _serve(terminal: Terminal, port: int, pages: dict[str, bytes]) -> None:
    """Serves these pages, and nothing that lies on the disk, until it is interrupted."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    first = f"/{terminal.language}/index.html"

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds for a request to arrive

        def do_GET(self) -> None:
            content = pages.get(first if self.path == "/" else self.path)
            self.send_response(200 if content else 404)
            kind = "text/css" if self.path.endswith(".css") else "text/html"
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            """Says nothing: who reads the manual is nobody's business."""

    try:
        server = ThreadingHTTPServer((_HOST, port), Handler)
    except (OSError, OverflowError) as error:
        detail = getattr(error, "strerror", None) or type(error).__name__
        raise Unavailable("serve_address_taken", host=_HOST, port=port, detail=detail) from None
    with server:
        terminal.say("docs_serving", url=f"http://{_HOST}:{server.server_port}{first}")
        # An interrupt as an exception can come in the midst of what forgets it: it is looked for between requests.
        stopped: list[int] = []
        former = signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
        server.timeout = _LOOK_S
        try:
            while not stopped:
                server.handle_request()
        finally:
            signal.signal(signal.SIGINT, former)
    raise KeyboardInterrupt
