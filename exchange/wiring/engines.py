"""Settings → engines by URL. Engines are named here and nowhere else."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property, partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.log import AuditLog
from exchange.audit.store import AuditStore
from exchange.control.control import Control
from exchange.control.database import open_engine
from exchange.control.store import SqlEventStore
from exchange.errors import Invalid
from exchange.log import RecordLog
from exchange.log.seals import CommitMarks, SealStore
from exchange.log.server import SCHEME, is_server
from exchange.policy import PolicyEngine
from exchange.publish import PublishParts, transactions
from exchange.settings import Settings, secret
from exchange.signing.keys import read_secret
from exchange.signing.pseudonyms import Actors
from exchange.signing.tags import SubjectTagger
from exchange.site import check_room
from exchange.state import StateStore

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from exchange.audit.subjects import SubjectIndex
    from exchange.log.kafka.clients import Client
    from exchange.log.kafka.cluster import Cluster

# Schemes of the record log on Kafka: the packages that each needs, the extra that brings them, the client's module.
KAFKA: Final = {
    "kafka": (("kafka", "crc32c"), "kafka", "python"),
    "kafka+librdkafka": (("confluent_kafka",), "librdkafka", "librdkafka"),
}


class Engines:
    """The engines of one open site, each opened when it is first needed and closed with `stack`."""

    def __init__(
        self,
        settings: Settings,
        database: "Engine",
        audit: AuditLog,
        now_ns: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        stack: ExitStack,
    ) -> None:
        self.settings, self.audit = settings, audit
        self.now_ns, self.random_bytes = now_ns, random_bytes
        self._database, self._stack = database, stack

    @cached_property
    def room(self) -> Callable[[], None]:
        """Raises `Unavailable("disk_reserve")` where the data's disk has less free than is kept."""
        return partial(check_room, self.settings.path("data"), self.settings.number("storage.reserve_mb") << 20)

    @cached_property
    def actors(self) -> Actors:
        """Names of people in the audit log."""
        return actors_of(self.settings)

    @cached_property
    def tagger(self) -> SubjectTagger:
        """Makes subject tags."""
        return SubjectTagger(read_secret(self.settings.secret_file("keys.subject")))

    @cached_property
    def control(self) -> Control:
        """The control plane."""
        return Control(SqlEventStore(self._database), self.audit, self.actors, self.now_ns, self.room)

    @cached_property
    def log(self) -> RecordLog:
        """The record log, by the scheme of `engines.log`."""
        scheme, rest = self.settings.engine("log")
        log: RecordLog
        if scheme == "sqlite":
            from exchange.log.sqlite import SqliteRecordLog

            log = SqliteRecordLog(self.settings.path(rest))
        elif scheme in KAFKA:
            log = kafka_log(self.settings, scheme, rest)
        else:
            raise Invalid("engine_unknown", where="engines.log", url=f"{scheme}:{rest}")
        self._stack.callback(log.close)
        return log

    @cached_property
    def state(self) -> StateStore:
        """The state, by the scheme of `engines.state`."""
        state: StateStore
        if self.settings.engine("state")[0] == SCHEME:
            from exchange.state.postgresql import PostgresStateStore

            state = PostgresStateStore(open_engine(*server_of(self.settings, "state")))
        else:
            from exchange.state.sqlite import SqliteStateStore

            state = SqliteStateStore(self.settings.path(behind(self.settings, "state", "sqlite")))
        self._stack.callback(state.close)
        return state

    @cached_property
    def engine(self) -> PolicyEngine:
        """The policy engine, by the scheme of `engines.policy`, with no bundle loaded."""
        scheme, path = self.settings.engine("policy")
        deadline_s = self.settings.number("policy.deadline_ms") / 1_000
        engine: PolicyEngine
        if scheme == "regorus":
            from exchange.policy.regorus import RegorusEngine

            engine = RegorusEngine(deadline_s)
        elif scheme == "opa":
            from exchange.policy.opa_binary import OpaBinaryEngine

            engine = OpaBinaryEngine(self.settings.path(path), deadline_s)
        else:
            raise Invalid("engine_unknown", where="engines.policy", url=f"{scheme}:{path}")
        self._stack.callback(engine.close)
        return engine

    @cached_property
    def publish_parts(self) -> PublishParts:
        """What the PUBLISH path is made of."""
        transaction = transactions(self._database)
        return PublishParts(
            log=self.log,
            seals=SealStore(transaction),
            marks=CommitMarks(transaction),
            transaction=transaction,
            audit=self.audit,
            tagger=self.tagger,
            now_ns=self.now_ns,
            batch_records=self.settings.number("publish.batch_records"),
            room=self.room,
        )

    @cached_property
    def subjects(self) -> "SubjectIndex":
        """The index that answers who saw a subject; brought up to date by whoever asks."""
        from exchange.audit.subjects import SubjectIndex

        index = SubjectIndex(self.settings.path("data/subjects.db"))
        self._stack.callback(index.close)
        return index


