"""Which type of a reader's schema takes the values of a writer's type (specification 1.11, "Schema Resolution").

Stricter than the specification, so that every value passes and means the same afterwards: logical types must be equal
(a `timestamp-millis` read as a plain long would be another number); bytes are not read as a string, since not all
bytes are text; a writer's field feeds one field of the reader, by its name before any alias.
"""

from collections.abc import Mapping
from typing import Any, Final

from exchange.avro.kinds import Avro, Named, kind, logical, resolve

_PROMOTIONS: Final = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
}


class Mismatch(Exception):  # never leaves the room
    """Values of the writer's type have no place in the reader's; the reason is its text."""


def pick(writer: Avro, reader: Avro, named: Named) -> Avro:
    """The reader's type (resolved, no union) that takes values of a resolved writer's type that is no union.

    Of a union it is the first branch of the same type, else the first that matches by promotion, as in Avro's
    reference implementation: a string stays a string where the reader has both bytes and string.

    Raises:
        Mismatch: there is none.
    """
    options = [resolve(option, named) for option in (reader if isinstance(reader, list) else [reader])]
    reasons = [mismatch(writer, option) for option in options]
    matching = [option for option, reason in zip(options, reasons, strict=True) if not reason]
    if not matching:
        raise Mismatch(reasons[0] if len(reasons) == 1 else f"no branch of the union takes {kind(writer)}")
    return next((option for option in matching if kind(option) == kind(writer)), matching[0])


def mismatch(writer: Avro, reader: Avro) -> str:
    """Why a reader's type does not take a writer's, both resolved and no unions; empty when it does.

    What lies inside records, arrays and maps is not looked at.
    """
    ours, theirs = kind(writer), kind(reader)
    if ours != theirs:
        if theirs in _PROMOTIONS.get(ours, ()) and not logical(writer) and not logical(reader):
            return ""
        return f"{ours} cannot be read as {theirs}"
    if ours in ("record", "enum", "fixed") and not _same_name(writer, reader):
        return f"the {ours} {writer['name']} is not {reader['name']} nor an alias of it"
    if ours == "fixed" and writer["size"] != reader["size"]:
        return f"fixed size {writer['size']} is not {reader['size']}"
    if _logical(writer) != _logical(reader):
        return f"the logical type of {ours} is another"
    return ""


def promotion(writer: Avro, reader: Avro) -> str:
    """What has to be done to a value: `float`, `encode`, or nothing (an empty string)."""
    ours, theirs = kind(writer), kind(reader)
    if theirs in ("float", "double") and ours in ("int", "long"):
        return "float"
    return "encode" if (ours, theirs) == ("string", "bytes") else ""


def sources(writer: Avro, reader: Avro) -> dict[str, str]:
    """Which of the writer's fields feeds which of the reader's: {reader's name: writer's name}."""
    theirs = {entry["name"] for entry in writer["fields"]}
    free = theirs - {entry["name"] for entry in reader["fields"]}
    found = {}
    for entry in reader["fields"]:
        if entry["name"] in theirs:
            found[entry["name"]] = entry["name"]
            continue
        alias = next((alias for alias in entry.get("aliases", ()) if alias in free), None)
        if alias is not None:
            found[entry["name"]] = alias  # no other field has this alias: the schema would have been refused
    return found


def symbol_map(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> dict[str, str | None]:
    """Each symbol of the writer's enum as the reader has it: itself, the reader's default, or None."""
    known, default = set(reader["symbols"]), reader.get("default")
    return {symbol: symbol if symbol in known else default for symbol in writer["symbols"]}


def _logical(avro: Avro) -> tuple[Any, ...]:
    meaning = logical(avro)
    return (meaning, avro["precision"], avro.get("scale", 0)) if meaning == "decimal" else (meaning,)


def _same_name(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> bool:
    short = writer["name"].rpartition(".")[2]
    return short == reader["name"].rpartition(".")[2] or writer["name"] in reader.get("aliases", ())
