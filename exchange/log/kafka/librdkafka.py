"""The log's client on confluent-kafka (librdkafka), several times as fast: in the extra `librdkafka`."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any, Final, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
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
    together,
)
from exchange.log.kafka.cluster import Cluster

T = TypeVar("T")
_FENCED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError._UNKNOWN_PARTITION,  # added since it last asked
    }
)
_UNSETTLED: Final = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,  # a broker knows of the new leader later than who asks
        KafkaError._NOENT,  # "no leaders found": the broker that was asked has not heard of the topic
    }
)
# A question that was put to a broker which then died waits for that one: it is put again, to whoever leads by then.
_UNANSWERED: Final = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT})
_ATTEMPT_S: Final = 2.0
_REFUSED: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
_SILENT: Final = logging.getLogger("exchange.log.kafka.librdkafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_READERS: Final = 8
_AT_ONCE: Final = 1_000
_QUEUED_KIB: Final = 64 << 10
_UUID: Final = (1 << 64) - 1  # of either half, which librdkafka gives signed


class KafkaClient:
    """A `Client` by confluent-kafka."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._common: dict[str, Any] = {
            "bootstrap.servers": ",".join(cluster.servers),
            "client.id": "exchange",
            "security.protocol": cluster.protocol,
            "allow.auto.create.topics": False,
            "reconnect.backoff.max.ms": 1000,
            "topic.metadata.refresh.fast.interval.ms": 20,
            "error_cb": self._hear,
            "logger": _SILENT,  # every failure of it is one of our errors
            "log_level": 0,
        }
        if cluster.protocol != "PLAINTEXT":
            self._common |= {
                "sasl.mechanism": cluster.mechanism,
                "sasl.username": cluster.user,
                "sasl.password": cluster.password,
            }
        if cluster.ca:
            self._common["ssl.ca.location"] = cluster.ca
        self._refused: KafkaError | None = None
        self._lock = Lock()
        self._admin_client: AdminClient | None = None
        self._readers: list[_Reader] = []

    def topics(self) -> Mapping[str, int]:
        """See `Client.topics`."""
        with self._translated():
            attempt_s = min(self._cluster.patience_s, _ATTEMPT_S)
            found = self._settled(lambda: self._admin().list_topics(timeout=attempt_s), _UNANSWERED).topics
            return {name: len(one.partitions) for name, one in found.items()}

    def create(self, topic: str, partitions: int, settings: Mapping[str, str]) -> None:
        """See `Client.create`."""
        new = NewTopic(topic, partitions, self._cluster.replication, config=dict(settings))
        deadline = time.monotonic() + self._cluster.patience_s
        with self._translated():
            try:
                self._answer(self._admin().create_topics([new]))
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            while not self._led(topic):
                if time.monotonic() > deadline:
                    raise Unavailable("log_unavailable", where=topic, detail="no broker leads the new topic")
                time.sleep(0.005)

    def settings(self, topic: str) -> Mapping[str, str]:
        """See `Client.settings`."""
        with self._translated():
            resource = ConfigResource(ResourceType.TOPIC, topic)
            found = self._settled(lambda: self._answer(self._admin().describe_configs([resource])))
        return {name: str(one.value) for name, one in found.items()}

    def identity(self, topic: str) -> str:
        """See `Client.identity`."""
        with self._translated():
            found = self._settled(lambda: self._answer(self._admin().describe_topics(TopicCollection([topic]))))
            low, high = (
                part & _UUID
                for part in (found.topic_id.get_least_significant_bits(), found.topic_id.get_most_significant_bits())
            )
        return f"{high:016x}{low:016x}"

    def allow(self, principal: str, rights: Rights) -> None:
        """See `Client.allow`."""
        if not self._cluster.principal:
            return
        lists = [
            AclBinding(*_pattern(resource), principal, "*", AclOperation[operation], AclPermissionType.ALLOW)
            for resource, operations in rights.items()
            for operation in operations
        ]
        with self._translated():
            for answer in self._admin().create_acls(lists).values():
                answer.result(self._cluster.patience_s)

    def forbid(self, principal: str, resource: Resource) -> None:
        """See `Client.forbid`."""
        if self._cluster.principal:
            with self._translated():
                self._answer(self._admin().delete_acls([_lists(principal, resource)]))

    def allowed(self, resource: Resource) -> set[str]:
        """See `Client.allowed`."""
        if not self._cluster.principal:
            return set()
        with self._translated():
            found = self._admin().describe_acls(_lists(None, resource)).result(self._cluster.patience_s)
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
        with self._translated():
            found = self._admin().list_topics(topic, timeout=self._cluster.patience_s).topics[topic]
            return min((len(part.replicas) for part in found.partitions.values()), default=0)

    def ends(self, places: Sequence[Place], *, committed: bool) -> Mapping[Place, int]:
        """See `Client.ends`."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._found(places, OffsetSpec.latest(), level)

    def begin(self, place: Place) -> int:
        """See `Client.begin`."""
        return self._found([place], OffsetSpec.earliest(), IsolationLevel.READ_COMMITTED)[place]

    def read(self, place: Place, position: int, end: int, limit: int, size: int) -> Incoming:
        """See `Client.read`."""
        found: list[Any] = []
        deadline = time.monotonic() + self._cluster.patience_s
        with self._reader(place, position) as reader:
            while len(found) < limit and size > 0 and reader.position < end:
                # A `consume` of many waits until it has them all or its time is over: so one first, then what is there.
                polled = reader.consumer.consume(1, timeout=0.05)
                if polled and limit - len(found) > 1:
                    polled += reader.consumer.consume(min(_AT_ONCE, limit - len(found) - 1), timeout=0)
                for one in polled:
                    problem = one.error()
                    if problem is None:
                        found.append(one)
                        size -= len(one)
                        reader.position = _offset(one) + 1
                    elif problem.code() == KafkaError._PARTITION_EOF:
                        # The end of what is committed; only this tells that nothing but control records came.
                        reader.position = max(reader.position, _offset(one))
                    elif problem.fatal() or not problem.retriable():
                        raise KafkaException(problem)
                if not polled and time.monotonic() > deadline:
                    raise Unavailable("log_unavailable", where=f"{place[0]}/{place[1]}", detail="no answer to a read")
            going_on = reader.position
        return Incoming(
            [_offset(one) for one in found],
            [one.key() for one in found],
            [one.value() for one in found],
            [one.headers() or () for one in found],
            going_on,
        )

    def close(self) -> None:
        """See `Client.close`."""
        with self._lock:
            for reader in self._readers:
                reader.consumer.close()
            self._readers.clear()
            self._admin_client = None

    def _admin(self) -> AdminClient:
        with self._lock:
            if self._admin_client is None:
                self._admin_client = AdminClient(self._common)
            return self._admin_client

    def _answer(self, asked: Mapping[Any, Any]) -> Any:  # noqa: ANN401 - each question has its own type of answer
        (answer,) = asked.values()
        return answer.result(self._cluster.patience_s)

    def _led(self, topic: str) -> bool:
        found = self._admin().list_topics(topic, timeout=self._cluster.patience_s).topics[topic]
        return found.error is None and bool(found.partitions) and all(p.leader >= 0 for p in found.partitions.values())

    def _found(self, places: Sequence[Place], spec: OffsetSpec, level: IsolationLevel) -> Mapping[Place, int]:
        asked = {TopicPartition(*place): spec for place in places}
        patience_s = self._cluster.patience_s
        attempt_s = min(patience_s, _ATTEMPT_S)

        def ask() -> Mapping[Place, int]:
            answers = self._admin().list_offsets(asked, isolation_level=level, request_timeout=attempt_s)
            found = {(one.topic, one.partition): answer.result(patience_s).offset for one, answer in answers.items()}
            # Of a leader that is gone it may tell no error, and no offset either. That is never an empty partition.
            if any(offset < 0 for offset in found.values()):
                raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))
            return found

        with self._translated():
            return self._settled(ask, _UNSETTLED | _UNANSWERED)

    def _settled(self, ask: Callable[[], T], passing: Set[int] = _UNSETTLED) -> T:
        """The answer, once the brokers agree on who leads: not yet when a topic was just made or a broker died."""
        deadline = time.monotonic() + self._cluster.patience_s
        while True:
            try:
                return ask()
            except KafkaException as error:
                if error.args[0].code() not in passing or self._refused is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    @contextmanager
    def _reader(self, place: Place, position: int) -> Iterator["_Reader"]:
        """A consumer at this position, that nobody else uses; one that stands there already, where there is one."""
        with self._translated():
            with self._lock:
                fit = [one for one in self._readers if (one.place, one.position) == (place, position)]
                reader = (fit or self._readers)[-1] if self._readers else None
                if reader is not None:
                    self._readers.remove(reader)
            reader = reader or _Reader(self._common, self._cluster.prefix)
            try:
                if (reader.place, reader.position) != (place, position):
                    reader.consumer.assign([TopicPartition(*place, position)])
                    reader.place, reader.position = place, position
                yield reader
            except BaseException:
                reader.consumer.close()
                raise
            with self._lock:
                self._readers.append(reader)
                surplus = self._readers.pop(0) if len(self._readers) > _READERS else None
            if surplus is not None:
                surplus.consumer.close()

    def _hear(self, error: KafkaError) -> None:
        """Keeps a refusal to log in: librdkafka tells it here, tries again and ends with a timeout."""
        if error.code() in _REFUSED:
            self._refused = error

    def _told(self) -> KafkaException | None:
        """The refusal to log in, when one was told since the call began."""
        if self._admin_client is not None:
            self._admin_client.poll(0)
        return KafkaException(self._refused) if self._refused is not None else None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        self._refused = None
        try:
            yield
        except KafkaException as error:
            raise _failure(self._told() or error, self._cluster) from None
        except (OSError, TimeoutError) as error:
            detail = f"{type(error).__name__}: {error}"
            raise Unavailable("log_unavailable", where=self._cluster.where, detail=detail) from None


class _Reader:
    """A consumer and where it stands."""

    def __init__(self, common: Mapping[str, Any], prefix: str) -> None:
        self.place: Place | None = None
        self.position = 0
        self.consumer = Consumer(
            {
                **common,
                "group.id": f"{prefix}.readers",  # it must have one; nothing is kept there
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "check.crcs": True,
                "fetch.wait.max.ms": 5,
                "fetch.message.max.bytes": 8 << 20,
                "queued.max.messages.kbytes": _QUEUED_KIB,
            }
        )


class _Appender:
    """An `Appender` by confluent-kafka."""

    def __init__(self, common: Mapping[str, Any], cluster: Cluster, more: Mapping[str, Any] | None = None) -> None:
        self._cluster = cluster
        patience_ms = int(cluster.patience_s * 1000)
        transaction_ms = int(cluster.transaction_s * 1000)
        self._producer = Producer(
            {
                **common,
                **(more or {}),
                "acks": "all",
                "enable.idempotence": True,
                "delivery.timeout.ms": min(patience_ms, transaction_ms),
                "retry.backoff.ms": 5,
                "linger.ms": 0,
                "message.max.bytes": 18 << 20,
                "queue.buffering.max.kbytes": 1 << 20,
                "queue.buffering.max.messages": 100_000,
            }
        )

    def put(self, batches: Sequence[Outgoing]) -> Sequence[range]:
        """See `Appender.put`."""
        try:
            return together(self._sent(batches), batches)
        except (KafkaException, SystemError) as error:
            raise _failure(_cause(error), self._cluster) from None

    def close(self) -> None:
        """See `Appender.close`: librdkafka ends its threads when the object goes, which a dead broker may delay."""
        producer = self._producer
        del self._producer
        Thread(target=_discard, args=(producer,), daemon=True).start()

    def _sent(self, batches: Sequence[Outgoing]) -> list[tuple[int, int]]:
        """The positions of each batch's first and last message, all of them stored by the brokers."""
        at: dict[tuple[int, bool], int] = {}
        failed: list[KafkaError] = []
        produce = self._producer.produce

        def noted(key: tuple[int, bool]) -> Callable[[KafkaError | None, Any], None]:
            def report(error: KafkaError | None, message: Any) -> None:  # noqa: ANN401 - confluent-kafka's message
                if error is not None:
                    failed.append(error)
                else:
                    at[key] = message.offset()

            return report

        for number, one in enumerate(batches):
            last = len(one.values) - 1
            for index, (key, value, headers) in enumerate(zip(one.keys, one.values, one.headers, strict=True)):
                told = {} if 0 < index < last else {"on_delivery": noted((number, index == last))}
                self._full(
                    produce, one.topic, value, key, one.partition, timestamp=one.time_ms, headers=headers, **told
                )
        left = self._producer.flush(self._cluster.patience_s)
        if failed:
            raise KafkaException(failed[0])
        if left or len({number for number, _ in at}) < len(batches):
            detail = f"{left} messages were not taken in time"
            raise Unavailable("log_unavailable", where=self._cluster.where, detail=detail)
        spans = []
        for number, one in enumerate(batches):
            last_at = at[number, True]
            spans.append((at.get((number, False), last_at) if len(one.values) > 1 else last_at, last_at))
        return spans

    def _full(self, produce: Callable[..., None], *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - passed on
        """Produces, and waits while its buffer is full."""
        deadline = time.monotonic() + self._cluster.patience_s
        while True:
            try:
                produce(*arguments, **named)
            except BufferError:
                if time.monotonic() > deadline:
                    detail = "the brokers take nothing"
                    raise Unavailable("log_unavailable", where=self._cluster.where, detail=detail) from None
                self._producer.poll(0.05)
            else:
                return


class _Writer(_Appender):
    """A `Writer` by confluent-kafka."""

    def __init__(self, common: Mapping[str, Any], cluster: Cluster, transactional_id: str) -> None:
        transaction_ms = int(cluster.transaction_s * 1000)
        more = {"transactional.id": transactional_id, "transaction.timeout.ms": transaction_ms}
        super().__init__(common, cluster, more)
        try:
            self._producer.init_transactions(cluster.patience_s)
        except KafkaException as error:
            self.close()
            if error.args[0].code() in _FENCED:
                raise OutdatedError from None
            raise

    def transact(self, batches: Sequence[Outgoing]) -> Sequence[range]:
        """See `Writer.transact`."""
        try:
            self._producer.begin_transaction()
            spans = self._sent(batches)
            ranges = together(spans, batches)
        except InterleavedError:
            self._ended(self._producer.abort_transaction)
            raise
        except (KafkaException, SystemError) as error:
            cause = _cause(error)
            if cause.args[0].code() in _FENCED:
                raise OutdatedError from None
            raise _failure(cause, self._cluster) from None
        # From here on a failure may come after the broker has stored all of it.
        self._ended(self._producer.commit_transaction)
        return ranges

    def _ended(self, call: Callable[[float], None]) -> None:
        """Ends the transaction."""
        deadline = time.monotonic() + self._cluster.patience_s
        while True:
            try:
                call(max(0.1, deadline - time.monotonic()))
            except (KafkaException, SystemError) as error:
                cause = _cause(error).args[0]
                if cause.retriable() and time.monotonic() < deadline:
                    continue
                detail = f"{cause.name()}: {cause.str()}; stored or not, the mark will tell"
                raise Unavailable("log_unavailable", where=self._cluster.where, detail=detail) from None
            return


def _pattern(resource: Resource) -> tuple[ResourceType, str, ResourcePatternType]:
    pattern = ResourcePatternType.PREFIXED if resource.prefixed else ResourcePatternType.LITERAL
    return ResourceType[resource.kind.upper()], resource.name, pattern


def _lists(principal: str | None, resource: Resource) -> AclBindingFilter:
    return AclBindingFilter(*_pattern(resource), principal, "*", AclOperation.ANY, AclPermissionType.ALLOW)  # type: ignore[arg-type]  # None: anybody


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None  # noqa: S101 - of every message that a consumer gives
    return offset


def _cause(error: BaseException) -> KafkaException:
    """The error itself: confluent-kafka hides one that comes up while it reports deliveries in a SystemError."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, KafkaException):
        found = found.__cause__ or found.__context__
    if found is None:
        raise error
    return found


def _failure(error: KafkaException, cluster: Cluster) -> Exception:
    inner = error.args[0]
    return failure(inner.name(), inner.str(), cluster.where, cluster.user)


def _discard(producer: Producer) -> None:
    producer.purge()
    producer.flush(0)
