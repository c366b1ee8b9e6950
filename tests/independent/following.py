"""The Go follower at work on a log, and a file server for logs that lie in folders, true or forged."""

import functools
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.independent.tools import follower


@dataclass
class Following:
    """The process; it looks when it is told to."""

    process: "subprocess.Popen[str]"

    def look(self) -> dict[str, Any]:
        """What one look found; an answer with `error` ends it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert ("error" not in found) or self.process.wait(30) == 1
        return found


@contextmanager
def following(url: str, vkey: str, token: str = "") -> Iterator[Following]:
    """A follower of the log at this prefix, until the end of the block."""
    process = subprocess.Popen(
        [str(follower()), "follow", "-url", url, "-vkey", vkey],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"FOLLOWER_TOKEN": token},
    )
    try:
        yield Following(process)
    finally:
        process.kill()
        process.communicate()


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # clients that fetch many tiles at once wait a second, then five, after a refused one


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Says nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The folder behind a plain file server, as anybody might serve an exported log; its address, with a slash."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            server.block_on_close = False  # a client may hold its connection open
            thread.join()


def claims(held: list[dict[str, Any]]) -> list[list[bool]]:
    """What Go's two verifiers say of each claim (see prove.go; bytes as base64), by one process."""
    lines = "".join(json.dumps(one) + "\n" for one in held)
    done = subprocess.run([str(follower()), "prove"], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