def kafka_log(settings: Settings, scheme: str, url: str) -> RecordLog:
    """The record log on Kafka; raises as `kafka_client`."""
    client, place = kafka_client(settings, scheme, url)
    return import_module("exchange.log.kafka.log").KafkaRecordLog(client, place)  # type: ignore[no-any-return]


def kafka_client(settings: Settings, scheme: str, url: str) -> tuple["Client", "Cluster"]:
    """The client that the scheme names, and the cluster; it connects when it is first used.

    Raises:
        Invalid: `kafka_missing` (a package), `setting_wrong`, `kafka_insecure`, `secret_unreadable`.
    """
    from exchange.log.kafka.cluster import cluster

    packages, extra, module = KAFKA[scheme]
    for package in packages:
        if find_spec(package) is None:
            raise Invalid("kafka_missing", where="engines.log", engine=scheme, package=package, extra=extra)
    protocol, ca = settings.text("kafka.security.protocol"), settings.text("kafka.ssl.ca.location")
    needs_login = protocol != "PLAINTEXT"
    place = cluster(
        url,
        protocol=protocol,
        mechanism=settings.text("kafka.sasl.mechanism"),
        user=settings.text("kafka.sasl.username") if needs_login else "",
        password=secret(settings.text("kafka.sasl.password"), settings.root) if needs_login else "",
        ca=str(settings.path(ca)) if ca else "",
        replication=settings.number("kafka.replication.factor"),
        min_insync=settings.number("kafka.min.insync.replicas"),
    )
    return import_module(f"exchange.log.kafka.{module}").KafkaClient(place), place


def database_of(settings: Settings, stack: ExitStack) -> "Engine":
    """The control database, by the scheme of `engines.control`."""
    if settings.engine("control")[0] == SCHEME:
        database = open_engine(*server_of(settings, "control"))
    else:
        database = open_engine("sqlite:///" + str(settings.path(behind(settings, "control", "sqlite"))))
    stack.callback(database.dispose)
    return database


def audit_store_of(settings: Settings, database: "Engine") -> AuditStore:
    """The audit log's store, by the scheme of `engines.audit`."""
    if settings.engine("audit") == (SCHEME, ""):
        from exchange.audit.postgresql import PostgresAuditStore

        if not is_server(database):  # an entry's outbox row commits with the event that it tells of
            raise Invalid("audit_without_control", where="engines.audit")
        return PostgresAuditStore(database)
    return EmbeddedAuditStore(settings.path(behind(settings, "audit", "file")), database)


def server_of(settings: Settings, engine: str) -> tuple[str, str]:
    """Address and password of an engine's server; with nothing behind the scheme it is the control database's."""
    scheme, rest = settings.engine(engine)
    if not rest and engine != "control":
        scheme, rest = settings.engine("control")
    return f"{scheme}:{rest}", settings.secret("postgresql.password")


def actors_of(settings: Settings) -> Actors:
    """Names of people in the audit log."""
    return Actors(read_secret(settings.secret_file("keys.actor")))


def behind(settings: Settings, engine: str, scheme: str) -> str:
    """What stands behind an engine's scheme; `Invalid("engine_unknown")` for a scheme that nothing serves."""
    found, rest = settings.engine(engine)
    if found != scheme:
        raise Invalid("engine_unknown", where=f"engines.{engine}", url=f"{found}:{rest}")
    return rest
