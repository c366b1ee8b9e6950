"""JSON values become the values of a schema exactly, or stay what they are and are refused."""

import io
import json
from datetime import UTC, date, datetime
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.avro.from_json import from_json
from exchange.avro.records import Codec
from exchange.avro.schema import Schema, from_document
from exchange.view.plain import plain
from tests.avro.strategies import schemas_with_records, values
from tests.profiles import examples

SAME = st.sampled_from(["boolean", "int", "long", "double", "string"])


def _read(schema: Schema, text: str) -> Any:
    convert = from_json(schema.document, schema.named)
    value = json.loads(text)
    return value if convert is None else convert(value)


def _one(avro: Any, value: Any) -> tuple[Any, list[str]]:
    schema = from_document({"type": "record", "name": "r", "fields": [{"name": "a", "type": avro}]})
    read = _read(schema, json.dumps({"a": value}))
    return read["a"], [fault.code for fault in Codec(schema).faults(read)]


@settings(max_examples=examples(20))
@given(schemas_with_records())
def test_what_a_view_shows_as_json_is_read_back(drawn: tuple[Schema, dict[str, Any]]) -> None:
    """from_json ∘ plain is the identity: the same record, the same bytes."""
    schema, record = drawn
    show = plain(schema.document, schema.named)
    codec = Codec(schema)
    record = codec.decode(codec.encode(record))  # moments in UTC, as a view has them
    read = _read(schema, json.dumps(record if show is None else show(record)))
    assert read == record
    assert codec.encode(read) == codec.encode(record)


@st.composite
def _agreeing(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True))
    inner = [draw(SAME) for _ in names]
    wrap = [lambda one: one, lambda one: {"type": "array", "items": one}, lambda one: {"type": "map", "values": one}]
    fields = [{"name": name, "type": draw(st.sampled_from(wrap))(one)} for name, one in zip(names, inner, strict=True)]
    document = {"type": "record", "name": "R", "fields": fields}
    schema = from_document(document)
    return document, draw(values(schema.document, schema.named))


@settings(max_examples=examples(20))
@given(_agreeing())
def test_where_avros_own_json_has_the_same_form_fastavro_reads_the_same(drawn: tuple[Any, dict[str, Any]]) -> None:
    """Against fastavro's `json_reader`, for types whose JSON is the same in Avro's encoding."""
    document, record = drawn
    text = json.dumps(record)
    theirs = next(iter(fastavro.json_reader(io.StringIO(text), document)))
    assert _read(from_document(document), text) == theirs


@pytest.mark.parametrize(
    ("avro", "value", "code"),
    [
        ({"type": "int", "logicalType": "date"}, "2026-02-30", "value_wrong_type"),
        ({"type": "int", "logicalType": "date"}, "20260203", "value_wrong_type"),
        ({"type": "int", "logicalType": "date"}, "２０２６-02-03", "value_wrong_type"),
        ({"type": "int", "logicalType": "date"}, 20000, "value_wrong_type"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "2026-02-03T08:00:00", "value_without_zone"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "2026-02-03T08:00:00.123456Z", "value_too_precise"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "2026-02-03 08:00:00Z", "value_wrong_type"),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, "2026-02-03T08:00:00Z", "value_with_zone"),
        ({"type": "int", "logicalType": "time-millis"}, "24:00:00", "value_wrong_type"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, 1.5, "value_wrong_type"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "1e1", "value_wrong_type"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "123.45", "value_out_of_range"),
        ("bytes", "YQ", "value_wrong_type"),
        ("bytes", "YR==", "value_wrong_type"),
        ("double", 2**53 + 1, "value_wrong_type"),
        ("int", 1.0, "value_wrong_type"),
        ("int", True, "value_wrong_type"),
        ("string", None, "value_missing"),
        (["null", "string", "long"], 1.5, "value_wrong_type"),
        ({"type": "array", "items": "bytes"}, {"a": "YQ=="}, "value_wrong_type"),
        ({"type": "map", "values": "bytes"}, ["YQ=="], "value_wrong_type"),
        ({"type": "record", "name": "x", "fields": [{"name": "b", "type": "bytes"}]}, "x", "value_wrong_type"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_bent(avro: Any, value: Any, code: str) -> None:
    """It stays the value it is, or becomes one that the check refuses by a better name."""
    assert _one(avro, value)[1] == [code]


def test_other_writings_of_the_same_value_are_taken() -> None:
    """A whole number for a fraction, a moment in another zone, capitals in a UUID."""
    assert _one("double", 3) == (3.0, [])
    moment, faults = _one({"type": "long", "logicalType": "timestamp-millis"}, "2026-02-03T08:00:00+08:00")
    assert (moment, faults) == (datetime(2026, 2, 3, tzinfo=UTC), [])
    assert _one({"type": "string", "logicalType": "uuid"}, "123E4567-E89B-12D3-A456-426614174000")[1] == []


def test_in_a_union_a_text_is_a_text_where_texts_are_allowed() -> None:
    """Only where the union has no text is it read as what it may stand for."""
    day = {"type": "int", "logicalType": "date"}
    assert _one([day, "string"], "2026-02-03") == ("2026-02-03", [])
    assert _one([day, "long"], "2026-02-03") == (date(2026, 2, 3), [])
