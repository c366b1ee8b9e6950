"""Settings → engines by URL. Engines are named here and nowhere else."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property, partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.log import AuditLog
from exchange.audit.publication import Publication
from exchange.audit.store import AuditStore
from exchange.control.control import Control
from exchange.control.database import open_engine
from exchange.control.store import SqlEventStore
from exchange.errors import Invalid
from exchange.log import RecordLog
from exchange.log.seals import CommitMarks, SealStore
from exchange.log.server import SCHEME, is_server
from exchange.policy import PolicyEngine
from exchange.publish import PublishParts, readings, transactions
from exchange.settings import Settings, secret
from exchange.signing.keys import SigningKey, read_secret
from exchange.signing.pseudonyms import Actors
from exchange.signing.tags import SubjectTagger
from exchange.site import VKEY, check_room
from exchange.state import StateStore

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from exchange.audit.subjects import SubjectIndex
    from exchange.log.kafka.clients import Client
    from exchange.log.kafka.cluster import Cluster
    from exchange.policy.opa_server import OpaServer
    from exchange.policy.revisions import Shelf

OPA: Final = ("opa+http", "opa+https")  # schemes of the policy engine on OPA servers
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
        self.database, self._stack = database, stack

    @cached_property
    def room(self) -> Callable[[], None]:
        """Raises `Unavailable("disk_reserve")` where the data's disk has less free than is kept."""
        return partial(check_room, self.settings.path("data"), self.settings.number("storage.reserve_mb") << 20)

    @cached_property
    def actors(self) -> Actors:
        """Names of people in the audit log."""
        return actors_of(self.settings)

    @cached_property
    def publication(self) -> Publication:
        """The audit log as it is published."""
        vkey = self.settings.path(VKEY).read_text("utf-8").strip()
        return Publication(audit_store_of(self.settings, self.database), vkey)

    @cached_property
    def tagger(self) -> SubjectTagger:
        """Makes subject tags."""
        return SubjectTagger(read_secret(self.settings.secret_file("keys.subject")))

    @cached_property
    def control(self) -> Control:
        """The control plane."""
        first = int.from_bytes(self.random_bytes(6), "big")
        return Control(SqlEventStore(self.database), self.audit, self.actors, self.now_ns, self.room, first)

    @cached_property
    def log(self) -> RecordLog:
        """The record log, by the scheme of `engines.log`."""
        log = record_log_of(self.settings)
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
        elif scheme in OPA:
            from exchange.policy.opa_server import OpaServerEngine

            network_s = self.settings.number("policy.opa.network_ms") / 1_000
            engine = OpaServerEngine(opa_servers(self.settings), deadline_s, network_s, self.shelf)
        else:
            raise Invalid("engine_unknown", where="engines.policy", url=f"{scheme}:{path}")
        self._stack.callback(engine.close)
        return engine

    @cached_property
    def shelf(self) -> "Shelf":
        """The policy revisions that OPA servers shall get before they are the control plane's."""
        from exchange.policy.revisions import Shelf

        return Shelf()

    @cached_property
    def publish_parts(self) -> PublishParts:
        """What the PUBLISH path is made of."""
        transaction = transactions(self.database)
        return PublishParts(
            log=self.log,
            seals=SealStore(transaction),
            marks=CommitMarks(transaction, readings(self.database)),
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

        shared = is_server(self.database)
        file = self.settings.path("data/subjects.db")
        index = SubjectIndex(self.database if shared else open_engine(f"sqlite:///{file}"))
        self._stack.callback(index.close)
        return index


def record_log_of(settings: Settings) -> RecordLog:
    """The record log, by the scheme of `engines.log`."""
    scheme, rest = settings.engine("log")
    if scheme == "sqlite":
        from exchange.log.sqlite import SqliteRecordLog

        return SqliteRecordLog(settings.path(rest))
    if scheme in KAFKA:
        return kafka_log(settings, scheme, rest)
    raise Invalid("engine_unknown", where="engines.log", url=f"{scheme}:{rest}")


def opa_servers(settings: Settings) -> "list[OpaServer]":
    """The OPA servers of `engines.policy`, by opa-python-client; they are connected to when they are first asked.

    Raises:
        Invalid: `opa_missing` (that package), `setting_wrong`, `opa_insecure`, `secret_unreadable`.
    """
    if find_spec("opa_client") is None:
        raise Invalid("opa_missing", where="engines.policy", package="opa-python-client", extra="opa")
    from exchange.policy.opa_server import servers

    scheme, place = settings.engine("policy")
    ca = settings.text("policy.opa.ca")
    return servers(scheme, place, ca=str(settings.path(ca)) if ca else "", token=settings.secret("policy.opa.token"))


def kafka_log(settings: Settings, scheme: str, url: str) -> RecordLog:
    """The record log on Kafka; raises as `kafka_client`."""
    return import_module("exchange.log.kafka.log").KafkaRecordLog(*kafka_client(settings, scheme, url))  # type: ignore[no-any-return]


def kafka_client(settings: Settings, scheme: str, url: str, **more: float) -> tuple["Client", "Cluster"]:
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
        **more,
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


def audit_log_of(settings: Settings, database: "Engine", now_ns: Callable[[], int]) -> AuditLog:
    """The audit log, open; `audit.sequencer = "never"` needs its public key alone.

    Raises:
        Invalid: `engine_not_shared`: nobody else is there to follow; `origin_differs`: the settings are another log's;
            an unreadable key.
        Unavailable, Tampered: as `AuditLog`.
    """
    if settings.text("audit.sequencer") == "never":
        check_shared(settings, "control", "audit")
        audit = AuditLog(audit_store_of(settings, database), log_key(settings), now_ns)
    else:
        signer = SigningKey.load(settings.secret_file("keys.audit"))
        audit = AuditLog(audit_store_of(settings, database), signer, now_ns)
    if settings.text("origin") != audit.origin:
        audit.close()
        raise Invalid("origin_differs", where=settings.origins["origin"], log=audit.origin)
    return audit


def log_key(settings: Settings) -> str:
    """The audit log's public key (vkey), as auditors have it; `Invalid("key_unreadable")`."""
    try:
        return settings.path(VKEY).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("key_unreadable", where=VKEY, detail=type(error).__name__) from None


def check_shared(settings: Settings, *engines: str) -> None:
    """Whether these engines are on servers, for several processes at once; `Invalid("engine_not_shared")`."""
    for engine in engines:
        scheme, rest = settings.engine(engine)
        if scheme not in {SCHEME, *KAFKA}:
            raise Invalid("engine_not_shared", where=f"engines.{engine}", url=f"{scheme}:{rest}")


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
