"""The log's client on kafka-python: pure Python, in the extra `kafka`."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from typing import Any, Final

from kafka import IsolationLevel, KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetSpec, TopicPartition
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.cluster import ClusterMetadata
from kafka.errors import (
    FencedLeaderEpochError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NoError,
    NotLeaderForPartitionError,
    OffsetNotAvailableError,
    ProducerFencedError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    UnknownLeaderEpochError,
    UnknownTopicOrPartitionError,
)

from exchange.errors import Unavailable
from exchange.log.kafka.clients import (
    Incoming,
    InterleavedError,
    OutdatedError,
    Outgoing,
    Place,
    Resource,
    Rights,
    failure,
    in_turn,
    together,
)
from exchange.log.kafka.cluster import Cluster

_FENCED: Final = (ProducerFencedError, InvalidProducerEpochError, InvalidProducerIdMappingError)
# Just after a topic was made or a broker died the brokers do not agree yet on who leads.
_UNSETTLED: Final = (
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    OffsetNotAvailableError,
    FencedLeaderEpochError,
    UnknownLeaderEpochError,
    UnknownTopicOrPartitionError,
)
_FETCH: Final = 8 << 20
_READERS: Final = 8
_POLL_MS: Final = 10  # a poll that brings nothing takes all of it
_BACKOFF_MS: Final = 5  # with the default every transaction that follows another waits 100 ms
# kafka-python does not hand its clients' setting on to their metadata: each partition's first read would wait 100 ms.
ClusterMetadata.DEFAULT_CONFIG["retry_backoff_ms"] = _BACKOFF_MS


class KafkaClient:
    """A `Client` by kafka-python."""

    def __init__(self, cluster: Cluster) -> None:
        logger = logging.getLogger("kafka")
        if _HEARD not in logger.handlers:
            logger.addHandler(_HEARD)
        logger.setLevel(logging.ERROR)
        logger.propagate = False  # every failure of it is one of our errors
        self._cluster = cluster
        self._common: dict[str, Any] = {
            "bootstrap_servers": list(cluster.servers),
            "client_id": "exchange",
            "security_protocol": cluster.protocol,
            "retry_backoff_ms": _BACKOFF_MS,
            "request_timeout_ms": int(cluster.patience_s * 1000),
            "bootstrap_timeout_ms": int(cluster.patience_s * 1000),
            "reconnect_backoff_max_ms": 1000,
        }
        if cluster.protocol != "PLAINTEXT":
            self._common |= {
                "sasl_mechanism": cluster.mechanism,
                "sasl_plain_username": cluster.user,
                "sasl_plain_password": cluster.password,
            }
        if cluster.ca:
            self._common["ssl_cafile"] = cluster.ca
        self._admin, self._offsets = (_Shared(self._common, cluster.patience_s) for _ in range(2))
        self._lock = Lock()
        self._readers: list[_Reader] = []

    def topics(self) -> Mapping[str, int]:
        """See `Client.topics`."""
        with self._translated(), self._admin.use() as admin:
            return {one["name"]: len(one["partitions"]) for one in admin.describe_topics()}

    def create(self, topic: str, partitions: int, settings: Mapping[str, str]) -> None:
        """See `Client.create`."""
        copies = self._cluster.replication
        wanted = {"num_partitions": partitions, "replication_factor": copies, "configs": dict(settings)}
        with self._translated(), self._admin.use() as admin:
            with suppress(TopicAlreadyExistsError):
                admin.create_topics({topic: wanted}, timeout_ms=int(self._cluster.patience_s * 1000))
            deadline = time.monotonic() + self._cluster.patience_s
            while not _led(admin.describe_topics([topic])):
                if time.monotonic() > deadline:
                    raise Unavailable("log_unavailable", where=topic, detail="no broker leads the new topic")
                time.sleep(0.005)

    def settings(self, topic: str) -> Mapping[str, str]:
        """See `Client.settings`."""
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        deadline = time.monotonic() + self._cluster.patience_s
        with self._translated(), self._admin.use() as admin:
            while not (found := admin.describe_configs([resource], config_filter="all")["topic"][topic]):
                if time.monotonic() > deadline:  # kafka-python drops the broker's error
                    raise Unavailable("log_unavailable", where=topic, detail="the brokers tell no settings of it")
                time.sleep(0.01)
        return {name: str(one["value"]) for name, one in found.items()}

    def identity(self, topic: str) -> str:
        """See `Client.identity`."""
        with self._translated(), self._admin.use() as admin:
            (found,) = admin.describe_topics([topic])
            return str(found["topic_id"]).replace("-", "")

    def allow(self, principal: str, rights: Rights) -> None:
        """See `Client.allow`."""
        if not self._cluster.principal:
            return
        lists = [
            ACL(principal, "*", ACLOperation[operation], ACLPermissionType.ALLOW, ResourcePattern(*_pattern(resource)))
            for resource, operations in rights.items()
            for operation in operations
        ]
        with self._translated(), self._admin.use() as admin:
            for error in admin.create_acls(lists)["failed"]:
                raise error("the access list")

    def forbid(self, principal: str, resource: Resource) -> None:
        """See `Client.forbid`."""
        if not self._cluster.principal:
            return
        with self._translated(), self._admin.use() as admin:
            for _, _, error in admin.delete_acls([_lists(principal, resource)]):
                if error is not NoError:
                    raise error("the access list")

    def allowed(self, resource: Resource) -> set[str]:
        """See `Client.allowed`."""
        if not self._cluster.principal:
            return set()
        with self._translated(), self._admin.use() as admin:
            found, error = admin.describe_acls(_lists(None, resource))
            if error is not NoError:
                raise error("the access list")
            return {one.principal for one in found}

    def writer(self, transactional_id: str) -> "_Writer":
        """See `Client.writer`."""
        with self._translated():
            return _Writer(self._common, self._cluster, transactional_id)

    def appender(self) -> "_Appender":
        """See `Client.appender`."""
        with self._translated():
            return _Appender(self._common, self._cluster)

    def copies(self, topic: str) -> int:
        """See `Client.copies`."""
        with self._translated(), self._admin.use() as admin:
            (found,) = admin.describe_topics([topic])
            return min((len(part["replica_nodes"]) for part in found["partitions"]), default=0)

    def ends(self, places: Sequence[Place], *, committed: bool) -> Mapping[Place, int]:
        """See `Client.ends`."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._found(places, OffsetSpec.LATEST, level)

    def begin(self, place: Place) -> int:
        """See `Client.begin`."""
        return self._found([place], OffsetSpec.EARLIEST, IsolationLevel.READ_COMMITTED)[place]

    def read(self, place: Place, position: int, end: int, limit: int, size: int) -> Incoming:
        """See `Client.read`."""
        at = TopicPartition(*place)
        found: list[Any] = []
        deadline = time.monotonic() + self._cluster.patience_s
        with self._reader(at, position) as consumer:
            while len(found) < limit and size > 0:
                polled = consumer.poll(timeout_ms=_POLL_MS, max_records=limit - len(found)).get(at, [])
                found += polled
                size -= sum(len(one.value or b"") for one in polled)
                # An empty poll does not mean the end: the position does.
                if not polled and consumer.position(at) >= end:
                    break
                if polled and found[-1].offset + 1 >= end:
                    break
                if not polled and time.monotonic() > deadline:
                    raise Unavailable("log_unavailable", where=f"{place[0]}/{place[1]}", detail="no answer to a read")
            going_on = consumer.position(at)
        return Incoming(
            [one.offset for one in found],
            [one.key for one in found],
            [one.value for one in found],
            [one.headers for one in found],
            going_on,
        )

    def close(self) -> None:
        """See `Client.close`."""
        with self._lock:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
        self._admin.close()
        self._offsets.close()

    def _found(self, places: Sequence[Place], spec: Any, level: Any) -> Mapping[Place, int]:  # noqa: ANN401 - untyped
        asked = {TopicPartition(*place): spec for place in places}
        patience_ms = int(self._cluster.patience_s * 1000)
        deadline = time.monotonic() + self._cluster.patience_s
        with self._translated(), self._offsets.use() as admin:
            while True:
                try:
                    found = admin.list_partition_offsets(asked, isolation_level=level, timeout_ms=patience_ms)
                    break
                except _UNSETTLED:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
        return {(one.topic, one.partition): answer.offset for one, answer in found.items()}

    @contextmanager
    def _reader(self, at: TopicPartition, position: int) -> Iterator[Any]:
        """A consumer at this position, that nobody else uses; one that stands there already, where there is one."""
        with self._translated():
            reader = self._taken(at, position)
            try:
                if (reader.at, reader.position) != (at, position):
                    reader.consumer.assign([at])
                    reader.consumer.seek(at, position)
                yield reader.consumer
                reader.at, reader.position = at, reader.consumer.position(at)
            except BaseException:
                reader.close()
                raise
            with self._lock:
                self._readers.append(reader)
                surplus = self._readers.pop(0) if len(self._readers) > _READERS else None
            if surplus is not None:
                surplus.close()

    def _taken(self, at: TopicPartition, position: int) -> "_Reader":
        with self._lock:
            if self._readers:
                fit = [one for one in self._readers if (one.at, one.position) == (at, position)]
                chosen = fit[0] if fit else self._readers[-1]
                self._readers.remove(chosen)
                return chosen
        return _Reader(self._common)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        except (KafkaError, OSError, TimeoutError) as raised:
            refusal = _HEARD.refusal if _HEARD.at >= begun else None
            error = refusal if refusal is not None and isinstance(raised, KafkaTimeoutError) else raised
            raise failure(type(error).__name__, str(error), self._cluster.where, self._cluster.user) from None


