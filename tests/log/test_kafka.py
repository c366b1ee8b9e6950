"""The record log on a real Kafka: what the conformance suite cannot ask of every engine.

The client that plays the outsider (another principal, an operator, a stock reader) is confluent-kafka, used plainly.
"""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from exchange.envelope import Batch
from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable
from exchange.log.blocks import LARGEST_VALUE
from exchange.log.kafka.clients import Outgoing
from exchange.log.kafka.log import KafkaRecordLog
from tests import services
from tests.conformance.test_record_log import PARTITIONS, TOPIC, batch, values_from
from tests.log.kafka import open_log
from tests.log.memory import folder_in_memory

pytestmark = pytest.mark.kafka
ENGINES = ["kafka", "kafka+librdkafka"]


@pytest.fixture
def kafka() -> services.Kafka:
    """The run's cluster."""
    return services.kafka()


@pytest.fixture
def prefix() -> str:
    """Topics of this test alone."""
    return "t" + uuid.uuid4().hex[:12]


@pytest.fixture(params=ENGINES)
def log(request: pytest.FixtureRequest, kafka: services.Kafka, prefix: str) -> Iterator[KafkaRecordLog]:
    """A log with the topic, by each engine."""
    made = open_log(request.param, kafka, prefix)
    made.create(TOPIC, PARTITIONS)
    yield made
    made.close()


def client(kafka: services.Kafka, user: str = "admin", **more: Any) -> dict[str, Any]:
    """The configuration of a stock client."""
    plain = {"bootstrap.servers": kafka.url.removeprefix("kafka://"), "log_level": 0, "error_cb": lambda _: None}
    if not kafka.passwords:
        return {**plain, **more}
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"}
    return {**plain, **login, "sasl.username": user, "sasl.password": kafka.passwords[user], **more}


def until(so: Callable[[], bool]) -> None:
    """Waits until the brokers have told one another what an operator changed; pytest ends it when they never do."""
    while not so():
        time.sleep(0.01)


def ids(log: KafkaRecordLog, partition: int = 0) -> list[str]:
    """The event ids of a partition, in order."""
    found: list[str] = []
    position = 0
    while (stored := log.read(TOPIC, partition, position, 1_000)).positions:
        found += [log.headers(TOPIC, partition, at)["id"] for at in stored.positions]
        position = stored.next_position
    return found


ENOUGH = 200  # records


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_broker_loses_and_doubles_nothing(engine: str, own: services.Kafka) -> None:
    """Killed in the middle of appends: each of them is acknowledged or `Unavailable`; what was acknowledged is there
    when the broker is, and sending again what was not stores every record once.
    """
    prefix = "k" + uuid.uuid4().hex[:12]
    with closing(open_log(engine, own, prefix)) as patient:
        patient.create(TOPIC, PARTITIONS)
    log = open_log(engine, own, prefix, patience_s=1.5)
    acknowledged: list[int] = []
    failed: list[ExchangeError] = []
    begun, killed = threading.Event(), threading.Event()

    def publish() -> None:
        while True:
            try:
                mark = log.mark("src")
                some = range(mark + 1, mark + 51)
                log.append("src", some[-1], [batch(some[:30], 0), batch(some[30:], 1)])
            except Unavailable as error:  # before it was killed: a busy machine
                if killed.is_set():
                    failed.append(error)
                    return
            else:
                acknowledged.extend(some)
                if len(acknowledged) >= ENOUGH:  # not while the brokers still tell one another of the topics
                    begun.set()

    thread = threading.Thread(target=publish)
    thread.start()
    assert begun.wait(100)
    killed.set()
    own.kill()
    thread.join(60)
    assert [error.code for error in failed] == ["log_unavailable"]
    with pytest.raises(Unavailable):
        log.read(TOPIC, 0, 0, 10)
    own.start()
    again = open_log(engine, own, prefix, patience_s=60)
    mark = again.mark("src")
    assert mark >= acknowledged[-1]
    rest = range(mark + 1, mark + 51)
    again.append("src", rest[-1], [batch(rest[:30], 0), batch(rest[30:], 1)])
    found = [*ids(again, 0), *ids(again, 1)]
    assert sorted(int(one.removeprefix("src/")) for one in found) == list(range(1, rest[-1] + 1))
    log.close()
    again.close()


