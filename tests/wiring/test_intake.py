"""Records that come by Kafka: each message's fate, who may, what was lost; on a model of the brokers."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from exchange.avro.frame import frame
from exchange.avro.records import Codec
from exchange.control import commands as c
from exchange.errors import ExchangeError, Invalid, Refused, Tampered
from exchange.log.kafka.clients import Incoming, Resource
from exchange.log.kafka.intake import IntakeTopic
from exchange.log.kafka.log import KafkaRecordLog
from exchange.wiring.desk import LocalDesk
from exchange.wiring.intake import Form, IntakeAdapter, IntakeWorker, Progress, decoded, open_kafka
from tests.access.town import AUTHORITY, DATASET, OWNER, PERSONS, PUBLISHER, STEWARD, Town, _account, stored_all
from tests.log.kafka import modelled_log
from tests.log.kafka_model import Cluster, Entry, Transaction

TOPIC = f"exchange.in.{DATASET}"
USER = "User:renshe"


class Line:
    """An open intake on a model of the brokers, and the worker of the department's system."""

    def __init__(self, town: Town, log: KafkaRecordLog, model: Cluster) -> None:
        self.town, self.log, self.model = town, log, model
        self.told: list[Progress] = []
        contract = town.exchange.contract(DATASET)
        self.codec = Codec(contract.schemas[-1])
        self.form = Form.of(self.desk(OWNER).dataset(DATASET), contract)
        (self.schema_id,) = self.form.decoders

    def desk(self, who: str = PUBLISHER) -> LocalDesk:
        """Somebody's desk."""
        return LocalDesk(self.town.exchange, self.town.who(who))

    def open(self, partitions: int = 1) -> None:
        """By the steward, as the command does it."""
        self.town.do(OWNER, c.OpenIntake(DATASET, USER))
        IntakeTopic(self.log, DATASET).open(USER, partitions)

    def frame(self, number: int, **more: Any) -> bytes:
        """An account as a producer sends it."""
        return frame(self.schema_id, self.codec.encode({**_account(number), **more}))

    def send(self, *values: bytes | None, key: bytes | None = None, partition: int = 0, state: str = "stored") -> None:
        """Messages of one transaction."""
        place = self.model.at((TOPIC, partition))
        transaction = Transaction(state)
        place.entries += [Entry(transaction, key, value) for value in values]

    def worker(self, who: str = PUBLISHER) -> IntakeWorker:
        """A worker that has begun."""
        worker = IntakeWorker(self.desk(who), self.log, self.told.append)
        worker.begin([])
        return worker

    def amounts(self) -> list[int]:
        """What came by the intake, in its order: amounts are numbers from 100 on."""
        values = [self.codec.decode(value) for part in stored_all(self.town) for value in part.values]
        return sorted(value["monthly_benefit_fen"] for value in values if value["monthly_benefit_fen"] >= 100)

    def letters(self) -> list[tuple[str, str, int]]:
        """Why and where, of each dead letter."""
        return [(one["code"], one["file"], one["row"]) for one in self.desk(OWNER).dead_letters(DATASET)]


@pytest.fixture
def line(town: Town, folder: Path) -> Iterator[Line]:
    """A line that is not open yet."""
    log = modelled_log(folder / "kafka")
    yield Line(town, log, log.client._cluster)  # type: ignore[attr-defined]  # of the model
    log.close()


def test_messages_are_published_once_in_their_order(line: Line) -> None:
    """What an undone transaction wrote, and what was taken before, is not; gaps are nothing."""
    line.open(2)
    line.send(line.frame(100), line.frame(101))
    line.send(line.frame(900), state="undone")
    line.send(line.frame(102), key=PERSONS[102 % 12].encode(), partition=1)
    worker = line.worker()
    assert (worker.round(), worker.round()) == (True, False)
    line.send(line.frame(103))
    assert worker.round()
    assert not line.worker().round(), "another worker's mark is the same"
    assert line.amounts() == [100, 101, 102, 103]
    assert [(one.partition, one.behind, one.published.taken) for one in line.told] == [(0, 0, 2), (1, 0, 1), (0, 0, 1)]
    last = [one for one in line.town.bodies("record_commit") if "/kafka/" in one["source"]][-1]
    assert (last["last_sequence"], last["source"].rpartition("/")[2]) == (4, "0")
    assert last["actor"] == line.town.exchange.actors.name(PUBLISHER)


