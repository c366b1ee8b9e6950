"""Stock producers send a dataset's records by a real Kafka; what arrives is read by a stock consumer and fastavro."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
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
from kafka import KafkaProducer

from exchange.control import commands as c
from exchange.control.tokens import new_token
from exchange.errors import ExchangeError, Invalid, Tampered
from exchange.log.kafka.intake import IntakeTopic
from exchange.wiring.desk import LocalDesk
from exchange.wiring.intake import IntakeWorker, Progress, open_kafka
from tests import services
from tests.access.town import (
    AUTHORITY,
    DATASET,
    DAY,
    OWNER,
    PERSONS,
    PUBLISHER,
    START_NS,
    Clock,
    KeptEngine,
    Town,
    _account,
    build,
    opened,
)
from tests.log.memory import folder_in_memory
from tests.log.test_kafka import ENGINES, client, until
from tests.wiring.test_kafka import settings

pytestmark = pytest.mark.kafka
PATIENCE_S = 150.0
USER = "department"
CHILD = """
import sys
from exchange.cli.main import main
from tests.access.town import Clock
sys.exit(main(sys.argv[2:], Clock(int(sys.argv[1]))))
"""


@dataclass
class Place:
    """A site on Kafka with an intake, and its schema as fastavro has it."""

    root: Path
    environment: dict[str, str]
    kafka: services.Kafka
    prefix: str
    schema_id: int = 0
    schema: Any = None
    tokens: dict[str, str] = field(default_factory=dict)
    starts: Iterator[int] = field(default_factory=lambda: iter(range(2, 1000)))

    @property
    def topic(self) -> str:
        """Where the department writes."""
        return f"{self.prefix}.in.{DATASET}"

    def frame(self, number: int, **more: Any) -> bytes:
        """An account as a stock Avro serializer frames it."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.schema, {**_account(number), **more})
        return b"\0" + self.schema_id.to_bytes(4, "big") + out.getvalue()

    def stored(self) -> list[int]:
        """The amounts of all committed records of the dataset's topic, read independently."""
        config: dict[str, Any] = {"group.id": "x", "isolation.level": "read_committed", "enable.partition.eof": True}
        consumer = Consumer(client(self.kafka, **config))
        topic = f"{self.prefix}.log.{DATASET}"
        found: list[int] = []
        left = len(consumer.list_topics(topic, 30).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in range(left)])
        while left:
            for one in consumer.consume(1000, timeout=1):
                problem, body = one.error(), one.value()
                if problem is not None:
                    assert problem.code() == KafkaError._PARTITION_EOF
                    left -= 1
                else:
                    assert body is not None
                    assert body[:1] == b"\0"
                    record: Any = fastavro.schemaless_reader(io.BytesIO(body[5:]), self.schema, None)
                    found.append(record["monthly_benefit_fen"])
        consumer.close()
        return sorted(found)

    @contextmanager
    def open(self, engine: KeptEngine) -> Iterator[Town]:
        """The site, open here, later than before."""
        clock = Clock(START_NS + next(self.starts) * DAY // 100)
        with opened(self.root, engine, clock, self.environment) as town:
            yield town

    def child(self, *words: str) -> "subprocess.Popen[bytes]":
        """The command as a process of its own."""
        start = START_NS + next(self.starts) * DAY // 100
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", CHILD, str(start), *words],
            env={
                **os.environ,
                **self.environment,
                "EXCHANGE_SITE": str(self.root),
                "EXCHANGE_TOKEN": "env:TOKEN",
                **self.tokens,
                "EXCHANGE_LANG": "en",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=services.ROOT,
        )


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, engine: KeptEngine) -> Iterator[Place]:
    """A site with twenty-four accounts, whose department's account at the brokers may write its intake."""
    kafka, prefix = services.kafka(), "i" + uuid.uuid4().hex[:12]
    with folder_in_memory() as folder:
        environment = settings(kafka, request.param, prefix, folder)
        build(folder / "site", engine, environment)
        made = Place(folder / "site", environment, kafka, prefix)
        with made.open(engine) as town:
            for who, name in ((PUBLISHER, "TOKEN"), (OWNER, "OWNER")):
                made.tokens[name], token, digest = new_token(os.urandom)
                town.do(AUTHORITY, c.IssueToken(who, token, digest, START_NS + 90 * DAY))
            town.do(OWNER, c.OpenIntake(DATASET, f"User:{USER}"))
            dataset = town.exchange.control.model().dataset(DATASET)
            made.schema_id = dataset.current.schema_id
            made.schema = fastavro.parse_schema(dict(town.exchange.contract(DATASET).schemas[-1].document))
            with closing(open_kafka(town.exchange.settings)) as log:
                IntakeTopic(log, DATASET).open(f"User:{USER}", 2)
        yield made


