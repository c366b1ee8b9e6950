"""Times of day, local timestamps and UUIDs: how logical types stand in integers and strings (specification 1.11,
"Logical Types"), for generated code.

Stricter than fastavro, so that nothing is lost unseen: a zone, or places that the type does not keep, are refused.
"""

from datetime import datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

from exchange.avro.binary import Wrong
from exchange.avro.defaults import LOCAL_EPOCH, UUID_TEXT

DAY_MICROS: Final = 86_400_000_000


def is_canonical_uuid(text: str) -> bool:
    """Whether a text is a UUID as RFC 4122 writes them out: 36 characters, lower case."""
    return is_uuid(text) and text == text.lower()


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID in its 36 characters, in either case."""
    return UUID_TEXT.fullmatch(text) is not None


def uuid_of(text: str) -> UUID:
    """The UUID of its 36 characters, in either case as RFC 4122 reads them; nothing else that Python would take."""
    if not is_uuid(text):
        raise Wrong
    return UUID(text)


def uuid_bytes(value: object) -> bytes:
    """The canonical text of a UUID; a text that is one already as it is."""
    if type(value) is UUID:
        return str(value).encode()
    if type(value) is str and is_canonical_uuid(value):
        return value.encode()
    raise Wrong


def time_micros(value: time) -> int:
    """Microseconds since midnight of a time of day that has no zone."""
    if value.tzinfo is not None:
        raise Wrong
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond


def time_millis(value: time) -> int:
    """Milliseconds since midnight; refuses a time between two of them."""
    return _whole_millis(time_micros(value))


def time_of_micros(number: int) -> time:
    """The time of day so many microseconds after midnight."""
    if not 0 <= number < DAY_MICROS:
        raise Wrong
    seconds, micros = divmod(number, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return time(hour, minute, second, micros)


def time_of_millis(number: int) -> time:
    """The time of day so many milliseconds after midnight."""
    return time_of_micros(number * 1000)


def local_micros(value: datetime) -> int:
    """Microseconds since 1970 of a moment on some clock, whose zone nobody says."""
    if value.tzinfo is not None:
        raise Wrong
    since = value - LOCAL_EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def local_millis(value: datetime) -> int:
    """Milliseconds since 1970; refuses a moment between two of them."""
    return _whole_millis(local_micros(value))


def local_of_micros(number: int) -> datetime:
    """The moment on the same clock, without a zone."""
    return LOCAL_EPOCH + timedelta(microseconds=number)


def local_of_millis(number: int) -> datetime:
    """The moment on the same clock, without a zone."""
    return LOCAL_EPOCH + timedelta(milliseconds=number)


def _whole_millis(micros: int) -> int:
    number, rest = divmod(micros, 1000)
    if rest:
        raise Wrong
    return number


MEANINGS: Final[dict[str, Any]] = {
    "local_micros": local_micros,
    "local_millis": local_millis,
    "local_of_micros": local_of_micros,
    "local_of_millis": local_of_millis,
    "time": time,
    "time_micros": time_micros,
    "time_millis": time_millis,
    "time_of_micros": time_of_micros,
    "time_of_millis": time_of_millis,
    "uuid_bytes": uuid_bytes,
    "uuid_of": uuid_of,
}
