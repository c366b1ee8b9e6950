"""The Confluent wire format: a zero byte, the schema's id as four bytes big-endian, the Avro body."""

from typing import Final

from exchange.errors import Invalid

HEADER_BYTES: Final = 5
MAX_ID: Final = 2**31 - 1


def frame(schema_id: int, body: bytes) -> bytes:
    """The body behind its header.

    Raises:
        Invalid: `frame_malformed` for an id outside 1 … 2³¹ - 1 (registries hand out Java ints).
    """
    if not 1 <= schema_id <= MAX_ID:
        raise Invalid("frame_malformed", detail="id")
    return b"\0" + schema_id.to_bytes(4, "big") + body


def unframe(data: bytes) -> tuple[int, bytes]:
    """The schema's id and the body.

    Raises:
        Invalid: `frame_malformed` for data shorter than the header, another first byte, an id out of range.
    """
    if len(data) < HEADER_BYTES or data[0] != 0:
        raise Invalid("frame_malformed", detail="header")
    schema_id = int.from_bytes(data[1:HEADER_BYTES], "big")
    if not 1 <= schema_id <= MAX_ID:
        raise Invalid("frame_malformed", detail="id")
    return schema_id, data[HEADER_BYTES:]
