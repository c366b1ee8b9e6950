"""Reading old records with new schemas: by Avro's rules, with fastavro as the reference."""

import contextlib
import io
import json
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings

from exchange.avro.records import Codec, resolver
from exchange.avro.schema import Schema, parse
from exchange.errors import Invalid
from tests.avro.evolution import evolutions
from tests.avro.outcome import outcome
from tests.profiles import examples


def with_fields(*fields: dict[str, Any]) -> Schema:
    """A record schema."""
    return parse(json.dumps({"type": "record", "name": "r", "fields": list(fields)}))


def with_type(avro: Any, **attributes: Any) -> Schema:
    """A record schema with one field f."""
    return with_fields({"name": "f", "type": avro, **attributes})


@settings(max_examples=examples(35), deadline=None)
@given(evolutions())
def test_what_we_resolve_fastavro_resolves_alike(case: tuple[Schema, Schema, dict[str, Any]]) -> None:
    """Where both read a record with the newer schema they read the same; what we cannot read is the one error.

    fastavro refuses some records by their types alone (an empty list of another type of items, say).
    """
    old, new, record = case
    body = Codec(old).encode(record)
    found, code = outcome(lambda: resolver(old, new)(body))
    assert code in ("", "record_unresolvable")
    if found is not None:
        with contextlib.suppress(fastavro.read.SchemaResolutionError):
            assert _alike(found, fastavro.schemaless_reader(io.BytesIO(body), old.parsed, new.parsed))
        assert Codec(new).faults(found) == []