@pytest.mark.parametrize(
    ("key", "value", "headers", "code"),
    [
        (b"k", None, (), "intake_tombstone"),
        (None, b"garbage", (), "frame_malformed"),
        (None, b"", (), "frame_malformed"),
        (None, b"\0\0\0\0\x63aa", (), "schema_id_unknown"),
        (None, b"\0\0\0\0\x01aa", (), "record_undecodable"),
        (None, b"\x01" + bytes(16), (), "schema_guid_unknown"),
        (None, b"aa", [("__value_schema_id", b"\x01" + bytes(16))], "schema_guid_unknown"),
        (None, bytes(2 << 20), (), "record_too_large"),
    ],
)
def test_what_is_no_record_is_rejected_with_its_place(
    line: Line, key: bytes | None, value: bytes | None, headers: Any, code: str
) -> None:
    """Why, where, how large; none of its bytes; the message after it is a record."""
    good = line.frame(100)
    made = decoded(Incoming([4, 7], [key, None], [value, good], [headers, ()], 8), "exchange.in.x/3", line.form)
    (one,) = made.rejected
    assert (one.sequence, one.code, one.place.file, one.place.row) == (5, code, "exchange.in.x/3", 4)
    assert one.shape == {"": "null" if value is None else f"bytes:{len(value)}"}
    assert (list(made.sequences), made.values[0]["monthly_benefit_fen"]) == ([8], 100)


def test_a_key_is_the_subjects_id_or_none(line: Line) -> None:
    """So all that one subject's records say comes in order; the schema's id may stand in a header."""
    good, subject = line.frame(100), PERSONS[100 % 12].encode()
    headers: Any = [("other", b"x"), ("__value_schema_id", good[:5])]
    found = Incoming([0, 1, 2, 3], [None, subject, b"another", None], [good, good, good, good[5:]],
                     [(), (), (), headers], 4)  # fmt: skip
    made = decoded(found, "t/0", line.form)
    assert (list(made.sequences), [(one.sequence, one.code) for one in made.rejected]) == (
        [1, 2, 4],
        [(3, "intake_key_differs")],
    )


def test_dead_letters_keep_place_and_reason(line: Line) -> None:
    """And what the contract's check refuses is one, too; the mark goes past all of them."""
    line.open()
    line.send(b"garbage", line.frame(100), line.frame(101, person_id=" "), b"\0\0\0\0\x09")
    worker = line.worker()
    assert worker.round()
    place = f"{TOPIC}/0"
    expected = [("frame_malformed", place, 0), ("subject_missing", place, 2), ("schema_id_unknown", place, 3)]
    assert (line.letters(), line.amounts(), worker.round()) == (expected, [100], False)


def test_messages_removed_before_they_were_taken_are_an_alarm(line: Line) -> None:
    """Not those that were taken; an end before the mark is an alarm as well."""
    line.open()
    line.send(*(line.frame(number) for number in range(100, 104)))
    line.worker().round()
    line.send(line.frame(104), line.frame(105), line.frame(106))
    partition = line.model.at((TOPIC, 0))
    partition.begin = 4
    assert line.worker().round()
    line.send(line.frame(107), line.frame(108), line.frame(109))
    partition.begin = 9
    with pytest.raises(Tampered) as caught:
        line.worker().round()
    assert (caught.value.code, caught.value.facts) == ("intake_lost", {"first": 7, "last": 8})
    partition.begin = 0
    del partition.entries[3:]
    with pytest.raises(Tampered, match="intake_lost"):
        line.worker().round()
    line.model.settings[TOPIC]["cleanup.policy"] = "compact"
    with pytest.raises(Invalid, match="kafka_topic_settings"):
        line.worker().round()
    assert line.amounts() == list(range(100, 107))


def test_what_another_worker_took_meanwhile_is_no_loss(line: Line) -> None:
    """Neither an end that was asked for before, nor messages removed after the other one took them."""
    line.open()
    topic = IntakeTopic(line.log, DATASET)
    line.send(*(line.frame(number) for number in range(100, 104)))
    marks = iter([4])
    adapter = IntakeAdapter(topic, 0, "s", line.form, 2, still=lambda: True, mark=lambda: next(marks))
    assert list(adapter.batches(4, 10)) == []
    line.model.at((TOPIC, 0)).begin = 4
    assert list(adapter.batches(2, 10)) == []
    adapter = IntakeAdapter(topic, 0, "s", line.form, 4, still=lambda: True, mark=lambda: 2)
    with pytest.raises(Tampered, match="intake_lost"):
        list(adapter.batches(2, 10))
    stopped = IntakeAdapter(topic, 0, "s", line.form, 4, still=lambda: False, mark=lambda: 2)
    assert list(stopped.batches(2, 10)) == []


