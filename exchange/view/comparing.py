"""One comparison of a leaf with a value of the plan (plan.md, "Row conditions"), for row conditions and verdicts.

| the leaf is | the plan writes | compared |
|---|---|---|
| string, enum | string | by code point |
| uuid | string | by code point of its canonical text; a UUID in capitals is the same UUID |
| int, long | integer | by value |
| decimal, float, double | integer, or a decimal in a string | exactly, by value |
| boolean | boolean | eq and ne only |
| date | `2026-12-31` | by day |
| timestamp | `2026-12-31T08:00:00+08:00`: with offset or Z, at most microseconds | by instant |
| local timestamp | `2026-12-31T08:00:00`: without offset | by the clock that it was read from |
| time | `08:00:00`: at most microseconds | by time of day |
| bytes, fixed | base64 (RFC 4648, padded) | byte by byte |

Any other pair is unlike: comparing it is unknown for every record. A string that should be a decimal, a date, a time,
a timestamp or base64 and is none is refused at once: it is a slip of the pen, not a type.
"""

import operator
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from exchange.avro.kinds import Avro, kind, logical
from exchange.avro.meanings import is_uuid
from exchange.avro.schema import Leaf
from exchange.errors import Invalid
from exchange.plan.tree import decimal_of

Compare = Callable[[Any], bool | None]
Constant = str | int | bool

_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_EXACT: Final = {"string": str, "enum": str, "int": int, "long": int, "boolean": bool}
_TYPES: Final = {"float": float, "double": float, "bytes": bytes, "fixed": bytes}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME: Final = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?", re.ASCII)
_LOCAL: Final = re.compile(f"{_DATE.pattern}T{_TIME.pattern}", re.ASCII)
_MOMENT: Final = re.compile(f"{_LOCAL.pattern}(Z|[+-][0-9]{{2}}:?[0-9]{{2}})", re.ASCII)
_WHEN: Final[Mapping[str, tuple[re.Pattern[str], Callable[[str], object], str]]] = {
    "date": (_DATE, date.fromisoformat, "date"),
    "time-millis": (_TIME, time.fromisoformat, "time"),
    "time-micros": (_TIME, time.fromisoformat, "time"),
    "local-timestamp-millis": (_LOCAL, datetime.fromisoformat, "local timestamp"),
    "local-timestamp-micros": (_LOCAL, datetime.fromisoformat, "local timestamp"),
    "timestamp-millis": (_MOMENT, datetime.fromisoformat, "timestamp"),
    "timestamp-micros": (_MOMENT, datetime.fromisoformat, "timestamp"),
}
_PYTHON: Final[Mapping[str, type]] = {
    "date": date,
    "decimal": Decimal,
    "time-millis": time,
    "time-micros": time,
    "uuid": UUID,
}


def comparison(leaf: Leaf, op: str, constant: Constant, where: str) -> Compare | None:
    """The comparison of this leaf's values with a constant; None when they are unlike, whatever the record.

    The function gives None for null. A leaf of several branches is compared by the branch its value has.

    Raises:
        Invalid: `view_value_malformed` for a string that is no decimal, date, time, timestamp or base64 where it
            must be.
    """
    if not isinstance(leaf.type, list):
        return _plain(leaf.type, op, constant, where)
    known: dict[type, Compare] = {}
    for branch in leaf.type:
        one = _branch(branch, op, constant)
        if one is not None:
            known[_python_type(branch)] = one
    if not known:
        return None

    def compare(value: Any) -> bool | None:  # noqa: ANN401  any value of the union
        found = known.get(type(value))
        return None if found is None else found(value)

    return compare


def among(leaf: Leaf, constants: Sequence[Constant], where: str) -> tuple[Compare, list[str]]:
    """Whether a value equals one of the constants, and the places of those that are unlike the leaf.

    True when one is equal, else unknown when one comparison is unknown, else false; unknown for null.
    """
    if isinstance(leaf.type, list):
        return _among_branches(leaf, constants, where)
    places = [f"{where}[{place}]" for place in range(len(constants))]
    found = [_constant(leaf.type, one, place) for one, place in zip(constants, places, strict=True)]
    unlike = [place for one, place in zip(found, places, strict=True) if one is None]
    wanted, otherwise = frozenset(one for one in found if one is not None), None if unlike else False
    if logical(leaf.type) == "uuid":
        return lambda value: None if value is None else (str(value) in wanted or otherwise), unlike

    def compare(value: Any) -> bool | None:  # noqa: ANN401  any value of the leaf's type
        return None if value is None else (value in wanted or otherwise)

    return compare, unlike


def _among_branches(leaf: Leaf, constants: Sequence[Constant], where: str) -> tuple[Compare, list[str]]:
    found = [comparison(leaf, "eq", one, where) for one in constants]
    unlike = [f"{where}[{place}]" for place, one in enumerate(found) if one is None]

    def compare(value: Any) -> bool | None:  # noqa: ANN401  any value of the union
        results = [None if one is None or value is None else one(value) for one in found]
        return True if True in results else None if value is None or None in results else False

    return compare, unlike


def _branch(branch: Avro, op: str, constant: Constant) -> Compare | None:
    try:
        return _plain(branch, op, constant, "")
    except Invalid:  # another branch may be the one that is meant
        return None


def _plain(avro: Avro, op: str, constant: Constant, where: str) -> Compare | None:
    wanted = _constant(avro, constant, where)
    if wanted is None or (isinstance(wanted, bool) and op not in ("eq", "ne")):
        return None
    holds = _OPERATORS[op]
    if logical(avro) == "uuid":
        return lambda value: None if value is None else holds(str(value), wanted)

    def compare(value: Any) -> bool | None:  # noqa: ANN401  any value of the leaf's type
        return None if value is None else holds(value, wanted)

    return compare


def prefix(leaf: Leaf, start: str) -> Compare | None:
    """Whether a text, symbol or UUID begins with this; None when the leaf holds no text."""
    types = {_python_type(one) for one in (leaf.type if isinstance(leaf.type, list) else [leaf.type])}
    if not types & {str, UUID}:
        return None
    return lambda value: str(value).startswith(start) if type(value) in (str, UUID) else None


def _python_type(avro: Avro) -> type:
    if meaning := logical(avro):
        return _PYTHON.get(meaning, datetime)
    return {**_EXACT, **_TYPES, "array": list}.get(kind(avro), dict)


def _constant(avro: Avro, constant: Constant, where: str) -> object | None:
    """The constant as values of this type are; None when it is unlike them."""
    word, meaning = kind(avro), logical(avro)
    if meaning == "decimal" or word in ("float", "double"):
        return _number(constant, where)
    if not meaning and word in _EXACT:
        return constant if type(constant) is _EXACT[word] else None
    if not isinstance(constant, str):
        return None
    if meaning == "uuid":
        return constant.lower() if is_uuid(constant) else constant
    if meaning:
        return _when(constant, *_WHEN[meaning], where)
    return _base64(constant, where) if word in ("bytes", "fixed") else None


def _number(constant: Constant, where: str) -> object | None:
    if isinstance(constant, bool):
        return None
    number = decimal_of(constant)
    if number is None:
        raise Invalid("view_value_malformed", where=where, expected="decimal")
    return number


def _when(text: str, form: re.Pattern[str], read: Callable[[str], object], what: str, where: str) -> object:
    try:
        if form.fullmatch(text):
            return read(text)
    except ValueError:
        pass
    raise Invalid("view_value_malformed", where=where, expected=what)


def _base64(text: str, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise Invalid("view_value_malformed", where=where, expected="base64") from None
