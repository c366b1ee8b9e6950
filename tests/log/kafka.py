"""Record logs on the tests' Kafka."""

from hashlib import sha256
from pathlib import Path

from exchange.log.kafka.log import KafkaRecordLog
from tests import services


def kafka_log(engine: str, folder: Path) -> KafkaRecordLog:
    """The log of this folder: its topics' prefix follows from the folder's name."""
    return open_log(engine, services.kafka(), "t" + sha256(str(folder).encode()).hexdigest()[:12])


def open_log(engine: str, kafka: services.Kafka, prefix: str, user: str = "exchange", **changes: float) -> KafkaRecordLog:
    """A log by the client of this engine."""
    cluster = kafka.cluster(prefix, user, **changes)
    if engine == "kafka":
        from exchange.log.kafka.python import PythonClient

        return KafkaRecordLog(PythonClient(cluster), cluster)
    from exchange.log.kafka.librdkafka import LibrdkafkaClient

    return KafkaRecordLog(LibrdkafkaClient(cluster), cluster)