def produce(
    place: Place, messages: Sequence[tuple[int, bytes | None, bytes | None]], user: str = USER, **more: Any
) -> list[int]:
    """Sends messages (partition, key, value) with confluent-kafka; their offsets."""
    offsets: list[int] = []

    def told(error: KafkaError | None, message: Any) -> None:
        if error is not None:
            raise KafkaException(error)
        offsets.append(message.offset())

    producer = Producer(client(place.kafka, user, **{"enable.idempotence": True, **more}))
    for partition, key, value in messages:
        producer.produce(place.topic, value, key, partition, on_delivery=told)
    assert producer.flush(60) == 0
    return offsets


def noting(told: list[KafkaError | None]) -> Callable[[KafkaError | None, Any], None]:
    """A report of deliveries."""
    return lambda error, _: told.append(error)


def take(town: Town) -> list[Progress]:
    """All that is there now, through the worker."""
    told: list[Progress] = []
    with closing(open_kafka(town.exchange.settings)) as log:
        worker = IntakeWorker(LocalDesk(town.exchange, town.who(PUBLISHER)), log, told.append)
        worker.begin([])
        worker.round()
        assert not worker.round()
    return told


def test_stock_producers_records_arrive_once(place: Place, engine: KeptEngine) -> None:
    """By confluent-kafka, by kafka-python, in transactions, some of them undone: each committed record once, in its
    place's order; audited as the token's principal.
    """
    produce(place, [(n % 2, PERSONS[n % 12].encode(), place.frame(n)) for n in range(100, 140)])
    login: dict[str, Any] = {}
    if place.kafka.passwords:
        login = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": USER,
            "sasl_plain_password": place.kafka.passwords[USER],
        }
    plain = KafkaProducer(bootstrap_servers=place.kafka.url.removeprefix("kafka://"), acks="all", **login)
    for number in range(140, 150):
        plain.send(place.topic, place.frame(number))
    plain.flush(30)
    plain.close()
    config = {"transactional.id": f"{place.topic}-1"}
    producer = Producer(client(place.kafka, USER, **config))
    producer.init_transactions(30)
    for number, ends in (
        (150, producer.commit_transaction),
        (900, producer.abort_transaction),
        (151, producer.commit_transaction),
    ):
        producer.begin_transaction()
        producer.produce(place.topic, place.frame(number), None, 0)
        producer.flush(30)
        ends(30)
    with place.open(engine) as town:
        told = take(town)
        assert sum(one.published.taken for one in told) >= 52
        assert take(town) == []
        commits = [one for one in town.bodies("record_commit") if "/kafka/" in one["source"]]
        assert {one["actor"] for one in commits} == {town.exchange.actors.name(PUBLISHER)}
        assert town.exchange.log.mark(commits[0]["source"]) > 0
        town.exchange.audit.settle()
    assert place.stored() == [*range(1, 25), *range(100, 152)]


def test_what_is_no_record_is_a_dead_letter_with_its_place(place: Place, engine: KeptEngine) -> None:
    """Tombstone, garbage, unknown schema, another key, too large: each with why and where; its neighbours arrive."""
    bad: list[tuple[bytes | None, bytes | None, str]] = [
        (b"x", None, "intake_tombstone"),
        (None, b"garbage", "frame_malformed"),
        (None, b"\0\0\0\0\x63" + place.frame(1)[5:], "schema_id_unknown"),
        (None, place.frame(1)[:-1], "record_undecodable"),
        (b"another", place.frame(1), "intake_key_differs"),
        (None, b"\0" + bytes(950_000), "record_too_large"),
        (None, place.frame(1, person_id=""), "subject_missing"),
    ]
    messages: list[tuple[int, bytes | None, bytes | None]] = []
    for number, (key, value, _) in enumerate(bad):
        messages += [(0, None, place.frame(200 + number)), (0, key, value)]
    offsets = produce(place, messages)
    with place.open(engine) as town:
        take(town)
        letters = LocalDesk(town.exchange, town.who(OWNER)).dead_letters(DATASET)
    told = [(one["code"], one["file"], one["row"], one["sequence"]) for one in letters]
    assert told == [
        (code, f"{place.topic}/0", offset, offset + 1) for (*_, code), offset in zip(bad, offsets[1::2], strict=True)
    ]
    assert place.stored() == [*range(1, 25), *range(200, 207)]


