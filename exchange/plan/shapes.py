"""Strict shapes of JSON documents: every key known, none missing, every value of its type, or one clear `Invalid`.

A shape is a function of a value and its JSON path (`plan.fields[2].mask.first`) that returns when the value fits and
raises when it does not. No error holds a value of the document, only keys and names that are plainly words.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from exchange import names
from exchange.errors import Invalid

Shape = Callable[[Any, str], None]

MAX_DEPTH: Final = 160  # JSON levels; a row tree uses two a level
MAX_VALUES: Final = 500_000  # all values of one document together
MAX_TEXT: Final = 4_000  # code points of one text
_WORD: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_.$/-]{0,39}")
_INT64: Final = 1 << 63


def read_json(text: str | bytes, *, where: str, most: int = MAX_VALUES) -> object:
    """The JSON value of a text in UTF-8: no key twice, no NaN, not too deep, at most so many values.

    Raises:
        Invalid: `plan_json_malformed` with line and column, `plan_key_twice`, `plan_oversized`.
    """
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(plain, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Invalid("plan_json_malformed", where=where, line=error.lineno, column=error.colno) from None
    except RecursionError:
        raise Invalid("plan_oversized", where=where, limit=f"{MAX_DEPTH} levels") from None
    except _KeyTwiceError as error:
        raise Invalid("plan_key_twice", where=where, key=shown(str(error))) from None
    except ValueError:  # no UTF-8, NaN, or an integer of thousands of digits
        raise Invalid("plan_json_malformed", where=where, line=1, column=1) from None
    bounded(value, where, most)
    return value


class _KeyTwiceError(Exception):
    """A key stands twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _KeyTwiceError(next(key for key in keys if keys.count(key) > 1))
    return found


def _no_constant(_name: str) -> None:
    raise ValueError


def bounded(document: object, where: str, most: int = MAX_VALUES) -> None:
    """Refuses a document deeper or larger than any honest one, without recursion of its own."""
    stack, seen = [(document, 1)], 0
    while stack:
        value, depth = stack.pop()
        seen += 1
        if depth > MAX_DEPTH:
            raise Invalid("plan_oversized", where=where, limit=f"{MAX_DEPTH} levels")
        children: Iterable[Any] = ()
        if isinstance(value, Mapping):
            children = value.values()
        elif isinstance(value, list | tuple):
            children = value
        stack.extend((child, depth + 1) for child in children)
        if seen + len(stack) > most:
            raise Invalid("plan_oversized", where=where, limit=f"{most} values")


def shown(name: object) -> str:
    """A name as an error may show it: a word, else only what kind of thing it is."""
    if isinstance(name, str):
        return name if _WORD.fullmatch(name) else f"({len(name)} characters)"
    return type(name).__name__


def near(name: object, known: Iterable[str]) -> str:
    """The nearest known name, or all of them when none is near."""
    known = sorted(known)
    return (names.nearest(name, known) if isinstance(name, str) and len(name) < names.MAX_NAME else "") or ", ".join(
        known
    )


def record(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """An object with exactly these keys; the optional ones may be missing."""
    known = {**required, **(optional or {})}

    def check(value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise Invalid("plan_type_wrong", where=where, expected="object")
        for key in value:
            if key not in known:
                raise Invalid("plan_key_unknown", where=where, key=shown(key), nearest=near(key, known))
        for key in required:
            if key not in value:
                raise Invalid("plan_key_missing", where=where, key=key)
        for key, item in value.items():
            known[key](item, f"{where}.{key}")

    return check


def tagged(key: str, kinds: Mapping[str, Mapping[str, Shape]], *, what: str) -> Shape:
    """An object whose `key` names its kind, and so its other keys."""
    shapes = {kind: record({key: _anything, **parameters}) for kind, parameters in kinds.items()}

    def check(value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise Invalid("plan_type_wrong", where=where, expected="object")
        if key not in value:
            raise Invalid("plan_key_missing", where=where, key=key)
        kind = value[key]
        if not isinstance(kind, str) or kind not in shapes:
            raise Invalid(
                "plan_name_unknown", where=f"{where}.{key}", what=what, name=shown(kind), nearest=near(kind, shapes)
            )
        shapes[kind](value, where)

    return check


def mapping(key: Shape, item: Shape) -> Shape:
    """An object with keys of our own choice."""

    def check(value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise Invalid("plan_type_wrong", where=where, expected="object")
        for name, one in value.items():
            key(name, where)
            item(one, f"{where}.{shown(name)}")

    return check


def listing(item: Shape, *, least: int = 0, most: int = MAX_VALUES) -> Shape:
    """An array of such items, at least and at most so many."""

    def check(value: object, where: str) -> None:
        if not isinstance(value, list | tuple):
            raise Invalid("plan_type_wrong", where=where, expected="array")
        if len(value) < least:
            raise Invalid("plan_empty", where=where, least=least)
        if len(value) > most:
            raise Invalid("plan_oversized", where=where, limit=f"{most} items")
        for place, one in enumerate(value):
            item(one, f"{where}[{place}]")

    return check


def different(paths: Iterable[str], where: str) -> None:
    """Refuses a path that stands twice."""
    seen: set[str] = set()
    for place, path in enumerate(paths):
        if path in seen:
            raise Invalid("plan_path_twice", where=f"{where}[{place}]", path=shown(path))
        seen.add(path)


def choice(what: str, known: Iterable[str]) -> Shape:
    """One of these names."""
    allowed = tuple(known)

    def check(value: object, where: str) -> None:
        if not isinstance(value, str) or value not in allowed:
            raise Invalid("plan_name_unknown", where=where, what=what, name=shown(value), nearest=near(value, allowed))

    return check


def integer(least: int = -_INT64, most: int = _INT64 - 1) -> Shape:
    """A whole number within these bounds; true and false are none, nor is 1.0."""

    def check(value: object, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Invalid("plan_type_wrong", where=where, expected="integer")
        if not least <= value <= most:
            raise Invalid("plan_out_of_range", where=where, least=least, most=most)

    return check


def form(name: str) -> Shape:
    """A text of one of the forms of `exchange.names`."""

    def check(value: object, where: str) -> None:
        if not isinstance(value, str):
            raise Invalid("plan_type_wrong", where=where, expected="string")
        names.check(name, value, where=where)

    return check


def nullable(shape: Shape) -> Shape:
    """null, or that."""
    return lambda value, where: None if value is None else shape(value, where)


def text(value: object, where: str) -> None:
    """Any text that UTF-8 can hold, not too long."""
    if not isinstance(value, str):
        raise Invalid("plan_type_wrong", where=where, expected="string")
    if len(value) > MAX_TEXT:
        raise Invalid("plan_oversized", where=where, limit=f"{MAX_TEXT} characters")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise Invalid("plan_type_wrong", where=where, expected="string (Unicode)")


def word(value: object, where: str) -> None:
    """A text that says something."""
    text(value, where)
    if not value:
        raise Invalid("plan_empty", where=where, least=1)


def boolean(value: object, where: str) -> None:
    """One of the two booleans."""
    if not isinstance(value, bool):
        raise Invalid("plan_type_wrong", where=where, expected="boolean")


def scalar(value: object, where: str) -> None:
    """What a record's value is compared with: text, whole number, true or false. A decimal is written as text."""
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        integer()(value, where)
    elif isinstance(value, str):
        text(value, where)
    else:
        raise Invalid("plan_type_wrong", where=where, expected="string | integer | boolean")


def _anything(_value: object, _where: str) -> None:
    """Checked already."""
