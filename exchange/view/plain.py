"""Values of Avro types as JSON has them, for JSON lines and for cells of CSV.

| Avro | JSON |
|---|---|
| date | `"2026-12-31"` |
| timestamp-millis, -micros | `"2026-12-31T08:00:00.000Z"`, three or six digits, always UTC |
| local-timestamp-millis, -micros | `"2026-12-31T08:00:00.000"`, three or six digits, no zone |
| time-millis, -micros | `"08:00:00.000"`, three or six digits |
| uuid | `"123e4567-e89b-12d3-a456-426614174000"` |
| decimal | a string with all its places, `"560.50"` |
| bytes, fixed | a string, base64 (RFC 4648, padded) |
| others | as they are; an integer keeps all its digits |
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from exchange.avro.kinds import Avro, Named, branches, kind, logical, resolve

Plain = Callable[[Any], Any]


def plain(avro: Avro, named: Named) -> Plain | None:
    """The function from values of a type to JSON values; None where they are the same."""
    options, nullable = branches(resolve(avro, named))
    if len(options) > 1:
        return _union([resolve(option, named) for option in options])
    made = _single(resolve(options[0], named), named)
    if made is None or not nullable:
        return made
    return lambda value: None if value is None else made(value)


def _single(avro: Avro, named: Named) -> Plain | None:
    match kind(avro):
        case "record":
            return _record(avro, named)
        case "array":
            item = plain(avro["items"], named)
            return None if item is None else lambda items: [item(one) for one in items]
        case "map":
            found = plain(avro["values"], named)
            return None if found is None else lambda items: {key: found(one) for key, one in items.items()}
        case word:
            return _LEAVES.get(logical(avro) or word)


def _record(avro: Mapping[str, Any], named: Named) -> Plain | None:
    steps = [(entry["name"], plain(entry["type"], named)) for entry in avro["fields"]]
    if all(step is None for _, step in steps):
        return None

    def apply(record: Mapping[str, Any]) -> dict[str, Any]:
        return {name: record[name] if step is None else step(record[name]) for name, step in steps}

    return apply


def _union(options: list[Avro]) -> Plain:
    """By the type of the value; what a branch holds inside is made plain without its type."""
    micros = any(logical(option).endswith("-micros") for option in options)

    def apply(value: Any) -> Any:  # noqa: ANN401  any value of the union
        if isinstance(value, dict):
            return {key: apply(one) for key, one in value.items()}
        if isinstance(value, list):
            return [apply(one) for one in value]
        if isinstance(value, datetime | time):
            return _clock(value, "microseconds" if micros or value.microsecond % 1000 else "milliseconds")
        made = _BY_TYPE.get(type(value))
        return value if made is None else made(value)

    return apply


def plain_of_any(value: Any) -> Any:  # noqa: ANN401  any value that Avro may have
    """The JSON value of one that is no list, map or record, by its own type alone; moments in UTC."""
    if isinstance(value, datetime | time):
        return _clock(value, "microseconds" if value.microsecond % 1000 else "milliseconds")
    made = _BY_TYPE.get(type(value))
    return value if made is None else made(value)


def _clock(value: datetime | time, precision: str) -> str:
    return value.replace(tzinfo=None).isoformat(timespec=precision) + ("" if value.tzinfo is None else "Z")


def _to_millis(value: datetime | time) -> str:
    return _clock(value, "milliseconds")


def _to_micros(value: datetime | time) -> str:
    return _clock(value, "microseconds")


def _decimal(value: Decimal) -> str:
    return format(value, "f")


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


_BY_TYPE: Final[Mapping[type, Plain]] = {date: date.isoformat, Decimal: _decimal, bytes: _base64, UUID: str}
_LEAVES: Final[Mapping[str, Plain]] = {
    "date": date.isoformat,
    "time-millis": _to_millis,
    "time-micros": _to_micros,
    "timestamp-millis": _to_millis,
    "timestamp-micros": _to_micros,
    "local-timestamp-millis": _to_millis,
    "local-timestamp-micros": _to_micros,
    "uuid": str,
    "decimal": _decimal,
    "bytes": _base64,
    "fixed": _base64,
}
