"""Schemas, and records that fit them, for Hypothesis."""

import json
import string
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from exchange.avro.kinds import Named, branches, kind, logical, resolve
from exchange.avro.schema import Schema, from_document

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=6)
ZONES: st.SearchStrategy[tzinfo] = st.sampled_from(
    [UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-5, minutes=30))]
)
PLAIN = ("boolean", "int", "long", "float", "double", "bytes", "string")
PRIMITIVE = st.sampled_from(PLAIN)
LOGICAL = st.sampled_from(
    [
        {"type": "int", "logicalType": "date"},
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "long", "logicalType": "timestamp-micros"},
        {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3},
        {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 0},
        {"type": "bytes", "logicalType": "decimal", "precision": 64, "scale": 2, "connect.version": 1},
        {"type": "int", "logicalType": "time-millis"},
        {"type": "long", "logicalType": "time-micros"},
        {"type": "long", "logicalType": "local-timestamp-millis"},
        {"type": "long", "logicalType": "local-timestamp-micros"},
        {"type": "string", "logicalType": "uuid"},
        {"type": "int", "logicalType": "date", "connect.name": "org.apache.kafka.connect.data.Date"},
    ]
)
# What no one knows, or fits no type: the values are those of the type below.
IGNORED = st.sampled_from(
    [
        {"type": "long", "logicalType": "timestamp-nanos"},
        {"type": "long", "logicalType": "timestamp-milis"},
        {"type": "long", "logicalType": "time-millis"},
        {"type": "int", "logicalType": "local-timestamp-micros"},
        {"type": "string", "logicalType": "date"},
        {"type": "bytes", "logicalType": "uuid"},
        {"type": "double", "logicalType": "decimal", "precision": 4, "scale": 2},
        {"type": "boolean", "logicalType": 7},
    ]
)


UNIONED: list[Any] = [
    {"type": "string", "logicalType": "uuid"},
    {"type": "long", "logicalType": "local-timestamp-micros"},
    {"type": "int", "logicalType": "time-millis"},
]


@st.composite
def _types(draw: st.DrawFn, path: str, depth: int) -> Any:
    """A type; named types are called after their path, so that no name stands twice."""
    known = ["primitive", "primitive", "logical", "logical", "ignored", "enum", "fixed", "decimal", "nullable", "union"]
    word = draw(st.sampled_from(known + (["record", "array", "map"] if depth else [])))
    match word:
        case "logical":
            return draw(LOGICAL)
        case "ignored":
            return draw(IGNORED)
        case "enum":
            symbols = draw(st.lists(NAMES, min_size=1, max_size=70 if depth == 2 else 5, unique=True))
            return {"type": "enum", "name": "E" + path, "symbols": symbols}
        case "fixed":
            return {"type": "fixed", "name": "F" + path, "size": draw(st.integers(1, 20))}
        case "decimal":
            names = {"type": "fixed", "name": "D" + path, "size": 9}
            return {**names, "logicalType": "decimal", "precision": 20, "scale": draw(st.integers(0, 20))}
        case "nullable":
            inner = draw(_types(path, depth - 1 if depth else 0))
            return inner if isinstance(inner, list) else draw(st.permutations(["null", inner]))
        case "union":
            scalars = draw(st.sampled_from([["string", "long"], UNIONED]))
            return [*draw(st.permutations(["null", *scalars])), {"type": "array", "items": "int"}]
        case "record":
            return draw(_records(path, depth - 1))
        case "array":
            return {"type": "array", "items": draw(_types(path + "a", depth - 1))}
        case "map":
            return {"type": "map", "values": draw(_types(path + "m", depth - 1))}
    return draw(PRIMITIVE)


@st.composite
def _records(draw: st.DrawFn, path: str, depth: int) -> dict[str, Any]:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    fields = [{"name": name, "type": draw(_types(f"{path}_{i}", depth))} for i, name in enumerate(names)]
    return {"type": "record", "name": "R" + path, "fields": fields}


def documents() -> st.SearchStrategy[dict[str, Any]]:
    """Schema documents of records, two levels deep at the most."""
    return _records("", 2)


@st.composite
def schemas_with_records(draw: st.DrawFn) -> tuple[Schema, dict[str, Any]]:
    """A schema and a record that fits it."""
    schema = from_document(json.loads(json.dumps(draw(documents()))))
    return schema, draw(values(schema.document, schema.named))


def values(avro: Any, named: Named) -> st.SearchStrategy[Any]:
    """Values that fit a type."""
    resolved = resolve(avro, named)
    options, nullable = branches(resolved)
    if isinstance(resolved, list):
        found = st.one_of([values(option, named) for option in options])
        return st.none() | found if nullable else found
    match kind(resolved):
        case "record":
            return st.fixed_dictionaries({f["name"]: values(f["type"], named) for f in resolved["fields"]})
        case "array":
            return st.lists(values(resolved["items"], named), max_size=4)
        case "map":
            return st.dictionaries(TEXT, values(resolved["values"], named), max_size=3)
        case "enum":
            return st.sampled_from(resolved["symbols"])
        case word:
            return _scalars(logical(resolved) or word, resolved)


def _scalars(word: str, avro: Any) -> st.SearchStrategy[Any]:
    found: dict[str, st.SearchStrategy[Any]] = {
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "double": st.floats(allow_nan=False, allow_infinity=False),
        "bytes": st.binary(max_size=20),
        "string": TEXT,
        "date": st.dates(),
        "time-micros": st.times(),
        "time-millis": st.times().map(_to_millis),
        "local-timestamp-micros": st.datetimes(),
        "local-timestamp-millis": st.datetimes().map(_to_millis),
        "uuid": st.uuids(),
        "timestamp-micros": _moments(),
        "timestamp-millis": _moments().map(_to_millis),
    }
    if word == "fixed":
        return st.binary(min_size=avro["size"], max_size=avro["size"])
    if word == "decimal":
        bound = 10 ** avro["precision"] - 1
        return st.integers(-bound, bound).map(lambda number: scaled(number, avro.get("scale", 0)))
    return found[word]


def _to_millis(value: Any) -> Any:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def scaled(number: int, scale: int) -> Decimal:
    """The decimal of an unscaled number."""
    return Decimal((int(number < 0), tuple(int(digit) for digit in str(abs(number))), -scale))


def _moments() -> st.SearchStrategy[datetime]:
    low, high = datetime(1, 1, 3), datetime(9999, 12, 29)  # noqa: DTZ001  Hypothesis adds the zones
    return st.datetimes(low, high, timezones=ZONES)
