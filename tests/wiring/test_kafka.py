"""The whole exchange on a record log in Kafka: publish, read, look up, who saw whom, verify, and opening again."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from exchange import publish
from exchange.errors import Tampered, Unavailable
from exchange.wiring.examining_stores import examine_site
from tests import services
from tests.access.oracle import judge
from tests.access.test_paths import amounts, of_members
from tests.access.town import (
    DATASET,
    ENVIRONMENT,
    LOOKUP,
    MEMBERS,
    SECOND,
    START_NS,
    Clock,
    KeptEngine,
    Town,
    build,
    copied,
    opened,
)
from tests.log.memory import folder_in_memory
from tests.log.test_kafka import ENGINES, client, until

pytestmark = pytest.mark.kafka
DAY = 86_400 * SECOND


@dataclass(frozen=True)
class Site:
    """A site, and how its settings name the cluster."""

    root: Path
    environment: Mapping[str, str]
    kafka: services.Kafka
    prefix: str

    @property
    def topic(self) -> str:
        """The dataset's topic in Kafka."""
        return f"{self.prefix}.log.{DATASET}"


def settings(kafka: services.Kafka, scheme: str, prefix: str, folder: Path) -> dict[str, str]:
    """Settings of a site whose record log is this one."""
    values = {
        **ENVIRONMENT,
        "EXCHANGE_ENGINES_LOG": f"{scheme}:{kafka.url.removeprefix('kafka:')}/{prefix}",
        "EXCHANGE_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "EXCHANGE_KAFKA_REPLICATION_FACTOR": "1",
        "EXCHANGE_KAFKA_MIN_INSYNC_REPLICAS": "1",
    }
    if kafka.passwords:
        (folder / "password").write_text(kafka.passwords["exchange"], "utf-8")
        values["EXCHANGE_KAFKA_SECURITY_PROTOCOL"] = "SASL_PLAINTEXT"
        values["EXCHANGE_KAFKA_SASL_PASSWORD"] = f"file:{folder}/password"
    return values


@pytest.fixture(params=ENGINES, scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A town whose twenty-four accounts were published to Kafka, by each engine; look and publish, delete nothing."""
    engine, kafka, prefix = KeptEngine(), services.kafka(), "w" + uuid.uuid4().hex[:12]
    with folder_in_memory() as folder:
        environment = settings(kafka, request.param, prefix, folder)
        build(folder / "site", engine, environment)
        yield Site(folder / "site", environment, kafka, prefix)
    engine.end()


def lows_and_highs(town: Town) -> dict[int, list[tuple[int, int]]]:
    """The ranges of the dataset's `record.commit` entries, by partition."""
    found: dict[int, list[tuple[int, int]]] = {0: [], 1: []}
    for body in town.bodies("record_commit"):
        found[body["partition"]].append((body["lo"], body["hi"]))
    return found


def test_publish_read_look_up_and_verify(site: Site, engine: KeptEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule of the access path holds, a crash between append and commit is mended at the next opening, and the
    commit entries follow one another although Kafka's positions have gaps.
    """

    def crash(*_: object) -> None:
        raise Unavailable("audit_unavailable", seconds=0)

    with opened(site.root, engine, environment=site.environment) as town:
        town.publish(25, 12)
        releases = town.read()
        assert sorted(amounts(*releases)) == of_members(*range(1, 37))
        assert len(town.exchange.gateway.lookup(town.reader, LOOKUP, MEMBERS[:2], "jsonl").payload.splitlines()) == 2
        judge(town, releases)
        for ranges in lows_and_highs(town).values():
            assert ranges[0][0] == 0
            assert [lo for lo, _ in ranges[1:]] == [hi for _, hi in ranges[:-1]]
        monkeypatch.setattr(publish, "commit", crash)
        with pytest.raises(Unavailable):
            town.publish(37, 3)
        monkeypatch.undo()
        assert max(amounts(*town.read())) < 37
    with opened(site.root, engine, Clock(START_NS + 2 * DAY), site.environment) as town:
        releases = town.read()
        assert sorted(amounts(*releases)) == of_members(*range(1, 40))
        judge(town, releases)
        town.publish(1, 39)  # again: nothing
        assert len(amounts(*town.read())) == len(of_members(*range(1, 40)))


def test_a_log_that_lost_what_was_committed_opens_nothing(made_town: Path, folder: Path, engine: KeptEngine) -> None:
    """A cluster without the records that the site has committed: an alarm at the opening, whatever else is asked."""
    environment = settings(services.kafka(), "kafka", "w" + uuid.uuid4().hex[:12], folder)
    with (
        pytest.raises(Tampered, match="log_behind_commits"),
        opened(copied(made_town, folder / "site"), engine, environment=environment),
    ):
        pass


def test_a_truncated_log_opens_nothing(folder: Path, engine: KeptEngine) -> None:
    """Records deleted from the beginning of a topic disagree with their `record.commit`: an alarm."""
    kafka, prefix = services.kafka(), "w" + uuid.uuid4().hex[:12]
    environment = settings(kafka, "kafka", prefix, folder)
    build(folder / "site", engine, environment)
    admin = AdminClient(client(kafka))
    for done in admin.delete_records([TopicPartition(f"{prefix}.log.{DATASET}", 0, 3)]).values():
        done.result(30)
    with (
        pytest.raises(Tampered, match="log_damaged"),
        opened(folder / "site", engine, Clock(START_NS + DAY), environment),
    ):
        pass


def found(environment: Mapping[str, str], root: Path) -> dict[str, str]:
    """What doctor finds of the log: `ok`, or the error's code."""
    clock = Clock(START_NS + DAY)
    findings = examine_site(root, environment, clock, lambda: True)
    told = {one.check: one.error.code if one.error else one.state for one in findings}
    return {name: told[name] for name in ("engines.log", "commit_marks")}


def test_doctor_looks_at_a_log_on_kafka(folder: Path, engine: KeptEngine) -> None:
    """Well; with settings that would lose records; with records deleted from its beginning; with partitions added,
    which the exchange then serves.
    """
    kafka, prefix = services.kafka(), "w" + uuid.uuid4().hex[:12]
    environment, root, topic = settings(kafka, "kafka", prefix, folder), folder / "site", f"{prefix}.log.{DATASET}"
    build(root, engine, environment)
    admin = AdminClient(client(kafka))
    assert found(environment, root) == {"engines.log": "ok", "commit_marks": "ok"}
    for done in admin.create_partitions([NewPartitions(topic, 3)]).values():
        done.result(30)
    with opened(root, engine, Clock(START_NS + DAY), environment) as town:
        town.publish(25, 12)
        assert sorted(amounts(*town.read())) == of_members(*range(1, 37))
        judge(town, town.read())
    for value, code in (("86400000", "kafka_topic_settings"), ("-1", "ok")):
        entry = ConfigEntry("retention.ms", value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(30)
        until(lambda: found(environment, root)["engines.log"] == code)  # noqa: B023 - asked at once
    for done in admin.delete_records([TopicPartition(topic, 0, 3)]).values():
        done.result(30)
    assert found(environment, root) == {"engines.log": "log_damaged", "commit_marks": "unused"}
    for done in admin.delete_topics([topic]).values():
        done.result(30)
    until(lambda: found(environment, root)["engines.log"] == "ok")
    assert found(environment, root)["commit_marks"] == "log_behind_commits"
