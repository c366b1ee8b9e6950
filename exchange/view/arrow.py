"""A view as an Arrow IPC stream. pyarrow is an extra, imported only when Arrow is asked for.

int 32, long 64, float 32, double 64, boolean, string and enum as utf8, bytes as binary, fixed as fixed-size binary,
date32, times as time32 in ms or time64 in us, timestamps with zone UTC and local ones without in ms or us, decimal128
(decimal256 from 39 digits on, its text from 77), uuid as utf8, record as struct, array as list, map as map; a union of
several branches as its JSON text. The metadata has the view's Avro schema (`avro.schema`) and `exchange.plan`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from exchange.avro.kinds import Avro, Named, branches, kind, logical, resolve
from exchange.avro.schema import Schema
from exchange.errors import Invalid
from exchange.names import canonical
from exchange.view.plain import Plain, plain

if TYPE_CHECKING:
    import pyarrow as pa


_DIGITS_128: Final = 38
_MOST_DIGITS: Final = 76  # of decimal256


def arrow_header(schema: Schema) -> bytes:
    """The stream's first message, its schema.

    Raises:
        Invalid: `view_arrow_missing` when pyarrow is not installed.
    """
    return bytes(_arrow_schema(_pyarrow(), schema).serialize())


def arrow_body(schema: Schema, values: Sequence[Mapping[str, Any]]) -> bytes:
    """One record batch as a message; a stream may end after any of them (no end marker is needed).

    Raises:
        Invalid: `view_arrow_missing` when pyarrow is not installed.
    """
    pa = _pyarrow()
    convert = _prepare(schema.document, schema.named)
    rows = list(values) if convert is None else [convert(value) for value in values]
    return bytes(pa.RecordBatch.from_pylist(rows, schema=_arrow_schema(pa, schema)).serialize())


def _pyarrow() -> Any:  # noqa: ANN401  the module itself
    try:
        import pyarrow as pa
    except ImportError:
        raise Invalid("view_arrow_missing") from None
    return pa


def _arrow_schema(pa: Any, schema: Schema) -> "pa.Schema":  # noqa: ANN401  the module itself
    kinds = {entry["name"]: _arrow_type(pa, entry["type"], schema.named) for entry in schema.document["fields"]}
    metadata = {"avro.schema": canonical(schema.document), "exchange.plan": schema.document.get("exchange.plan", "")}
    return pa.schema([pa.field(name, *found) for name, found in kinds.items()], metadata=metadata)


def _arrow_type(pa: Any, avro: Avro, named: Named) -> "tuple[pa.DataType, bool]":  # noqa: ANN401  the module itself
    """The Arrow type, and whether it may be null."""
    options, nullable = branches(resolve(avro, named))
    if len(options) > 1:
        return pa.string(), nullable
    plain_type = resolve(options[0], named)
    return _single(pa, plain_type, named), nullable


def _single(pa: Any, avro: Avro, named: Named) -> "pa.DataType":  # noqa: ANN401  the module itself
    match kind(avro):
        case "record":
            return pa.struct(
                [pa.field(entry["name"], *_arrow_type(pa, entry["type"], named)) for entry in avro["fields"]]
            )
        case "array":
            return pa.list_(pa.field("item", *_arrow_type(pa, avro["items"], named)))
        case "map":
            return pa.map_(pa.string(), pa.field("value", *_arrow_type(pa, avro["values"], named)))
        case "fixed" if not logical(avro):
            return pa.binary(avro["size"])
        case word:
            return _leaf(pa, avro, logical(avro) or word)


def _leaf(pa: Any, avro: Avro, word: str) -> "pa.DataType":  # noqa: ANN401  the module itself
    if word == "decimal":
        return _decimal(pa, avro["precision"], avro.get("scale", 0))
    makers: dict[str, Callable[[], Any]] = {
        "boolean": pa.bool_,
        "int": pa.int32,
        "long": pa.int64,
        "float": pa.float32,
        "double": pa.float64,
        "bytes": pa.binary,
        "string": pa.string,
        "enum": pa.string,
        "date": pa.date32,
        "timestamp-millis": lambda: pa.timestamp("ms", "UTC"),
        "timestamp-micros": lambda: pa.timestamp("us", "UTC"),
        "time-millis": lambda: pa.time32("ms"),
        "time-micros": lambda: pa.time64("us"),
        "local-timestamp-millis": lambda: pa.timestamp("ms"),
        "local-timestamp-micros": lambda: pa.timestamp("us"),
        "uuid": pa.string,
    }
    return makers[word]()


def _decimal(pa: Any, precision: int, scale: int) -> "pa.DataType":  # noqa: ANN401  the module itself
    if precision > _MOST_DIGITS:
        return pa.string()
    return (pa.decimal256 if precision > _DIGITS_128 else pa.decimal128)(precision, scale)


def _prepare(avro: Avro, named: Named) -> Plain | None:
    """Makes maps lists of pairs, unions JSON text and UUIDs text, as pyarrow wants them; None where all is well."""
    options, _ = branches(resolve(avro, named))
    if len(options) > 1:
        convert = plain(avro, named)
        return lambda value: None if value is None else json.dumps(convert(value) if convert else value)
    plain_type = resolve(options[0], named)
    match kind(plain_type):
        case "record":
            steps = {entry["name"]: _prepare(entry["type"], named) for entry in plain_type["fields"]}
            changed = {name: step for name, step in steps.items() if step is not None}
            if not changed:
                return None
            return lambda value: None if value is None else {**value, **_applied(changed, value)}
        case "array":
            item = _prepare(plain_type["items"], named)
            return item and (lambda items: None if items is None else [item(one) for one in items])
        case "map":
            held = _prepare(plain_type["values"], named) or (lambda one: one)
            return lambda items: None if items is None else [(key, held(one)) for key, one in items.items()]
        case _ if logical(plain_type) == "uuid":
            return lambda value: None if value is None else str(value)
        case _ if logical(plain_type) == "decimal" and plain_type["precision"] > _MOST_DIGITS:
            return lambda value: None if value is None else format(value, "f")
        case _:
            return None


def _applied(steps: Mapping[str, Plain], value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: step(value[name]) for name, step in steps.items()}
