"""How the log on Kafka decides, on a model of a cluster: every interleaving here is one that brokers allow."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable
from exchange.log.kafka.clients import Outgoing, failure
from exchange.log.kafka.cluster import Cluster as Settings
from exchange.log.kafka.cluster import cluster
from exchange.log.kafka.log import KafkaRecordLog
from exchange.settings import new_settings
from exchange.wiring import engines
from tests.conformance.test_record_log import PARTITIONS, TOPIC, batch, values_from
from tests.log.kafka_model import Cluster, Entry, ModelClient, ModelWriter, Transaction

HERE = cluster("//127.0.0.1:9092", protocol="PLAINTEXT", patience_s=0.02)
RECORDS, MARKS = f"exchange.log.{TOPIC}", "exchange.marks"


def opened(model: Cluster, settings: Settings = HERE) -> KafkaRecordLog:
    """A log of the model's cluster with its topic; like another process, when it is called again."""
    log = KafkaRecordLog(ModelClient(model), settings)
    log.create(TOPIC, PARTITIONS)
    return log


def test_a_writer_that_was_taken_over_in_the_middle_stores_nothing() -> None:
    """Another process takes the source over between the records and the commit: the older one looks again, and
    refuses what the other has taken meanwhile.
    """
    model = Cluster()
    log, other = opened(model), opened(model)
    log.append("src", 1, [batch([1])])
    model.before_end.append(lambda: other.append("src", 5, [batch([3, 5])]))
    with pytest.raises(Invalid, match="sequence_not_after_mark"):
        log.append("src", 4, [batch([4])])
    model.before_end.append(lambda: other.append("src", 6, [batch([6])]))
    log.append("src", 7, [batch([7])])
    assert values_from(log) == [b"value %d" % number for number in (1, 3, 5, 6, 7)]
    assert (log.mark("src"), other.mark("src")) == (7, 7)


def test_another_source_between_the_records_of_an_append() -> None:
    """The append is undone and done again, so that its records stand together."""
    model = Cluster()
    log, other = opened(model), opened(model)
    writer = ModelClient(model)

    def between() -> None:
        entry = Entry(Transaction("undone"))
        model.topics[RECORDS][0].entries.insert(1, entry)

    real = ModelWriter.begin

    def split(self: ModelWriter, batches: list[Outgoing]) -> list[tuple[int, int]]:
        spans = real(self, batches)
        ModelWriter.begin = real  # type: ignore[method-assign]  # once
        between()
        return [(spans[0][0], spans[0][1] + 1), *spans[1:]]

    ModelWriter.begin = split  # type: ignore[method-assign,assignment]
    (positions,) = log.append("src", 3, [batch([1, 2, 3])])
    assert positions[-1] - positions[0] == 2
    assert values_from(other) == [b"value 1", b"value 2", b"value 3"]
    writer.close()


def test_behind_an_open_transaction_nothing_is_acknowledged() -> None:
    """Records that readers do not see yet: `Unavailable`; they are there when the other's transaction has ended."""
    model = Cluster()
    log = opened(model)
    dead = ModelWriter(model, "exchange.other")
    dead.begin([Outgoing(RECORDS, 0, 0, [bytes(16)], [bytes(5)], [[]])])
    with pytest.raises(Unavailable, match="log_unavailable"):
        log.append("src", 1, [batch([1])])
    assert (values_from(log), log.mark("src")) == ([], 1)
    dead.end("undone")
    assert values_from(log) == [b"value 1"]