class _Heard(logging.Handler):
    """Keeps the last refusal to log in: kafka-python only logs it, tries again and ends with a timeout."""

    refusal: KafkaError | None = None
    at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        for one in record.args if isinstance(record.args, tuple) else ():
            if isinstance(one, SaslAuthenticationFailedError):
                self.refusal, self.at = one, time.monotonic()


_HEARD: Final = _Heard()


class _Shared:
    """A client for one question at a time, made when it is first needed and anew after a failure."""

    def __init__(self, common: Mapping[str, Any], patience_s: float) -> None:
        self._common, self._patience_s, self._lock = common, patience_s, Lock()
        self._client: Any = None

    @contextmanager
    def use(self) -> Iterator[Any]:
        """The client, for the caller alone; `TimeoutError` where others ask all the time, and get no answer."""
        with in_turn(self._lock, self._patience_s):
            if self._client is None:
                self._client = KafkaAdminClient(**self._common)
            try:
                yield self._client
            except BaseException:
                client, self._client = self._client, None
                _quietly(client.close)
                raise

    def close(self) -> None:
        """Gives its connections back."""
        with self._lock:
            if self._client is not None:
                _quietly(self._client.close)
            self._client = None


class _Reader:
    """A consumer and where it stands."""

    def __init__(self, common: Mapping[str, Any]) -> None:
        self.at: TopicPartition | None = None
        self.position = 0
        self.consumer = KafkaConsumer(
            **common,
            metrics_enabled=False,
            isolation_level="read_committed",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=_FETCH,
            fetch_max_bytes=4 * _FETCH,
            fetch_max_wait_ms=5,
        )

    def close(self) -> None:
        """Gives its connections back."""
        _quietly(self.consumer.close, autocommit=False, timeout_ms=1000)


