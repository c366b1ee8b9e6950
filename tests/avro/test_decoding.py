"""Bytes from anywhere: they are a record of the schema, or they are refused with one error."""

import io
import json
import struct
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exchange.avro.binary import zigzag
from exchange.avro.records import Codec
from exchange.avro.schema import parse
from exchange.errors import Invalid
from tests.avro.outcome import outcome
from tests.avro.test_records import CODEC, GOOD
from tests.profiles import examples


def codec_of(*types: Any) -> Codec:
    """A codec of a record with these fields, f0, f1 …"""
    fields = [{"name": f"f{i}", "type": avro} for i, avro in enumerate(types)]
    return Codec(parse(json.dumps({"type": "record", "name": "r", "fields": fields})))


DATE = {"type": "int", "logicalType": "date"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
TIME_MS = {"type": "int", "logicalType": "time-millis"}
TIME_US = {"type": "long", "logicalType": "time-micros"}
LOCAL = {"type": "long", "logicalType": "local-timestamp-micros"}
UUID_TEXT = {"type": "string", "logicalType": "uuid"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 2}
ENUM = {"type": "enum", "name": "e", "symbols": ["A", "B"]}
LIST = {"type": "array", "items": "long"}
MAP = {"type": "map", "values": "long"}
HUGE = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # 2**63 - 1

REFUSED: list[tuple[str, Any, bytes]] = [
    ("cut off before the first byte", "long", b""),
    ("cut off inside a number", "long", b"\x80"),
    ("bytes left over", "long", b"\x02\x02"),
    ("a number longer than it needs to be", "long", b"\x82\x00"),
    ("a number of eleven bytes", "long", b"\x80" * 10 + b"\x01"),
    ("a number beyond 64 bits", "long", b"\xff" * 9 + b"\x02"),
    ("a number that never ends", "long", b"\xff" * 1000),
    ("an int beyond 32 bits", "int", b"\x80\x80\x80\x80\x10"),
    ("a boolean of 2", "boolean", b"\x02"),
    ("text cut off", "string", b"\x08abc"),
    ("text of negative length", "string", b"\x07abc"),
    ("bytes of negative length", "bytes", b"\x07abc"),
    ("a map's key of negative length", MAP, b"\x02\x01\x02\x00"),
    ("text of huge length", "string", HUGE),
    ("bytes of huge length", "bytes", HUGE),
    ("bad UTF-8", "string", b"\x04\xff\xfe"),
    ("a surrogate in UTF-8", "string", b"\x06\xed\xa0\x80"),
    ("overlong UTF-8", "string", b"\x04\xc0\x80"),
    ("a symbol beyond the last", ENUM, b"\x04"),
    ("a negative symbol", ENUM, b"\x01"),
    ("a branch beyond the last", ["null", "long"], b"\x04\x02"),
    ("a negative branch", ["null", "long"], b"\x01"),
    ("a branch written too long", ["null", "long"], b"\x82\x00\x02"),
    ("a wide union's branch beyond the last", ["null", "long", "string"], b"\x06\x02"),
    ("a list of huge count", LIST, HUGE),
    ("a list of huge negative count", LIST, b"\xff" * 9 + b"\x01\x00"),
    ("a list cut off", LIST, b"\x04\x02\x02"),
    ("a block whose size is wrong", LIST, b"\x01\x04\x02\x00"),
    ("a map's key twice", MAP, b"\x04\x02a\x02\x02a\x02\x00"),
    ("a map's key beyond the end", MAP, b"\x02\x7ea\x02\x00"),
    ("a day before the year 1", DATE, b"\xff\xff\xff\xff\x0f"),
    ("a moment outside the calendar", MICROS, HUGE),
    ("a local moment outside the calendar", LOCAL, HUGE),
    ("a time before midnight", TIME_MS, b"\x01"),
    ("a time of 24 hours", TIME_MS, zigzag(86_400_000)),
    ("a time of 24 hours in micros", TIME_US, zigzag(86_400_000_000)),
    ("no UUID", UUID_TEXT, b"\x08nope"),
    ("a UUID without hyphens", UUID_TEXT, zigzag(32) + b"0" * 32),
    ("a UUID with its hyphens elsewhere", UUID_TEXT, zigzag(36) + b"0000-0000-0000-0000-000000000000-000"),
    ("a decimal of no bytes", DECIMAL, b"\x00"),
    ("a decimal of too many digits", DECIMAL, b"\x02\x64"),
    ("a double cut off", "double", b"\0\0\0"),
    ("a double that is no number", "double", struct.pack("<d", float("nan"))),
    ("an infinite float", "float", struct.pack("<f", float("inf"))),
    ("a fixed cut off", {"type": "fixed", "name": "f", "size": 4}, b"123"),
]


@pytest.mark.parametrize(("what", "avro", "body"), REFUSED, ids=[what for what, _, _ in REFUSED])
def test_wrong_bytes_are_refused(what: str, avro: Any, body: bytes) -> None:
    """Each is refused with one error that holds no byte of it."""
    with pytest.raises(Invalid) as refused:
        codec_of(avro).decode(body)
    assert refused.value.code == "record_undecodable", what
    assert refused.value.facts == {"size": len(body)}


def test_blocks_of_other_writers_are_read() -> None:
    """A list in several blocks, with or without sizes, is one list (the format allows it)."""
    codec = codec_of(LIST)
    assert codec.decode(b"\x02\x02\x04\x04\x06\x00") == {"f0": [1, 2, 3]}
    assert codec.decode(b"\x03\x04\x02\x04\x00") == {"f0": [1, 2]}


def test_a_uuid_in_capitals_is_read_and_written_in_small_letters() -> None:
    """Other writers may use capitals (RFC 4122); it is the same UUID."""
    codec = codec_of(UUID_TEXT)
    small = "123e4567-e89b-12d3-a456-42661417400a"
    record = codec.decode(zigzag(36) + small.upper().encode())
    assert record == {"f0": UUID(small)}
    assert codec.encode(record) == zigzag(36) + small.encode()


@settings(max_examples=examples(80), deadline=None)
@given(st.binary(max_size=120))
@example(CODEC.encode(GOOD))
def test_random_bytes_give_a_faultless_record_or_one_error(body: bytes) -> None:
    """Whatever the bytes: what is read has no faults, and fastavro reads the same from them."""
    record, code = outcome(lambda: CODEC.decode(body))
    assert code in ("", "record_undecodable")
    if record is not None:
        assert CODEC.faults(record) == []
        assert fastavro.schemaless_reader(io.BytesIO(body), CODEC.schema.parsed, None) == record


@settings(max_examples=examples(80), deadline=None)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=2), st.booleans())
def test_damage_is_refused_or_gives_a_faultless_record(at: int, change: bytes, cut: bool) -> None:
    """A good body, cut off or changed at any place: as above, and a cut-off one is always refused."""
    good = CODEC.encode(GOOD)
    at %= len(good)
    body = good[:at] if cut else good[:at] + change + good[at + len(change) :]
    record, code = outcome(lambda: CODEC.decode(body))
    assert code in ("", "record_undecodable")
    if record is not None:
        assert not cut
        assert CODEC.faults(record) == []


def test_a_deep_schema_is_walked_without_recursion_errors() -> None:
    """The deepest schema that is allowed is written and read."""
    avro: Any = "long"
    value: Any = 5
    for _ in range(20):
        avro, value = {"type": "array", "items": avro}, [value]
    codec = codec_of(avro)
    assert codec.decode(codec.encode({"f0": value})) == {"f0": value}
