"""The servers that tests run on: given by URL, else in Docker, else started here; one of each for all workers.

| variable | means |
|---|---|
| `EXCHANGE_TEST_KAFKA` | `kafka://HOST:PORT` of brokers on this machine |
| `EXCHANGE_TEST_KAFKA_SECRETS` | folder with the passwords of its users; without it there is no authentication |
| `EXCHANGE_TEST_POSTGRES` | `postgresql://…` whose user may make databases (`services_postgres`) |
| `EXCHANGE_TEST_OPA` | path of an OPA binary (the engine `opa:` and the servers of its tests are started from it) |
| `REQUIRE` | names, with commas: a server named here and not to be had fails the tests instead of skipping them |

What is given is used or fails: nothing else is tried in its place. A container that does not start (no image, no room)
makes room for the local server; why stands in the reason of the skip or failure, where there is none either.
"""

import fcntl
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import pytest

from deploy.local.kafka import run
from exchange.log.kafka.cluster import Cluster, cluster

ROOT = Path(__file__).resolve().parents[1]
LOCAL = ROOT / "deploy" / "local" / "kafka.sh"
_FOLDER = "TEST_SERVICES_FOLDER"  # of the run, told to all its workers
_OWNER = "TEST_SERVICES_OWNER"  # the process whose end ends the servers
IMAGE = "apache/kafka:4.3.0"
OPA_IMAGE = "openpolicyagent/opa:1.22.2-static"
_REASONS: dict[str, str] = {}  # why an engine is not in Docker
T = TypeVar("T")
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
        for noted in folder.glob("*.docker"):
            _remove(noted)
        shutil.rmtree(folder, ignore_errors=True)

    return end


def choice(engine: str, given: Callable[[str], T], contained: Callable[[], T], here: Callable[[], T]) -> T:
    """A server by its variable, else in Docker where a daemon answers, else local; `here` skips or fails by itself."""
    url = os.environ.get(f"EXCHANGE_TEST_{engine.upper()}")
    if url:
        return given(url)
    if docker_answers():
        try:
            return contained()
        except Exception as error:  # noqa: BLE001 - whatever it is, the local server is next
            _REASONS[engine] = f"not in Docker: {type(error).__name__}: {error}"
    return here()


@functools.cache
def kafka() -> Kafka:
    """The run's cluster, started by whoever asks first; a skip that names what is missing where there is none."""
    return choice("kafka", _given_kafka, _contained_kafka, _local_kafka)


def _given_kafka(url: str) -> Kafka:
    place = os.environ.get("EXCHANGE_TEST_KAFKA_SECRETS")
    return Kafka(url, _passwords(Path(place)) if place else {})


def _contained_kafka() -> Kafka:
    """Without authentication."""
    return Kafka(in_docker("kafka", kafka_container), {})


def _local_kafka() -> Kafka:
    with _one_at_a_time("kafka.lock") as folder:
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
    words = [str(LOCAL), command, "--folder", str(folder), *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)


def required(engine: str) -> bool:
    """Whether `REQUIRE` lists the engine."""
    return engine in os.environ.get("REQUIRE", "").split(",")


def unavailable(engine: str, reason: str) -> NoReturn:
    """Skips the test by the engine's name, or fails it where `REQUIRE` lists the engine."""
    reason = "; ".join(filter(None, (reason, _REASONS.get(engine))))
    if required(engine):
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


def docker_answers() -> bool:
    """Whether a Docker daemon listens where `DOCKER_HOST` says."""
    place = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    try:
        if place.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(2)
                client.connect(place.path)
        else:
            socket.create_connection((place.hostname or "", place.port or 2375), timeout=2).close()
    except OSError:
        return False
    return True


def in_docker(engine: str, make: Callable[[], tuple[Any, Callable[[], str]]]) -> str:
    """The address of the run's container, started by whoever asks first and removed by the process that holds the run:
    testcontainers' own reaper would end it with the worker that started it.

    `make` gives a container, not started, and what tells its address when it is.
    """
    from testcontainers.core.config import testcontainers_config

    testcontainers_config.ryuk_disabled = True
    with _one_at_a_time(f"{engine}.lock") as folder:
        noted = folder / f"{engine}.docker"
        if not noted.is_file():
            container, address = make()
            try:
                container.start()
                noted.write_text(json.dumps([container.get_container_id(), address()]), "utf-8")
            except BaseException:
                container.stop()
                raise
        return str(json.loads(noted.read_text("utf-8"))[1])


def _remove(noted: Path) -> None:
    import docker  # type: ignore[import-untyped]  # testcontainers brings it

    try:
        docker.from_env().containers.get(json.loads(noted.read_text("utf-8"))[0]).remove(force=True, v=True)
    except docker.errors.DockerException as error:
        sys.stderr.write(f"a container of this run is left: {error}\n")


def kafka_container() -> tuple[Any, Callable[[], str]]:
    """A broker in KRaft mode. testcontainers' own `KafkaContainer` knows Confluent's image only."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    (port,) = run._free_ports(1, 0)
    given = {
        "node.id": "1",
        "process.roles": "broker,controller",
        "controller.quorum.voters": "1@localhost:9094",
        "controller.listener.names": "CONTROLLER",
        "listeners": "CLIENT://:9092,CONTROLLER://:9094",
        "advertised.listeners": f"CLIENT://127.0.0.1:{port}",  # told to clients, so the port is chosen before the start
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    }
    container = DockerContainer(IMAGE).with_bind_ports(9092, port)
    for name, value in given.items():
        container.with_env("KAFKA_" + name.replace(".", "_").upper(), value)
    container.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(90))
    return container, lambda: f"kafka://127.0.0.1:{port}"


@functools.cache
def opa() -> Path:
    """The OPA binary, whose servers are started by the tests themselves; a skip by name where there is none."""
    return choice("opa", Path, _contained_opa, _local_opa)


def _contained_opa() -> Path:
    """Taken out of OPA's image: a binary without libraries."""
    import io
    import tarfile

    import docker

    with _one_at_a_time("opa.lock") as folder:
        binary = folder / "opa"
        if not binary.is_file():
            client = docker.from_env()
            client.images.pull(OPA_IMAGE)
            made = client.containers.create(OPA_IMAGE)
            try:
                data = b"".join(made.get_archive("/opa")[0])
            finally:
                made.remove(force=True)
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                archive.extractall(folder / "unpacked", filter="data")
            (folder / "unpacked" / "opa").chmod(0o755)
            (folder / "unpacked" / "opa").rename(binary)
        return binary


def _local_opa() -> Path:
    found = shutil.which("opa", path=str(ROOT / ".tools" / "bin")) or shutil.which("opa")
    if found is None:
        unavailable("opa", "no binary: deploy/local/opa.sh builds one")
    tried = subprocess.run([found, "version"], capture_output=True, text=True, check=False, timeout=60)
    if tried.returncode:
        unavailable("opa", f"{found} does not run: {tried.stderr.strip()}")
    return Path(found)
