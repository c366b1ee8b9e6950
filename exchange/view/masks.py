"""Masks (plan.md, "Fields and masks"): what each makes of a value, and of which types it is defined.

`null` and `redact` answer for null too; for every other mask a null stays null, and `compile_mask` sees to it.

Where plan.md is silent:

- `truncate` of a timestamp takes the first instant in UTC+8, as `year` does; a date has no hours, so `hour` is refused.
- A local timestamp says no zone: `year` and `truncate` take it by its own clock. A time of day takes neither.
- A uuid is its canonical text under `partial`, `pseudonym`, `redact` and `verdict`; the other masks of text are not
  defined for it.
- `year` of a text reads ISO 8601: `2026`, `2026-03`, `2026-03-01`, `20260301`, or one of the latter two with a time;
  a time with an offset is taken to UTC+8.
- Where no result can be given (a text that is no ISO date, an instant that leaves the calendar) it is null if the view
  admits null there, else the record is withheld.
- `round` gives the nearest multiple that the type can hold; `to` may not have more decimal places than the field.
- `pseudonym` of an enum is over its Avro binary, like all that is no string.
- A leaf of several branches (a union) takes only `keep`, `null`, `redact` (null) and `verdict`.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from exchange.avro.defaults import EXACT
from exchange.avro.kinds import kind, logical
from exchange.avro.schema import Leaf
from exchange.errors import Invalid
from exchange.plan.tree import REGION_LEVELS, decimal_of
from exchange.view.comparing import comparison
from exchange.view.pseudonyms import KEY_BYTES, pseudonym

Mask = Callable[[Any], Any]
Kind = Mapping[str, Any]
Keys = Mapping[str, bytes]

EAST_8: Final = timedelta(hours=8)
REDACTED: Final = "***"
REDACTABLE: Final = ("text", "uuid", "enum")
_INT: Final = {"int": (-(1 << 31), (1 << 31) - 1), "long": (-(1 << 63), (1 << 63) - 1)}
_ISO: Final = re.compile(r"([0-9]{4})(-(0[1-9]|1[0-2]))?|([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8})(T.+)?", re.ASCII)


class Unmaskable(Exception):  # never leaves the room
    """The mask has no result for this value."""


def type_of(leaf: Leaf) -> str:
    """What masks are defined by: one of `_SINGLE`, or union."""
    if isinstance(leaf.type, list):
        return "union"
    if meaning := logical(leaf.type):
        return meaning.removesuffix("-millis").removesuffix("-micros")
    word = kind(leaf.type)
    return {"string": "text", "int": "integer", "long": "integer", "float": "fraction", "double": "fraction"}.get(
        word, "bytes" if word in ("bytes", "fixed") else word
    )


def compile_mask(leaf: Leaf, mask: Kind, keys: Keys, where: str) -> Mask | None:
    """The mask as a function of the leaf's value or null; None when it changes nothing.

    Raises:
        Invalid: `view_mask_misfit` when the mask is not defined for the leaf's type, `view_key_missing` for a scope
            without a key, `view_value_malformed`.
    """
    name, found = str(mask["kind"]), type_of(leaf)
    if found not in DEFINED[name]:
        raise Invalid("view_mask_misfit", where=where, mask=name, path=leaf.path, type=found)
    if name == "redact":
        return (lambda _: REDACTED) if found in REDACTABLE else lambda _: None
    made = _MAKERS[name](leaf, mask, keys, where)
    return made if made is None or not leaf.nullable else _with_null(made)


def _with_null(mask: Mask) -> Mask:
    def apply(value: Any) -> Any:  # noqa: ANN401  a mask takes and gives what its types say
        if value is None:
            return None
        try:
            return mask(value)
        except Unmaskable:
            return None

    return apply


def _keep(_leaf: Leaf, _mask: Kind, _keys: Keys, _where: str) -> None:
    return None


def _null(_leaf: Leaf, _mask: Kind, _keys: Keys, _where: str) -> Mask:
    return lambda _: None


def _partial(_leaf: Leaf, mask: Kind, _keys: Keys, _where: str) -> Mask:
    first: int = mask["first"]
    last: int = mask["last"]

    def apply(value: str | UUID) -> str:
        text = str(value)
        hidden = len(text) - first - last
        if hidden <= 0:
            return "*" * len(text)
        return text[:first] + "*" * hidden + text[len(text) - last :]

    return apply


def _pseudonym(leaf: Leaf, mask: Kind, keys: Keys, where: str) -> Mask:
    scope = mask["scope"]
    if scope not in keys:
        raise Invalid("view_key_missing", where=where, scope=scope)
    if len(keys[scope]) not in KEY_BYTES:
        raise Invalid("view_key_malformed", where=f"keys.{scope}", expected="16 | 24 | 32 bytes")
    return pseudonym(leaf, keys[scope])


def _year(leaf: Leaf, _mask: Kind, _keys: Keys, _where: str) -> Mask:
    match type_of(leaf):
        case "date" | "local-timestamp":
            return lambda day: day.year
        case "timestamp":
            return lambda moment: _in_east_8(moment).year
        case _:
            return _year_of_text


def _in_east_8(moment: datetime) -> datetime:
    """The moment with the clock of UTC+8 (its zone still says UTC)."""
    try:
        return moment + EAST_8
    except OverflowError:
        raise Unmaskable from None


def _year_of_text(text: str) -> int:
    if len(text) > 40 or not (found := _ISO.fullmatch(text)):
        raise Unmaskable
    year, _, _, day, time = found.groups()
    try:
        if time:
            moment = datetime.fromisoformat(text)
            offset = moment.utcoffset()
            return moment.year if offset is None else (moment.replace(tzinfo=None) - offset + EAST_8).year
        return int(year) if year else date.fromisoformat(day).year
    except (ValueError, OverflowError):
        raise Unmaskable from None


def _truncate(leaf: Leaf, mask: Kind, _keys: Keys, where: str) -> Mask:
    unit = mask["unit"]
    first = _FIRST_DAY.get(unit, _same)
    if type_of(leaf) == "date":
        if unit == "hour":
            raise Invalid("view_mask_misfit", where=where, mask="truncate hour", path=leaf.path, type="date")
        return first
    shift = timedelta(0) if type_of(leaf) == "local-timestamp" else EAST_8
    midnight = {"minute": 0, "second": 0, "microsecond": 0, **({} if unit == "hour" else {"hour": 0})}

    def apply(moment: datetime) -> datetime:
        try:
            start: datetime = first(moment + shift).replace(**midnight)
            return start - shift
        except OverflowError:
            raise Unmaskable from None

    return apply


def _same(day: Any) -> Any:  # noqa: ANN401  a date or a datetime, as it came
    return day


_FIRST_DAY: Final[Mapping[str, Mask]] = {
    "month": lambda day: day.replace(day=1),
    "quarter": lambda day: day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1),
    "year": lambda day: day.replace(month=1, day=1),
}


def _region(_leaf: Leaf, mask: Kind, _keys: Keys, _where: str) -> Mask:
    kept = REGION_LEVELS[mask["level"]]
    return lambda code: code[:kept] + "0" * (len(code) - kept)


def _bucket(_leaf: Leaf, mask: Kind, _keys: Keys, _where: str) -> Mask:
    edges = [decimal_of(edge) or Decimal(0) for edge in mask["edges"]]
    written = [str(edge) for edge in mask["edges"]]
    names = [f"<{written[0]}", *(f"[{low},{high})" for low, high in pairwise(written)), f">={written[-1]}"]
    return lambda number: names[bisect_right(edges, number)]


def _round(leaf: Leaf, mask: Kind, _keys: Keys, where: str) -> Mask:
    to = decimal_of(mask["to"]) or Decimal(1)
    if type_of(leaf) == "integer":
        if not isinstance(mask["to"], int):
            raise Invalid("view_value_malformed", where=f"{where}.to", expected="integer")
        low, high = _INT[kind(leaf.type)]
        return lambda number: _nearest(number, int(to), low, high)
    scale, bound = leaf.type.get("scale", 0), 10 ** leaf.type["precision"] - 1
    step = to.scaleb(scale, EXACT)
    if step != int(step):
        raise Invalid("view_value_malformed", where=f"{where}.to", expected=f"decimal ({scale})")

    def apply(number: Decimal) -> Decimal:
        whole = _nearest(int(number.scaleb(scale, EXACT)), int(step), -bound, bound)
        return Decimal(whole).scaleb(-scale, EXACT)

    return apply


def _nearest(number: int, step: int, low: int, high: int) -> int:
    """The multiple of `step` nearest to the number, half to even; the next one inwards where that is out of bounds."""
    times, rest = divmod(number, step)
    if 2 * rest > step or (2 * rest == step and times % 2):
        times += 1
    found = times * step
    if found > high:
        return found - step
    return found + step if found < low else found


def _verdict(leaf: Leaf, mask: Kind, _keys: Keys, where: str) -> Mask:
    compare = comparison(leaf, mask["op"], mask["value"], f"{where}.value")
    return compare or (lambda _: None)


_MAKERS: Final[Mapping[str, Callable[[Leaf, Kind, Keys, str], Mask | None]]] = {
    "keep": _keep,
    "null": _null,
    "partial": _partial,
    "pseudonym": _pseudonym,
    "year": _year,
    "truncate": _truncate,
    "region": _region,
    "bucket": _bucket,
    "round": _round,
    "verdict": _verdict,
}
_DATED: Final = ("date", "timestamp", "local-timestamp")
_SINGLE: Final = ("text", "uuid", "enum", "integer", "decimal", "fraction", *_DATED, "time", "boolean", "bytes")
DEFINED: Final[Mapping[str, tuple[str, ...]]] = {
    "keep": (*_SINGLE, "union"),
    "null": (*_SINGLE, "union"),
    "redact": (*_SINGLE, "union"),
    "partial": ("text", "uuid"),
    "pseudonym": _SINGLE,
    "year": ("text", *_DATED),
    "truncate": _DATED,
    "region": ("text",),
    "bucket": ("integer", "decimal", "fraction"),
    "round": ("integer", "decimal"),
    "verdict": (*_SINGLE, "union"),
}
