"""The control events in Kafka, read as CloudEvents by a stock consumer and compared with the event store."""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from exchange.control import commands as c
from exchange.errors import Tampered
from tests import services
from tests.access.town import AUTHORITY, DATASET, DAY, OWNER, START_NS, Clock, KeptEngine, Town, build, opened
from tests.log.memory import folder_in_memory
from tests.log.test_kafka import ENGINES, client, until
from tests.wiring.test_kafka import settings

pytestmark = pytest.mark.kafka
READER = "department"  # an account that has nothing else


@dataclass
class Place:
    """A site on Kafka."""

    root: Path
    environment: dict[str, str]
    kafka: services.Kafka
    topic: str


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, engine: KeptEngine) -> Iterator[Place]:
    """A site whose mirror an auditor's account may read."""
    kafka, prefix = services.kafka(), "m" + uuid.uuid4().hex[:12]
    with folder_in_memory() as folder:
        environment = {
            **settings(kafka, request.param, prefix, folder),
            "EXCHANGE_KAFKA_CONTROL_READERS": f"User:{READER}",
        }
        build(folder / "site", engine, environment)
        yield Place(folder / "site", environment, kafka, f"{prefix}.control")


def mirrored(place: Place, user: str = "admin") -> list[Any]:
    """Every committed message of the mirror, in order, by confluent-kafka."""
    config = {"group.id": f"{place.topic}.test", "isolation.level": "read_committed", "enable.partition.eof": True}
    consumer = Consumer(client(place.kafka, user, **config))
    consumer.assign([TopicPartition(place.topic, 0, 0)])
    found: list[Any] = []
    while True:
        (one,) = consumer.consume(1, timeout=30)
        problem = one.error()
        if problem is not None:
            assert problem.code() == KafkaError._PARTITION_EOF, problem
            consumer.close()
            return found
        found.append(one)


def judge(place: Place, town: Town, user: str = "admin") -> None:
    """The mirror is the event store: each event once, in order, with all that it holds."""
    events, messages = town.exchange.control.after(0, 10_000), mirrored(place, user)
    assert len(messages) == len(events) > 0
    for event, one in zip(events, messages, strict=True):
        headers = {name: value.decode() for name, value in one.headers()}
        assert headers.pop("content-type") == "application/json"
        assert all(name.startswith("ce_") for name in headers)
        assert headers["ce_specversion"] == "1.0"
        assert headers["ce_source"] == "//exchange.invalid/test/control"
        assert (headers["ce_id"], int(headers["ce_sequence"])) == (str(event.position), event.position)
        assert (headers["ce_type"], headers["ce_subject"]) == (event.name, event.aggregate)
        assert (int(headers["ce_version"]), headers["ce_actor"]) == (event.version, event.actor)
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event.time_ns // 1_000)
        assert datetime.fromisoformat(headers["ce_time"][:26] + "+00:00") == moment
        assert (one.key().decode(), json.loads(one.value())) == (event.aggregate, event.data)
        assert not re.search(rb"(?<![0-9a-f])\d{17}[\dX](?![0-9a-f])", one.value())  # no citizen's id


def test_the_mirror_is_the_event_store(place: Place, engine: KeptEngine) -> None:
    """From the first event on, those that come while it runs too; kept for ever; the auditor's account reads it, and
    neither writes there nor does another read.
    """
    with opened(place.root, engine, Clock(START_NS + DAY), place.environment) as town:
        mirror = town.exchange.mirror
        assert mirror is not None
        assert mirror.look() == town.exchange.control.model().position
        assert mirror.catch_up() == town.exchange.control.model().position
        judge(place, town)
        with mirror.running():
            town.do(OWNER, c.OpenIntake(DATASET, "User:sender"))
            until(lambda: mirror.behind() == 0)
        town.do(OWNER, c.CloseIntake(DATASET))
        assert (mirror.behind(), mirror.catch_up(), mirror.catch_up(), mirror.behind()) == (1, 1, 0, 0)
        judge(place, town)
        admin = AdminClient(client(place.kafka))
        (found,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, place.topic)]).values()
        kept = found.result(30)
        assert (kept["retention.ms"].value, kept["cleanup.policy"].value) == ("-1", "delete")
        if place.kafka.passwords:
            judge(place, town, READER)
            told: list[Any] = []
            producer = Producer(client(place.kafka, READER))
            producer.produce(place.topic, b"{}", on_delivery=lambda error, _: told.append(error and error.code()))
            producer.flush(30)
            assert told == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
            mirror._readers = ()  # as after a start with other settings
            mirror.catch_up()
            until(lambda: not readable(place))


def readable(place: Place) -> bool:
    """Whether the reader's account may read the mirror."""
    try:
        return bool(mirrored(place, READER))
    except (AssertionError, KafkaException):
        return False


CHILD = """
import os, sys
from pathlib import Path
from exchange.wiring import Exchange
from exchange.settings import read_settings
from exchange.wiring.engines import database_of, kafka_log
from exchange.wiring.mirror import mirror_of
from exchange.control.control import Control
from exchange.control.store import SqlEventStore
from contextlib import ExitStack
with ExitStack() as stack:  # beside the process that owns the site: a second gateway
    settings = read_settings(Path(sys.argv[1]))
    database = database_of(settings, stack)
    log = kafka_log(settings, *settings.engine("log"))
    control = Control(SqlEventStore(database), None, None, lambda: 0)
    mirror = mirror_of(log, control, database, settings)
    import exchange.wiring.mirror as module
    module._BATCH = 3
    print("up", flush=True)
    while True:
        mirror.catch_up()
"""


def child(place: Place) -> "subprocess.Popen[bytes]":
    """A process that mirrors three events at a time, without an end."""
    environment = {**os.environ, **place.environment}
    words = [sys.executable, "-W", "ignore", "-c", CHILD, str(place.root)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, cwd=services.ROOT)


def test_several_that_mirror_and_are_killed_leave_no_gap_and_no_double(place: Place, engine: KeptEngine) -> None:
    """Two processes at once that each try to mirror everything, while commands go on and one after the other is
    killed: the mirror is the event store.
    """
    with opened(place.root, engine, Clock(START_NS + DAY), place.environment) as town:
        for pause in (0.2, 0.5):
            two = [child(place), child(place)]
            for process in two:
                assert process.stdout is not None
                assert process.stdout.readline() == b"up\n"
            for number in range(5):
                town.do(OWNER, c.OpenIntake(DATASET, f"User:u{pause}-{number}"))
            time.sleep(pause)
            for process in two:
                process.kill()
                process.communicate()
        mirror = town.exchange.mirror
        assert mirror is not None
        mirror.catch_up()
        judge(place, town)


def test_a_mirror_that_lost_events_is_an_alarm(place: Place, engine: KeptEngine) -> None:
    """Deleted from the beginning, by whoever may: `log_damaged`; commands go on all the same, and `behind` grows."""
    with opened(place.root, engine, Clock(START_NS + DAY), place.environment) as town:
        mirror = town.exchange.mirror
        assert mirror is not None
        mirror.catch_up()
        admin = AdminClient(client(place.kafka))
        for done in admin.delete_records([TopicPartition(place.topic, 0, 2)]).values():
            done.result(30)
        town.do(AUTHORITY, c.ExpireAgreements())
        town.do(OWNER, c.OpenIntake(DATASET, "User:sender"))
        with pytest.raises(Tampered, match="log_damaged"):
            mirror.catch_up()
        with mirror.running():
            until(lambda: mirror.problem is not None)
        assert mirror.behind() == 1
