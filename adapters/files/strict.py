"""Values out of a TOML table, each checked where it is taken: a wrong one names its place and what belongs there."""

from collections.abc import Mapping
from typing import Any

from exchange import names
from exchange.errors import Invalid


def texts(document: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """A list of different texts; empty where the key is missing."""
    texts = document.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise wrong(f"{where}: {key}", "a list of texts")
    if len(set(texts)) < len(texts):
        raise wrong(f"{where}: {key}", "each text once")
    return tuple(texts)


def character(entry: Mapping[str, Any], key: str, default: str, where: str) -> str:
    """One character."""
    character = entry.get(key, default)
    if isinstance(character, str) and len(character) == 1:
        return character
    raise wrong(f"{where}.{key}", "one character")


def whole(table: Mapping[str, Any], key: str, default: int, allowed: range, where: str) -> int:
    """A whole number within these bounds."""
    number = table.get(key, default)
    if isinstance(number, int) and not isinstance(number, bool) and number in allowed:
        return number
    raise wrong(f"{where}: {key}", f"a whole number from {allowed[0]} to {allowed[-1]}")


def one_of(table: Mapping[str, Any], key: str, allowed: tuple[str, ...], where: str, *, required: bool = False) -> str:
    """One of the values allowed; the first of them where the key is missing, unless `required`."""
    value = table.get(key, None if required else allowed[0])
    if isinstance(value, str) and value in allowed:
        return value
    raise wrong(f"{where}: {key}", " | ".join(repr(item) for item in allowed))


def known(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuses a key that is not known: `adapter_config_unknown_key`, with the nearest."""
    for key in table:
        if key not in known:
            nearest = names.nearest(key, known) or ", ".join(known)
            raise Invalid("adapter_config_unknown_key", where=where, key=key[:100], nearest=nearest)


def wrong(where: str, expected: str) -> Invalid:
    """The error for a missing or wrong value at this place."""
    return Invalid("adapter_config_value", where=where, expected=expected)
