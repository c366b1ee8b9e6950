"""How to look at an Avro type that has been brought into normal form."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

Avro: TypeAlias = Any  # a type as its JSON: a name, a definition (dict) or a union (list)
Value: TypeAlias = Any  # a value of a record
Named: TypeAlias = Mapping[str, Mapping[str, Any]]  # the definitions of named types by full name


def resolve(avro: Avro, named: Named) -> Avro:
    """The definition behind a name; anything else as it is."""
    return named.get(avro, avro) if isinstance(avro, str) else avro


def kind(avro: Avro) -> str:
    """The word for a resolved type: `string`, `record`, `union` …"""
    if isinstance(avro, list):
        return "union"
    return str(avro["type"]) if isinstance(avro, Mapping) else str(avro)


def logical(avro: Avro) -> str:
    """The logical type of a resolved type, or an empty string."""
    return str(avro.get("logicalType", "")) if isinstance(avro, Mapping) else ""


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
