"""A plan compiled for one dataset: bodies of records in, values of the view out.

This is the reference: values as dicts, one closure for each leaf, nothing clever. What is faster is checked against it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exchange.avro.kinds import kind, logical
from exchange.avro.records import Codec, resolver
from exchange.avro.schema import Schema
from exchange.errors import Invalid, Refused
from exchange.plan import Plan
from exchange.view.comparing import comparison
from exchange.view.masks import Mask, Unmaskable, compile_mask
from exchange.view.paths import Get, Record, Shown, getter, select
from exchange.view.rows import Conditions, Holds, needed_sets
from exchange.view.view_schema import view_schema

Resolve = Callable[[bytes], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a batch: `values[i]` is the view of record `kept[i]`; all numbers are places in the batch.

    `excluded` were held back by the row condition. `withheld` could not be read as the plan's schema, or a mask has no
    result for them; they go before the steward.
    """

    values: list[dict[str, Any]]
    kept: list[int]
    excluded: list[int]
    withheld: list[int]


class View:
    """Made by `compile_view`. It may be used from any thread.

    `schema` is the view's own, `codec` writes its values; `unlike` lists the places in the plan whose comparison is
    unknown for every record, since the types are unlike: most likely a slip of whoever wrote it.
    """

    def __init__(self, plan: Plan, dataset: Schema, schema: Schema, shown: Shown, parts: "Parts") -> None:
        self.plan, self.dataset, self.schema = plan, dataset, schema
        self.fingerprint, self.codec = schema.fingerprint, Codec(schema)
        self.unlike = parts.unlike
        self._holds, self._resolvers, self._mask = parts.holds, parts.resolvers, _mask_record(shown, parts.keys)

    def apply(self, schema_ids: Sequence[int], bodies: Sequence[bytes], tags: Sequence[bytes]) -> Applied:
        """The view of these records: of each the wire id it was written with, its Avro body, its subject's tag.

        Raises:
            Invalid: `view_writer_unknown` for a wire id that the view was not compiled for.
        """
        for schema_id in set(schema_ids) - self._resolvers.keys():
            raise Invalid("view_writer_unknown", schema_id=schema_id)
        resolvers = self._resolvers
        records = [_resolved(resolvers[one], body) for one, body in zip(schema_ids, bodies, strict=True)]
        return self.judge(records, tags)

    def judge(self, records: Sequence[Record | None], tags: Sequence[bytes]) -> Applied:
        """The view of records of the plan's schema; None stands for one that cannot be read as such."""
        applied = Applied([], [], [], [])
        holds, mask = self._holds, self._mask
        for place, (record, tag) in enumerate(zip(records, tags, strict=True)):
            if record is None:
                applied.withheld.append(place)
            elif holds(record, tag) is not True:
                applied.excluded.append(place)
            else:
                try:
                    applied.values.append(mask(record))
                except Unmaskable:
                    applied.withheld.append(place)
                else:
                    applied.kept.append(place)
        return applied


@dataclass(frozen=True, slots=True)
class Parts:
    """What a view is put together from."""

    holds: Holds
    unlike: tuple[str, ...]
    resolvers: Mapping[int, Resolve]
    keys: Mapping[str, bytes]


def compile_view(
    plan: Plan,
    schema: Schema,
    *,
    writers: Mapping[int, Schema],
    keys: Mapping[str, bytes],
    sets: Mapping[str, frozenset[bytes]],
) -> View:
    """The view that a plan gives of a dataset, all faults found before the first record.

    `schema` is the plan's; `writers` the schemas that records may have been written with, by wire id; `keys` the
    pseudonym keys by scope; `sets` the sets of tags by name.

    Raises:
        Refused: `view_denied` for a plan that is a refusal.
        Invalid: `view_schema_differs`, `view_path_unknown`, `view_path_twice`, `view_path_many`, `view_mask_misfit`,
            `view_value_malformed`, `view_key_missing`, `view_key_malformed`, `view_set_missing`,
            `view_dataset_malformed`, each at its place in the plan.
    """
    if not plan.allowed:
        raise Refused("view_denied", reasons=", ".join(plan.codes))
    if plan.schema and plan.schema != schema.fingerprint:
        raise Invalid("view_schema_differs", where="plan.schema", plan=plan.schema, schema=schema.fingerprint)
    conditions = Conditions(schema, sets)
    holds = conditions.compile(plan.rows, "plan.rows")
    shown = select(schema, plan.fields, "plan.fields")
    resolvers = {number: resolver(writer, schema) for number, writer in writers.items()}
    parts = Parts(holds, (*conditions.unlike, *_unlike_verdicts(shown)), resolvers, keys)
    return View(plan, schema, view_schema(schema, shown, plan), shown, parts)


def subject_getter(plan: Plan, schema: Schema) -> Get | None:
    """Takes the subject's id out of a record, when the row condition needs subjects at all.

    Raises:
        Invalid: `view_path_unknown`, `view_path_many`; `view_subject_unusable` when the path holds no text.
    """
    if not needed_sets(plan.rows):
        return None
    leaf, get = getter(schema, plan.subject["path"], "plan.subject.path")
    if isinstance(leaf.type, list) or kind(leaf.type) != "string":
        raise Invalid("view_subject_unusable", where="plan.subject.path", path=leaf.path)
    if logical(leaf.type) == "uuid":
        return lambda record: None if (found := get(record)) is None else str(found)
    return get


def _unlike_verdicts(part: Shown) -> list[str]:
    """The places of verdicts that are null for every record, since value and field are of unlike types."""
    if part.leaf is not None:
        mask, value = part.mask, f"{part.where}.value"
        never = mask["kind"] == "verdict" and comparison(part.leaf, mask["op"], mask["value"], value) is None
        return [part.where] if never else []
    inner = [part.inner] if part.inner is not None else [child for _, child in part.fields]
    return [place for one in inner for place in _unlike_verdicts(one)]


def _resolved(resolve: Resolve, body: bytes) -> dict[str, Any] | None:
    try:
        return resolve(body)
    except Invalid:
        return None


def _mask_record(part: Shown, keys: Mapping[str, bytes]) -> Mask:
    """The function from a record to what is shown of it."""
    steps = [(entry["name"], _mask_part(child, keys)) for entry, child in part.fields]

    def apply(record: Mapping[str, Any]) -> dict[str, Any]:
        return {name: record[name] if mask is None else mask(record[name]) for name, mask in steps}

    return _kept_null(part, apply)


def _mask_part(part: Shown, keys: Mapping[str, bytes]) -> Mask | None:
    """The function from a value to what is shown of it; None where that is the value itself."""
    if part.leaf is not None:
        return compile_mask(part.leaf, part.mask, keys, part.where)
    if part.inner is None:
        return _mask_record(part, keys)
    inner = _mask_part(part.inner, keys)
    if inner is None:
        return None
    if kind(part.definition) == "array":
        return _kept_null(part, lambda items: [inner(item) for item in items])
    return _kept_null(part, lambda items: {key: inner(item) for key, item in items.items()})


def _kept_null(part: Shown, apply: Mask) -> Mask:
    if not part.nullable:
        return apply
    return lambda value: None if value is None else apply(value)
