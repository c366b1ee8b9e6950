"""A department's own producer: stock confluent-kafka, no code of the exchange: `producer.py ORDERS`, in JSON.

Each record that the brokers acknowledged is a line in its ledger: its number, partition and offset. SIGTERM ends it.
"""

import io
import json
import os
import signal
import sys
import time
from functools import partial
from typing import Any

import fastavro
from confluent_kafka import KafkaError, Producer

from tests.torture.servers import clients

FIRST = 500_000  # of its records' numbers, beside those of the publisher over HTTP


def produce(orders: dict[str, Any]) -> None:
    """One record after another, in the frame that registry clients write, to each partition in turn."""
    ledger = os.open(orders["ledger"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    schema = fastavro.parse_schema(orders["schema"])
    head, persons, number = b"\0" + orders["schema_id"].to_bytes(4, "big"), orders["persons"], FIRST
    producer = Producer({"enable.idempotence": True, "acks": "all", "linger.ms": 5, "log_level": 0, **orders["login"]})

    def told(number: int, error: KafkaError | None, message: Any) -> None:
        if error is None:
            line = {"delivered": [message.partition(), message.offset()], "number": number}
            os.write(ledger, json.dumps({"at": time.monotonic(), **line}).encode() + b"\n")

    while not clients.stopped:
        number += 1
        person, out = persons[number % len(persons)], io.BytesIO()
        fastavro.schemaless_writer(out, schema, json.loads(clients.record(person, number)))
        partition = number % orders["partitions"]
        noted = partial(told, number)
        producer.produce(orders["topic"], head + out.getvalue(), person.encode(), partition, on_delivery=noted)
        producer.poll(0)
        time.sleep(orders["pause"])
        while len(producer) > orders["waiting"] and not clients.stopped:
            producer.poll(0.1)
    producer.flush(30)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, clients.stop)
    produce(json.loads(sys.argv[1]))
