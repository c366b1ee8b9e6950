"""A schema and a later one made from it by random changes, some of which no reader could follow."""

import json
from typing import Any

from hypothesis import strategies as st

from exchange.avro.schema import Schema, from_document
from exchange.errors import Invalid
from tests.avro.strategies import documents, values

_WIDER = {"int": ["long", "double", "string"], "long": ["double", "int"], "float": ["double"], "string": ["bytes"]}
_ADDED: list[list[dict[str, Any]]] = [
    [],
    [{"name": "added", "type": ["null", "long"], "default": None}],
    [{"name": "added", "type": {"type": "array", "items": "int"}, "default": [1]}],
    [{"name": "added", "type": "string"}],
]


@st.composite
def evolutions(draw: st.DrawFn) -> tuple[Schema, Schema, dict[str, Any]]:
    """An older schema, a newer one, and a record written with the older."""
    old = from_document(draw(documents()))
    document = _changed(draw, json.loads(json.dumps(old.document)))
    try:
        new = from_document(document)
    except Invalid:
        new = old
    return old, new, draw(values(old.document, old.named))


def _changed(draw: st.DrawFn, avro: Any) -> Any:
    if draw(st.integers(0, 3)) == 0:
        return _replaced(draw, avro)
    if isinstance(avro, list):
        return [_changed(draw, branch) for branch in avro]
    if not isinstance(avro, dict):
        return avro
    if avro["type"] == "record":
        return {**avro, "fields": _fields(draw, avro["fields"])}
    inner = {"array": "items", "map": "values"}.get(avro["type"])
    return {**avro, inner: _changed(draw, avro[inner])} if inner else avro


def _replaced(draw: st.DrawFn, avro: Any) -> Any:
    """Another type in the place of one: wider, nullable, fewer or more symbols, or of a new name."""
    if isinstance(avro, str):
        return draw(st.sampled_from([*_WIDER.get(avro, ["string"]), ["null", avro], [avro, "null"], ["double", avro]]))
    if isinstance(avro, list):
        return draw(st.sampled_from([avro[::-1], avro[:-1], avro[-1]]))
    match avro["type"]:
        case "enum":
            fewer = {**avro, "symbols": avro["symbols"][1:] or ["z"]}
            return draw(st.sampled_from([fewer, {**fewer, "default": fewer["symbols"][0]}]))
        case "record":
            return {**avro, "fields": _fields(draw, avro["fields"])}
        case "fixed":
            return {**avro, "name": "other_" + avro["name"], "aliases": [avro["name"]] if draw(st.booleans()) else []}
    return avro


def _fields(draw: st.DrawFn, fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for entry in fields:
        change = draw(st.sampled_from(["keep", "keep", "drop", "rename", "alias"]))
        later = {**entry, "type": _changed(draw, entry["type"])}
        if change == "rename":
            later["name"] = "new_" + later["name"]
        if change == "alias":
            later = {**later, "name": "new_" + later["name"], "aliases": [entry["name"]]}
        if change != "drop":
            found.append(later)
    return draw(st.permutations(found)) + draw(st.sampled_from(_ADDED)) or fields
