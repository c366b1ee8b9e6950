"""The view's own Avro schema (plan.md, "View").

Name = the dataset's record name, namespace `<dataset>.view`; fields in the dataset's order, each `doc` with the mask;
on the record the properties `exchange.plan` (the plan's digest) and `exchange.masks` (path to mask, as in the plan).
Defaults, aliases and tags of the dataset's fields are not carried over.

Named types inside live in the view's namespace too. What is left of one may differ from place to place (a record with
other leaves, an enum under another mask), and Avro lets a name be defined once: equal definitions share a name, another
one gets `_2`, `_3` … behind it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from exchange.avro.kinds import Avro, kind, logical, resolve
from exchange.avro.schema import Schema, from_document
from exchange.errors import Invalid
from exchange.names import canonical
from exchange.plan import Plan
from exchange.plan.shapes import shown
from exchange.view.masks import REDACTABLE, type_of
from exchange.view.paths import Shown

_NULL_FIRST: Final = ("null", "verdict")  # these can be null whatever the field was
_TEXT: Final = ("redact", "partial", "pseudonym", "region", "bucket")


def view_schema(schema: Schema, tree: Shown, plan: Plan) -> Schema:
    """The schema of the view; its `document` is what a reader is given.

    Raises:
        Invalid: `view_dataset_malformed` when the plan's dataset can be no Avro namespace.
    """
    namer = _Namer(schema, f"{plan.dataset}.view")
    name = schema.name.rpartition(".")[2]
    namer.take(name)
    entries = namer.entries(tree)
    masks = {part.path: dict(part.mask) for part in _leaves(tree)}
    document = {
        "type": "record",
        "name": name,
        "namespace": namer.space,
        **_doc(tree.definition),
        "exchange.plan": plan.digest,
        "exchange.masks": masks,
        "fields": entries,
    }
    try:
        normal = from_document(document)
    except Invalid as error:
        if error.code == "schema_unparsable" and not _is_namespace(plan.dataset):
            raise Invalid("view_dataset_malformed", where="plan.dataset", name=shown(plan.dataset)) from None
        raise
    # Written as plan.md says it, name and namespace apart; the parts inside have full names.
    return replace(normal, document=document)


def mask_words(mask: Mapping[str, Any]) -> str:
    """A mask in one line: `partial first=1 last=0`."""
    parts = (f"{key}={_word(value)}" for key, value in mask.items() if key != "kind")
    return " ".join((str(mask["kind"]), *parts))


def _word(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _doc(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {"doc": definition["doc"]} if definition.get("doc") else {}


def _leaves(part: Shown) -> list[Shown]:
    if part.leaf is not None:
        return [part]
    inner = [part.inner] if part.inner is not None else [child for _, child in part.fields]
    return [leaf for one in inner for leaf in _leaves(one)]


def _readable(avro: Avro) -> Avro:
    """The type without a decimal that does not fit it: we ignore it as Avro demands, other readers stop at it."""
    if not isinstance(avro, Mapping) or avro.get("logicalType") != "decimal" or logical(avro):
        return avro
    return {key: value for key, value in avro.items() if key not in ("logicalType", "precision", "scale")}


def _is_namespace(dataset: str) -> bool:
    return dataset.isascii() and all(word.isidentifier() for word in dataset.split("."))


class _Namer:
    """Writes types of the view, giving names as it goes."""

    def __init__(self, schema: Schema, space: str) -> None:
        self._named, self.space = schema.named, space
        self._taken: dict[str, bytes] = {}

    def take(self, name: str, shape: bytes = b"") -> None:
        self._taken[f"{self.space}.{name}"] = shape

    def entries(self, part: Shown) -> list[dict[str, Any]]:
        """The fields of a record that are shown."""
        return [self._entry(entry, child) for entry, child in part.fields]

    def _entry(self, entry: Mapping[str, Any], part: Shown) -> dict[str, Any]:
        masks = sorted({mask_words(leaf.mask) for leaf in _leaves(part)}) if not part.fields else []
        said = [f"[mask: {'; '.join(masks)}]"] if masks else []
        doc = " ".join([*([entry["doc"]] if entry.get("doc") else []), *said])
        return {"name": entry["name"], "type": self.type(part), **({"doc": doc} if doc else {})}

    def type(self, part: Shown) -> Avro:
        """The type of a part, with null where it may be null."""
        if part.leaf is not None:
            return self._leaf(part)
        if part.inner is None:
            shape: dict[str, Any] = {"type": "record", **_doc(part.definition), "fields": self.entries(part)}
            return self._with_null(part, self._define(part.definition["name"], shape))
        key = "items" if kind(part.definition) == "array" else "values"
        return self._with_null(part, {"type": kind(part.definition), key: self.type(part.inner)})

    def _leaf(self, part: Shown) -> Avro:
        name, found = part.mask["kind"], type_of(part.leaf) if part.leaf is not None else ""
        if name in _NULL_FIRST or (name == "redact" and found not in REDACTABLE):
            inner = "boolean" if name == "verdict" else self._copy(part.definition)
            return ["null", *(inner if isinstance(inner, list) else [inner])]
        if name in _TEXT:
            return self._with_null(part, "string")
        if name == "year":
            return self._with_null(part, "int")
        return self._with_null(part, self._copy(part.definition))

    def _with_null(self, part: Shown, inner: Avro) -> Avro:
        """The type in a union like the one it stood in: null stays in its place."""
        options = inner if isinstance(inner, list) else [inner]
        if not part.nullable:
            return inner
        union = resolve(part.avro, self._named)
        place = min(union.index("null"), len(options))
        return [*options[:place], "null", *options[place:]]

    def _copy(self, avro: Avro) -> Avro:
        """A type as it is, its names moved into the view."""
        avro = resolve(avro, self._named)
        match kind(avro):
            case "union":
                return [self._copy(branch) for branch in avro]
            case "record":
                entries = [{"name": entry["name"], "type": self._copy(entry["type"])} for entry in avro["fields"]]
                return self._define(avro["name"], {"type": "record", **_doc(avro), "fields": entries})
            case "enum" | "fixed":
                plain = {key: value for key, value in _readable(avro).items() if key not in ("name", "aliases")}
                return self._define(avro["name"], plain)
            case "array" | "map" as word:
                key = "items" if word == "array" else "values"
                return {"type": word, key: self._copy(avro[key])}
            case _:
                return _readable(avro)

    def _define(self, name: str, shape: dict[str, Any]) -> Avro:
        """The definition under a free name, or the name of an equal one."""
        short, form, number = name.rpartition(".")[2], canonical(shape), 1
        while True:
            full = f"{self.space}.{short}" + (f"_{number}" if number > 1 else "")
            known = self._taken.get(full)
            if known is None:
                self._taken[full] = form
                return {**shape, "name": full}
            if known == form:
                return full
            number += 1
