"""How tests find their servers: given, else in Docker, else local; none is a skip, or a failure where it is needed."""

import json
import os
import re
import shutil
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests import services, services_postgres

ENGINES: dict[str, Callable[[], Any]] = {
    "kafka": services.kafka.__wrapped__,
    "postgres": services_postgres.the_server.__wrapped__,
    "opa": services.opa.__wrapped__,
}


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run of this test's own, with no variable set, no program to be found and no Docker."""
    for name in ("EXCHANGE_TEST_KAFKA", "EXCHANGE_TEST_POSTGRES", "EXCHANGE_TEST_OPA", "REQUIRE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker")
    monkeypatch.setenv("TEST_SERVICES_FOLDER", str(tmp_path))
    monkeypatch.setattr(services, "_REASONS", {})
    monkeypatch.setattr(services, "ROOT", tmp_path)
    monkeypatch.setattr(services_postgres, "SCRIPT", tmp_path / "postgres.sh")
    (tmp_path / "postgres.sh").write_text("#!/bin/sh\necho 'postgres.sh: none is installed' >&2\nexit 3\n")
    (tmp_path / "postgres.sh").chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.mark.parametrize("engine", ENGINES, ids="of_{}".format)
def test_a_missing_engine_is_a_skip_that_says_why(engine: str) -> None:
    """By its name, and with what to do."""
    with pytest.raises(pytest.skip.Exception, match=rf"no {engine}: .*(installed|builds one)"):
        ENGINES[engine]()


@pytest.mark.parametrize("engine", ENGINES, ids="of_{}".format)
def test_where_it_is_required_it_is_a_failure(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That no pass of the whole hides; another engine's requirement does not count."""
    monkeypatch.setenv("REQUIRE", ",".join(sorted(ENGINES.keys() - {engine})))
    with pytest.raises(pytest.skip.Exception):
        ENGINES[engine]()
    monkeypatch.setenv("REQUIRE", f"ptrace,{engine}")
    with pytest.raises(pytest.fail.Exception, match=f"REQUIRE lists {engine}"):
        ENGINES[engine]()


def test_one_that_does_not_start_is_as_one_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken OPA, a Kafka script that fails, a server that does not come up: required, each fails with its words."""
    monkeypatch.setenv("REQUIRE", "kafka,opa,postgres")
    for name in ("java", "mvn", "opa"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\necho 'cannot run here' >&2\nexit 1\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setattr(services, "LOCAL", tmp_path / "bin" / "java")
    (tmp_path / "postgres.sh").write_text("#!/bin/sh\necho 'postgres.sh: cannot run here' >&2\nexit 3\n")
    for ask in ENGINES.values():
        with pytest.raises(pytest.fail.Exception, match="cannot run here"):
            ask()


def test_what_is_given_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was given, nothing else being looked at."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "exchange").write_text("x\n")
    monkeypatch.setattr(services, "docker_answers", lambda: pytest.fail("looked at"))
    monkeypatch.setenv("EXCHANGE_TEST_KAFKA", "kafka://127.0.0.1:1")
    monkeypatch.setenv("EXCHANGE_TEST_KAFKA_SECRETS", str(tmp_path / "secrets"))
    monkeypatch.setenv("EXCHANGE_TEST_POSTGRES", "postgresql://x@/y")
    monkeypatch.setenv("EXCHANGE_TEST_OPA", "/opt/opa")
    found = {engine: ask() for engine, ask in ENGINES.items()}
    assert found == {
        "kafka": services.Kafka("kafka://127.0.0.1:1", {"exchange": "x"}),
        "postgres": services_postgres.Server("postgresql://x@/y"),
        "opa": Path("/opt/opa"),
    }


class Daemon(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A Docker daemon that tells its version and refuses all else; what it was asked."""

    daemon_threads = True

    def __init__(self, place: Path) -> None:
        self.asked: list[str] = []
        super().__init__(str(place), _Answers)


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Daemon)
        self.server.asked.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        known = re.search(r"/(version|_ping)$", self.path) is not None
        body = json.dumps({"ApiVersion": "1.47", "Version": "28.2.2"} if known else {"message": "no room"}).encode()
        self.send_response(200 if known else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """One that answers for as long as the test runs."""
    with Daemon(tmp_path / "docker") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker")
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.enable_socket
@pytest.mark.parametrize("engine", ENGINES, ids="of_{}".format)
@pytest.mark.whole
def test_docker_is_asked_where_it_answers_and_the_local_server_is_next(
    engine: str, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that cannot be made makes room; where there is no local server either, both reasons are told."""
    monkeypatch.setenv("REQUIRE", engine)
    with pytest.raises(pytest.fail.Exception, match=rf"REQUIRE lists {engine}.*not in Docker: .*no room"):
        ENGINES[engine]()
    image = {"kafka": services.IMAGE, "postgres": services_postgres.IMAGE, "opa": services.OPA_IMAGE}[engine]
    assert any("/images/" in one and image.partition(":")[0] in unquote(one) for one in daemon.asked), daemon.asked
    assert not list(Path(os.environ["TEST_SERVICES_FOLDER"]).glob("*.docker"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("daemon")
@pytest.mark.enable_socket
@pytest.mark.whole
def test_the_containers_are_what_the_tests_need() -> None:
    """Kafka is told to its clients at the port of this machine that leads to it; both are the pinned versions."""
    broker, address = services.kafka_container()  # a socket finds the free port
    port = address().rpartition(":")[2]
    assert broker.image == services.IMAGE
    assert {str(inside).partition("/")[0]: str(outside) for inside, outside in broker.ports.items()} == {"9092": port}
    assert broker.env["KAFKA_ADVERTISED_LISTENERS"] == f"CLIENT://127.0.0.1:{port}"
    assert set(broker.env["KAFKA_LISTENERS"].split(",")) == {"CLIENT://:9092", "CONTROLLER://:9094"}
    server, _ = services_postgres.container()
    assert server.image == services_postgres.IMAGE


@pytest.mark.enable_socket
def test_a_daemon_that_is_not_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket, a file in its place, a port where nobody listens; one that listens is one."""
    assert not services.docker_answers()
    (tmp_path / "no-docker").write_text("x")
    assert not services.docker_answers()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        assert not services.docker_answers()
        listener.listen()
        assert services.docker_answers()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