class _Appender:
    """An `Appender` by kafka-python."""

    def __init__(self, common: Mapping[str, Any], cluster: Cluster, **more: object) -> None:
        self._cluster = cluster
        patience_ms = int(cluster.patience_s * 1000)
        self._producer = KafkaProducer(
            **common,
            **more,
            metrics_enabled=False,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=patience_ms + 1000,
            max_block_ms=patience_ms,
            max_request_size=18 << 20,
            batch_size=512 << 10,
            linger_ms=0,
            allow_auto_create_topics=False,
        )

    def put(self, batches: Sequence[Outgoing]) -> Sequence[range]:
        """See `Appender.put`."""
        try:
            return together(self._sent(batches), batches)
        except (KafkaError, OSError, ValueError) as error:
            raise failure(type(error).__name__, str(error), self._cluster.where, self._cluster.user) from None

    def close(self) -> None:
        """See `Appender.close`: a producer waits for its brokers, so it does that on a thread of its own."""
        Thread(target=_close, args=(self._producer, self._cluster.patience_s), daemon=True).start()

    def _sent(self, batches: Sequence[Outgoing]) -> list[tuple[int, int]]:
        """The positions of each batch's first and last message, all of them stored by the brokers."""
        send = self._producer.send
        ends = []
        for one in batches:
            sent = [
                send(one.topic, value, key, headers, one.partition, one.time_ms)
                for key, value, headers in zip(one.keys, one.values, one.headers, strict=True)
            ]
            ends.append((sent[0], sent[-1]))
        self._producer.flush(timeout=self._cluster.patience_s)
        return [(first.get(0).offset, last.get(0).offset) for first, last in ends]


