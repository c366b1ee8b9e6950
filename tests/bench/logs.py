"""Each record log against its raw client: ready bytes appended, and read back and decoded by fastavro."""

import io
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import fastavro

from exchange.contracts.contract import load
from exchange.envelope import Batch
from exchange.log import RecordLog
from exchange.wiring import standing
from tests.bench import county, site
from tests.bench.clock import Spent, folder, rates, spent
from tests.log.kafka import open_log
from tests.services import Kafka

TOPIC: Final = county.DATASET
_PARTITIONS: Final = 4


def measured(
    engine: str, batch: int, batches: int, rounds: int, server: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Records per second, ours and the raw client's by turns: publish (durable on return) and read with decode."""
    schema, bodies = _bodies(batch)
    runs: dict[str, list[Spent]] = {name: [] for name in ("publish", "raw publish", "read", "raw read")}
    with folder() as place:
        log = _opened(engine, place, server)
        raw = _raw(engine, place, server)
        log.create(TOPIC, _PARTITIONS)
        for turn in range(rounds):
            ready = [_batch(bodies, (turn * batches + number) * batch) for number in range(batches)]
            runs["publish"].append(spent(_append, log, ready))
            runs["raw publish"].append(spent(raw.write, ready))
        for _ in range(rounds):
            runs["read"].append(spent(_read, log, schema, batch * batches * rounds, batch))
            runs["raw read"].append(spent(raw.read, schema, batch * batches * rounds, batch))
        raw.close()
        log.close()
    each, total = batch * batches, batch * batches * rounds
    return {name: rates(each if "publish" in name else total, found) for name, found in runs.items()}


def _bodies(count: int) -> tuple[Any, list[bytes]]:
    document = load(standing("schemas") / site.PROVIDER / county.DATASET).schemas[-1].document
    schema, bodies = fastavro.parse_schema(dict(document)), []
    for number in range(count):
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, schema, county.value(number))
        bodies.append(stream.getvalue())
    return schema, bodies


def _batch(bodies: Sequence[bytes], first: int) -> Batch:
    """One batch for the partition of its turn."""
    numbers = range(first + 1, first + len(bodies) + 1)
    tags = [number.to_bytes(16, "big") for number in numbers]
    partition = first // len(bodies) % _PARTITIONS
    return Batch(TOPIC, partition, county.SOURCE, "seal-bench", 1, time.time_ns(), numbers, tags, bodies)


def _append(log: RecordLog, ready: Sequence[Batch]) -> None:
    for one in ready:
        log.append(one.source, one.sequences[-1], [one])


def _read(log: RecordLog, schema: Any, total: int, batch: int) -> None:
    count = 0
    for partition in range(_PARTITIONS):
        position, end = 0, log.end(TOPIC, partition)
        while position < end:
            stored = log.read(TOPIC, partition, position, batch)
            count += len([fastavro.schemaless_reader(io.BytesIO(body), schema, None) for body in stored.values])
            position = stored.next_position
    _same(count, total)


def _same(count: int, total: int) -> None:
    if count != total:
        raise AssertionError(f"{count} records read of {total}")


def _opened(engine: str, place: Path, server: Mapping[str, Any] | None) -> RecordLog:
    if server is None:
        from exchange.log.sqlite import SqliteRecordLog

        return SqliteRecordLog(place / "records.db")
    return open_log(engine, Kafka(server["url"], server["passwords"]), server["prefix"])


class _Sqlite:
    """One insert for each record, a durable commit (WAL, FULL) for each batch; a select of as many."""

    def __init__(self, place: Path) -> None:
        self._connection = sqlite3.connect(place / "plain.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE record (position INTEGER PRIMARY KEY, tag BLOB, body BLOB)")

    def write(self, ready: Sequence[Batch]) -> None:
        """Stores them."""
        for one in ready:
            self._connection.execute("BEGIN")
            rows = zip(one.sequences, one.tags, one.values, strict=True)
            self._connection.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
            self._connection.execute("COMMIT")

    def read(self, schema: Any, total: int, batch: int) -> None:
        """Reads and decodes all."""
        query, position, count = "SELECT position, body FROM record WHERE position > ? LIMIT ?", 0, 0
        while rows := self._connection.execute(query, (position, batch)).fetchall():
            count += len([fastavro.schemaless_reader(io.BytesIO(body), schema, None) for _, body in rows])
            position = rows[-1][0]
        _same(count, total)

    def close(self) -> None:
        """Gives back the file."""
        self._connection.close()


