"""Values of Avro types from JSON: the inverse of the form in which views give them (`exchange.view.plain`).

What does not fit its type stays as it is, and the schema's check (`exchange.avro.records.Codec`) refuses it with its
path and its shape, as it does a value of any other source. So nothing is guessed: a date is `2026-12-31` and no other
writing of it, a decimal is a text, bytes are padded base64 (RFC 4648), a moment has its zone.

Of a union with several types the first that a value fits is taken, texts as they are before texts that stand for
something else; an integer is taken for a fraction where it is exactly one.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from exchange.avro.faults import find_faults
from exchange.avro.kinds import Avro, Named, branches, kind, logical, resolve
from exchange.avro.meanings import is_uuid, uuid_of

Convert = Callable[[Any], Any]

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME: Final = re.compile(r"\d\d:\d\d:\d\d(?:\.\d{1,6})?", re.ASCII)
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_DECIMAL: Final = re.compile(r"-?\d{1,10000}(?:\.\d{1,10000})?", re.ASCII)


def from_json(avro: Avro, named: Named) -> Convert | None:
    """The function from JSON values to values of a type; None where they are the same."""
    options, nullable = branches(resolve(avro, named))
    if len(options) > 1:
        return _union([resolve(option, named) for option in options], named)
    made = _single(resolve(options[0], named), named) if options else None
    if made is None or not nullable:
        return made
    return lambda value: None if value is None else made(value)


def _single(avro: Avro, named: Named) -> Convert | None:
    match kind(avro):
        case "record":
            return _record(avro, named)
        case "array":
            item = from_json(avro["items"], named)
            return None if item is None else lambda value: _items(value, item)
        case "map":
            found = from_json(avro["values"], named)
            return None if found is None else lambda value: _entries(value, found)
        case word:
            return _LEAVES.get(logical(avro) or word)


def _items(value: object, item: Convert) -> object:
    return [item(one) for one in value] if isinstance(value, list) else value


def _entries(value: object, item: Convert) -> object:
    return {key: item(one) for key, one in value.items()} if isinstance(value, dict) else value


def _record(avro: Mapping[str, Any], named: Named) -> Convert | None:
    steps = [(entry["name"], from_json(entry["type"], named)) for entry in avro["fields"]]
    needed = [(name, step) for name, step in steps if step is not None]
    if not needed:
        return None

    def apply(value: object) -> object:
        if not isinstance(value, dict):
            return value
        made = dict(value)
        for name, step in needed:
            if name in made:
                made[name] = step(made[name])
        return made

    return apply


def _union(options: list[Avro], named: Named) -> Convert:
    made = [(option, _single(option, named)) for option in options]
    made.sort(key=lambda pair: pair[1] is not None)

    def apply(value: object) -> object:
        for option, step in made:
            found = value if step is None else step(value)
            if found is not None and not find_faults(found, option, named):
                return found
        return value

    return apply


def _of_text(form: Callable[[str], Any], read: Callable[[str], Any]) -> Convert:
    """Reads a text of this form; what has another form, or says what there is not (a 30th of February), stays."""

    def convert(value: object) -> object:
        if isinstance(value, str) and form(value):
            with suppress(ValueError):
                return read(value)
        return value

    return convert


def _bytes(value: object) -> object:
    if isinstance(value, str):
        with suppress(Error, ValueError):
            found = b64decode(value, validate=True)
            if b64encode(found).decode("ascii") == value:
                return found
    return value


def _float(value: object) -> object:
    if type(value) is int:
        with suppress(OverflowError):
            return float(value) if float(value) == value else value
    return value


_MOMENTS: Final = ("timestamp-millis", "timestamp-micros", "local-timestamp-millis", "local-timestamp-micros")
_LEAVES: Final[Mapping[str, Convert]] = {
    "date": _of_text(_DATE.fullmatch, date.fromisoformat),
    **dict.fromkeys(_MOMENTS, _of_text(_MOMENT.fullmatch, datetime.fromisoformat)),
    **dict.fromkeys(("time-millis", "time-micros"), _of_text(_TIME.fullmatch, time.fromisoformat)),
    "uuid": _of_text(is_uuid, uuid_of),
    "decimal": _of_text(_DECIMAL.fullmatch, Decimal),
    "bytes": _bytes,
    "fixed": _bytes,
    "float": _float,
    "double": _float,
}
