"""Record logs on the tests' Kafka."""

from hashlib import sha256
from importlib import import_module
from pathlib import Path

from exchange.log.kafka.log import KafkaRecordLog
from exchange.wiring.engines import KAFKA
from tests import services


def kafka_log(engine: str, folder: Path) -> KafkaRecordLog:
    """The log of this folder: its topics' prefix follows from the folder's name."""
    return open_log(engine, services.kafka(), "t" + sha256(str(folder).encode()).hexdigest()[:12])


def open_log(
    engine: str, kafka: services.Kafka, prefix: str, user: str = "exchange", **changes: float
) -> KafkaRecordLog:
    """A log by the client of this engine."""
    cluster = kafka.cluster(prefix, user, **changes)
    client = import_module(f"exchange.log.kafka.{KAFKA[engine][2]}").KafkaClient(cluster)
    return KafkaRecordLog(client, cluster)
