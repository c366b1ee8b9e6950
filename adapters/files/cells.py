"""The text of a cell as a value, by the type that the configuration gives its column.

A converter takes the cell's text (never one that means null) and gives the value, or raises `Invalid` with the
code of what is wrong; the caller knows the place. No error holds the text.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from adapters.files import identifiers
from adapters.files.config import Column
from exchange.errors import Invalid

Converter = Callable[[str], Any]

WRONG_CHECK: Final = "wrong_check"
_LONG: Final = range(-(1 << 63), 1 << 63)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_MONEY: Final = re.compile(r"([+-]?)([0-9]{1,15}|[0-9]{1,3}(?:,[0-9]{3}){1,4})(?:\.([0-9]{1,2})0*)?")
_ISO: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}")
_DATE: Final = re.compile(r"([0-9]{4})(?:([-/.])([0-9]{1,2})\2([0-9]{1,2})|([0-9]{2})([0-9]{2}))")
_HAN_DATE: Final = re.compile(r"([0-9]{4})年([0-9]{1,2})月([0-9]{1,2})日")
_MONTH: Final = re.compile(r"([0-9]{4})(?:[-/.]([0-9]{1,2})|年([0-9]{1,2})月|([0-9]{2}))")
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?)(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_HAN_DIGITS: Final = {
    **{digit: value for value, digit in enumerate("〇一二三四五六七八九")},
    **dict.fromkeys("零○", 0),
}
_HAN_NUMBER: Final = "([一二三]?十[一二三四五六七八九]?|[一二三四五六七八九])"
_HAN: Final = re.compile(f"([〇零○一二三四五六七八九]{{4}})年{_HAN_NUMBER}月(?:{_HAN_NUMBER}[日号])?")
# Five digits: 1927 to 2173. Excel counts 1900-02-29, which never was, so its first day is behind 1899-12-30.
_SERIALS: Final = {
    "serial": (re.compile("[1-9][0-9]{4}"), date(1899, 12, 30)),
    "serial_1904": (re.compile("[1-9][0-9]{4}"), date(1904, 1, 1)),
}
_MIDNIGHT: Final = re.compile(r"(.{6,11}?)[ T]0?0:00(?::00(?:\.0+)?)?")
_TRUTH: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("是", "true", "1", "Y"), True),
    **dict.fromkeys(("否", "false", "0", "N"), False),
}
MAX_ITEMS: Final = 1000


def converter(column: Column, counts: Counter[str]) -> Converter:
    """The converter for this column; `counts[WRONG_CHECK]` rises with every person's id of a wrong check digit."""
    if column.type == "id":
        return _person(counts) if column.form == "person" else identifiers.code
    if column.type == "list":
        return _items(column, counts)
    if column.type in {"enum", "bool"}:
        return _symbol(column.values or _TRUTH)
    if column.type == "timestamp":
        return _timestamp(column.zone)
    plain: Mapping[str, Converter] = {
        "text": text,
        "name": identifiers.name,
        "int": integer,
        "fen": fen,
        "date": day,
        "month": month,
    }
    return _respelling(plain[column.type], column) if column.also else plain[column.type]


def text(cell: str) -> str:
    """NFC, no white space at the ends."""
    return cell.strip() if cell.isascii() else unicodedata.normalize("NFC", cell.strip())


def integer(cell: str) -> int:
    """A whole number of 64 bits; else `cell_number_malformed`, or `cell_number_damaged` for powers of ten."""
    plain = identifiers.plain_number(cell)
    if _INTEGER.fullmatch(plain) and int(plain) in _LONG:
        return int(plain)
    raise Invalid("cell_number_malformed")


def fen(cell: str) -> int:
    """Yuan with at most two places (`1,234.50`) as whole fen, exactly; else `cell_money_malformed`."""
    found = _MONEY.fullmatch(identifiers.plain_number(cell))
    if not found:
        raise Invalid("cell_money_malformed")
    sign, yuan, parts = found.groups()
    amount = int(yuan.replace(",", "")) * 100 + int((parts or "").ljust(2, "0"))
    return -amount if sign == "-" else amount


