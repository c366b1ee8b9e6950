"""Avro schemas (specification 1.11, "Schema Declaration"), read strictly into one normal form.

The normal form: full names everywhere, no `namespace`, `{"type": "string"}` without further attributes written as
`"string"`, every other attribute kept. Its canonical JSON is what the fingerprint is made of, so two files that
differ only in white space, key order or the way names are written have one fingerprint, and a changed tag,
logical type or doc gives another.

What is refused beyond the specification, so that every schema has finitely many leaves and every byte string one
meaning: recursion, records without fields, fields that can only be null, `error` types, decimals of more than a
thousand digits, fractional defaults (canonical JSON has no fractions).

A logical type that is unknown here (`timestamp-nanos`, `duration`, a misspelt one) or does not fit its type (another
base type, a decimal with an impossible precision) is ignored, as the specification demands: the values are those of
the type below. Like all attributes it stays in the document and the fingerprint.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from exchange.avro.kinds import Avro, Named, branches, first_twin, kind, logical, resolve
from exchange.avro.normal import MAX_BYTES, Normaliser, problem
from exchange.names import digest

MAX_LEAVES: Final = 2000


@dataclass(frozen=True)
class Leaf:
    """A place in a record that holds a value.

    Paths: `a`, `a.b`, `items[].c`, `m{}.c`; `a[]` and `a{}` for items that are values themselves. `type` is the
    Avro type without null, references resolved: a name, a definition, or a list for a union of several branches,
    which is one leaf whatever its branches hold. `nullable` says whether the leaf's own type admits null; a record
    above it may be nullable besides.
    """

    path: str
    type: Avro
    logical: str | None
    nullable: bool
    tags: tuple[str, ...]
    doc: str


@dataclass(frozen=True)
class Schema:
    """A record schema in normal form. Two schemas are equal when their fingerprints are."""

    document: Mapping[str, Any] = field(compare=False, repr=False)
    fingerprint: str
    name: str
    leaves: Mapping[str, Leaf] = field(compare=False, repr=False)
    named: Named = field(compare=False, repr=False)

    @cached_property
    def parsed(self) -> Avro:
        """The schema as fastavro wants it."""
        from fastavro.schema import parse_schema

        return parse_schema(json.loads(json.dumps(self.document)))


def parse(text: str | bytes, *, where: str = "") -> Schema:
    """Reads a schema file.

    Raises:
        Invalid: `schema_unparsable` for what is no Avro schema, `schema_unsupported` for what is one and is
            refused here; `where` and the path inside the schema are named.
    """
    return from_document(_json(text, where), where=where)


def from_document(document: object, *, where: str = "") -> Schema:
    """The schema of a JSON document, as `parse` reads it from text."""
    normaliser = Normaliser(where)
    normal = normaliser.type(document, "", "", 0)
    if not isinstance(normal, dict) or normal["type"] != "record":
        raise problem("schema_unparsable", where, "", "the top level must be a record")
    leaves: dict[str, Leaf] = {}
    _collect(normal, "", normaliser.named, leaves, where)
    return Schema(normal, digest(normal), normal["name"], leaves, normaliser.named)


def _json(text: str | bytes, where: str) -> object:
    size = len(text)
    if size > MAX_BYTES:
        raise problem("schema_unparsable", where, "", f"it has {size} bytes, at most {MAX_BYTES} are read")
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return json.loads(plain, object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise problem("schema_unparsable", where, f"line {error.lineno}", "no JSON: " + error.msg) from None
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:80]
        raise problem("schema_unparsable", where, "", detail) from None


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twin = first_twin(key for key, _ in pairs) or ""
        raise ValueError(f"the key {twin[:40]!r} stands twice in one object")
    return found


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


def _collect(
    record: Mapping[str, Any],
    prefix: str,
    named: Named,
    leaves: dict[str, Leaf],
    where: str,
) -> None:
    for entry in record["fields"]:
        _leaf(entry["type"], prefix + entry["name"], entry, named, leaves, where)


def _leaf(
    avro: Avro,
    path: str,
    entry: Mapping[str, Any],
    named: Named,
    leaves: dict[str, Leaf],
    where: str,
) -> None:
    options, nullable = branches(resolve(avro, named))
    resolved = [resolve(option, named) for option in options]
    plain: Avro = resolved[0] if len(resolved) == 1 else resolved
    match kind(plain):
        case "record":
            _collect(plain, path + ".", named, leaves, where)
        case "array":
            _leaf(plain["items"], path + "[]", entry, named, leaves, where)
        case "map":
            _leaf(plain["values"], path + "{}", entry, named, leaves, where)
        case _:
            tags = tuple(entry.get("confluent:tags", ()))
            leaves[path] = Leaf(path, plain, logical(plain) or None, nullable, tags, entry.get("doc", ""))
            # Named types used again and again double the leaves at each level: stop long before memory does.
            if len(leaves) > MAX_LEAVES:
                raise problem("schema_unsupported", where, "", f"it has more than {MAX_LEAVES} leaves")
