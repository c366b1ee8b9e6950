"""How to look at an Avro type that has been brought into normal form."""

from collections.abc import Iterable, Mapping
from math import floor, log10
from typing import Any, Final, TypeAlias

Avro: TypeAlias = Any  # a type as its JSON: a name, a definition (dict) or a union (list)
Value: TypeAlias = Any  # a value of a record
Named: TypeAlias = Mapping[str, Mapping[str, Any]]  # the definitions of named types by full name

LOGICAL: Final[Mapping[str, tuple[str, ...]]] = {
    "date": ("int",),
    "time-millis": ("int",),
    "time-micros": ("long",),
    "timestamp-millis": ("long",),
    "timestamp-micros": ("long",),
    "local-timestamp-millis": ("long",),
    "local-timestamp-micros": ("long",),
    "uuid": ("string",),
    "decimal": ("bytes", "fixed"),
}


def resolve(avro: Avro, named: Named) -> Avro:
    """The definition behind a name; anything else as it is."""
    return named.get(avro, avro) if isinstance(avro, str) else avro


def kind(avro: Avro) -> str:
    """The word for a resolved type: `string`, `record`, `union` …"""
    if isinstance(avro, list):
        return "union"
    return str(avro["type"]) if isinstance(avro, Mapping) else str(avro)


def logical(avro: Avro) -> str:
    """The logical type that a resolved type's values have, or an empty string.

    One that is not among `LOGICAL`, or does not fit its type, is as if it were not there (specification 1.11,
    "Logical Types": language implementations must ignore unknown and invalid logical types when reading).
    """
    word = avro.get("logicalType") if isinstance(avro, Mapping) else None
    if not isinstance(word, str) or avro["type"] not in LOGICAL.get(word, ()):
        return ""
    return word if word != "decimal" or _is_decimal(avro) else ""


def _is_decimal(avro: Mapping[str, Any]) -> bool:
    precision, scale = avro.get("precision"), avro.get("scale", 0)
    if type(precision) is not int or type(scale) is not int or not 0 <= scale <= precision or precision < 1:
        return False
    # The specification's formula; the logarithm is exact enough, and no number as long as the file may ask is made.
    return avro["type"] == "bytes" or bool(precision <= floor(log10(2) * (8 * avro["size"] - 1)))


def branches(avro: Avro) -> tuple[list[Avro], bool]:
    """The branches of a type without null, and whether null is one of them; a plain type is its own only branch."""
    if not isinstance(avro, list):
        return [avro], False
    return [branch for branch in avro if branch != "null"], "null" in avro


def first_twin(names: Iterable[str]) -> str | None:
    """The first name that stands a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
