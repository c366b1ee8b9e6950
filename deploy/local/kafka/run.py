"""Apache Kafka on loopback, for tests and for trying the exchange on it: KRaft, SCRAM-SHA-512, access lists.

    run.py start [--brokers 1|3] [--port PORT] [--folder FOLDER] [--while PID]
    run.py stop | status | url [--folder FOLDER]

`start` may be called again: what runs and answers is left alone, what was half started is stopped and started anew.
It returns when a client has logged in and listed the topics. Jars come by Maven into `.tools/kafka`; data, settings and
the passwords, made at random, stand in the folder (`build/services/kafka`), readable by its owner alone:

    secrets/admin  secrets/exchange  secrets/department   a password each; so are the users named
    url                                                   what `engines.log` takes
    broker-1/…                                            of each broker: its properties, data, output, process id

`admin` may do all. `exchange` may make topics and access lists, and what those lists then say. `department` may nothing
until somebody lets it. Controllers talk without a password, on loopback only. `--while PID` stops the brokers when that
process is gone.
"""

import argparse
import base64
import fcntl
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

VERSION = "4.3.0"
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
JARS = ROOT / ".tools" / "kafka" / VERSION
USERS = ("admin", "exchange", "department")
PATIENCE_S = 90  # until the brokers answer, on a busy machine too
STOP_S = 20


class LocalError(Exception):
    """Kafka cannot be started or stopped; the text says why and what to do."""


def main(arguments: Sequence[str]) -> int:
    """The command line; exit code 3 when something that it needs is missing or fails."""
    parser = argparse.ArgumentParser(prog="kafka.sh", description="Apache Kafka on loopback")
    parser.add_argument("command", choices=["start", "stop", "status", "url"])
    parser.add_argument("--brokers", type=int, choices=[1, 3], default=int(os.environ.get("KAFKA_BROKERS") or 1))
    parser.add_argument("--port", type=int, default=int(os.environ.get("KAFKA_PORT") or 0), help="of the first broker")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "services" / "kafka")
    parser.add_argument("--while", dest="owner", type=int, default=0, metavar="PID", help="stop when that process ends")
    given = parser.parse_args(arguments)
    folder: Path = given.folder.absolute()
    try:
        if given.command == "start":
            with _alone(folder):
                start(folder, given.brokers, given.port)
            if given.owner:
                _watch(folder, given.owner)
        elif given.command == "stop":
            with _alone(folder):
                stop(folder)
        elif not _running(folder):
            print("kafka: stopped")
            return 1
        print((folder / "url").read_text("utf-8").strip() if given.command != "stop" else "kafka: stopped")
    except LocalError as error:
        print(f"kafka.sh: {error}", file=sys.stderr)
        return 3
    return 0


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One start or stop at a time."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start(folder: Path, brokers: int, port: int) -> None:
    """Brings the brokers up, or leaves them as they are when they answer."""
    if len(_running(folder)) == _count(folder) > 0 and (folder / "url").exists() and _answers(folder):
        return
    stop(folder)
    java = shutil.which("java") or _no("there is no Java: install a JRE, 17 or newer (Debian: default-jre-headless)")
    _install()
    for last in (False, False, True):
        if not (folder / "formatted").exists():
            _clear(folder)
            _format(java, folder, brokers, port)
        try:
            _launch(java, folder)
        except LocalError:
            stop(folder)
            if last or port or not _in_use(folder):
                raise
        else:
            return
        (folder / "formatted").unlink()  # a port was taken between the choice and the start: others, from new