class _Writer(_Appender):
    """A `Writer` by kafka-python."""

    def __init__(self, common: Mapping[str, Any], cluster: Cluster, transactional_id: str) -> None:
        transaction_ms = int(cluster.transaction_s * 1000)
        super().__init__(common, cluster, transactional_id=transactional_id, transaction_timeout_ms=transaction_ms)
        try:
            self._producer.init_transactions()
        except BaseException as error:
            self.close()
            if isinstance(error, _FENCED):
                raise OutdatedError from None
            raise

    def transact(self, batches: Sequence[Outgoing]) -> Sequence[range]:
        """See `Writer.transact`."""
        try:
            self._producer.begin_transaction()
            spans = self._sent(batches)
            ranges = together(spans, batches)
        except InterleavedError:
            self._bounded(self._producer.abort_transaction)
            raise
        except (*_FENCED, ValueError):  # ValueError: a partition that was added since it last asked
            raise OutdatedError from None
        except (KafkaError, OSError) as error:
            raise failure(type(error).__name__, str(error), self._cluster.where, self._cluster.user) from None
        # From here on a failure may come after the broker has stored all of it.
        self._bounded(self._producer.commit_transaction)
        return ranges

    def _bounded(self, call: Callable[[], None]) -> None:
        """Ends the transaction; kafka-python itself waits for a dead broker without end."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - told to the caller's thread
                failures.append(error)

        thread = Thread(target=run, daemon=True)
        thread.start()
        thread.join(self._cluster.patience_s)
        if thread.is_alive():
            failures.append(KafkaTimeoutError("no answer to the end of a transaction"))
        for error in failures:
            detail = f"{type(error).__name__}: {error}; stored or not, the mark will tell"
            raise Unavailable("log_unavailable", where=self._cluster.where, detail=detail) from None


def _close(producer: Any, patience_s: float) -> None:  # noqa: ANN401 - kafka-python has no types
    for _ in range(3):  # what it could not send fails when its time is over; only then does it close
        try:
            producer.close(timeout=patience_s)
        except KafkaError:
            continue
        return


def _quietly(call: Callable[..., Any], **arguments: Any) -> None:  # noqa: ANN401 - kafka-python has no types
    with suppress(KafkaError, OSError, RuntimeError):
        call(**arguments)


def _pattern(resource: Resource) -> tuple[Any, str, Any]:
    pattern = ACLResourcePatternType.PREFIXED if resource.prefixed else ACLResourcePatternType.LITERAL
    return ResourceType[resource.kind.upper()], resource.name, pattern


def _lists(principal: str | None, resource: Resource) -> ACLFilter:
    what = ResourcePatternFilter(*_pattern(resource))
    return ACLFilter(principal, "*", ACLOperation.ANY, ACLPermissionType.ALLOW, what)


def _led(topics: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every partition of these topics has a broker that takes records."""
    return all(
        not one["error_code"] and one["partitions"] and all(part["leader_id"] >= 0 for part in one["partitions"])
        for one in topics
    )
