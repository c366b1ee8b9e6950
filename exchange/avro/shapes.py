"""The shape of a value: its type, length and kinds of characters; never the value.

It is what a department sees of a record in its dead letters, enough to find the fault in its own file:
`text:18:digits+latin`, `integer:5`, `list:3`, `null`. An integer's number is the number of its digits.
"""

import unicodedata
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Final
from uuid import UUID

_LOOKED_AT: Final = 1000
_MAX_FIELDS: Final = 200


def shape(value: object) -> str:
    """The shape of one value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return f"integer:{_digits(value)}"
        case float():
            return "fraction"
        case str():
            return _text(value)
        case bytes():
            return f"bytes:{len(value)}"
        case date() | time():
            return _when(value)
        case UUID() | Decimal():
            return "uuid" if isinstance(value, UUID) else "decimal"
        case Mapping():
            return f"record:{len(value)}"
        case list() | tuple():
            return f"list:{len(value)}"
        case _:
            return "other"


def shapes(record: object, known: Mapping[str, object]) -> dict[str, str]:
    """The shape of each top-level field that the schema knows, in the schema's order; `?` counts the others.

    Empty for what is no record at all.
    """
    if not isinstance(record, Mapping):
        return {}
    found = {name: shape(record[name]) for name in list(known)[:_MAX_FIELDS] if name in record}
    if unknown := len(record.keys() - known.keys()):
        found["?"] = f"fields:{unknown}"
    return found


def _when(value: date | time) -> str:
    if isinstance(value, datetime):
        return "moment" if value.tzinfo is not None else "moment:no-zone"
    if isinstance(value, time):
        return "time" if value.tzinfo is None else "time:zone"
    return "date"


def _digits(value: int) -> int:
    # str() refuses integers of more than 4300 digits; a bit is 0.30103 digits.
    return len(str(abs(value))) if value.bit_length() < 10_000 else int(value.bit_length() * 0.30103)


def _text(value: str) -> str:
    kinds = sorted({_kind(character) for character in value[:_LOOKED_AT]})
    return ":".join(["text", str(len(value)), *(["+".join(kinds)] if kinds else [])])


def _kind(character: str) -> str:
    if character.isascii():
        return _ascii(character)
    category = unicodedata.category(character)
    if category == "Cs":
        return "surrogate"
    if category == "Nd":
        return "wide-digits"
    if unicodedata.name(character, "").startswith("CJK"):
        return "han"
    kinds = {"L": "letters", "P": "marks", "S": "marks", "Z": "space", "N": "numbers", "C": "control"}
    return kinds.get(category[0], "other")


def _ascii(character: str) -> str:
    if character.isdigit():
        return "digits"
    if character.isalpha():
        return "latin"
    if character.isspace():
        return "space"
    return "marks" if character.isprintable() else "control"
