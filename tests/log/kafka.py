"""Record logs on the tests' Kafka."""

from collections import deque
from hashlib import sha256
from importlib import import_module
from pathlib import Path

from exchange.log.kafka.cluster import cluster
from exchange.log.kafka.log import KafkaRecordLog
from exchange.wiring.engines import KAFKA
from tests import services
from tests.log.kafka_model import Cluster, ModelClient

_MODELS: deque[tuple[Path, Cluster]] = deque(maxlen=4)


def kafka_log(engine: str, folder: Path) -> KafkaRecordLog:
    """The log of this folder: its topics' prefix follows from the folder's name."""
    return open_log(engine, services.kafka(), "t" + sha256(str(folder).encode()).hexdigest()[:12])


def modelled_log(folder: Path) -> KafkaRecordLog:
    """The same log on a model of a cluster, which is kept for as long as the folder's other logs are open."""
    made = cluster("//127.0.0.1:9092", protocol="PLAINTEXT", patience_s=5.0)
    model = next((one for place, one in _MODELS if place == folder), None)
    if model is None:
        model = Cluster()
        _MODELS.append((folder, model))
    return KafkaRecordLog(ModelClient(model), made)


def open_log(
    engine: str, kafka: services.Kafka, prefix: str, user: str = "exchange", **changes: float
) -> KafkaRecordLog:
    """A log by the client of this engine."""
    place = kafka.cluster(prefix, user, **changes)
    client = import_module(f"exchange.log.kafka.{KAFKA[engine][2]}").KafkaClient(place)
    return KafkaRecordLog(client, place)