class _Librdkafka:
    """Idempotent produce with acks=all and a flush for each batch; consume; confluent-kafka alone."""

    def __init__(self, kafka: Kafka, prefix: str) -> None:
        from confluent_kafka import Consumer, Producer
        from confluent_kafka.admin import AdminClient, NewTopic

        self._topic = f"{prefix}.log.raw"
        common = {"bootstrap.servers": kafka.url.removeprefix("kafka://"), **_login(kafka, ".")}
        admin = AdminClient(common)
        admin.create_topics([NewTopic(self._topic, _PARTITIONS, 1)])[self._topic].result(30)
        self._producer = Producer({**common, "enable.idempotence": True, "acks": "all", "linger.ms": 0})
        self._consumer = Consumer(
            {**common, "group.id": f"{prefix}.bench", "enable.auto.commit": False, "fetch.wait.max.ms": 5}
        )

    def write(self, ready: Sequence[Batch]) -> None:
        """Produces and waits until the broker has all of each batch."""
        for one in ready:
            for key, value in zip(one.tags, one.values, strict=True):
                _full(self._producer, self._topic, value, key, one.partition)
            self._producer.flush()

    def read(self, schema: Any, total: int, batch: int) -> None:
        """Consumes from the beginning, and decodes."""
        from confluent_kafka import TopicPartition

        self._consumer.assign([TopicPartition(self._topic, number, 0) for number in range(_PARTITIONS)])
        count = 0
        while count < total:
            found = self._consumer.consume(batch, 30)
            count += len([fastavro.schemaless_reader(io.BytesIO(one.value() or b""), schema, None) for one in found])
        _same(count, total)

    def close(self) -> None:
        """Gives back its connections."""
        self._consumer.close()


def _full(producer: Any, topic: str, value: bytes, key: bytes, partition: int) -> None:
    while True:
        try:
            return producer.produce(topic, value, key, partition)  # type: ignore[no-any-return]
        except BufferError:
            producer.poll(0.01)


class _KafkaPython:
    """The same with kafka-python alone."""

    def __init__(self, kafka: Kafka, prefix: str) -> None:
        from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
        from kafka.admin import NewTopic

        self._topic = f"{prefix}.log.raw"
        common = {"bootstrap_servers": kafka.url.removeprefix("kafka://"), **_login(kafka, "_")}
        admin = KafkaAdminClient(**common)
        admin.create_topics([NewTopic(self._topic, _PARTITIONS, 1)])
        admin.close()
        self._producer = KafkaProducer(**common, enable_idempotence=True, acks="all", linger_ms=0, batch_size=512 << 10)
        self._consumer = KafkaConsumer(**common, group_id=None, fetch_max_wait_ms=5, max_partition_fetch_bytes=8 << 20)

    def write(self, ready: Sequence[Batch]) -> None:
        """Produces and waits until the broker has all of each batch."""
        for one in ready:
            for key, value in zip(one.tags, one.values, strict=True):
                self._producer.send(self._topic, value, key, partition=one.partition)
            self._producer.flush()

    def read(self, schema: Any, total: int, batch: int) -> None:
        """Consumes from the beginning, and decodes."""
        from kafka import TopicPartition

        places = [TopicPartition(self._topic, number) for number in range(_PARTITIONS)]
        self._consumer.assign(places)
        self._consumer.seek_to_beginning(*places)
        count = 0
        while count < total:
            for found in self._consumer.poll(1_000, max_records=batch).values():
                count += len([fastavro.schemaless_reader(io.BytesIO(one.value), schema, None) for one in found])
        _same(count, total)

    def close(self) -> None:
        """Gives back its connections."""
        self._consumer.close()
        self._producer.close()


_RAW: Final[Mapping[str, Callable[[Kafka, str], Any]]] = {
    "kafka": _KafkaPython,
    "kafka+librdkafka": _Librdkafka,
}


def _raw(engine: str, place: Path, server: Mapping[str, Any] | None) -> Any:
    if server is None:
        return _Sqlite(place)
    return _RAW[engine](Kafka(server["url"], server["passwords"]), server["prefix"])


def _login(kafka: Kafka, dot: str) -> dict[str, Any]:
    """Who may do all, as the client spells it."""
    if not kafka.passwords:
        return {}
    user = "admin" if "admin" in kafka.passwords else "exchange"
    plain = "plain_" if dot == "_" else ""
    return {
        f"security{dot}protocol": "SASL_PLAINTEXT",
        f"sasl{dot}mechanism": "SCRAM-SHA-512",
        f"sasl{dot}{plain}username": user,
        f"sasl{dot}{plain}password": kafka.passwords[user],
    }