def day(cell: str) -> date:
    """2026-01-03, 2026/1/3, 2026.1.3, 20260103, 2026年1月3日; else `cell_date_malformed`."""
    if cell.isascii() and _ISO.fullmatch(cell):
        with suppress(ValueError):  # the common forms, fast; no other day comes of them below
            return date.fromisoformat(cell)
    plain = identifiers.plain_number(cell)
    found = _DATE.fullmatch(plain) or _HAN_DATE.fullmatch(plain)
    if not found:
        raise Invalid("cell_date_malformed")
    year, month_, day_ = (int(part) for part in found.groups() if part and part.isdigit())
    try:
        return date(year, month_, day_)
    except ValueError:
        raise Invalid("cell_date_malformed") from None


def month(cell: str) -> str:
    """2026-01, 2026/1, 2026.1, 202601, 2026年1月, as `2026-01`; else `cell_date_malformed`."""
    found = _MONTH.fullmatch(identifiers.plain_number(cell))
    if found and found[1] != "0000" and 1 <= (number := int(found[2] or found[3] or found[4])) <= 12:
        return f"{found[1]}-{number:02}"
    raise Invalid("cell_date_malformed")


def _respelling(convert: Converter, column: Column) -> Converter:
    """Takes the other spellings too that the configuration names for a date or month."""
    also, months = column.also, column.type == "month"

    def converted(cell: str) -> Any:  # noqa: ANN401  what the type gives
        plain = _respelled(cell.strip(), also)
        if months and (plain != cell.strip() or "day" in also):
            with suppress(Invalid):
                plain = day(plain).isoformat()[:7]
        return convert(plain)

    return converted


def _respelled(cell: str, also: Collection[str]) -> str:
    """The same date in a usual spelling; the text itself when it is in none of these."""
    for name, (form, first) in _SERIALS.items():
        if name in also and form.fullmatch(cell):
            return (first + timedelta(days=int(cell))).isoformat()
    if "midnight" in also and (found := _MIDNIGHT.fullmatch(cell)):
        return found[1]
    if "han" in also and (found := _HAN.fullmatch(cell)):
        year = "".join(str(_HAN_DIGITS[digit]) for digit in found[1])
        rest = f"{_han(found[3])}日" if found[3] else ""
        return f"{year}年{_han(found[2])}月{rest}"
    return cell


def _han(number: str) -> int:
    """一 … 三十一; what is no day or month of a calendar is found out afterwards."""
    tens, ten, ones = number.rpartition("十")
    return (_HAN_DIGITS.get(tens, 1) * 10 if ten else 0) + _HAN_DIGITS.get(ones, 0)


def _person(counts: Counter[str]) -> Converter:
    def convert(cell: str) -> str:
        identifier = identifiers.person_id(cell)
        if identifiers.wrong_check(identifier):
            counts[WRONG_CHECK] += 1
        return identifier

    return convert


def _symbol(values: Mapping[str, str | bool]) -> Converter:
    def convert(cell: str) -> str | bool:
        symbol: str | bool | None = values.get(cell)
        if symbol is None and (symbol := values.get(text(cell))) is None:
            raise Invalid("cell_value_unknown")
        return symbol

    return convert


def _timestamp(zone: str) -> Converter:
    def convert(cell: str) -> datetime:
        found = _TIMESTAMP.fullmatch(identifiers.plain_number(cell))
        if not found:
            raise Invalid("cell_date_malformed")
        offset = (found[3] or zone).replace("Z", "+00:00")
        try:
            return datetime.fromisoformat(f"{found[1]}T{found[2]}{offset}").astimezone(UTC)
        except (ValueError, OverflowError):
            raise Invalid("cell_date_malformed") from None

    return convert


def _items(column: Column, counts: Counter[str]) -> Converter:
    parts = [(part.field, converter(part, counts)) for part in column.parts]

    def convert(cell: str) -> list[dict[str, Any]]:
        items = [item.split(column.within) for item in cell.split(column.separator) if item.strip()]
        if len(items) > MAX_ITEMS or any(len(item) != len(parts) for item in items):
            raise Invalid("cell_list_malformed")
        return [
            {name: convert_part(piece) for (name, convert_part), piece in zip(parts, item, strict=True)}
            for item in items
        ]

    return convert