def stop(folder: Path) -> None:
    """Stops what runs: asked first, killed after `STOP_S`."""
    running = _running(folder)
    for sign, seconds in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, 10)):
        for process in running.values():
            _kill(process, sign)
        deadline = time.monotonic() + seconds
        while (running := _running(folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not running:
            return
    _no(f"these processes do not end: {sorted(running.values())}")


def _kill(process: int, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, sign)


def _no(text: str) -> NoReturn:
    raise LocalError(text)


def _install() -> None:
    """Kafka's jars, by Maven; a folder that is there is whole, since it was moved there at the end."""
    if JARS.is_dir():
        return
    maven = shutil.which("mvn") or _no("there is no Maven, which brings Kafka (Debian: maven)")
    draft = JARS.with_name(f"{VERSION}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    print(f"kafka: fetching Apache Kafka {VERSION} by Maven (once)", file=sys.stderr)
    copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={draft}"]
    made = subprocess.run([maven, "-B", "-q", "-f", str(HERE / "pom.xml"), *copy], stdout=sys.stderr, check=False)
    if made.returncode or not any(draft.glob(f"kafka_*-{VERSION}.jar")):
        shutil.rmtree(draft, ignore_errors=True)
        _no("Maven could not bring Kafka; see above")
    try:
        draft.rename(JARS)
    except OSError:  # another one was faster
        shutil.rmtree(draft, ignore_errors=True)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _format(java: str, folder: Path, brokers: int, port: int) -> None:
    """Ports, passwords, properties and empty data folders. A crash in it leaves no `formatted`: it is done again."""
    (folder / "secrets").mkdir(mode=0o700)
    passwords = {user: secrets.token_urlsafe(24) for user in USERS}
    for user, password in passwords.items():
        _write(folder / "secrets" / user, password + "\n")
    ports = _free_ports(brokers * 2, port)
    nodes = [
        {"id": at + 1, "port": ports[at], "controller": ports[brokers + at], "directory": _uuid()}
        for at in range(brokers)
    ]
    cluster = _uuid()
    _write(folder / "nodes.json", json.dumps(nodes))
    salts = {user: base64.b64encode(secrets.token_bytes(16)).decode() for user in USERS}
    scram = [f'SCRAM-SHA-512=[name={u},salt="{salts[u]}",iterations=4096,password="{passwords[u]}"]' for u in USERS]
    voters = ",".join(f"{n['id']}@127.0.0.1:{n['controller']}:{n['directory']}" for n in nodes)
    for node in nodes:
        place = folder / f"broker-{node['id']}"
        place.mkdir(mode=0o700)
        _write(place / "server.properties", _properties(place, node, nodes, passwords["admin"]))
        parts = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(place / "server.properties")]
        parts += ["--initial-controllers", voters]
        for one in scram:
            parts += ["--add-scram", one]
        # By a file: a password in the arguments would stand in the list of processes.
        _write(place / "format", _argument_file([*_options(), *parts]))
        made = subprocess.run([java, f"@{place / 'format'}"], capture_output=True, text=True, check=False)
        (place / "format").unlink()
        if made.returncode:
            _no(f"Kafka could not format {place}: {made.stdout[-500:]}{made.stderr[-1000:]}")
        _write(place / "start", _argument_file([*_options(), "kafka.Kafka", str(place / "server.properties")]))
    _write(folder / "url", "kafka://" + ",".join(f"127.0.0.1:{n['port']}" for n in nodes) + "\n")
    _write(folder / "formatted", VERSION + "\n")


def _options() -> list[str]:
    """Small, and quick to start rather than quick after hours."""
    memory = ["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
    return [*memory, f"-Dlog4j.configuration=file:{HERE / 'log4j.properties'}", "-cp", f"{JARS}/*"]


def _properties(place: Path, node: dict[str, Any], nodes: Sequence[dict[str, Any]], password: str) -> str:
    copies = min(3, len(nodes))
    sure = min(2, copies)
    login = f'org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="{password}";'
    return "\n".join(
        f"{key}={value}"
        for key, value in {
            "process.roles": "broker,controller",
            "node.id": node["id"],
            "controller.quorum.bootstrap.servers": ",".join(f"127.0.0.1:{n['controller']}" for n in nodes),
            "listeners": f"CLIENT://127.0.0.1:{node['port']},CONTROLLER://127.0.0.1:{node['controller']}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{node['port']},CONTROLLER://127.0.0.1:{node['controller']}",
            "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": login,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:admin;User:ANONYMOUS",  # nobody is anonymous but on the controllers' listener
            "log.dirs": place / "data",
            "auto.create.topics.enable": "false",
            "num.partitions": 1,
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": 8,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": sure,
            "default.replication.factor": copies,
            "min.insync.replicas": sure,
            "group.initial.rebalance.delay.ms": 0,
            # One that was killed may come back as soon as the controller has missed it for so long.
            "broker.session.timeout.ms": 4000,
            "broker.heartbeat.interval.ms": 1000,
            # A writer that died holds its readers up until its transaction has timed out: look for such ones often.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
            "log.cleaner.dedupe.buffer.size": 4 << 20,
            "num.network.threads": 2,
            "num.io.threads": 4,
        }.items()
    )


def _argument_file(arguments: Sequence[str]) -> str:
    """A file that `java @FILE` reads: each argument in quotes, backslashes and quotes escaped."""
    return "\n".join('"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in arguments) + "\n"


def _launch(java: str, folder: Path) -> None:
    """Starts the brokers and waits until a client has logged in; their output when they do not come up."""
    nodes = json.loads((folder / "nodes.json").read_text("utf-8"))
    for node in nodes:
        place = folder / f"broker-{node['id']}"
        with (place / "output").open("wb") as output:
            started = subprocess.Popen(
                [java, f"@{place / 'start'}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=place,
            )
        _write(place / "pid", str(started.pid))
        while not _command(started.pid) and started.poll() is None:  # just after its start it has no arguments yet
            time.sleep(0.01)
    deadline = time.monotonic() + PATIENCE_S
    while not all(_listens(node["port"]) for node in nodes):
        if len(_running(folder)) < len(nodes) or time.monotonic() > deadline:
            _no(f"Kafka did not start:\n{_output(folder)}")
        time.sleep(0.1)
    _check(folder, deadline)
    _permit(folder)


def _answers(folder: Path) -> bool:
    try:
        _check(folder, deadline=time.monotonic() + 15)
    except LocalError:
        return False
    return True


def _check(folder: Path, deadline: float) -> None:
    """A client logs in and lists the topics, in the time that is left; every broker is seen."""
    from kafka.errors import KafkaError

    while True:
        try:
            with _admin(folder) as client:
                client.list_topics()
                if len(client.describe_cluster()["brokers"]) == _count(folder):
                    return
                problem = "not all brokers are there"
        except (KafkaError, OSError, TimeoutError) as error:
            problem = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            _no(f"Kafka does not answer: {problem}\n{_output(folder)}")
        time.sleep(0.2)


@contextmanager
def _admin(folder: Path) -> Iterator[Any]:
    try:
        from kafka import KafkaAdminClient
    except ImportError:
        _no("kafka-python is not installed: run 'make .venv/.ready'")
    client = KafkaAdminClient(
        bootstrap_servers=(folder / "url").read_text("utf-8").strip().removeprefix("kafka://").split(","),
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username="admin",
        sasl_plain_password=(folder / "secrets" / "admin").read_text("utf-8").strip(),
        request_timeout_ms=10_000,
        bootstrap_timeout_ms=10_000,
    )
    try:
        yield client
    finally:
        client.close()


def _permit(folder: Path) -> None:
    """The exchange may make topics and access lists; all else it then gives itself by those lists."""
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

    operations = (ACLOperation.CREATE, ACLOperation.ALTER, ACLOperation.DESCRIBE)
    cluster = ResourcePattern(ResourceType.CLUSTER, "kafka-cluster")
    with _admin(folder) as client:
        lists = [ACL("User:exchange", "*", one, ACLPermissionType.ALLOW, cluster) for one in operations]
        if client.create_acls(lists)["failed"]:
            _no("Kafka took no access list for the exchange")


def _watch(folder: Path, owner: int) -> None:
    """Leaves a process behind that stops the brokers when `owner` is gone."""
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    while _alive(owner) and (folder / "formatted").exists():  # brokers that were killed may be started again
        time.sleep(0.5)
    if (folder / "formatted").exists():
        with _alone(folder):
            stop(folder)
    os._exit(0)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _count(folder: Path) -> int:
    try:
        return len(json.loads((folder / "nodes.json").read_text("utf-8")))
    except (OSError, ValueError):
        return 0


def _running(folder: Path) -> dict[str, int]:
    """The brokers that run, by their folder: a process id that belongs to another program by now is none."""
    found = {}
    for file in sorted(folder.glob("broker-*/pid")):
        text = file.read_text("utf-8")
        if text.isdigit() and str(file.parent / "start") in _command(int(text)):
            found[file.parent.name] = int(text)
    return found


def _command(process: int) -> str:
    """The command line of a process, empty when there is none or it has ended."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            return ""
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(process)], capture_output=True, text=True, check=False)
    return shown.stdout


def _output(folder: Path) -> str:
    """The last lines of what the brokers wrote."""
    texts = [(place / "output").read_text("utf-8", "replace")[-2000:] for place in sorted(folder.glob("broker-*"))]
    return "\n".join(texts)


def _in_use(folder: Path) -> bool:
    return any("Address already in use" in text for text in [_output(folder)])


def _listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int, first: int) -> list[int]:
    """Ports that nothing listens on: `first` and those after it, or any below those that clients are given."""
    if first:
        return list(range(first, first + count))
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 500):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    _no("there is no free port between 20000 and 32000")


def _uuid() -> str:
    """An id as Kafka writes it: 16 bytes in base64, which may not begin with a dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def _write(path: Path, text: str) -> None:
    """A file that its owner alone can read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
