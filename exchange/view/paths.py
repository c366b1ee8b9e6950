"""What a plan shows of a schema: the tree of records, arrays, maps and leaves that is left over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exchange.avro.kinds import Avro, branches, kind, resolve
from exchange.avro.schema import Leaf, Schema
from exchange.errors import Invalid
from exchange.plan import Grant
from exchange.plan.shapes import near, shown

Record = Mapping[str, Any]
Get = Callable[[Record], Any]
_Masks = dict[str, tuple[Mapping[str, Any], str]]  # path to mask and its place in the plan


@dataclass(frozen=True)
class Shown:
    """One part of the schema that the plan shows, in the schema's order.

    `avro` is its type as the schema has it; `definition` the one branch that is not null, resolved (a list for a leaf
    of several branches). A record has `fields` (the field's entry and its part), an array or map `inner`, a leaf
    `leaf`, `mask` and `where` the mask stands in the plan.
    """

    path: str
    avro: Avro
    definition: Avro
    nullable: bool
    fields: tuple[tuple[Mapping[str, Any], "Shown"], ...] = ()
    inner: "Shown | None" = None
    leaf: Leaf | None = None
    mask: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    @property
    def empty(self) -> bool:
        """Whether nothing of it is shown."""
        return not self.fields and self.inner is None and self.leaf is None


def select(schema: Schema, grants: Sequence[Grant], where: str) -> Shown:
    """The part of a schema that these grants show; a path that names a record means its leaves.

    Raises:
        Invalid: `view_path_unknown` with the nearest path; `view_path_twice` for a leaf named twice.
    """
    masks: _Masks = {}
    for place, grant in enumerate(grants):
        here = f"{where}[{place}]"
        for path in leaves_of(schema, grant.path, f"{here}.path"):
            if path in masks:
                raise Invalid("view_path_twice", where=f"{here}.path", path=path)
            masks[path] = (grant.mask, f"{here}.mask")
    return _part(schema.document, "", schema, masks)


def leaves_of(schema: Schema, path: str, where: str) -> list[str]:
    """The leaves that a path names: itself, or those of the record it names."""
    if path in schema.leaves:
        return [path]
    inside = [leaf for leaf in schema.leaves if leaf.startswith(path + ".")]
    if not inside:
        raise Invalid("view_path_unknown", where=where, path=shown(path), nearest=near(path, schema.leaves))
    return inside


def _part(avro: Avro, path: str, schema: Schema, masks: _Masks) -> Shown:
    options, nullable = branches(resolve(avro, schema.named))
    plain: Avro = resolve(options[0], schema.named) if len(options) == 1 else options
    match kind(plain):
        case "record":
            dot = path + "." if path else ""
            parts = [(entry, _part(entry["type"], dot + entry["name"], schema, masks)) for entry in plain["fields"]]
            return Shown(path, avro, plain, nullable, fields=tuple(one for one in parts if not one[1].empty))
        case "array" | "map" as word:
            mark, key = ("[]", "items") if word == "array" else ("{}", "values")
            inner = _part(plain[key], path + mark, schema, masks)
            return Shown(path, avro, plain, nullable, inner=None if inner.empty else inner)
        case _ if path in masks:
            return Shown(
                path, avro, plain, nullable, leaf=schema.leaves[path], mask=masks[path][0], where=masks[path][1]
            )
        case _:
            return Shown(path, avro, plain, nullable)


def getter(schema: Schema, path: str, where: str) -> tuple[Leaf, Get]:
    """The leaf at a path of single values, and the function that takes it out of a record: None where there is none.

    Raises:
        Invalid: `view_path_unknown`; `view_path_many` for a path into an array or map, which has no single value.
    """
    leaf = schema.leaves.get(path)
    if leaf is None:
        raise Invalid("view_path_unknown", where=where, path=shown(path), nearest=near(path, schema.leaves))
    if "[]" in path or "{}" in path:
        raise Invalid("view_path_many", where=where, path=path)
    steps = path.split(".")
    if len(steps) == 1:
        name = steps[0]
        return leaf, lambda record: record[name]

    def get(record: Record) -> Any:  # noqa: ANN401  a record's value is whatever its schema says
        value: Any = record
        for step in steps:
            if value is None:  # a nullable record above the leaf is null, so the leaf is absent
                return None
            value = value[step]
        return value

    return leaf, get
