"""A record as a Kafka message: key = subject tag, value = Confluent frame, headers `id`, `time`, `seal`.

A filler holds a position that has no record, so that a log which is moved here keeps its positions: a message with the
key `filler` (no tag is so short), without a value, with the one header `filler` of the value `1`. Readers of the log
pass over it, other consumers of the topic see a tombstone; anything else that is no record is damage.
"""

from collections.abc import Sequence
from typing import Final

from exchange.avro.frame import HEADER_BYTES, frame
from exchange.envelope import Batch, Stored
from exchange.errors import Tampered
from exchange.log.blocks import rfc3339
from exchange.log.kafka.clients import Headers, Incoming, Outgoing
from exchange.signing.tags import TAG_BYTES

_FILLER: Final = b"filler"
_FILLER_HEADERS: Final = [("filler", b"1")]
HEADERS = ("id", "time", "seal")


def outgoing(batch: Batch, topic: str) -> Outgoing:
    """The messages of a checked batch; `Invalid("frame_malformed")` for a schema id that no registry gives."""
    head = frame(batch.schema_id, b"")
    source, rest = batch.source, [("time", rfc3339(batch.time_ns).encode()), ("seal", batch.seal.encode())]
    headers = [[("id", f"{source}/{sequence}".encode()), *rest] for sequence in batch.sequences]
    values = [head + value for value in batch.values]
    return Outgoing(topic, batch.partition, batch.time_ns // 1_000_000, batch.tags, values, headers)


def fillers(topic: str, partition: int, count: int) -> Outgoing:
    """So many messages that hold positions without a record; their time is always 0."""
    return Outgoing(topic, partition, 0, [_FILLER] * count, [None] * count, [_FILLER_HEADERS] * count)


def is_filler(headers: Headers) -> bool:
    """Whether these are the headers of a filler."""
    return [tuple(one) for one in headers] == _FILLER_HEADERS


def stored(topic: str, partition: int, read: Incoming) -> Stored:
    """The records of messages as `outgoing` made them; anything else is `Tampered("log_damaged")`."""
    positions: list[int] = []
    tags: list[bytes] = []
    values: list[bytes] = []
    for position, tag, value, headers in zip(read.positions, read.keys, read.values, read.headers, strict=True):
        if value is None and tag == _FILLER and is_filler(headers):
            continue
        if tag is None or len(tag) != TAG_BYTES or value is None or len(value) < HEADER_BYTES or value[0]:
            raise Tampered("log_damaged", where=f"{topic}/{partition}", detail="a message that is no record")
        positions.append(position)
        tags.append(tag)
        values.append(value)
    schema_ids = [int.from_bytes(value[1:HEADER_BYTES], "big") for value in values]
    bodies = [value[HEADER_BYTES:] for value in values]
    return Stored(topic, partition, positions, schema_ids, tags, bodies, read.next_position)


def texts(place: str, headers: Headers) -> dict[str, str]:
    """A record's headers; `Tampered("log_damaged")` when they are not those that it was written with."""
    found = {name: value for name, value in headers if name in HEADERS and value is not None}
    try:
        if set(found) == set(HEADERS) and len(headers) >= len(HEADERS):
            return {name: found[name].decode() for name in HEADERS}
    except UnicodeDecodeError:
        pass
    raise Tampered("log_damaged", where=place, detail="a message without a record's headers")


def mark_of(values: Sequence[bytes | None], where: str) -> list[int]:
    """The marks in messages of the marks' topic."""
    if not all(value is not None and value.isdigit() for value in values):
        raise Tampered("log_damaged", where=where, detail="a mark that is no number")
    return [int(value) for value in values if value is not None]
