"""Go's public clients (Tessera, Torchwood, sumdb) follow our log, and find every forgery that we can think of."""

import http.client
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from exchange.audit import tiles
from exchange.audit.files import DiskFiles
from exchange.audit.note import Checkpoint, sign_checkpoint
from exchange.site import VKEY as VKEY_FILE
from tests.api.serving import served
from tests.audit.building import KEY, ORIGIN, VKEY, control, copy_of, new_log
from tests.independent.following import following, serving
from tests.simulator import ASKED, AUDITOR, CHECKER, DATASET, MEMBERS, Site

pytestmark = [pytest.mark.whole, pytest.mark.enable_socket, pytest.mark.timeout(400)]
_TILE: Final = 256


def _tiles(size: int) -> int:
    """How many tiles of hashes a tree of this size has that prove a leaf or another tile."""
    return sum(-(-(size >> 8 * level) // _TILE) for level in range(8))


def test_a_served_log_is_followed_while_it_grows(site: Site) -> None:
    """A real server with a real token: after each command every tile, entry, proof and signature holds, and the log
    extends what it was; the follower itself is one entry of it. Without a token the hashes are there, the entries not;
    where the setting says so, not even these.
    """
    vkey = (site.root / VKEY_FILE).read_text("utf-8").strip()
    token = (site.folder / "tokens" / f"{AUDITOR}.token").read_text("utf-8").strip()
    with served(site) as server, following(f"http://127.0.0.1:{server.port}/log/", vkey, token) as follower:
        sizes = [follower.look()["size"]]
        for words, who, told in (
            (("read", DATASET, *ASKED), CHECKER, ""),
            (("read", DATASET, "--purpose", "nothing.permitted"), CHECKER, ""),
            (("audit", "who-saw", "--json"), AUDITOR, MEMBERS[0]),
            (("case", "open", "case-2", "--title", "synthetic"), CHECKER, MEMBERS[0]),
        ):
            site.run(*words, who=who, stdin=told)
            found = follower.look()
            assert (found.get("error"), found["old"]) == (None, sizes[-1])
            assert found["size"] > sizes[-1], words
            assert (found["entries"], found["included"]) == (found["size"], found["size"] - sizes[-1])
            assert found["tiles"] >= 1
            assert found["signature"] == vkey.partition("+")[0]
            sizes.append(found["size"])
        assert follower.look()["size"] == sizes[-1]  # looking adds nothing
        with following(f"http://127.0.0.1:{server.port}/log/", vkey) as anybody:
            assert anybody.look()["error"].startswith("entries: ")
    with (
        served(site, audit_public="nothing") as server,
        following(f"http://127.0.0.1:{server.port}/log/", vkey, token) as follower,
        following(f"http://127.0.0.1:{server.port}/log/", vkey) as anybody,
    ):
        assert follower.look()["size"] >= sizes[-1]
        assert anybody.look()["error"].startswith("checkpoint: ")
    queries = [body["query"] for _, _, body in site.entries("audit_query")]
    assert queries.count("log_entries") == 2  # one for each process


def test_one_connection_for_heads_and_bodies(site: Site) -> None:
    """HEAD, a condition that holds, a tile that there is not: each leaves the connection ready for the next request."""
    with served(site) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        tag = ""
        for method, target, status in (
            ("HEAD", "/log/checkpoint", 200),
            ("GET", "/log/tile/0/000.p/3", 200),
            ("HEAD", "/log/tile/0/000.p/3", 200),
            ("GET", "/log/tile/0/000.p/3", 304),
            ("HEAD", "/log/tile/0/999", 404),
            ("GET", "/log/tile/entries/000", 401),
            ("GET", "/log/checkpoint", 200),
        ):
            connection.request(method, target, headers={"If-None-Match": tag} if status == 304 else {})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == status, target
            assert (len(body) > 0) is (method == "GET" and status != 304)
            tag = answer.headers["ETag"] or tag
        connection.close()


def test_a_log_over_many_tiles(tmp_path: Path) -> None:
    """Growth over the borders of tiles, from nothing; each look proves the step from the one before."""
    log = new_log(tmp_path)
    with serving(tmp_path / "audit") as url, following(url, VKEY) as follower:
        assert (follower.look()["size"], follower.look()["entries"]) == (0, 0)
        old, number = 0, 0
        for more in (1, 250, 3, 1, 1, 256, 700):
            log.submit([control(number + one) for one in range(more)])
            log.settle()
            number += more
            found = follower.look()
            assert found.get("error") is None, found
            assert (found["old"], found["size"], found["entries"]) == (old, log.size, log.size)
            assert found["included"] == log.size - old
            assert found["tiles"] == _tiles(log.size)
            old = log.size
    log.close()


def test_three_levels_of_tiles(tmp_path: Path) -> None:
    """A tree of 65,537 entries, whose root is over three levels, is read by Go as we wrote it."""
    leaves = [number.to_bytes(3, "big") for number in range((1 << 16) + 1)]
    with serving(tmp_path) as url, following(url, VKEY) as follower:
        edge = tiles.Edge()
        for stop in (1 << 15, 1 << 16, len(leaves)):
            edge, files = edge.append(leaves[edge.size : stop])
            for path, data in files.items():
                _put(tmp_path, path, data)
            _publish(tmp_path, edge)
            found = follower.look()
            assert found.get("error") is None, found
            assert (found["size"], found["entries"]) == (stop, stop)


def _put(folder: Path, path: str, data: bytes) -> None:
    files = DiskFiles(folder)
    files.make_folder(path.rpartition("/")[0])
    (folder / path).write_bytes(data)


def _publish(folder: Path, edge: tiles.Edge) -> None:
    _put(folder, "checkpoint", sign_checkpoint(Checkpoint(ORIGIN, edge.size, edge.root()), KEY))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One log at 300 entries and at 600; and another history of 600 entries, signed with the same key."""
    folder = tmp_path_factory.mktemp("logs")
    found = {}
    (folder / "true").mkdir()
    log = new_log(folder / "true")
    for size in (300, 600):
        log.submit([control(number) for number in range(log.size, size)])
        log.settle()
        found[str(size)] = copy_of(folder / "true" / "audit", folder / str(size))
    log.close()
    leaves = [tiles.unframe((found["600"] / tiles.path(None, n)).read_bytes(), _TILE) for n in range(2)]
    before = [*leaves[0], *leaves[1]]
    edge, files = tiles.Edge().append([*before[:200], b"another entry", *before[201:], *before[:88]])
    for path, data in files.items():
        _put(folder / "fork", path, data)
    _publish(folder / "fork", edge)
    return {**found, "fork": folder / "fork"}


def _flip(file: Path, at: int, bit: int = 1) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= bit
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("forge", "where"),
    [
        (lambda f: _flip(f / "tile/0/000", 5), "tiles: "),
        (lambda f: _flip(f / "tile/0/001", 8191, 128), "tiles: "),
        (lambda f: _flip(next((f / "tile/0/002.p").iterdir()), 0), "tiles: "),
        (lambda f: _flip(f / "tile/1/000.p/2", 63), "tiles: "),
        (lambda f: _flip(f / "tile/entries/000", 2), "entries: "),
        (lambda f: _flip(f / "tile/entries/001", 1_000, 64), "entries: "),
        (lambda f: _flip(f / "tile/entries/001", 0, 1), "entries: "),  # a length
        (lambda f: _flip(next((f / "tile/entries/002.p").iterdir()), -1, 4), "entries: "),
        (lambda f: (f / "tile/entries/001").unlink(), "entries: "),
        (lambda f: (f / "tile/0/001").unlink(), "tiles: "),
        (lambda f: _flip(f / "checkpoint", len(ORIGIN) + 2), "checkpoint: "),
        (lambda f: _flip(f / "checkpoint", len(ORIGIN) + 8), "checkpoint: "),
        (lambda f: _flip(f / "checkpoint", -5), "checkpoint: "),
    ],
    ids=lambda value: value.strip(": ") if isinstance(value, str) else "",
)
def test_one_changed_bit_is_found(
    logs: dict[str, Path], tmp_path: Path, forge: Callable[[Path], None], where: str
) -> None:
    """In any tile, entry or checkpoint, or a file that is gone: by who never saw the log before, in the right place."""
    forged = copy_of(logs["600"], tmp_path / "forged")
    forge(forged)
    with serving(forged) as url, following(url, VKEY) as follower:
        assert follower.look()["error"].startswith(where), where


@pytest.mark.parametrize(
    ("first", "then", "why"),
    [
        ("300", "600", ""),
        ("600", "300", "went back"),
        ("300", "fork", "consistency"),
        ("600", "fork", "two roots"),
        ("fork", "600", "two roots"),
        ("fork", "", ""),
    ],
)
def test_histories(logs: dict[str, Path], tmp_path: Path, first: str, then: str, why: str) -> None:
    """What was seen must be the beginning of what is there: a log rolled back, and one with another history under the
    true key, are found by who was there before, and only so: each for itself is whole.
    """
    shown = copy_of(logs[first], tmp_path / "shown")
    with serving(shown) as url, following(url, VKEY) as follower:
        assert "error" not in follower.look()
        if then:
            shutil.rmtree(shown)
            copy_of(logs[then], shown)
        found = follower.look()
    assert (why in found["error"]) if why else "error" not in found


def test_another_key_is_not_trusted(logs: dict[str, Path]) -> None:
    """A log whose key the follower was not given."""
    other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    with serving(logs["300"]) as url, following(url, other) as follower:
        assert follower.look()["error"].startswith("checkpoint: ")
