"""The clock of a site: the system's, or the file that the setting `clock.file` names."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from exchange.errors import Unavailable
from exchange.settings import Settings

_LONGEST: Final = 32  # bytes
_LATEST_NS: Final = 1 << 63


def clock_of(settings: Settings, system_ns: Callable[[], int]) -> Callable[[], int]:
    """The clock that the site's settings name, in nanoseconds since 1970; without one `system_ns`.

    Whoever keeps the file replaces it whole (a new file, renamed over it). It is read anew for every look at the clock,
    and the system's clock never stands in for it: each look is `Unavailable("clock_unreadable")` where it is missing,
    or holds anything but one integer.
    """
    name = settings.text("clock.file")
    return partial(_told, settings.path(name)) if name else system_ns


def _told(file: Path) -> int:
    try:
        with file.open("rb") as stream:
            text = stream.read(_LONGEST + 1).strip()
    except (OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or type(error).__name__
        raise Unavailable("clock_unreadable", where="clock.file", file=str(file), detail=detail) from None
    # `isdigit` of bytes: 0 to 9 and nothing else, so neither a sign nor an underscore.
    if not text.isdigit() or len(text) > _LONGEST or int(text) >= _LATEST_NS:
        detail = "not one integer of nanoseconds since 1970"
        raise Unavailable("clock_unreadable", where="clock.file", file=str(file), detail=detail)
    return int(text)
