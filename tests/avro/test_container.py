"""Avro container files, against fastavro's."""

import io
import json
import zlib
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.avro import container
from exchange.avro.schema import Schema, parse
from exchange.errors import Invalid
from tests.avro.outcome import outcome
from tests.avro.strategies import schemas_with_records
from tests.avro.test_records import GOOD, schema
from tests.profiles import examples

SMALL = parse(json.dumps({"type": "record", "name": "r", "fields": [{"name": "f", "type": "string"}]}))
VALUES = [{"f": "x" * (i % 100)} for i in range(10_000)]


def file_of(of: Schema, values: list[dict[str, Any]]) -> bytes:
    """A container file."""
    out = io.BytesIO()
    assert container.write(out, of, values) == len(values)
    return out.getvalue()


def read_all(data: bytes) -> tuple[Schema, list[dict[str, Any]]]:
    """The schema and all records of a file."""
    found, records = container.read(io.BytesIO(data), "in.avro")
    return found, list(records)


@settings(max_examples=examples(10), deadline=None)
@given(schemas_with_records())
def test_files_are_fastavros_and_fastavros_are_ours(case: tuple[Schema, dict[str, Any]]) -> None:
    """What we write fastavro reads, and the other way round, plain and deflated; the schema comes back as it was."""
    of, value = case
    data = file_of(of, [value, value])
    assert read_all(data) == (of, [value, value])
    assert list(fastavro.reader(io.BytesIO(data))) == [value, value]
    for codec in ("null", "deflate"):
        out = io.BytesIO()
        fastavro.writer(out, of.parsed, [value] * 3, codec=codec)
        assert read_all(out.getvalue())[1] == [value] * 3


def test_many_blocks_and_no_record() -> None:
    """A file of several blocks is read on and on; one without records has a header; the same input, the same file."""
    data = file_of(SMALL, VALUES)
    assert data.count(bytes.fromhex(SMALL.fingerprint[-32:])) > 2
    assert read_all(data) == (SMALL, VALUES)
    assert read_all(file_of(SMALL, [])) == (SMALL, [])
    assert data == file_of(SMALL, VALUES)


def test_a_file_cut_off_anywhere_is_refused_or_ends_at_a_block() -> None:
    """Only at the end of a block may a file end; the header is whole or refused."""
    data = file_of(schema(), [GOOD])
    header = len(file_of(schema(), []))
    for end in range(len(data)):
        if end == header:
            assert read_all(data[:end])[1] == []
            continue
        with pytest.raises(Invalid, match="container_damaged") as refused:
            read_all(data[:end])
        assert refused.value.where == "in.avro"
        assert refused.value.facts["block"] == (0 if end < header else 1)


@settings(max_examples=examples(50), deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_never_leaks_a_foreign_error(at: int, byte: int) -> None:
    """One byte changed: an error of ours, or records without faults."""
    data = bytearray(file_of(SMALL, VALUES[:20]))
    data[at % len(data)] = byte
    _, code = outcome(lambda: read_all(bytes(data)))
    assert code in ("", "container_damaged", "schema_unparsable", "schema_unsupported")


def _long(number: int) -> bytes:
    raw, out = number << 1, b""
    while raw > 127:
        out, raw = out + bytes((raw & 127 | 128,)), raw >> 7
    return out + bytes((raw,))


def _deflated(of: Schema, count: int, data: bytes) -> bytes:
    head = file_of(of, []).replace(b"\x08null", b"\x0edeflate")
    return head + _long(count) + _long(len(data)) + data + head[-16:]


def test_a_bomb_and_impossible_lengths_are_refused() -> None:
    """Neither a small block that unpacks to a huge one nor a huge length costs memory."""
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(_long(17 * 2**20)) + packer.compress(bytes(17 * 2**20)) + packer.flush()
    huge = file_of(SMALL, []) + _long(1) + _long(2**60)
    uncounted = file_of(SMALL, []) + _long(2**60) + _long(1) + b"\0" + file_of(SMALL, [])[-16:]
    for data in (_deflated(SMALL, 1, bomb), huge, uncounted, _deflated(SMALL, 1, b"no deflate")):
        with pytest.raises(Invalid, match="container_damaged"):
            read_all(data)


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"Obj\1", b"Obj\1\0" + bytes(16), b"Obj\1" + b"\xff" * 50])
def test_what_is_no_container_is_refused(data: bytes) -> None:
    """No magic, no metadata, no schema."""
    with pytest.raises(Invalid, match="container_damaged"):
        read_all(data)


def test_a_block_that_does_not_add_up_is_refused() -> None:
    """Another sync marker, bytes behind the last record, a record less than counted, bytes behind the deflated."""
    head, record = file_of(SMALL, []), b"\x02x"
    sync = head[-16:]
    assert read_all(head + _long(1) + _long(2) + record + sync)[1] == [{"f": "x"}]
    packed = zlib.compress(record, wbits=-15)
    assert read_all(_deflated(SMALL, 1, packed))[1] == [{"f": "x"}]
    for data in (
        head + _long(1) + _long(2) + record + bytes(16),
        head + _long(1) + _long(4) + record * 2 + sync,
        head + _long(2) + _long(2) + record + sync,
        _deflated(SMALL, 1, packed + b"1234"),
    ):
        with pytest.raises(Invalid, match="container_damaged"):
            read_all(data)


def test_another_codec_is_refused() -> None:
    """A codec that we do not have, as damaged: the sentence says which are read."""
    data = file_of(SMALL, []).replace(b"\x08null", b"\x08lzma")
    with pytest.raises(Invalid, match="container_damaged"):
        read_all(data)


def test_a_wrong_record_is_not_written() -> None:
    """Writing is as strict as encoding."""
    with pytest.raises(Invalid, match="record_malformed"):
        container.write(io.BytesIO(), SMALL, [{"f": 1}])