def test_a_contract_revised_meanwhile_is_read_anew(line: Line) -> None:
    """Records are resolved to the schema that they are checked against, or left for the next round."""
    line.open()
    worker = line.worker()
    document = line.town.exchange.contract(DATASET).to_document()
    schema = dict(document["schemas"][0])
    note = {"name": "note", "type": ["null", "string"], "default": None, "doc": "说明", "confluent:tags": []}
    schema["fields"] = [*schema["fields"], note]
    fields = {**document["fields"], "note": {"class": "L2", "label_zh": "说明", "label_en": "note"}}
    revised = {**document, "schemas": [*document["schemas"], schema], "fields": fields}
    line.town.do(OWNER, c.SubmitContract(revised))
    line.send(line.frame(100))
    assert worker.round()
    assert line.letters() == []
    assert list(worker._intakes[DATASET].form.decoders) == list(line.desk().dataset(DATASET)["schema_ids"].values())
    assert len(stored_all(line.town)[0].values) + len(stored_all(line.town)[1].values) == 25


def test_who_may_open_close_and_send(line: Line) -> None:
    """A steward of the department opens; another account replaces the first; closed, nobody writes and nothing is
    taken; the sharing authority may close, too.
    """
    topic = Resource("topic", TOPIC)
    for who in (PUBLISHER, STEWARD, AUTHORITY):
        with pytest.raises(Refused):
            line.town.do(who, c.OpenIntake(DATASET, USER))
    for user in ("User:*", "renshe", "User:", "User:a\nb", 7):
        with pytest.raises(Invalid, match="command_malformed"):
            line.town.do(OWNER, c.OpenIntake(DATASET, user))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="intake_not_open"):
        line.worker()
    line.open()
    assert line.town.do(OWNER, c.OpenIntake(DATASET, USER)).events == ()
    line.town.do(OWNER, c.OpenIntake(DATASET, "User:other"))
    IntakeTopic(line.log, DATASET).open("User:other", 1)
    assert line.model.lists[topic] == {"", "User:other"}, "the exchange's own, here without authentication"
    ids = Resource("transactional_id", TOPIC + "-", prefixed=True)
    assert line.model.lists[ids] == {"User:other"}
    worker = line.worker()
    line.send(line.frame(100))
    line.town.do(AUTHORITY, c.CloseIntake(DATASET))
    IntakeTopic(line.log, DATASET).close()
    assert line.town.do(OWNER, c.CloseIntake(DATASET)).events == ()
    assert line.model.lists[topic] == {""}
    with pytest.raises(Invalid, match="intake_not_open"):
        worker.round()
    with pytest.raises(Refused):
        line.town.do(STEWARD, c.CloseIntake(DATASET))
    assert line.amounts() == []


def test_a_worker_acts_for_the_department_alone(line: Line) -> None:
    """Another department's principal begins nothing, its own steward's refusal is audited; unknown is told."""
    line.open()
    for names in ([DATASET], []):
        with pytest.raises(ExchangeError) as caught:
            IntakeWorker(line.desk("svc.minzheng"), line.log, line.told.append).begin(names)
        assert caught.value.code == ("not_the_owner" if names else "intake_not_open")
    assert line.town.bodies("refusal")[-1]["reasons"] == ["not_the_owner"]
    with pytest.raises(Invalid, match="unknown_dataset"):
        IntakeWorker(line.desk(), line.log, line.told.append).begin(["ps.nothing"])


def test_what_is_unavailable_is_tried_again(line: Line) -> None:
    """The worker tells of it, waits, goes on, and ends when it is told to; a topic that is gone is such a thing."""
    line.open()
    worker, stop, failures = line.worker(), Event(), list[str]()
    line.send(line.frame(100))
    kept = line.model.topics.pop(TOPIC)

    def on_failure(error: ExchangeError, _pause_s: float) -> None:
        failures.append(error.code)
        line.model.topics[TOPIC] = kept
        worker._on_batch = lambda _: stop.set()

    worker.run(stop, on_failure)
    assert (failures, line.amounts()) == (["log_unavailable"], [100])


def test_only_on_kafka_and_by_no_account_of_the_exchange(line: Line) -> None:
    """A site on SQLite has no intakes; the exchange's own account is no department's; partitions have bounds."""
    with pytest.raises(Invalid, match="intake_needs_kafka"):
        open_kafka(line.town.exchange.settings)
    topic = IntakeTopic(line.log, DATASET)
    with pytest.raises(Invalid, match="intake_own_account"):
        topic.open("", 1)  # without authentication the exchange's own principal is empty
    with pytest.raises(Invalid, match="topic_partitions"):
        topic.open(USER, 0)
    assert TOPIC not in line.model.topics
