"""Real servers for the demo: started by the repository's `deploy/local`, with a database and topics of its own.

What a demo made on them is noted in its folder, so that the next demo there takes away what a broken-off one left.
"""

import json
import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from exchange.errors import Invalid, Unavailable

LOCAL: Final = Path(__file__).resolve().parents[2] / "deploy" / "local"
OPA_FOLDER: Final = "opa"  # in the demo's folder: OPA's configuration, and the number of its process
NOTED: Final = "servers.json"  # in the demo's folder: what is to be dropped again
_NAME: Final = "demo"
_PATIENCE_S: Final = 900  # the first start fetches Kafka and builds OPA


@dataclass(frozen=True)
class Place:
    """A demo's own place on the servers: a database of this name, topics with this prefix."""

    database: str
    prefix: str


@contextmanager
def real_servers(
    folder: Path, claim: Callable[[Path], Path], given: Mapping[str, str], *, keep: bool
) -> Iterator[tuple[Path, dict[str, str]]]:
    """The demo's folder, claimed when all servers answer, and the settings of a site on Kafka, PostgreSQL and OPA of
    this machine, in a place that is dropped at the end, unless `keep`; `given` settings go first. Servers that ran
    before go on; others are stopped. OPA's is only built: it starts with the site, whose policies it pulls.

    Raises:
        Invalid: `demo_no_servers`: this is no clone of the repository.
        Unavailable: `demo_server`: one of them cannot be started, and why.
    """
    if not (LOCAL / "kafka.sh").is_file():
        raise Invalid("demo_no_servers", where=str(LOCAL))
    started: list[str] = []
    try:
        for server in ("postgres", "kafka"):
            if _run(server, "status").returncode:
                started.append(server)  # a start that fails half-way is stopped, too
                _must(server, "start")
        if "engines.policy" not in given:
            _must("opa")
        kafka, postgres = _Kafka.local(), _Postgres(_must("postgres", "url"))
        mark = secrets.token_hex(4)
        place = Place(f"{_NAME}_{mark}", f"{_NAME}-{mark}")
        _drop_noted(folder, kafka, postgres)
        folder = claim(folder)
        (folder / NOTED).write_text(json.dumps(asdict(place)), "utf-8")
        # A crash from here on: the next demo in the folder drops the place.
        postgres.run(f"CREATE DATABASE {place.database}")
        try:
            yield folder, {**kafka.settings(place), **postgres.settings(place, folder), **policy_engine(), **given}
        finally:
            if not keep:
                _drop_noted(folder, kafka, postgres)
    finally:
        if not keep:
            for server in started:
                _run(server, "stop")


def policy_engine() -> dict[str, str]:
    """The settings of a site that is served here and asks an OPA server of this machine, at ports that are free.

    It is patient: an OPA looks for policies every other second, and a busy machine is no reason to refuse.
    """
    serve, opa = _free_ports(2)
    return {
        "engines.policy": f"opa+http://127.0.0.1:{opa}",
        "policy.opa.spread_seconds": "60",
        "policy.opa.network_ms": "5000",
        "http.port": str(serve),
    }


def start_opa(folder: Path, address: str) -> None:
    """Starts OPA in the demo's folder, where `exchange policy opa-config` has written to `OPA_FOLDER`.

    Raises:
        Invalid, Unavailable: as `real_servers` does.
    """
    if not (LOCAL / "opa.sh").is_file():
        raise Invalid("demo_no_servers", where=str(LOCAL))
    _must("opa", "start", str(folder / OPA_FOLDER), "--addr", address)