@pytest.mark.parametrize("patience_s", [5.0, 0.0])
def test_an_access_list_that_a_broker_does_not_know_yet(patience_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after a topic was made a refusal passes; later it is one."""
    log, plain, left = opened(Cluster(), replace(HERE, patience_s=patience_s)), ModelWriter.transact, [0]

    def transact(self: ModelWriter, batches: Sequence[Outgoing]) -> Sequence[range]:
        if left:
            left.pop()
            raise Invalid("kafka_refused", where="", user="exchange", detail="Topic authorization failed")
        return plain(self, batches)

    monkeypatch.setattr(ModelWriter, "transact", transact)
    if patience_s:
        log.append("src", 1, [batch([1])])
        assert values_from(log) == [b"value 1"]
    else:
        with pytest.raises(Invalid, match="kafka_refused"):
            log.append("src", 1, [batch([1])])


def test_who_waits_for_others_waits_no_longer_than_for_a_broker() -> None:
    """An append of the same source that gets no answer, or a look for the marks: `Unavailable` for the next one."""
    log = opened(Cluster())
    log.append("src", 1, [batch([1])])
    for lock in (log._locks["source src"], *log._marks._locks):
        lock.acquire()
    with pytest.raises(Unavailable, match="log_unavailable"):
        log.append("src", 2, [batch([2])])
    with pytest.raises(Unavailable, match="log_unavailable"):
        log.mark("src")


def test_a_mark_behind_an_open_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, in vain when the transaction is another source's; the own source's dead writer is ended."""
    monkeypatch.setattr("exchange.log.kafka.marks._GRACE_S", 0.01)
    model = Cluster()
    log = opened(model, replace(HERE, patience_s=0.1))
    own = ModelWriter(model, "exchange.src")
    mark = log._marks.message("src", 9)
    own.begin([mark])
    assert log.mark("src") == 0
    ModelWriter(model, "exchange.other").begin([mark])
    with pytest.raises(Unavailable, match="log_unavailable"):
        log.mark("src")


def test_what_operators_may_break_is_noticed() -> None:
    """Deleted records, marks that are gone or none, messages that are no records, another number of partitions."""

    def delete(model: Cluster) -> None:
        model.topics[RECORDS][0].begin = 1

    def drop_marks(model: Cluster) -> None:
        del model.topics[MARKS]

    def spoil_marks(model: Cluster) -> None:
        for partition in model.topics[MARKS]:
            partition.entries.append(Entry(Transaction("stored"), b"src", b"none"))

    def spoil_record(model: Cluster) -> None:
        model.topics[RECORDS][0].entries[0].value = b"\1"

    def spoil_key(model: Cluster) -> None:
        model.topics[RECORDS][0].entries[0].key = None

    def spoil_headers(model: Cluster) -> None:
        model.topics[RECORDS][0].entries[0].headers = [("id", b"\xff"), ("time", b""), ("seal", b"")]

    def drop_headers(model: Cluster) -> None:
        model.topics[RECORDS][0].entries[0].headers = ()

    asked: dict[Callable[[Cluster], None], Callable[[KafkaRecordLog], object]] = {
        delete: lambda log: log.end(TOPIC, 0),
        drop_marks: lambda log: log.mark("src"),
        spoil_marks: lambda log: log.append("src", 2, []),
        spoil_record: lambda log: log.read(TOPIC, 0, 0, 1),
        spoil_key: lambda log: log.read(TOPIC, 0, 0, 1),
        spoil_headers: lambda log: log.headers(TOPIC, 0, 0),
        drop_headers: lambda log: log.headers(TOPIC, 0, 0),
    }
    for change, ask in asked.items():
        model = Cluster()
        opened(model).append("src", 1, [batch([1])])
        change(model)
        with pytest.raises(Tampered, match="log_damaged"):
            ask(KafkaRecordLog(ModelClient(model), HERE))


@pytest.mark.parametrize(
    ("topic", "name", "value"), [(RECORDS, "retention.ms", "1000"), (MARKS, "cleanup.policy", "delete")]
)
def test_settings_that_lose_records_are_refused(topic: str, name: str, value: str) -> None:
    """Of the records' topic and of the marks'."""
    model = Cluster()
    opened(model)
    model.settings[topic][name] = value
    with pytest.raises(Invalid) as caught:
        opened(model)
    assert (caught.value.code, caught.value.where, caught.value.facts["name"]) == ("kafka_topic_settings", topic, name)


def test_the_marks_keep_their_partitions() -> None:
    """A source's mark lies where its name says, so their number never changes."""
    model = Cluster()
    opened(model)
    model.topics[MARKS].append(model.topics[MARKS][0])
    with pytest.raises(Invalid, match="topic_partitions"):
        opened(model)


def test_many_sources_do_not_keep_many_writers() -> None:
    """Writers that have nothing to do are closed, and their sources go on."""
    log = opened(Cluster())
    for at in (1, 2):
        for number in range(40):
            log.append(f"src{number}", at, [batch([at], source=f"src{number}")])
    assert len(log._sources) <= 32
    assert len(values_from(log)) == 80
    log.close()


@pytest.mark.parametrize(
    ("url", "changes", "code"),
    [
        ("//localhost:9092,[::1]:9093/town", {"protocol": "PLAINTEXT"}, ""),
        ("//kafka.example:9092", {"user": "exchange", "password": "x"}, ""),
        ("//kafka.example:9092", {"protocol": "PLAINTEXT"}, "kafka_insecure"),
        ("//kafka.example:9092", {"protocol": "SASL_PLAINTEXT", "user": "u", "password": "x"}, "kafka_insecure"),
        ("//kafka.example:9092", {"user": "exchange"}, "setting_wrong"),
        ("//kafka.example:9092", {"protocol": "SSL", "user": "u", "password": "x"}, "setting_wrong"),
        ("//kafka.example:9092", {"mechanism": "GSSAPI", "user": "u", "password": "x"}, "setting_wrong"),
        ("//localhost:9092", {"protocol": "PLAINTEXT", "min_insync": 4}, "setting_wrong"),
        ("//localhost:9092/No Prefix", {"protocol": "PLAINTEXT"}, "setting_wrong"),
        ("//localhost", {"protocol": "PLAINTEXT"}, "setting_wrong"),
        ("//localhost:0", {"protocol": "PLAINTEXT"}, "setting_wrong"),
        ("localhost:9092", {"protocol": "PLAINTEXT"}, "setting_wrong"),
        ("", {"protocol": "PLAINTEXT"}, "setting_wrong"),
    ],
)
def test_a_cluster_by_its_url(url: str, changes: dict[str, object], code: str) -> None:
    """Addresses and login as they should be, TLS to other machines; a password is not shown."""
    if code:
        with pytest.raises(Invalid) as caught:
            cluster(url, **changes)
        assert caught.value.code == code
        return
    made = cluster(url, **changes)
    assert made.prefix == ("town" if "town" in url else "exchange")
    assert "password" not in repr(made)


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("TopicAuthorizationFailedError", Invalid, "kafka_refused"),
        ("TOPIC_AUTHORIZATION_FAILED", Invalid, "kafka_refused"),
        ("_AUTHENTICATION", Invalid, "kafka_refused"),
        ("SecurityDisabledError", Invalid, "kafka_refused"),
        ("OffsetOutOfRangeError", Tampered, "log_damaged"),
        ("_AUTO_OFFSET_RESET", Tampered, "log_damaged"),
        ("KafkaTimeoutError", Unavailable, "log_unavailable"),
        ("_TRANSPORT", Unavailable, "log_unavailable"),
        ("NotEnoughReplicasError", Unavailable, "log_unavailable"),
    ],
)
def test_a_clients_errors_in_our_families(name: str, kind: type[ExchangeError], code: str) -> None:
    """By the names that kafka-python and librdkafka give them; what is not known is `Unavailable`."""
    error = failure(name, "detail", "127.0.0.1:9092", "exchange")
    assert (type(error), error.code) == (kind, code)


@pytest.mark.parametrize(
    ("scheme", "package"), [("kafka", "crc32c"), ("kafka+librdkafka", "confluent_kafka")], ids=["python", "librdkafka"]
)
def test_a_package_that_is_not_installed(
    scheme: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which extra brings it."""
    monkeypatch.setattr("exchange.wiring.engines.find_spec", lambda name: None if name == package else find_spec(name))
    settings = new_settings(tmp_path, {"origin": "x.example/y", "kafka.security.protocol": "PLAINTEXT"})
    with pytest.raises(Invalid) as caught:
        engines.kafka_log(settings, scheme, "//localhost:9092")
    assert caught.value.code == "kafka_missing"
    assert caught.value.facts == {"engine": scheme, "package": package, "extra": engines.KAFKA[scheme][1]}
    monkeypatch.undo()
    engines.kafka_log(settings, scheme, "//localhost:9092").close()
