"""A site on servers of its own: Kafka, PostgreSQL, the site's processes, a publisher and a reader of it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests import services, simulator
from tests.services_postgres import OwnServer, local_server
from tests.simulator import CASE, CHECKER, DATASET, MEMBERS, PURPOSE, SYSTEM, Site
from tests.test_simulator_postgres import settings_for
from tests.torture.servers import clients
from tests.torture.servers.victims import Broker, Database, PolicyEngine, Program, Victim

PARTITIONS: Final = 2
SOURCE: Final = "ny.renshe/steady"


class Ledger:
    """What a client wrote, read as it grows."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[dict[str, Any]] = []
        self._read = 0

    def news(self) -> list[dict[str, Any]]:
        """The lines that came since the last look; `lines` has all."""
        if not self.file.exists():
            return []
        with self.file.open("rb") as stream:
            stream.seek(self._read)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        new = [json.loads(line) for line in whole.splitlines()]
        self.lines += new
        return new


@dataclass
class Stack:
    """All of it. `victims` may be added to, by name: a process that a site has besides, another server."""

    site: Site
    kafka: services.Kafka
    database: str
    prefix: str
    port: int
    more: Mapping[str, str]
    victims: dict[str, Victim] = field(default_factory=dict)
    clients: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)  # of the servers, by their names
    served: dict[str, int] = field(default_factory=dict)  # the gateways' ports, where they are several

    @property
    def gateway(self) -> Program:
        """The first gateway."""
        (found,) = [one for one in self.programs if one.name == "gateway"]
        return found

    @property
    def programs(self) -> list[Program]:
        """The site's own processes."""
        return [one for one in self.victims.values() if isinstance(one, Program)]

    def begin(self, name: str, what: str, **orders: object) -> None:
        """Starts a client: `what` is publish or read; its orders may differ from the usual ones."""
        ledger = Ledger(self.site.folder / f"{name}.ledger")
        who = SYSTEM if what == "publish" else CHECKER
        ports = list(self.served.values()) or [self.port]
        usual = {"ports": ports, "ledger": str(ledger.file), "dataset": DATASET, "source": SOURCE}
        more = {"persons": list(MEMBERS), "batch": 5, "pause": 0.05, "partitions": PARTITIONS}
        asked = {"purpose": PURPOSE, "case": CASE, "token": self.site.token(who).removeprefix("file:")}
        command = [sys.executable, "-S", clients.__file__, what, json.dumps({**usual, **more, **asked, **orders})]
        self.ledgers[name] = ledger
        self.clients[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end(self, name: str) -> None:
        """Ends a client after the request that it is at."""
        process = self.clients.pop(name)
        process.send_signal(signal.SIGTERM)
        if process.wait(60):
            raise RuntimeError(f"the {name} has failed")

    def tidy(self) -> None:
        """Ends every client and every process of the site."""
        for process in self.clients.values():
            process.kill()
            process.wait()
        for program in self.programs:
            program.end()


@contextmanager
def stack(
    brokers: int = 1, scheme: str = "kafka", disks: Mapping[str, int] | None = None, **settings: str
) -> Iterator[Stack]:
    """As `prepared`, its gateway started."""
    with prepared(brokers, scheme, disks, None, **settings) as made:
        made.gateway.start()
        yield made


@contextmanager
def prepared(
    brokers: int = 1,
    scheme: str = "kafka",
    disks: Mapping[str, int] | None = None,
    more: Mapping[str, str] | None = None,
    **settings: str,
) -> Iterator[Stack]:
    """The servers and the site, its gateway not started yet, until the end of the block; nothing of it stays. `more` is
    of the gateway's environment.

    `disks` gives the broker or PostgreSQL a file system of its own, of so many MiB; PermissionError where this process
    may not mount one.
    """
    disks = disks or {}
    place = Path(tempfile.mkdtemp(prefix="ex-drill-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, place, ignore_errors=True)
        home = Path(tempfile.gettempdir()) / f"ex-pg-drill-{os.getpid()}"
        ending.callback(shutil.rmtree, home, ignore_errors=True)
        for name, folder, owner in (("broker", place / "kafka", "root"), ("postgres", home, "postgres")):
            if name in disks:
                ending.enter_context(_disk(folder, disks[name], owner))
        kafka = services.own_kafka(place / "kafka", "--brokers", str(brokers))
        ending.callback(services.local, "stop", place / "kafka")
        server = OwnServer(local_server(home).url, home)
        ending.callback(server.stop)
        url = ending.enter_context(_database(server))
        (place / "it").mkdir()
        made = _site(place / "it", kafka, url, brokers, scheme, settings, more or {})
        ending.callback(made.tidy)
        broker_victims = [Broker(kafka, number) for number in range(1, brokers + 1)]
        gateway = Program("gateway", ("serve", "--port", str(made.port)), made.site, made.more)
        made.folders = {"broker": place / "kafka", "postgres": home}
        every: list[Victim] = [*broker_victims, Database(server), gateway, PolicyEngine(gateway)]
        for victim in every:
            made.victims[victim.name] = victim
        yield made


@contextmanager
def _disk(folder: Path, size_mib: int, owner: str) -> Iterator[None]:
    """A file system of its own for a server's folder."""
    folder.mkdir(parents=True)
    options = f"size={size_mib}m,mode=700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PermissionError(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        shutil.chown(folder, owner)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _database(server: OwnServer) -> Iterator[str]:
    """A migrated database; it goes with its server, which may be down by then."""
    name = "drill"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {server.template()}")
    yield server.of(name)


def _site(
    folder: Path,
    kafka: services.Kafka,
    url: str,
    brokers: int,
    scheme: str,
    settings: Mapping[str, str],
    more: Mapping[str, str],
) -> Stack:
    prefix, copies = "f" + uuid.uuid4().hex[:8], min(brokers, 3)
    secret = folder / "kafka.password"
    secret.write_text(kafka.passwords["exchange"], "utf-8")
    engines = {
        **settings_for(url, folder),
        "engines_log": f"{scheme}:{kafka.url.removeprefix('kafka:')}/{prefix}",
        "kafka_security.protocol": "SASL_PLAINTEXT",
        "kafka_sasl.password": f"file:{secret}",
        "kafka_replication.factor": str(copies),
        "kafka_min.insync.replicas": str(min(copies, 2)),
        "publish_partitions": str(PARTITIONS),
        "policy_deadline_ms": "2000",  # the machine is busy; a policy that is stopped is found out all the same
        "http_stop_seconds": "2",
        **settings,
    }
    site = simulator.build(folder, **engines)
    return Stack(site, kafka, url, prefix, free_port(), more)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
