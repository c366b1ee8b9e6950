"""What the command line does when the server is not there, is none, or has dropped the connection."""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from exchange.cli.remote import RemoteDesk
from exchange.cli.sending import send_events
from exchange.cli.wire import Wire
from exchange.errors import ExchangeError, Invalid, Refused, Unavailable
from exchange.publish import Published
from exchange.source import Place, SourceBatch

COUNTS = {"taken": 1, "dead_letters": 0, "already": 0, "last_sequence": 1}


def answer(document: object, status: str = "200 OK", *, last: bool = False) -> bytes:
    """An answer of HTTP/1.1 with a JSON body; `last` says that the connection ends with it."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n" + ("Connection: close\r\n" if last else "")
    return head.encode() + b"\r\n" + body


@contextmanager
def speaking(folder: Path, *connections: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """A Unix socket that gives these answers: of each connection one after the other, then it is closed."""
    place, seen = folder / "s", list[bytes]()
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(place))
        listening.listen(5)

        def serve() -> None:
            for answers in connections:
                connection, _ = listening.accept()
                with closing(connection):
                    for one in answers:
                        seen.append(_request(connection))
                        connection.sendall(one)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"unix:{place}", seen
        thread.join(10)
        assert not thread.is_alive()


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    sizes = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while len(body) < int(sizes[0] if sizes else 0):
        body += connection.recv(65_536)
    return head.split(b"\r\n")[0]


def _wire(place: str) -> Wire:
    return Wire(place, "xt1.0123456789abcdef.x", "en")


def test_nobody_is_there(tmp_path: Path) -> None:
    """A socket that there is not, and one that nobody serves any more."""
    with closing(socket.socket(socket.AF_UNIX)) as once:
        once.bind(str(tmp_path / "dead"))
    for place in (f"unix:{tmp_path}/none", f"unix:{tmp_path}/dead"):
        with closing(_wire(place)) as wire, pytest.raises(Unavailable, match="server_unreachable"):
            RemoteDesk(wire).me()


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH\r\n",
        answer(b"<html>"),
        answer({"no": "problem"}, "502 Bad Gateway"),
        answer({"code": "of_tomorrow", "family": "invalid", "facts": {}}, "400 Bad Request"),
        answer({"code": "body_too_large", "family": "invalid", "facts": {}}, "413 Too Large"),
        answer({"code": "token_missing", "family": "nobody's", "facts": {}}, "401 Unauthorized"),
    ],
)
def test_what_answers_is_no_exchange(tmp_path: Path, said: bytes) -> None:
    """Another protocol, another program, an error that this version does not know: try again, nothing is guessed."""
    with speaking(tmp_path, [said]) as (place, _), closing(_wire(place)) as wire:
        with pytest.raises(Unavailable) as caught:
            RemoteDesk(wire).me()
        assert caught.value.code == ("server_unreachable" if said.startswith(b"SSH") else "server_unexpected")


def test_a_problem_is_the_error_that_it_tells(tmp_path: Path) -> None:
    """Of its family, with its place and its facts."""
    facts = {"name": "x", "nearest": "-"}
    said = {"code": "unknown_dataset", "family": "invalid", "where": "here", "facts": facts}
    refused = {"code": "not_the_owner", "family": "refused", "where": "", "facts": {"department": "a.b"}}
    answers = [answer(said, "404 Not Found"), answer(refused, "403 Forbidden")]
    with speaking(tmp_path, answers) as (place, _), closing(_wire(place)) as wire:
        with pytest.raises(Invalid) as caught:
            RemoteDesk(wire).dataset("x")
        assert (caught.value.code, caught.value.where, caught.value.facts) == ("unknown_dataset", "here", facts)
        with pytest.raises(Refused, match="not_the_owner"):
            RemoteDesk(wire).dead_letters("x")


def test_a_connection_that_was_dropped_is_made_anew_where_that_changes_nothing(tmp_path: Path) -> None:
    """A question, and records, which are not taken twice; a command only where the connection was seen to be gone
    before it was sent; nothing a second time.
    """
    me = {"id": "a", "department": "b", "roles": [], "zone": "UTC"}
    with speaking(tmp_path, [answer(me)], [answer(me)], [], []) as (place, seen), closing(_wire(place)) as wire:
        desk = RemoteDesk(wire)
        assert desk.me() == desk.me()
        with pytest.raises(Unavailable, match="server_unreachable"):
            desk.open_case("c", "person", "t", ["1"], [])
        with pytest.raises(Unavailable, match="server_unreachable"):
            desk.me()
    assert seen == [b"GET /v1/me HTTP/1.1"] * 2


class One:
    """An adapter with one record."""

    source, notes = "a.b/c", ()

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        """One batch."""
        assert (mark, limit) == (1, 10_000)
        yield SourceBatch([2], [{"id": "A"}], [Place("x", 1)])


def test_records_are_sent_once_more_over_a_new_connection(tmp_path: Path) -> None:
    """The sums are what the answers say."""
    mark = answer({**COUNTS, "taken": 0})
    with speaking(tmp_path, [mark], [answer(COUNTS)]) as (place, seen), closing(_wire(place)) as wire:
        told: list[Published] = []
        assert send_events(wire, One(), "x.y", told.append) == Published("a.b/c", 1, 0, 0, 1, 1)
        assert told == [Published("a.b/c", 1, 0, 0, 1, 1)]
    assert seen == [b"POST /v1/datasets/x.y/records?source=a.b%2Fc&fates=bad HTTP/1.1"] * 2


def test_an_answer_without_counts_is_no_exchange(tmp_path: Path) -> None:
    """Nothing is taken for acknowledged."""
    with (
        speaking(tmp_path, [answer({"taken": 1})]) as (place, _),
        closing(_wire(place)) as wire,
        pytest.raises(Unavailable, match="server_unexpected"),
    ):
        send_events(wire, One(), "x.y", lambda _: None)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_what_can_be_no_name_is_asked_of_nobody(tmp_path: Path, name: str) -> None:
    """In an address it would mean something else."""
    with closing(_wire(f"unix:{tmp_path}/none")) as wire, pytest.raises(ExchangeError, match="page_unknown"):
        RemoteDesk(wire).agreement(name)
