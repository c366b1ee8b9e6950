"""The mirror of the control events on a model of the brokers: once each, in order, whoever mirrors."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url

from exchange.api.metrics import Metrics
from exchange.control import commands as c
from exchange.control.control import Control
from exchange.control.database import open_engine
from exchange.errors import Invalid, Tampered
from exchange.log.kafka.clients import Resource
from exchange.log.kafka.control import SOURCE, ControlTopic
from exchange.log.kafka.log import KafkaRecordLog
from exchange.wiring import mirror as room
from exchange.wiring.figures import figures
from exchange.wiring.mirror import ControlMirror, mirror_of
from tests.access.town import DATASET, OWNER, Town
from tests.log.kafka import modelled_log
from tests.log.kafka_model import Cluster
from tests.log.test_kafka import until
from tests.services_postgres import Server

TOPIC = "exchange.control"


@pytest.fixture
def log(folder: Path) -> Iterator[KafkaRecordLog]:
    """A log on the model."""
    made = modelled_log(folder / "kafka")
    yield made
    made.close()


def model(log: KafkaRecordLog) -> Cluster:
    """The model behind it."""
    return log.client._cluster  # type: ignore[attr-defined, no-any-return]


def mirror(town: Town, log: KafkaRecordLog, readers: tuple[str, ...] = ()) -> ControlMirror:
    """A process's mirror of the town's events."""
    topic = ControlTopic(log, town.exchange.settings.text("origin"))
    return ControlMirror(topic, town.exchange.control, town.exchange.database, readers)


def positions(log: KafkaRecordLog) -> list[int]:
    """Of the events in the topic, in order."""
    (partition,) = model(log).topics[TOPIC]
    stored = [one for one in partition.entries if one.value is not None and one.transaction.state == "stored"]
    return [int(dict(one.headers)["ce_id"]) for one in stored]


def test_every_event_once_in_order(
    town: Town, log: KafkaRecordLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches, each a transaction; by two processes in turn; what comes later follows."""
    monkeypatch.setattr(room, "_BATCH", 4)
    count = town.exchange.control.model().position
    one, log_of_other = mirror(town, log), modelled_log(folder / "kafka")
    other = mirror(town, log_of_other)
    assert (one.look(), one.catch_up(), other.catch_up(), one.behind(), other.behind()) == (count, count, 0, 0, 0)
    town.do(OWNER, c.OpenIntake(DATASET, "User:sender"))
    assert (one.behind(), other.catch_up(), one.catch_up(), one.behind()) == (1, 1, 0, 0)
    assert positions(log) == list(range(1, count + 2))
    last = model(log).topics[TOPIC][0].entries[-2]
    assert (last.key, last.value) == (
        f"intake/{DATASET}".encode(),
        json.dumps({"dataset": DATASET, "user": "User:sender"}, separators=(",", ":")).encode(),
    )
    assert dict(last.headers)["ce_type"] == b"intake.opened/1"
    log_of_other.close()


def test_another_was_first_in_the_middle(town: Town, log: KafkaRecordLog, folder: Path) -> None:
    """Whoever is taken over in its transaction looks at the mark again, and mirrors what is left."""
    count, other_log = town.exchange.control.model().position, modelled_log(folder / "kafka")
    one, other = mirror(town, log), mirror(town, other_log)
    model(log).before_end.append(other.catch_up)
    assert one.catch_up() == 0
    town.do(OWNER, c.OpenIntake(DATASET, "User:sender"))
    assert one.catch_up() == 1
    assert positions(log) == list(range(1, count + 2))
    other_log.close()


def test_what_was_lost_is_an_alarm(town: Town, log: KafkaRecordLog) -> None:
    """Events gone from the beginning or the end, a topic that would lose some, an event store behind its mirror."""
    one = mirror(town, log)
    one.catch_up()
    (partition,) = model(log).topics[TOPIC]
    kept = list(partition.entries)
    partition.begin = 1
    with pytest.raises(Tampered, match="log_damaged"):
        one.catch_up()
    partition.begin = 0
    del partition.entries[5:]
    with pytest.raises(Tampered, match="log_damaged"):
        one.catch_up()
    partition.entries = kept
    model(log).settings[TOPIC]["retention.ms"] = "1000"
    with pytest.raises(Invalid, match="kafka_topic_settings"):
        one.catch_up()
    model(log).settings[TOPIC]["retention.ms"] = "-1"
    assert one.catch_up() == 0

    class Shorter:
        position = 3

    class Old:
        def model(self) -> Shorter:
            return Shorter()

    old: Control = Old()  # type: ignore[assignment]  # an event store put back from an old copy
    with pytest.raises(Tampered, match="log_damaged"):
        ControlMirror(ControlTopic(log, "o"), old, town.exchange.database, ()).catch_up()


def test_who_may_read_is_as_the_settings_say(town: Town, log: KafkaRecordLog) -> None:
    """An account that is named no more loses its right; what names no account is refused."""
    topic, groups = Resource("topic", TOPIC), Resource("group", TOPIC, prefixed=True)
    mirror(town, log, ("User:a", "User:b")).catch_up()
    assert (model(log).lists[topic], model(log).lists[groups]) == ({"", "User:a", "User:b"}, {"User:a", "User:b"})
    mirror(town, log, ("User:b",)).catch_up()
    assert (model(log).lists[topic], model(log).lists[groups]) == ({"", "User:b"}, {"User:b"})
    settings = town.exchange.settings
    assert mirror_of(log, town.exchange.control, town.exchange.database, settings) is None, "the log is a file"
    values: dict[str, str | int] = {**settings.values, "engines.log": "kafka://127.0.0.1:9/x"}
    for wrong in ("auditor", "User:*"):
        values["kafka.control.readers"] = wrong
        changed = type(settings)(settings.root, values, settings.origins)
        with pytest.raises(Invalid, match="setting_wrong"):
            mirror_of(log, town.exchange.control, town.exchange.database, changed)


def test_a_mirror_that_is_down_stops_no_command_and_is_seen(town: Town, log: KafkaRecordLog) -> None:
    """Commands go on; `/metrics` and `status` tell how far it is behind; a site without a mirror has no such figure."""
    metrics = Metrics()
    assert b"mirror" not in metrics.text(town.exchange)
    one = mirror(town, log)
    one.catch_up()
    town.exchange.__dict__["mirror"] = one
    model(log).settings[TOPIC]["retention.ms"] = "1000"
    for number in range(3):
        town.do(OWNER, c.OpenIntake(DATASET, f"User:sender{number}"))
    with pytest.raises(Invalid):
        one.catch_up()
    assert b"exchange_control_mirror_behind_events 3.0" in metrics.text(town.exchange)
    assert {"what": "control events not mirrored", "name": "all", "count": 3} in figures(town.exchange)
    assert log.peek(SOURCE) == town.exchange.control.model().position - 3


@pytest.mark.postgres
def test_of_many_processes_one_leads(town: Town, log: KafkaRecordLog, postgres: str, postgres_server: Server) -> None:
    """Until it ends, or its connection is lost: then another one does."""
    engines: list[Engine] = [open_engine(postgres) for _ in range(2)]
    topic = ControlTopic(log, "o")
    one, other = (ControlMirror(topic, town.exchange.control, engine, ()) for engine in engines)
    assert [one._leads(), other._leads(), one._leads()] == [True, False, True]
    one._resign()
    assert [other._leads(), one._leads()] == [True, False]
    database = make_url(postgres).database
    lost = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1163416397"
    postgres_server.execute(lost, database=database)
    until(one._leads)
    assert not other._leads()
    one._resign()
    for engine in engines:
        engine.dispose()