def _alike(ours: Any, theirs: Any) -> bool:
    """The same; but of a union fastavro takes the first branch that fits, where we, as Avro's reference implementation,
    prefer the writer's own type: then a long is a double for it, and beyond 2^53 another number.
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_alike(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_alike, ours, theirs))
    if type(ours) is int and type(theirs) is float:
        return float(ours) == theirs
    return bool(ours == theirs)


def test_beyond_2_to_53_a_long_stays_a_long() -> None:
    """A reader's union that has the writer's own type takes the value as it is, whatever stands before it."""
    old, new = with_type("long"), with_type(["double", "long"])
    assert resolver(old, new)(Codec(old).encode({"f": 2**53 + 1})) == {"f": 2**53 + 1}


DATE = {"type": "int", "logicalType": "date"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


OTHER = with_fields({"name": "g", "type": "int"})


def _local(unit: str) -> dict[str, Any]:
    return {"type": "long", "logicalType": f"local-timestamp-{unit}"}


def _enum(*symbols: str, **attributes: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "e", "symbols": list(symbols), **attributes}


def _inner(*fields: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"type": "record", "name": "i", "fields": list(fields), **attributes}


@pytest.mark.parametrize(
    ("old", "value", "new", "expected"),
    [
        (with_type("int"), 5, with_type("double"), 5.0),
        (with_type("long"), 5, with_type(["null", "float"]), 5.0),
        (with_type("string"), "é", with_type("bytes"), b"\xc3\xa9"),
        (with_type(["null", "int"]), 5, with_type("long"), 5),
        (with_type("string"), "x", with_type(["bytes", "string"]), "x"),
        (with_type("int"), 5, with_type(["string", "double", "long"]), 5.0),
        (with_type(["string", "long", "null"]), 5, with_type(["null", "long"]), 5),
        (with_type(_enum("A", "B")), "B", with_type(_enum("C", "A", default="C")), "C"),
        (with_type(_enum("A", "B")), "A", with_type(_enum("A")), "A"),
        (with_type("int", doc="x"), 5, with_type("int"), 5),
        (with_fields({"name": "g", "type": "int"}), 5, with_type("int", aliases=["x", "g"]), 5),
        (with_fields({"name": "g", "type": "int"}), 5, with_type(DATE, default=0), date(1970, 1, 1)),
        (with_fields({"name": "g", "type": "int"}), 5, with_type("bytes", default="\xff"), b"\xff"),
        (OTHER, 5, with_type({"type": "int", "logicalType": "time-millis"}, default=5), time(0, 0, 0, 5000)),
        (OTHER, 5, with_type({"type": "long", "logicalType": "time-micros"}, default=5), time(0, 0, 0, 5)),
        (OTHER, 5, with_type(_local("millis"), default=5), datetime(1970, 1, 1, 0, 0, 0, 5000)),  # noqa: DTZ001  local
        (OTHER, 5, with_type(_local("micros"), default=5), datetime(1970, 1, 1, 0, 0, 0, 5)),  # noqa: DTZ001  local
        (OTHER, 5, with_type({"type": "string", "logicalType": "uuid"}, default=str(UUID(int=5))), UUID(int=5)),
        (with_type({"type": "long", "logicalType": "timestamp-nanos"}), 5, with_type("long"), 5),
        (with_type("int"), 5, with_type({"type": "long", "logicalType": "date"}), 5),
        (
            with_type(_inner({"name": "a", "type": "int"}, {"name": "b", "type": "string"})),
            {"a": 1, "b": "x"},
            with_type(_inner({"name": "c", "type": "int", "default": 7}, {"name": "a", "type": "long"})),
            {"c": 7, "a": 1},
        ),
    ],
)
def test_a_value_as_the_newer_schema_has_it(old: Schema, value: Any, new: Schema, expected: Any) -> None:
    """Promotions, unions, enum defaults, aliases, defaults as values of their logical type, nested records."""
    record = {old.document["fields"][0]["name"]: value}
    found = resolver(old, new)(Codec(old).encode(record))
    assert found == {"f": expected}
    assert type(found["f"]) is type(expected)


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        (with_type("long"), 5, with_type("int")),
        (with_type("bytes"), b"x", with_type("string")),
        (with_type(["null", "int"]), None, with_type("int")),
        (with_type(["int", "string"]), "x", with_type("int")),
        (with_type(["int", "null", "string"]), None, with_type(["int", "string"])),
        (with_type(_enum("A", "B")), "B", with_type(_enum("A"))),
        (with_type("int"), 5, with_fields({"name": "g", "type": "int"})),
        (with_type("long"), 5, with_type(MILLIS)),
        (with_type(MILLIS), datetime(1970, 1, 1, tzinfo=UTC), with_type(_local("millis"))),
        (with_type("string"), str(UUID(int=5)), with_type({"type": "string", "logicalType": "uuid"})),
        (
            with_type({"type": "fixed", "name": "h", "size": 1}),
            b"x",
            with_type({"type": "fixed", "name": "k", "size": 1}),
        ),
        (
            with_type({"type": "fixed", "name": "h", "size": 1}),
            b"x",
            with_type({"type": "fixed", "name": "h", "size": 2}),
        ),
    ],
)
def test_a_value_without_a_place_is_refused(old: Schema, value: Any, new: Schema) -> None:
    """Each record on its own: another record of the same schema may be readable."""
    with pytest.raises(Invalid, match="record_unresolvable"):
        resolver(old, new)(Codec(old).encode({"f": value}))


def test_units_of_time_are_not_mixed_up() -> None:
    """A timestamp of milliseconds read as one of microseconds would be another moment."""
    moment = Codec(with_type(MICROS)).decode(b"\x00")["f"]
    with pytest.raises(Invalid, match="record_unresolvable"):
        resolver(with_type(MICROS), with_type(MILLIS))(Codec(with_type(MICROS)).encode({"f": moment}))


def test_damage_in_a_field_that_the_reader_lacks_is_found() -> None:
    """Every byte is walked, also of fields that are dropped."""
    old = with_fields({"name": "f", "type": "int"}, {"name": "g", "type": "string"})
    read = resolver(old, with_type("int"))
    assert read(b"\x02\x02x") == {"f": 1}
    for body in (b"\x02\x02\xff", b"\x02\x04x", b"\x02\x02xx"):
        with pytest.raises(Invalid, match="record_undecodable"):
            read(body)


def test_defaults_are_not_shared_between_records() -> None:
    """A record that its reader changes does not change the next one's default."""
    new = with_type({"type": "array", "items": "int"}, default=[1])
    old = with_fields({"name": "g", "type": "int"})
    read = resolver(old, new)
    read(b"\x02")["f"].append(2)
    assert read(b"\x02") == {"f": [1]}


def test_a_field_feeds_one_field_by_name_before_alias() -> None:
    """Where the reader has a field of the writer's name, another field's alias does not take it."""
    new = with_fields(
        {"name": "g", "type": ["null", "int"], "default": None, "aliases": ["f"]}, {"name": "f", "type": "int"}
    )
    assert resolver(with_type("int"), new)(b"\x02") == {"g": None, "f": 1}
