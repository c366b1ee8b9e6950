"""Plan documents for tests, and random ones that fit a schema and its records, for Hypothesis."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from exchange.avro.kinds import kind, logical
from exchange.avro.schema import Leaf, Schema
from exchange.names import set_digest
from tests.avro.strategies import TEXT, values

KEYS = {"agr-1": bytes(range(16)), "agr-2": bytes(range(32))}
MEMBERS = frozenset({b"m" * 16, b"n" * 16})
MEMBERS_NAME = set_digest(MEMBERS)
SETS = {MEMBERS_NAME: MEMBERS}
ZERO = "sha256:" + "0" * 64
ALL = {"op": "all"}
OPS = ("eq", "ne", "lt", "le", "gt", "ge")


def plan_document(fields: Sequence[Mapping[str, Any]], rows: Mapping[str, Any] = ALL, **changed: Any) -> dict[str, Any]:
    """A complete plan document with these fields and rows."""
    return {
        "format": "exchange.plan/1",
        "effect": "allow",
        "reasons": [{"code": "agreement", "agreement": "agr-17", "revision": 3}],
        "dataset": "ps.hukou_person",
        "schema": "",
        "subject": {"type": "person", "path": "id_number"},
        "purpose": "dibao.review",
        "case": None,
        "fields": list(fields),
        "rows": rows,
        "obligations": [{"kind": "purge_by", "date": "2026-12-31"}],
        "expires_ns": 1795424400000000000,
        "policy_revision": ZERO,
        "epochs": {"policy": 41, "agreement/agr-17": 3},
        **changed,
    }


def deny_document(*codes: str) -> dict[str, Any]:
    """A refusal with these reasons."""
    return {"format": "exchange.plan/1", "effect": "deny", "reasons": [{"code": code} for code in codes]}


def field(path: str, name: str = "keep", **parameters: Any) -> dict[str, Any]:
    """One field of a plan."""
    return {"path": path, "mask": {"kind": name, **parameters}}


@st.composite
def documents(draw: st.DrawFn, schema: Schema, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A plan that compiles on this schema, its constants often taken from these records."""
    leaves = list(schema.leaves.values())
    shown = draw(st.lists(st.sampled_from(leaves), min_size=1, max_size=6, unique_by=lambda leaf: leaf.path))
    fields = [{"path": leaf.path, "mask": draw(_masks(leaf, schema, records))} for leaf in shown]
    singles = [leaf for leaf in leaves if "[]" not in leaf.path and "{}" not in leaf.path]
    return plan_document(fields, draw(_rows(singles, schema, records, 2)))


def _masks(leaf: Leaf, schema: Schema, records: Sequence[Mapping[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    word = "union" if isinstance(leaf.type, list) else logical(leaf.type) or kind(leaf.type)
    small = st.integers(0, 5)
    edges = st.lists(st.integers(-1000, 1000), min_size=1, max_size=4, unique=True).map(sorted)
    found: list[st.SearchStrategy[dict[str, Any]]] = [
        st.sampled_from([{"kind": "keep"}, {"kind": "null"}, {"kind": "redact"}]),
        st.fixed_dictionaries(
            {"kind": st.just("verdict"), "op": st.sampled_from(OPS), "value": _constants(leaf, schema, records)}
        ),
    ]
    if word != "union":
        found.append(st.sampled_from([{"kind": "pseudonym", "scope": scope} for scope in KEYS]))
    if word == "string":
        found.append(st.fixed_dictionaries({"kind": st.just("partial"), "first": small, "last": small}))
        found.append(
            st.sampled_from([{"kind": "region", "level": level} for level in ("province", "county", "village")])
        )
    if word == "uuid":
        found.append(st.fixed_dictionaries({"kind": st.just("partial"), "first": small, "last": small}))
    if word == "date" or "timestamp" in word:
        units = ["month", "quarter", "year", "day", *(["hour"] if word != "date" else [])]
        found.append(st.sampled_from([{"kind": "year"}, *({"kind": "truncate", "unit": unit} for unit in units)]))
    if word in ("int", "long", "float", "double", "decimal"):
        found.append(edges.map(lambda chosen: {"kind": "bucket", "edges": chosen}))
    if word in ("int", "long", "decimal"):
        found.append(st.sampled_from([1, 2, 5, 10, 1000, 2**31]).map(lambda to: {"kind": "round", "to": to}))
    return st.one_of(found)


def _rows(
    leaves: Sequence[Leaf], schema: Schema, records: Sequence[Mapping[str, Any]], depth: int
) -> st.SearchStrategy[dict[str, Any]]:
    simple: list[st.SearchStrategy[dict[str, Any]]] = [
        st.just(dict(ALL)),
        st.just({"op": "member", "set": MEMBERS_NAME}),
    ]
    for leaf in leaves:
        constants = _constants(leaf, schema, records)
        simple.append(st.just({"op": "null", "path": leaf.path}))
        simple.append(
            st.fixed_dictionaries({"op": st.sampled_from(OPS), "path": st.just(leaf.path), "value": constants})
        )
        simple.append(
            st.fixed_dictionaries(
                {"op": st.just("in"), "path": st.just(leaf.path), "values": st.lists(constants, max_size=3)}
            )
        )
        simple.append(
            st.fixed_dictionaries(
                {"op": st.just("prefix"), "path": st.just(leaf.path), "value": TEXT.map(lambda t: t[:1])}
            )
        )
    if depth == 0:
        return st.one_of(simple)
    inner = _rows(leaves, schema, records, depth - 1)
    several = st.fixed_dictionaries(
        {"op": st.sampled_from(["and", "or"]), "of": st.lists(inner, min_size=1, max_size=3)}
    )
    return st.one_of(*simple, several, inner.map(lambda one: {"op": "not", "of": [one]}))


def _constants(leaf: Leaf, schema: Schema, records: Sequence[Mapping[str, Any]]) -> st.SearchStrategy[Any]:
    """What a plan may compare this leaf with: values of its type, those of the records, and things unlike it."""
    types = leaf.type if isinstance(leaf.type, list) else [leaf.type]
    scalars = [one for one in types if kind(one) not in ("array", "map", "record")]
    unlike: list[Any] = [True, 7]
    if {logical(one) or kind(one) for one in types} <= {"int", "long", "boolean", "string", "enum", "uuid"}:
        unlike.append("431126")  # where a string could be meant as a date or number it must be one
    own = [_own(record, leaf.path) for record in records]
    written = [_written(value) for value in own if value is not None and not isinstance(value, list | dict)]
    fitting = st.one_of([values(one, schema.named) for one in scalars]).map(_written)
    return st.one_of(fitting, *([st.sampled_from(written)] if written else []), st.sampled_from(unlike))


def _own(record: Mapping[str, Any], path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _written(value: Any) -> Any:
    """A value as a plan writes it."""
    if isinstance(value, date | time):  # a datetime is a date too
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, float):
        written = format(Decimal(value), "f")
        return written if len(written) <= 100 else 0  # a plan writes a hundred places at most
    return format(value, "f") if isinstance(value, Decimal) else value
