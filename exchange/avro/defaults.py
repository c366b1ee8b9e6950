"""Default values of fields (specification 1.11, "Complex Types", table of field default values)."""

import re
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final
from uuid import UUID

from exchange.avro.kinds import Avro, Named, Value, kind, logical, resolve

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
LOCAL_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  a local timestamp has no zone
EXACT: Final = Context(prec=1100)  # more than any decimal has digits (`normal.MAX_PRECISION`)
INT: Final = (-(2**31), 2**31 - 1)
LONG: Final = (-(2**63), 2**63 - 1)
UUID_TEXT: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)  # RFC 4122, section 3
FLOAT_MAX: Final = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]


def default_fault(value: Value, avro: Avro, named: Named) -> str:
    """What is wrong with a default of this type, or an empty string. A union's default is of its first branch."""
    try:
        default_value(value, avro, named)
    except (ValueError, OverflowError) as error:
        return str(error)
    return ""


def default_value(value: Value, avro: Avro, named: Named) -> Value:
    """The record value that a default stands for; ValueError or OverflowError where it stands for none."""
    if isinstance(avro, list):
        return default_value(value, avro[0], named)
    definition = resolve(avro, named)
    if isinstance(definition, str):
        return _primitive(value, definition)
    match kind(definition):
        case "record":
            return _record(value, definition, named)
        case "array":
            _demand(isinstance(value, list), "must be a list")
            return [default_value(item, definition["items"], named) for item in value]
        case "map":
            _demand(isinstance(value, dict), "must be an object")
            return {key: default_value(item, definition["values"], named) for key, item in value.items()}
        case "enum":
            _demand(value in definition["symbols"], "is no symbol of the enum")
            return value
        case "fixed":
            raw = _primitive(value, "bytes")
            _demand(len(raw) == definition["size"], "has another length than `size`")
            return _logical(raw, definition)
        case word:
            return _logical(_primitive(value, word), definition)


def _record(value: Value, definition: Avro, named: Named) -> dict[str, Any]:
    _demand(isinstance(value, dict), "must be an object")
    _demand(value.keys() <= {entry["name"] for entry in definition["fields"]}, "has an unknown field")
    found = {}
    for entry in definition["fields"]:
        _demand(entry["name"] in value or "default" in entry, f"lacks the field {entry['name']}")
        found[entry["name"]] = default_value(value.get(entry["name"], entry.get("default")), entry["type"], named)
    return found


def _primitive(value: Value, word: str) -> Value:
    match word:
        case "null":
            _demand(value is None, "must be null")
        case "boolean":
            _demand(isinstance(value, bool), "must be true or false")
        case "int" | "long":
            low, high = INT if word == "int" else LONG
            _demand(type(value) is int and low <= value <= high, f"must be an integer in the range of {word}")
        case "float" | "double":
            _demand(type(value) is int and abs(value) <= 2**53, "must be a whole number")
            return float(value)
        case "string":
            _demand(isinstance(value, str), "must be a string")
        case "bytes":
            _demand(isinstance(value, str), "must be a string")
            return value.encode("latin-1")
        case _:
            raise ValueError("has an unknown type")
    return value


def _logical(value: Value, definition: Avro) -> Value:
    match logical(definition):
        case "date":
            return date.fromordinal(value + EPOCH_DAY)
        case "timestamp-millis":
            return EPOCH + timedelta(milliseconds=value)
        case "timestamp-micros":
            return EPOCH + timedelta(microseconds=value)
        case "local-timestamp-millis":
            return LOCAL_EPOCH + timedelta(milliseconds=value)
        case "local-timestamp-micros":
            return LOCAL_EPOCH + timedelta(microseconds=value)
        case "time-millis" | "time-micros" as word:
            since = timedelta(milliseconds=value) if word == "time-millis" else timedelta(microseconds=value)
            _demand(timedelta(0) <= since < timedelta(days=1), "must be a time of day")
            return (LOCAL_EPOCH + since).time()
        case "uuid":
            _demand(UUID_TEXT.fullmatch(value) is not None, "must be a UUID")
            return UUID(value)
        case "decimal":
            unscaled = int.from_bytes(value, "big", signed=True)
            _demand(len(value) > 0 and abs(unscaled) < 10 ** definition["precision"], "has too many digits")
            return Decimal(unscaled).scaleb(-definition.get("scale", 0), EXACT)
        case _:
            return value


def _demand(holds: bool, otherwise: str) -> None:  # noqa: FBT001  a condition reads best in front
    if not holds:
        raise ValueError(otherwise)