@pytest.fixture(scope="module")
def own() -> Iterator[services.Kafka]:
    """A broker of this file alone, which may be killed."""
    if os.environ.get("EXCHANGE_TEST_KAFKA"):
        pytest.skip("no kafka of our own: EXCHANGE_TEST_KAFKA names one that may not be killed")
    with folder_in_memory() as folder:
        yield services.own_kafka(folder / "kafka")
        services.local("stop", folder / "kafka")


WRITER = """
import json, os
from tests import services
from tests.conformance.test_record_log import TOPIC, batch
from tests.log.kafka import open_log
from exchange.errors import Invalid, Unavailable

url, passwords, prefix, engine, last = json.loads(os.environ["WRITER"])
log = open_log(engine, services.Kafka(url, passwords), prefix)
taken = []
while (mark := log.mark("src")) < last:
    try:
        log.append("src", mark + 1, [batch([mark + 1], 0)])
        taken.append(mark + 1)
    except (Invalid, Unavailable) as error:
        assert error.code in {"sequence_not_after_mark", "log_unavailable"}, error
print(json.dumps(taken))
"""


def test_two_processes_with_one_source(log: KafkaRecordLog, kafka: services.Kafka, prefix: str) -> None:
    """Each takes the source over from the other again and again; every sequence is taken by one of them at most."""
    given = [(kafka.url, kafka.passwords, prefix, engine, 12) for engine in ENGINES]
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WRITER],
            stdout=subprocess.PIPE,
            text=True,
            cwd=services.ROOT,
            env={**os.environ, "WRITER": json.dumps(one)},
        )
        for one in given
    ]
    took = [json.loads(writer.communicate()[0]) for writer in writers]
    assert set(took[0]).isdisjoint(took[1])
    assert ids(log) == [f"src/{number}" for number in range(1, 13)]
    assert log.mark("src") == 12


def test_a_writer_that_was_taken_over_stores_nothing_more(
    log: KafkaRecordLog, kafka: services.Kafka, prefix: str
) -> None:
    """The older of two logs notices that its mark is old, takes over in turn and refuses."""
    with_other = open_log("kafka", kafka, prefix)
    log.append("src", 1, [batch([1])])
    with_other.append("src", 5, [batch([5])])
    with pytest.raises(Invalid, match="sequence_not_after_mark"):
        log.append("src", 3, [batch([3])])
    log.append("src", 6, [batch([6])])
    assert ids(with_other) == ["src/1", "src/5", "src/6"]
    with_other.close()


