"""HTTP from the command line: places where nothing answers, answers that are none, a connection that is kept."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from exchange.cli.wire import Wire
from exchange.errors import Invalid, Unavailable

_ANSWERS: dict[str, tuple[int, bytes]] = {
    "/v1/json": (200, b'{"a": "\xe5\xad\x97"}'),
    "/v1/none": (200, b"<html>"),
    "/v1/deep": (200, b"[" * 100_000),
    "/v1/moved": (302, b""),
    "/v1/broken": (502, b"<html>Bad Gateway"),
    "/v1/b%3F%E5%AD%97": (200, b'"quoted"'),
    "/v1/refused": (
        400,
        b'{"code": "body_slow", "family": "invalid", "where": "x", "facts": {"seconds": "3"}, "status": 400}',
    ),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]] = []  # noqa: RUF012  # of the one test that looks

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"]))
        status, body = _ANSWERS[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", "http://evil.invalid/")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    """A server behind a Unix socket."""
    path = str(tmp_path / "s")
    with socketserver.ThreadingUnixStreamServer(path, _Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"unix:{path}"
        server.shutdown()
        thread.join()


def test_what_is_answered(place: str) -> None:
    """JSON is given, a problem is raised as the error it is; parts of a path and a token may hold any character."""
    wire = Wire(place, "a\nb\u5b57", "en")
    assert wire.json("GET", ["json"]) == {"a": "\u5b57"}
    assert wire.json("GET", ["b?\u5b57"]) == "quoted"
    assert _Handler.seen[-1] == ("/v1/b%3F%E5%AD%97", "Bearer a%0Ab%E5%AD%97")
    with pytest.raises(Invalid) as refused:
        wire.json("GET", ["refused"])
    assert (refused.value.code, refused.value.where, refused.value.facts) == ("body_slow", "x", {"seconds": "3"})
    wire.close()
    assert wire.json("GET", ["json"])  # made anew
    wire.close()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_answer_that_is_cut_off_is_none(tmp_path: Path, framing: str) -> None:
    """After any number of its bytes: an error that says so, in both languages, and never a shorter answer."""
    from exchange.messages import describe

    body = b"PK" + bytes(38)
    head = {"length": f"Content-Length: {len(body)}\r\n\r\n", "chunked": "Transfer-Encoding: chunked\r\n\r\n28\r\n"}
    answer = f"HTTP/1.1 200 OK\r\n{head[framing]}".encode() + body + (b"\r\n0\r\n\r\n" if framing == "chunked" else b"")
    begin, whole = answer.index(body), len(answer)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        end = whole if framing == "length" else begin + len(body) + 3  # from the last chunk's 0 on all is there
        for stop in (*range(begin, end), whole):
            said = threading.Thread(target=_say, args=(listening, answer[:stop]))
            said.start()
            wire = Wire(f"unix:{tmp_path / 's'}", "t", "en")
            if stop == whole:
                assert wire.send("GET", ["me"])[2] == body
            else:
                with pytest.raises(Unavailable) as error:
                    wire.send("GET", ["me"])
                assert error.value.code == "server_cut_off"
                count = stop - begin if framing == "length" else len(body) * (stop >= begin + len(body))  # whole chunks
                assert [
                    describe(error.value, language)[0].rpartition("/s")[2].lstrip(":： ") for language in ("en", "zh")
                ] == [
                    f"the answer of the exchange was cut off after {count} bytes; nothing of it was used",
                    f"交换平台的应答在 {count} 字节后中断，未采用其中任何内容",
                ]
            wire.close()
            said.join()


def _say(listening: socket.socket, answer: bytes) -> None:
    """Answers one request with these bytes and no more."""
    connection, _ = listening.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(answer)


@pytest.mark.parametrize("path", ["none", "deep", "moved", "broken"])
def test_what_is_no_exchange(place: str, path: str) -> None:
    """One error that says so; a redirection is not followed, wherever it leads."""
    wire = Wire(place, "t", "en")
    with pytest.raises(Unavailable) as error:
        wire.json("GET", [path])
    assert error.value.code == "server_unexpected"
    wire.close()


_LONG = "http://" + "a" * 70 + ".invalid"  # longer than a name may be: no look-up is tried


@pytest.mark.parametrize(
    "where",
    [
        "unix:/none/such",
        "http://:x",
        "http://[::1",
        "http://a b",
        pytest.param(_LONG, marks=pytest.mark.enable_socket),
    ],
)
def test_where_nothing_is(where: str) -> None:
    """An address that is none, or where nothing answers: one error that names it."""
    with pytest.raises(Unavailable) as error:
        Wire(where, "t", "en").json("GET", ["me"])
    assert (error.value.code, error.value.where) == ("server_unreachable", where)
