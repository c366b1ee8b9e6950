"""The pieces of Avro's binary form (specification 1.11, "Binary Encoding") that generated code is put together from.

Everything that is not exactly one way of writing a value is refused: a variable-length number has its shortest
form, so the same value has the same bytes.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any, Final, NoReturn

from exchange.avro.defaults import EPOCH, EPOCH_DAY, EXACT, FLOAT_MAX, INT, LONG

FIRST_DAY: Final = datetime.min.replace(tzinfo=UTC) - EPOCH
LAST_DAY: Final = datetime.max.replace(tzinfo=UTC) - EPOCH
MANY_DAYS: Final = 65_536


class Wrong(Exception):  # never leaves the room
    """A value or a byte string is not what its schema says; the caller finds out the place."""


def fail() -> NoReturn:
    """Ends generated code at the first thing that is wrong."""
    raise Wrong


def varint(number: int) -> bytes:
    """An unsigned number, seven bits a byte, least first."""
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7)) if number > 127 else bytes((number,))
    if number < 1 << 21:
        return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def zigzag(number: int) -> bytes:
    """A signed number, as a variable-length one."""
    return varint(number + number if number >= 0 else -number - number - 1)


LENGTHS: Final = tuple(zigzag(length) for length in range(512))  # the lengths that occur, ready made


def more(body: bytes, at: int, first: int) -> tuple[int, int]:
    """Goes on reading a variable-length number behind its first byte: the unsigned number and where it ends."""
    number, shift = first & 127, 7
    while True:
        byte = body[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise Wrong
    if byte == 0 or number >= 1 << 64:
        raise Wrong
    return number, at


def signed(body: bytes, at: int) -> tuple[int, int]:
    """A `long` and where it ends."""
    number, at = body[at], at + 1
    if number > 127:
        number, at = more(body, at, number)
    return (number >> 1) ^ -(number & 1), at


def length(body: bytes, at: int) -> tuple[int, int]:
    """The end of a `bytes` or `string` and its start; refuses what goes beyond the body."""
    size, at = signed(body, at)
    if size < 0 or at + size > len(body):
        raise Wrong
    return at + size, at


def blocks(body: bytes, at: int, read_item: Callable[[bytes, int], int]) -> int:
    """Reads the blocks of an array or map by calling `read_item` for each item; gives where they end.

    No count costs more than the bytes behind it: every item takes a byte at least (`normal.py` refuses types whose
    values take none), so a false count runs into the end.
    """
    while True:
        count, at = signed(body, at)
        if count == 0:
            return at
        end = None
        if count < 0:
            size, at = signed(body, at)
            count, end = -count, at + size
        for _ in range(count):
            at = read_item(body, at)
        if end is not None and at != end:
            raise Wrong


def day_writer() -> Callable[[date], bytes]:
    """Writes dates; remembers those it has written."""

    @lru_cache(MANY_DAYS)
    def write(day: date) -> bytes:
        return zigzag(day.toordinal() - EPOCH_DAY)

    return write


def day_reader() -> Callable[[int], date]:
    """Gives the date of a day number; remembers those it has given."""

    @lru_cache(MANY_DAYS)
    def read(number: int) -> date:
        return date.fromordinal(number + EPOCH_DAY)

    return read


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC of an aware moment that lies in the years 1 to 9999 in UTC too."""
    since = moment - EPOCH  # TypeError for a naive moment
    if not FIRST_DAY <= since <= LAST_DAY:
        raise Wrong
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def millis(moment: datetime) -> int:
    """Milliseconds since 1970 UTC; refuses a moment between two of them."""
    number, rest = divmod(micros(moment), 1000)
    if rest:
        raise Wrong
    return number


def moment_of_micros(number: int) -> datetime:
    """The moment so many microseconds after 1970, in UTC."""
    return EPOCH + timedelta(microseconds=number)


def moment_of_millis(number: int) -> datetime:
    """The moment so many milliseconds after 1970, in UTC."""
    return EPOCH + timedelta(milliseconds=number)


def unscaled(value: Decimal, precision: int, scale: int) -> int:
    """The integer that stands for a decimal; refuses more digits or places than the type has."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or exponent + scale < 0:
        raise Wrong
    if not value:
        return 0
    if len(digits) + exponent + scale > precision:
        raise Wrong
    number: int = int("".join(map(str, digits))) * 10 ** (exponent + scale)
    return -number if sign else number


def decimal_writer(precision: int, scale: int, size: int | None) -> Callable[[Decimal], bytes]:
    """Writes decimals as big-endian two's complement: of `size` bytes, or as few as fastavro takes, with length."""

    def write(value: Decimal) -> bytes:
        number = unscaled(value, precision, scale)
        if size is not None:
            return number.to_bytes(size, "big", signed=True)
        taken = (number.bit_length() + 8) // 8
        return LENGTHS[taken] + number.to_bytes(taken, "big", signed=True)

    return write


def decimal_reader(precision: int, scale: int) -> Callable[[bytes], Decimal]:
    """Gives the decimal of big-endian two's complement; refuses no bytes and too many digits."""
    bound = 10**precision

    def read(raw: bytes) -> Decimal:
        number = int.from_bytes(raw, "big", signed=True)
        if not raw or not -bound < number < bound:
            raise Wrong
        return Decimal(number).scaleb(-scale, EXACT)

    return read


def finite(value: float) -> float:
    """The number; NaN and the infinities are refused: no mask, condition or JSON has a meaning for them."""
    if not isfinite(value):
        raise Wrong
    return value


TOOLS: Final[dict[str, Any]] = {
    "FLOAT_MAX": FLOAT_MAX,
    "L": LENGTHS,
    "Decimal": Decimal,
    "INT": INT,
    "LONG": LONG,
    "Wrong": Wrong,
    "blocks": blocks,
    "date": date,
    "datetime": datetime,
    "fail": fail,
    "finite": finite,
    "length": length,
    "micros": micros,
    "millis": millis,
    "moment_of_micros": moment_of_micros,
    "moment_of_millis": moment_of_millis,
    "more": more,
    "signed": signed,
    "varint": varint,
    "zigzag": zigzag,
}
