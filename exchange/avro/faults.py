"""What is wrong with a record, field by field, told without showing a value.

This is the slow twin of `writing.py`: it runs only over records that the writer refused.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any, Final
from uuid import UUID

from exchange.avro.binary import FIRST_DAY, LAST_DAY
from exchange.avro.defaults import EPOCH, FLOAT_MAX, INT, LONG
from exchange.avro.kinds import Avro, Named, Value, branches, kind, logical, resolve
from exchange.avro.meanings import is_canonical_uuid
from exchange.avro.shapes import shape
from exchange.avro.writing import exact_type
from exchange.errors import Invalid

_TYPES: Final[Mapping[str, type]] = {
    "bool": bool,
    "int": int,
    "float": float,
    "bytes": bytes,
    "str": str,
    "dict": dict,
    "list": list,
    "date": date,
    "datetime": datetime,
    "time": time,
    "Decimal": Decimal,
    "UUID": UUID,
}
_MAX_FAULTS: Final = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: the leaf's path, a code of the message catalogue, and the shape of the value.

    The path of an unknown field ends in `?`: its name came with the data and may be data.
    """

    path: str
    code: str
    shape: str

    def error(self) -> Invalid:
        """The fault as an error, for a person to read."""
        return Invalid(self.code, where=self.path)


def find_faults(value: object, avro: Avro, named: Named) -> list[Fault]:
    """All faults of a value, in the schema's order; at most 100."""
    found = []
    for fault in _walk(value, avro, "", named):
        found.append(fault)
        if len(found) == _MAX_FAULTS:
            break
    return found


def _walk(value: Value, avro: Avro, path: str, named: Named) -> Iterator[Fault]:
    options, nullable = branches(resolve(avro, named))
    if value is None:
        if not nullable:
            yield Fault(path, "value_missing", shape(value))
        return
    plain = [resolve(option, named) for option in options]
    if len(plain) > 1:
        if all(next(_walk(value, option, path, named), None) for option in plain):
            yield Fault(path, "value_wrong_type", shape(value))
        return
    definition = plain[0]
    as_text = logical(definition) == "uuid" and type(value) is str and is_canonical_uuid(value)
    if type(value) is not _TYPES[exact_type(definition)] and not as_text:
        yield Fault(path, "value_wrong_type", shape(value))
    else:
        yield from _inside(value, definition, path, named)


def _inside(value: Value, definition: Avro, path: str, named: Named) -> Iterator[Fault]:
    match kind(definition):
        case "record":
            yield from _record(value, definition, path, named)
        case "array":
            for item in value:
                yield from _walk(item, definition["items"], path + "[]", named)
        case "map":
            for key, item in value.items():
                yield from _walk(key, "string", path + "{}", named)
                yield from _walk(item, definition["values"], path + "{}", named)
        case word:
            code = _CHECKS[logical(definition) or word](value, definition)
            if code:
                yield Fault(path, code, shape(value))


def _record(value: Mapping[Any, Any], definition: Mapping[str, Any], path: str, named: Named) -> Iterator[Fault]:
    prefix = path + "." if path else ""
    names = {entry["name"] for entry in definition["fields"]}
    for entry in definition["fields"]:
        here = prefix + entry["name"]
        if entry["name"] in value:
            yield from _walk(value[entry["name"]], entry["type"], here, named)
        else:
            yield Fault(here, "value_missing", "absent")
    if unknown := len(value.keys() - names):
        yield Fault(prefix + "?", "value_unknown_field", f"fields:{unknown}")


def _range(value: int, bounds: tuple[int, int]) -> str:
    return "" if bounds[0] <= value <= bounds[1] else "value_out_of_range"


def _float(value: float, bound: float) -> str:
    if not isfinite(value):
        return "value_not_finite"
    return "" if abs(value) <= bound else "value_out_of_range"


def _text(value: str, _: Avro) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return "value_broken_text"
    return ""


def _moment(value: datetime, definition: Mapping[str, Any]) -> str:
    if value.utcoffset() is None:
        return "value_without_zone"
    since = value - EPOCH
    if not FIRST_DAY <= since <= LAST_DAY:
        return "value_out_of_range"
    fits = definition["logicalType"] == "timestamp-micros" or since.microseconds % 1000 == 0
    return "" if fits else "value_too_precise"


def _clock(value: datetime | time, definition: Mapping[str, Any]) -> str:
    if value.tzinfo is not None:
        return "value_with_zone"
    fits = definition["logicalType"].endswith("micros") or value.microsecond % 1000 == 0
    return "" if fits else "value_too_precise"


def _decimal(value: Decimal, definition: Mapping[str, Any]) -> str:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return "value_not_finite"
    moved = exponent + definition.get("scale", 0)
    if moved < 0:
        return "value_too_precise"
    return "value_out_of_range" if value and len(digits) + moved > definition["precision"] else ""


_CHECKS: Final[Mapping[str, Callable[[Any, Any], str]]] = {
    "boolean": lambda _value, _type: "",
    "int": lambda value, _: _range(value, INT),
    "long": lambda value, _: _range(value, LONG),
    "float": lambda value, _: _float(value, FLOAT_MAX),
    "double": lambda value, _: _float(value, float("inf")),
    "bytes": lambda _value, _type: "",
    "string": _text,
    "fixed": lambda value, avro: "" if len(value) == avro["size"] else "value_wrong_size",
    "enum": lambda value, avro: "" if value in avro["symbols"] else "value_unknown_symbol",
    "date": lambda _value, _type: "",
    "timestamp-millis": _moment,
    "timestamp-micros": _moment,
    "time-millis": _clock,
    "time-micros": _clock,
    "local-timestamp-millis": _clock,
    "local-timestamp-micros": _clock,
    "uuid": lambda _value, _type: "",
    "decimal": _decimal,
}
