"""Compatibility is what resolution then does, and each reason has its place."""

import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import event, given, settings

from exchange.avro.records import Codec, resolver
from exchange.avro.schema import Schema, parse
from exchange.contracts.compatibility import incompatibilities
from tests.avro.evolution import evolutions
from tests.avro.outcome import outcome
from tests.profiles import examples


@settings(max_examples=examples(45), deadline=None)
@given(evolutions())
def test_no_incompatibility_means_every_record_is_read(case: tuple[Schema, Schema, dict[str, Any]]) -> None:
    """By us and by fastavro; and a record that cannot be read had a reason."""
    old, new, record = case
    reasons = incompatibilities(old, new)
    event("compatible" if not reasons else "not")
    body = Codec(old).encode(record)
    _, code = outcome(lambda: resolver(old, new)(body))
    assert reasons or not code
    if not reasons:
        fastavro.schemaless_reader(io.BytesIO(body), old.parsed, new.parsed)


def schema(*fields: dict[str, Any], name: str = "r") -> Schema:
    """A record schema."""
    return parse(json.dumps({"type": "record", "name": name, "fields": list(fields)}))


def field(avro: Any, name: str = "f", **attributes: Any) -> dict[str, Any]:
    """A field."""
    return {"name": name, "type": avro, **attributes}


def _enum(*symbols: str, **attributes: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "e", "symbols": list(symbols), **attributes}


def _inner(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "i", "fields": list(fields)}


def _decimal(precision: int, scale: int) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


LIST = {"type": "array", "items": "long"}
MAP = {"type": "map", "values": ["null", "long"]}
CASES: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    (field("int"), field("long"), []),
    (field("long"), field("int"), ["f: long cannot be read as int"]),
    (field("bytes"), field("string"), ["f: bytes cannot be read as string"]),
    (field(["null", "int"]), field("int"), ["f: null was allowed and is no longer"]),
    (field("int"), field(["null", "int"]), []),
    (field(["int", "string"]), field(["int", "null"]), ["f: no branch of the union takes string"]),
    (field(_enum("A", "B")), field(_enum("A")), ["f: the symbols B are gone and the enum has no default"]),
    (field(_enum("A", "B")), field(_enum("A", default="A")), []),
    (field("int"), field("int", "g"), ["g: a new field needs a default"]),
    (field("int"), field("int", "g", aliases=["f"]), []),
    (field(LIST), field({**LIST, "items": "int"}), ["f[]: long cannot be read as int"]),
    (field(MAP), field({**MAP, "values": "long"}), ["f{}: null was allowed and is no longer"]),
    (field(_inner(field("long"))), field(_inner(field("int"))), ["f.f: long cannot be read as int"]),
    (field(_inner(field("long"))), field(["null", _inner(field("long"), field("int", "h"))]),
     ["f.h: a new field needs a default"]),
    (field(_decimal(5, 2)), field(_decimal(5, 3)), ["f: the logical type of bytes is another"]),
    (field({"type": "int", "logicalType": "date"}), field("int"), ["f: the logical type of int is another"]),
    (field({"type": "int", "logicalType": "date"}), field("long"), ["f: int cannot be read as long"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "reasons"), CASES)
def test_each_reason_has_its_path(old: dict[str, Any], new: dict[str, Any], reasons: list[str]) -> None:
    """One change, one reason, at the leaf."""
    assert incompatibilities(schema(old), schema(new)) == reasons


def test_another_record_name_is_a_reason() -> None:
    """The names of the records must match, or the newer one must know the older as an alias."""
    assert incompatibilities(schema(field("int")), schema(field("int"), name="s")) == [
        "s: the record r is not s nor an alias of it"
    ]


def test_all_reasons_are_told() -> None:
    """Not only the first."""
    old = schema(field("long", "a"), field("long", "b"))
    assert len(incompatibilities(old, schema(field("int", "a"), field("int", "b"), field("int", "c")))) == 3