def test_two_processes_with_a_source_each_keep_their_records_together(
    log: KafkaRecordLog, kafka: services.Kafka, prefix: str
) -> None:
    """The records of one append to a partition stand without another's between them, however many write there."""
    other = open_log("kafka+librdkafka", kafka, prefix)
    told: list[Sequence[int]] = []

    def publish(to: KafkaRecordLog, source: str) -> None:
        for at in range(5):
            some = range(at * 3000 + 1, at * 3000 + 3001)
            told.extend(to.append(source, some[-1], [batch(some, 0, source=source)]))

    threads = [threading.Thread(target=publish, args=one) for one in ((log, "src1"), (other, "src2"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(positions[-1] - positions[0] + 1 == len(positions) == 3000 for positions in told)
    assert len(told) == 10
    found = ids(log)
    for source in ("src1", "src2"):
        mine = [int(one.rpartition("/")[2]) for one in found if one.startswith(source)]
        assert mine == list(range(1, 15_001))
    other.close()


def raw_transaction(kafka: services.Kafka, prefix: str, name: str, values: int = 3) -> Producer:
    """A writer that has begun a transaction of its own, with messages in the topic."""
    config = {"transactional.id": f"{prefix}.{name}", "transaction.timeout.ms": 20_000}
    producer = Producer(client(kafka, "exchange", **config))
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(values):
        producer.produce(f"{prefix}.log.{TOPIC}", b"not yet", bytes(16), 0)
    producer.flush(30)
    return producer


def test_a_reader_sees_no_transaction_that_was_undone(log: KafkaRecordLog, kafka: services.Kafka, prefix: str) -> None:
    """Neither while it is open nor after it was undone; what stands before and after it is all there."""
    log.append("src", 1, [batch([1])])
    end = log.end(TOPIC, 0)
    producer = raw_transaction(kafka, prefix, "other")
    assert (ids(log), log.end(TOPIC, 0)) == (["src/1"], end)
    producer.abort_transaction(30)
    log.append("src", 2, [batch([2])])
    assert ids(log) == ["src/1", "src/2"]
    stored = log.read(TOPIC, 0, end, 10)
    assert list(stored.values) == [b"value 2"]
    with pytest.raises(Invalid, match="position_unknown"):
        log.headers(TOPIC, 0, end + 1)


def test_a_source_ends_what_its_dead_writer_had_begun(log: KafkaRecordLog, kafka: services.Kafka, prefix: str) -> None:
    """The next append of the same source does not wait for the transaction of a writer that died."""
    raw_transaction(kafka, prefix, "src")  # and is never heard of again
    log.append("src", 1, [batch([1])])
    assert ids(log) == ["src/1"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dead_writer_of_another_source_holds_nobody_up_for_long(
    engine: str, kafka: services.Kafka, prefix: str
) -> None:
    """What it had begun is undone by the broker, soon enough for the service to be back within ten seconds."""
    with closing(open_log(engine, kafka, prefix, patience_s=15)) as log:
        log.create(TOPIC, PARTITIONS)
        writer: Any = log._client.writer(f"{prefix}.gone")
        writer._producer.begin_transaction()
        place = kafka.cluster(prefix).topic(TOPIC)
        writer._sent([Outgoing(place, 0, 0, [bytes(16)], [bytes(6)], [[]])])  # and is never heard of again
        log.append("src", 1, [batch([1])])
        assert ids(log) == ["src/1"]


def test_an_offset_that_nobody_told_is_no_end(
    kafka: services.Kafka, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a partition whose leader has just died librdkafka may tell neither offset nor error: asked again, for it is
    neither an empty partition nor a lost record, nor a source of which nothing was taken.
    """
    plain, lost = AdminClient.list_offsets, list[int]()

    def told(self: AdminClient, asked: dict[TopicPartition, Any], **how: Any) -> Any:
        if not lost:
            return plain(self, asked, **how)
        lost.pop()
        return {place: SimpleNamespace(result=lambda _: SimpleNamespace(offset=-1001)) for place in asked}

    with closing(open_log("kafka+librdkafka", kafka, prefix)) as log:
        log.create(TOPIC, PARTITIONS)
        log.append("src", 1, [batch([1])])
        monkeypatch.setattr(AdminClient, "list_offsets", told)
        asked: list[Callable[[], object]] = [
            lambda: log.end(TOPIC, 0) > 0,
            lambda: len(log.read(TOPIC, 0, 0, 10).positions),
            lambda: log.mark("src"),
        ]
        for ask in asked:
            lost += [0, 0]
            assert ask() == 1
            assert not lost


def test_records_deleted_from_the_beginning_are_noticed(
    log: KafkaRecordLog, kafka: services.Kafka, prefix: str
) -> None:
    """An operator's `delete-records` is an alarm, for whoever reads there and for whoever asks for the end."""
    log.append("src", 9, [batch(range(1, 10))])
    admin = AdminClient(client(kafka))
    for done in admin.delete_records([TopicPartition(f"{prefix}.log.{TOPIC}", 0, 4)]).values():
        done.result(30)
    for call in (lambda: log.read(TOPIC, 0, 0, 10), lambda: log.end(TOPIC, 0)):
        with pytest.raises(Tampered, match="log_damaged"):
            call()
    assert list(log.read(TOPIC, 0, 4, 10).values) == [b"value %d" % number for number in range(5, 10)]


def test_a_topic_that_would_lose_records_is_refused(log: KafkaRecordLog, kafka: services.Kafka, prefix: str) -> None:
    """Retention or compaction of records, set by an operator: nothing is published there any more."""
    admin = AdminClient(client(kafka))
    for name, value in (("retention.ms", "86400000"), ("cleanup.policy", "compact")):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, f"{prefix}.log.{TOPIC}", incremental_configs=[entry])
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(30)
        until(lambda: log._client.settings(f"{prefix}.log.{TOPIC}")[name] == value)  # noqa: B023 - asked at once
        with pytest.raises(Invalid, match="kafka_topic_settings"):
            log.create(TOPIC, PARTITIONS)


def test_more_partitions_are_served(log: KafkaRecordLog, kafka: services.Kafka, prefix: str) -> None:
    """An operator adds a partition: what was there stays, the new one takes records, the old number is refused."""
    log.append("src", 1, [batch([1], 2)])
    admin = AdminClient(client(kafka))
    for done in admin.create_partitions([NewPartitions(f"{prefix}.log.{TOPIC}", PARTITIONS + 1)]).values():
        done.result(30)
    until(lambda: log.topics() == {TOPIC: PARTITIONS + 1})
    log.append("src", 2, [batch([2], PARTITIONS)])
    assert [values_from(log, part) for part in (2, PARTITIONS)] == [[b"value 1"], [b"value 2"]]
    with pytest.raises(Invalid, match="topic_partitions"):
        log.create(TOPIC, PARTITIONS)


def test_marks_outlive_compaction(log: KafkaRecordLog, kafka: services.Kafka, prefix: str) -> None:
    """The topic of the marks is compacted, and keeps the last mark of each source for a log that opens anew."""
    for at in range(1, 6):
        log.append("src", at, [batch([at])])
    resource = ConfigResource(ResourceType.TOPIC, f"{prefix}.marks")
    admin = AdminClient(client(kafka))
    (found,) = admin.describe_configs([resource]).values()
    assert found.result(30)["cleanup.policy"].value == "compact"
    again = open_log("kafka", kafka, prefix)
    assert (again.mark("src"), again.mark("other")) == (5, 0)
    again.close()


def test_marks_outlive_a_compaction_that_was_forced(kafka: services.Kafka, prefix: str) -> None:
    """The brokers really throw the older marks away (their positions are gone), and the last of each source is kept."""
    log = open_log("kafka+librdkafka", kafka, prefix)
    log.create(TOPIC, PARTITIONS)
    marks, admin = f"{prefix}.marks", AdminClient(client(kafka))
    wanted = {"segment.bytes": str(1 << 20), "segment.ms": "100", "min.cleanable.dirty.ratio": "0.0"}
    wanted |= {"max.compaction.lag.ms": "100", "min.compaction.lag.ms": "0", "delete.retention.ms": "0"}
    entries = [ConfigEntry(*one, incremental_operation=AlterConfigOpType.SET) for one in wanted.items()]
    resource = ConfigResource(ResourceType.TOPIC, marks, incremental_configs=entries)
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)
    number = sha256(b"src").digest()[0] % 4
    log.append("other", 1, [batch([1], source="other")])

    def left() -> list[int]:
        """The positions of the marks that are there."""
        mark = log.mark("src") + 1
        log.append("src", mark, [batch([mark])])
        end = log._client.ends([(marks, number)], committed=True)[marks, number]
        fresh = open_log("kafka+librdkafka", kafka, prefix)
        try:
            return list(fresh._client.read((marks, number), 0, end, 10_000, 64 << 20).positions)
        finally:
            fresh.close()

    until(lambda: (found := left())[0] > 0 or len(found) < found[-1] // 3)
    mark = log.mark("src")
    for engine in ENGINES:
        again = open_log(engine, kafka, prefix)
        assert (again.mark("src"), again.mark("other"), again.mark("none")) == (mark, 1, 0)
        again.close()
    log.close()


def test_a_log_whose_marks_are_gone_takes_nothing(log: KafkaRecordLog, kafka: services.Kafka, prefix: str) -> None:
    """Without its marks a log would take every record a second time."""
    log.append("src", 1, [batch([1])])
    admin = AdminClient(client(kafka))
    for done in admin.delete_topics([f"{prefix}.marks"]).values():
        done.result(30)
    until(lambda: f"{prefix}.marks" not in log._client.topics())
    again = open_log("kafka", kafka, prefix)
    for call in (lambda: again.mark("src"), lambda: again.append("src", 2, [batch([2])])):
        with pytest.raises(Tampered, match="log_damaged"):
            call()
    again.close()


def test_what_is_no_record_is_an_alarm(log: KafkaRecordLog, kafka: services.Kafka, prefix: str) -> None:
    """Somebody who may write to the topic writes something else."""
    producer = Producer(client(kafka))
    producer.produce(f"{prefix}.log.{TOPIC}", b"hello", b"key", 0)
    producer.flush(30)
    with pytest.raises(Tampered, match="log_damaged"):
        log.read(TOPIC, 0, 0, 10)


@pytest.mark.parametrize("engine", ENGINES)
def test_only_the_exchange_reads_and_writes(engine: str, kafka: services.Kafka, prefix: str) -> None:
    """A department's own account at the brokers reaches no topic of the exchange, by our client or by any other."""
    if not kafka.passwords:
        pytest.skip("no kafka with access lists: this one has no authentication")
    ours = open_log("kafka", kafka, prefix)
    ours.create(TOPIC, PARTITIONS)
    ours.append("src", 1, [batch([1])])
    theirs = open_log(engine, kafka, prefix, "department")
    assert theirs.topics() == {}
    with pytest.raises(Invalid, match="topic_unknown"):
        theirs.read(TOPIC, 0, 0, 10)
    with pytest.raises(Invalid, match="kafka_refused"):
        theirs.create(TOPIC, PARTITIONS)
    topic = f"{prefix}.log.{TOPIC}"
    admin = AdminClient(client(kafka, "department"))
    assert admin.list_topics(topic, timeout=30).topics[topic].error == KafkaError.TOPIC_AUTHORIZATION_FAILED
    consumer = Consumer(client(kafka, "department", **{"group.id": "x"}))
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert all(one.error() for one in consumer.consume(2, timeout=2))
    consumer.close()
    told: list[KafkaError | None] = []
    producer = Producer(client(kafka, "department"))
    producer.produce(topic, b"x", b"y", 0, on_delivery=lambda error, _: told.append(error))
    producer.flush(30)
    assert [error and error.code() for error in told] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    transaction = Producer(client(kafka, "department", **{"transactional.id": f"{prefix}.src"}))
    with pytest.raises(KafkaException) as caught:
        transaction.init_transactions(30)
    assert caught.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert ids(ours) == ["src/1"]
    theirs.close()
    ours.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wrong_password_is_told_as_such(engine: str, kafka: services.Kafka, prefix: str) -> None:
    """Not as brokers that are down; the password stands in no error."""
    if not kafka.passwords:
        pytest.skip("no kafka with access lists: this one has no authentication")
    wrong = services.Kafka(kafka.url, {"exchange": "wrong-password"})
    log = open_log(engine, wrong, prefix, patience_s=1.0)
    with pytest.raises(ExchangeError) as caught:
        log.topics()
    assert caught.value.code in {"kafka_refused", "log_unavailable"}  # a broker may also just hang up
    assert "exchange" in caught.value.facts.values() or "(as exchange)" in str(caught.value)
    assert "wrong-password" not in repr(caught.value)
    log.close()


def test_a_stock_consumer_reads_frames_and_headers(log: KafkaRecordLog, kafka: services.Kafka, prefix: str) -> None:
    """Key, Confluent frame, headers and time, as any client of Kafka gets them."""
    log.append("src", 2, [batch([1, 2], 1)])
    config: dict[str, Any] = {"group.id": "x", "isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = Consumer(client(kafka, **config))
    consumer.assign([TopicPartition(f"{prefix}.log.{TOPIC}", 1, 0)])
    messages = consumer.consume(2, timeout=30)
    assert [one.value() for one in messages] == [b"\0\0\0\0\x07value 1", b"\0\0\0\0\x07value 2"]
    assert [one.key() for one in messages] == [number.to_bytes(16, "big") for number in (1, 2)]
    assert [dict(one.headers() or ()) for one in messages] == [
        {"id": b"src/%d" % number, "time": b"2026-11-23T08:00:00.123456789Z", "seal": b"seal-src"} for number in (1, 2)
    ]
    assert {one.timestamp()[1] for one in messages} == {1_795_420_800_123}
    consumer.close()


def test_the_largest_record_goes_in_and_out(log: KafkaRecordLog) -> None:
    """16 MiB, beside small ones: what every log takes, although a broker's own limit is 1 MiB."""
    large = os.urandom(LARGEST_VALUE)
    tags = [bytes(16)] * 3
    log.append("src", 3, [Batch(TOPIC, 0, "src", "s", 7, 1, [1, 2, 3], tags, [b"a", large, b"b"])])
    assert [len(value) for value in values_from(log)] == [1, LARGEST_VALUE, 1]
    assert log.read(TOPIC, 0, 1, 1).values == [large]


@pytest.mark.parametrize("engine", ENGINES)
def test_nobody_at_the_address(engine: str, tmp_path: Path) -> None:
    """Brokers that are down are `Unavailable`, within the time that was given."""
    del tmp_path
    log = open_log(engine, services.Kafka("kafka://127.0.0.1:1", {}), "t", patience_s=0.3)
    for call in (log.topics, lambda: log.mark("src"), lambda: log.append("src", 1, [batch([1])])):
        with pytest.raises(Unavailable, match="log_unavailable"):
            call()
    log.close()