def test_that_account_writes_there_and_nothing_else(place: Place, engine: KeptEngine) -> None:
    """It reads nothing, not even its intake, and writes nowhere else; when the intake is closed, not there either."""
    if not place.kafka.passwords:
        pytest.skip("no kafka with access lists: this one has no authentication")
    produce(place, [(0, None, place.frame(100))])
    other = f"{place.prefix}.in.ps.other"
    with place.open(engine) as town, closing(open_kafka(town.exchange.settings)) as log:
        IntakeTopic(log, "ps.other").open("User:auditor", 1)
    for topic in (f"{place.prefix}.log.{DATASET}", other, f"{place.prefix}.marks"):
        told: list[KafkaError | None] = []
        producer = Producer(client(place.kafka, USER))
        producer.produce(topic, b"x", b"y", 0, on_delivery=noting(told))
        producer.flush(30)
        assert [error and error.code() for error in told] == [KafkaError.TOPIC_AUTHORIZATION_FAILED], topic
    for topic in (f"{place.prefix}.log.{DATASET}", other, f"{place.prefix}.marks", place.topic):
        consumer = Consumer(client(place.kafka, USER, **{"group.id": "x"}))
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = consumer.consume(1, timeout=3)
        assert all(one.error() for one in found), topic
        consumer.close()
    with pytest.raises(KafkaException):
        Producer(client(place.kafka, USER, **{"transactional.id": f"{place.prefix}./control"})).init_transactions(30)
    with place.open(engine) as town, closing(open_kafka(town.exchange.settings)) as log:
        town.do(OWNER, c.CloseIntake(DATASET))
        IntakeTopic(log, DATASET).close()
        with pytest.raises(Invalid, match="intake_not_open"):
            take(town)
    with pytest.raises(KafkaException):
        produce(place, [(0, None, place.frame(101))])


