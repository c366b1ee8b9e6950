"""What came of an action: its value, or the code of our error."""

from collections.abc import Callable
from typing import TypeVar

from exchange.errors import Invalid

T = TypeVar("T")


def outcome(action: Callable[[], T]) -> tuple[T | None, str]:
    """The value and an empty string, or None and the code; any other exception goes through."""
    try:
        return action(), ""
    except Invalid as error:
        return None, error.code
