"""The servers that tests run on: found by URL, else in Docker, else started here; one of each for all workers.

| variable | means |
|---|---|
| `EXCHANGE_TEST_KAFKA` | `kafka://HOST:PORT` of brokers on this machine |
| `EXCHANGE_TEST_KAFKA_SECRETS` | folder with the passwords of its users; without it there is no authentication |
| `REQUIRE` | names, with commas: a server named here and not to be had fails the tests instead of skipping them |
"""

import fcntl
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from exchange.log.kafka.cluster import Cluster, cluster

ROOT = Path(__file__).resolve().parents[1]
LOCAL = ROOT / "deploy" / "local" / "kafka.sh"
_FOLDER = "TEST_SERVICES_FOLDER"  # of the run, told to all its workers
_OWNER = "TEST_SERVICES_OWNER"  # the process whose end ends the servers
_SHARED = Path("/dev/shm")


@dataclass(frozen=True)
class Kafka:
    """A cluster for tests; `passwords` by user, empty where there is no authentication."""

    url: str
    passwords: dict[str, str] = field(repr=False)
    folder: Path | None = None  # of a local one

    def cluster(self, prefix: str, user: str = "exchange", **changes: Any) -> Cluster:
        """The cluster as a user sees it."""
        login = {"protocol": "PLAINTEXT"}
        if self.passwords:
            login = {"protocol": "SASL_PLAINTEXT", "user": user, "password": self.passwords[user]}
        made = cluster(f"{self.url.removeprefix('kafka:')}/{prefix}", **login, replication=1, min_insync=1)
        # Patient: a test machine may be busy, and where nothing is killed nothing is to be missed.
        return replace(made, **{"patience_s": 30.0, **changes})

    def kill(self) -> None:
        """Kills the brokers of a local cluster, as a power cut would."""
        assert self.folder is not None
        for file in self.folder.glob("broker-*/pid"):
            os.kill(int(file.read_text("utf-8")), 9)

    def start(self) -> None:
        """Starts the brokers of a local cluster again, with what they had stored."""
        assert self.folder is not None
        local("start", self.folder)


def begin_run() -> Callable[[], None]:
    """For the process that holds the run: a place for its servers; what comes back stops them."""
    folder = Path(tempfile.mkdtemp(prefix="ex-servers-", dir=_SHARED if os.access(_SHARED, os.W_OK) else None))
    os.environ[_FOLDER], os.environ[_OWNER] = str(folder), str(os.getpid())

    def end() -> None:
        if (folder / "kafka").is_dir():
            local("stop", folder / "kafka")
        shutil.rmtree(folder, ignore_errors=True)

    return end


@functools.cache
def kafka() -> Kafka:
    """The run's cluster, started by whoever asks first; a skip that names what is missing where there is none."""
    given = os.environ.get("EXCHANGE_TEST_KAFKA")
    if given:
        place = os.environ.get("EXCHANGE_TEST_KAFKA_SECRETS")
        return Kafka(given, _passwords(Path(place)) if place else {})
    with _one_at_a_time("kafka.lock") as folder:
        url = folder / "kafka.docker"
        if url.is_file():
            return Kafka(url.read_text("utf-8"), {})
        if not (folder / "kafka").is_dir() and _docker():
            started = _in_docker()
            url.write_text(started, "utf-8")
            return Kafka(started, {})
        return own_kafka(folder / "kafka")


def own_kafka(folder: Path, *options: str) -> Kafka:
    """A local cluster in this folder, started or found running; who kills brokers starts one of their own."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing:
        unavailable("kafka", f"{' and '.join(missing)} not installed, which deploy/local/kafka.sh needs")
    made = local("start", folder, "--while", os.environ.get(_OWNER, str(os.getpid())), *options)
    if made.returncode:
        unavailable("kafka", made.stderr.strip())
    return Kafka((folder / "url").read_text("utf-8").strip(), _passwords(folder / "secrets"), folder)


def local(command: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs `deploy/local/kafka.sh`."""
    run = [str(LOCAL), command, "--folder", str(folder), *options]
    return subprocess.run(run, capture_output=True, text=True, timeout=300, check=False)


def unavailable(engine: str, reason: str) -> NoReturn:
    """Skips the test by the engine's name, or fails it where `REQUIRE` lists the engine."""
    if engine in os.environ.get("REQUIRE", "").split(","):
        pytest.fail(f"REQUIRE lists {engine}, but there is none: {reason}")
    pytest.skip(f"no {engine}: {reason}")


def _passwords(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text("utf-8").strip() for file in folder.iterdir()}


@contextmanager
def _one_at_a_time(name: str) -> Iterator[Path]:
    folder = Path(os.environ[_FOLDER])
    with (folder / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder


def _docker() -> bool:
    """Whether a Docker daemon answers on its socket."""
    place = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not place.startswith("unix://"):
        return bool(place)
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(place.removeprefix("unix://")) == 0


def _in_docker() -> str:
    """A broker in Docker, without authentication; testcontainers' own reaper ends it with the run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from testcontainers.kafka import KafkaContainer

        container = KafkaContainer("apache/kafka:4.3.0").with_kraft()
        container.start()
    return f"kafka://{container.get_bootstrap_server()}"