def until_ready(process: "subprocess.Popen[bytes]") -> None:
    """Waits for the ready line."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert b"taking in" in line, line + process.stderr.read()


def until_stored(place: Place, count: int, process: "subprocess.Popen[bytes]") -> None:
    """Waits for so many records; when they do not come, says what the worker said."""
    ends = time.monotonic() + PATIENCE_S
    while (found := len(place.stored())) < count:
        if process.poll() is not None or time.monotonic() > ends:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"{found} of {count} records; the worker said: {out.decode()} {err.decode()}")
        time.sleep(0.1)


@pytest.mark.timeout(400)
def test_killed_workers_lose_and_double_nothing(place: Place) -> None:
    """SIGKILL at any moment, again and again, while a producer goes on; the last one ends in order on SIGTERM."""
    count = 2_000
    numbers = range(1000, 1000 + count)

    def send() -> None:
        for start in range(0, count, 100):
            some = numbers[start : start + 100]
            produce(place, [(n % 2, None, place.frame(n)) for n in some])

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send)
        for pause in (0.0, 0.1, 0.4):
            process = place.child("intake", "run")
            until_ready(process)
            time.sleep(pause)
            process.kill()
            process.communicate()
        sent.result()
    process = place.child("intake", "run", DATASET)
    until_ready(process)
    until_stored(place, 24 + count, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert place.stored() == [*range(1, 25), *numbers]


def test_two_workers_beside_a_process_that_serves(place: Place) -> None:
    """They speak to it through its socket and share the messages, each record once; the steward opens with the command,
    the mirror is in its figures; all end in order on SIGTERM.
    """
    serving = place.child("serve", "--port", "0")
    assert serving.stderr is not None
    url = re.search(rb"http://127.0.0.1:\d+", serving.stderr.readline())
    assert url is not None
    opened_again = place.child("intake", "open", DATASET, "--user", USER, "--token", "env:OWNER", "--json")
    out, err = opened_again.communicate(timeout=60)
    assert opened_again.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["topic"] == place.topic
    workers = [place.child("intake", "run") for _ in range(2)]
    for worker in workers:
        until_ready(worker)
    for start in range(5000, 5400, 40):
        produce(place, [(n % 2, None, place.frame(n)) for n in range(start, start + 40)])
    until(lambda: len(place.stored()) >= 24 + 400)

    def figures() -> bytes:
        with urllib.request.urlopen(url[0].decode() + "/metrics", timeout=30) as answer:
            return bytes(answer.read())

    until(lambda: b"exchange_control_mirror_behind_events 0.0" in figures())
    for process in [*workers, serving]:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert place.stored() == [*range(1, 25), *range(5000, 5400)]


def test_two_workers_do_no_harm(place: Place, engine: KeptEngine) -> None:
    """Two workers of one desk at the same messages: each record once."""
    produce(place, [(n % 2, None, place.frame(n)) for n in range(3000, 3200)])
    faults: list[BaseException] = []
    with place.open(engine) as town:
        desk = LocalDesk(town.exchange, town.who(PUBLISHER))

        def work() -> None:
            try:
                with closing(open_kafka(town.exchange.settings)) as log:
                    worker = IntakeWorker(desk, log, lambda _: None)
                    worker.begin([DATASET])
                    worker.round()
            except BaseException as error:  # noqa: BLE001 - the test shows it
                faults.append(error)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []
    assert place.stored() == [*range(1, 25), *range(3000, 3200)]


def test_lost_messages_are_an_alarm(place: Place, engine: KeptEngine) -> None:
    """Deleted before they were taken: told from where to where; deleted after that: nothing is amiss. A compacted
    topic is refused, more partitions are served, and a topic that was made anew is another source.
    """
    admin = AdminClient(client(place.kafka))
    produce(place, [(0, None, place.frame(n)) for n in range(100, 105)])
    with place.open(engine) as town:
        take(town)
        for done in admin.delete_records([TopicPartition(place.topic, 0, 5)]).values():
            done.result(30)
        produce(place, [(0, None, place.frame(n)) for n in range(105, 108)])
        take(town)
        produce(place, [(0, None, place.frame(n)) for n in range(108, 112)])
        for done in admin.delete_records([TopicPartition(place.topic, 0, 10)]).values():
            done.result(30)
        with pytest.raises(Tampered) as caught:
            take(town)
        assert (caught.value.code, caught.value.facts) == ("intake_lost", {"first": 8, "last": 9})
        for done in admin.delete_topics([place.topic]).values():
            done.result(30)
        with closing(open_kafka(town.exchange.settings)) as log:
            topic = IntakeTopic(log, DATASET)
            while topic.partitions():
                time.sleep(0.01)
            topic.open(f"User:{USER}", 1)
        produce(place, [(0, None, place.frame(112))])
        for done in admin.create_partitions([NewPartitions(place.topic, 2)]).values():
            done.result(30)
        produce(place, [(1, None, place.frame(113))])
        take(town)
        entry = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, place.topic, incremental_configs=[entry])
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(30)
        produce(place, [(0, b"k", place.frame(114))])
        with pytest.raises(ExchangeError, match="kafka_topic_settings"):
            take(town)
    assert place.stored() == [*range(1, 25), *range(100, 108), 112, 113]


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_kcat_sends(place: Place, engine: KeptEngine) -> None:
    """kcat, where the brokers ask for no login that it does not have (servers.md)."""
    if place.kafka.passwords:
        pytest.skip("kcat 1.7.1 cannot log in by SCRAM")
    servers, file = place.kafka.url.removeprefix("kafka://"), place.root.parent / "message"
    file.write_bytes(place.frame(100))  # a file is one message
    subprocess.run(["kcat", "-P", "-b", servers, "-t", place.topic, str(file)], check=True)
    with place.open(engine) as town:
        take(town)
    assert 100 in place.stored()
