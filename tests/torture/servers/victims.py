"""The processes that may be struck, each by its name: how it is killed, started again, stopped and continued."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.services import Kafka
from tests.services_postgres import OwnServer
from tests.simulator import Site

_PATIENCE_S = 60.0


class Victim(Protocol):
    """One server or process of ours. `kill` and `pause` take effect before they return."""

    @property
    def name(self) -> str: ...

    def kill(self) -> None:
        """SIGKILL of all its processes."""

    def start(self) -> float:
        """Starts it again; when it was back, by the monotonic clock: a server when it answers its own clients, a
        process of the exchange when it is started, for its own start counts.
        """

    def pause(self) -> None:
        """SIGSTOP of all its processes."""

    def proceed(self) -> float:
        """SIGCONT; when that was."""


@dataclass
class Broker:
    """One broker of a local cluster."""

    kafka: Kafka
    number: int = 1
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def name(self) -> str:
        return "broker" if self.number == 1 else f"broker-{self.number}"

    @property
    def _folder(self) -> Path:
        assert self.kafka.folder is not None
        return self.kafka.folder / f"broker-{self.number}"

    def kill(self) -> None:
        send(signal.SIGKILL, self._pid)
        if self._process is not None:
            self._process.wait()
        _until(lambda: not _alive(self._pid), "the broker is still there")

    def start(self) -> float:
        java = shutil.which("java")
        assert java is not None
        with (self._folder / "output").open("ab") as output:
            command = [java, f"@{self._folder / 'start'}"]
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        (self._folder / "pid").write_text(str(self._process.pid), "utf-8")
        _until(self.answers, "the broker does not answer")
        return time.monotonic()

    def pause(self) -> None:
        send(signal.SIGSTOP, self._pid)

    def proceed(self) -> float:
        send(signal.SIGCONT, self._pid)
        return time.monotonic()

    @property
    def lives(self) -> bool:
        """Whether it has not ended by itself."""
        return _alive(self._pid)

    @property
    def address(self) -> str:
        """Where its clients reach it."""
        assert self.kafka.folder is not None
        nodes = json.loads((self.kafka.folder / "nodes.json").read_text("utf-8"))
        return f"127.0.0.1:{nodes[self.number - 1]['port']}"

    def answers(self) -> bool:
        """Whether a client of its own logs in."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({**admin_of(self.kafka), "bootstrap.servers": self.address})
        with suppress(KafkaException):
            return bool(admin.list_topics(timeout=1.0).brokers)
        return False

    @property
    def _pid(self) -> int:
        return int((self._folder / "pid").read_text("utf-8"))


@dataclass
class Database:
    """A PostgreSQL server with all its processes."""

    server: OwnServer
    name: str = "postgres"
    _paused: tuple[int, ...] = ()

    def kill(self) -> None:
        pids = self._pids()
        send(signal.SIGKILL, *pids)
        _until(lambda: not any(map(_alive, pids)), "processes of the server are still there")

    def start(self) -> float:
        self.server.start()
        return time.monotonic()

    def pause(self) -> None:
        first = self._pids()
        send(signal.SIGSTOP, first[0])  # from here on it starts no others
        self._paused = self._pids()
        send(signal.SIGSTOP, *self._paused)

    def proceed(self) -> float:
        send(signal.SIGCONT, *self._paused)
        return time.monotonic()

    @property
    def lives(self) -> bool:
        """Whether it has not ended by itself."""
        try:
            return _alive(self._pids()[0])
        except (OSError, IndexError, ValueError):
            return False

    def _pids(self) -> tuple[int, ...]:
        first = int((self.server.home / "data" / "postmaster.pid").read_text().split()[0])
        return (first, *below(first))


@dataclass
class Program:
    """A process of the exchange: `exchange WORDS` on a site. Another that the site needs is one more of these."""

    name: str
    words: tuple[str, ...]
    site: Site
    more: Mapping[str, str] = field(default_factory=dict)
    module: str = "exchange"
    process: "subprocess.Popen[bytes] | None" = None
    output: Path | None = None  # where its standard output goes, unless that is its log

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self.site.folder / f"{self.name}.log"

    def start(self) -> float:
        at = time.monotonic()
        with self.log.open("ab") as log, (self.output or self.log).open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.words],
                env=self.site.environment(None, self.more),
                cwd=self.site.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )
        return at

    def kill(self) -> None:
        if self.process is not None:
            children = tuple(below(self.process.pid))
            self.process.kill()
            self.process.wait()
            # A process of its own that outlives it (the policy's) is no part of this; it ends when its pipe does.
            _until(lambda: not any(map(_alive, children)), f"processes of {self.name} are still there")

    def pause(self) -> None:
        assert self.process is not None
        send(signal.SIGSTOP, self.process.pid)

    def proceed(self) -> float:
        assert self.process is not None
        send(signal.SIGCONT, self.process.pid)
        return time.monotonic()

    @property
    def lives(self) -> bool:
        """Whether it has not ended by itself."""
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """SIGTERM, and SIGKILL for what does not go."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class PolicyEngine:
    """The process in which a gateway asks the policy (regorus or OPA); the gateway itself starts it anew."""

    gateway: Program
    name: str = "policy"
    _paused: tuple[int, ...] = ()

    def kill(self) -> None:
        send(signal.SIGKILL, *self._pids())

    def start(self) -> float:
        return time.monotonic()

    def pause(self) -> None:
        self._paused = self._pids()
        send(signal.SIGSTOP, *self._paused)

    def proceed(self) -> float:
        send(signal.SIGCONT, *self._paused)
        return time.monotonic()

    def _pids(self) -> tuple[int, ...]:
        assert self.gateway.process is not None
        return tuple(below(self.gateway.process.pid))


def admin_of(kafka: Kafka) -> dict[str, Any]:
    """A confluent-kafka client's settings for the cluster's own administrator."""
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "admin"}
    quiet = {"log_level": 0, "socket.connection.setup.timeout.ms": 1_500}
    servers = kafka.url.removeprefix("kafka://")
    return {"bootstrap.servers": servers, **login, "sasl.password": kafka.passwords["admin"], **quiet}


def send(sign: signal.Signals, *pids: int) -> None:
    """A signal to processes, some of which may be gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, sign)


def below(pid: int) -> Iterator[int]:
    """The processes that this one has started, and those that they have."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    yield from found[1:]


def _alive(pid: int) -> bool:
    """Whether there is such a process, other than as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.02)