def stop_opa(folder: Path) -> None:
    """Stops the OPA server of the demo in this folder, if it left one."""
    if (folder / OPA_FOLDER / "opa.pid").is_file():
        _run("opa", "stop", str(folder / OPA_FOLDER))


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def _drop_noted(folder: Path, kafka: "_Kafka", postgres: "_Postgres") -> None:
    try:
        place = Place(**json.loads((folder / NOTED).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return
    if place.database.startswith(f"{_NAME}_") and place.database.isidentifier():
        postgres.run(f"DROP DATABASE IF EXISTS {place.database} WITH (FORCE)")
    if place.prefix.startswith(f"{_NAME}-"):
        kafka.drop(place.prefix)
    (folder / NOTED).unlink()


@dataclass(frozen=True)
class _Kafka:
    """The local brokers: where they listen and where their passwords lie."""

    url: str
    secrets: Path

    @classmethod
    def local(cls) -> "_Kafka":
        return cls(_must("kafka", "url"), LOCAL.parents[1] / "build" / "services" / "kafka" / "secrets")

    def settings(self, place: Place) -> dict[str, str]:
        return {
            "engines.log": f"{self.url}/{place.prefix}",
            "kafka.security.protocol": "SASL_PLAINTEXT",
            "kafka.sasl.password": f"file:{self.secrets / 'exchange'}",
            "kafka.replication.factor": "1",
            "kafka.min.insync.replicas": "1",
        }

    def drop(self, prefix: str) -> None:
        """Deletes the topics of this prefix, and what was permitted on them."""
        with self._admin() as admin:
            own = [one["name"] for one in admin.describe_topics() if str(one["name"]).startswith(f"{prefix}.")]
            if own:
                admin.delete_topics(own)
            admin.delete_acls([_lists_of(name) for name in (*own, f"{prefix}.")])

    @contextmanager
    def _admin(self) -> Iterator[Any]:
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        try:
            client = KafkaAdminClient(
                bootstrap_servers=self.url.removeprefix("kafka://").split(","),
                security_protocol="SASL_PLAINTEXT",
                sasl_mechanism="SCRAM-SHA-512",
                sasl_plain_username="admin",
                sasl_plain_password=(self.secrets / "admin").read_text("utf-8").strip(),
            )
            try:
                yield client
            finally:
                client.close()
        except (KafkaError, OSError) as error:
            raise Unavailable("demo_server", where="kafka", detail=f"{type(error).__name__}: {error}") from None


def _lists_of(name: str) -> Any:  # noqa: ANN401 - kafka-python has no types
    """A filter that matches every access list of a topic of this name, or of a prefix of anything."""
    from kafka.admin import (
        ACLFilter,
        ACLOperation,
        ACLPermissionType,
        ACLResourcePatternType,
        ResourcePatternFilter,
        ResourceType,
    )

    of_prefix = name.endswith(".")
    kind = ResourceType.ANY if of_prefix else ResourceType.TOPIC
    pattern = ACLResourcePatternType.PREFIXED if of_prefix else ACLResourcePatternType.LITERAL
    pattern_filter = ResourcePatternFilter(kind, name, pattern)
    return ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, pattern_filter)


@dataclass(frozen=True)
class _Postgres:
    """The local server, by the address of a user that may make databases."""

    url: str

    def run(self, statement: str) -> None:
        """A statement outside of any transaction."""
        from exchange.control.database import open_engine, translated

        engine = open_engine(self.url)
        try:
            with translated(engine), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql(statement)
        finally:
            engine.dispose()

    def settings(self, place: Place, folder: Path) -> dict[str, str]:
        """The password goes into a file that only its owner reads: settings hold none."""
        from sqlalchemy import make_url

        address = make_url(self.url)
        file = folder / "postgresql.password"
        file.touch(mode=0o600)
        file.write_text(str(address.password or ""), "utf-8")
        plain = address._replace(password=None, database=place.database)
        return {
            "engines.control": plain.render_as_string(),
            "engines.state": "postgresql:",
            "engines.audit": "postgresql:",
            "postgresql.password": f"file:{file}",
        }


def _must(server: str, *words: str) -> str:
    """What the script printed last; `Unavailable("demo_server")` with what it says when it cannot."""
    done = _run(server, *words)
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.strip()]
        named = [line.partition(": ")[2] for line in told if line.startswith(f"{server}.sh: ")]
        raise Unavailable("demo_server", where=f"deploy/local/{server}.sh", detail=(named or told or ["-"])[-1])
    return "".join(done.stdout.strip().splitlines()[-1:])


def _run(server: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """`deploy/local/SERVER.sh WORDS`; it installs nothing but what the repository pins."""
    environment: Mapping[str, str] = {"EXCHANGE_POSTGRES_INSTALL": "no", **os.environ}
    command = [str(LOCAL / f"{server}.sh"), *words]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        detail = f"{' '.join(words[:1])} took longer than {_PATIENCE_S} s".lstrip()
        raise Unavailable("demo_server", where=f"deploy/local/{server}.sh", detail=detail) from None
