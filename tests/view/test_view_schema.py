"""The view's own schema: names, order, types under masks, and what is not shown being absent."""

import json
from typing import Any

import fastavro
import pytest

from exchange.avro.schema import Schema, from_document
from exchange.errors import Invalid, Refused
from exchange.plan import Plan
from exchange.view.compiled import View, compile_view
from tests.view.plans import KEYS, deny_document, field, plan_document

SEX = {"type": "enum", "name": "Sex", "symbols": ["M", "F"]}
ADDRESS = {
    "type": "record",
    "name": "Address",
    "doc": "住址",
    "fields": [{"name": "region", "type": "string"}, {"name": "street", "type": ["string", "null"]}],
}
SCHEMA: Schema = from_document(
    {
        "type": "record",
        "name": "gov.ps.HukouPerson",
        "doc": "户籍人口",
        "fields": [
            {"name": "id", "type": "string", "doc": "公民身份号码", "confluent:tags": ["id"], "aliases": ["pid"]},
            {"name": "name", "type": ["null", "string"], "default": None},
            {"name": "sex", "type": SEX},
            {"name": "old_sex", "type": ["Sex", "null"]},
            {"name": "home", "type": ADDRESS},
            {"name": "hukou", "type": ["null", "Address"]},
            {"name": "income", "type": "long"},
            {"name": "items", "type": {"type": "array", "items": ["null", "Address"]}},
            {"name": "codes", "type": {"type": "map", "values": "Sex"}},
            {"name": "any", "type": ["null", "long", "Address"]},
        ],
    }
)


def view(*fields: dict[str, Any], **changed: Any) -> View:
    """The view with these fields."""
    plan = Plan.from_document(plan_document(fields, **changed), draft=True)
    return compile_view(plan, SCHEMA, writers={}, keys=KEYS, sets={})


def types(*fields: dict[str, Any]) -> dict[str, Any]:
    """The types of the view's fields, by name, the namespace left out."""
    document = json.loads(json.dumps(view(*fields).schema.document).replace("ps.hukou_person.view.", ""))
    return {entry["name"]: entry["type"] for entry in document["fields"]}


def test_the_head_says_whose_view_it_is() -> None:
    """Name of the dataset's record, namespace `<dataset>.view`, the plan's digest, the masks by path."""
    made = view(field("income", "verdict", op="le", value=560), field("id", "partial", first=6, last=4))
    document = made.schema.document
    assert (document["name"], document["namespace"]) == ("HukouPerson", "ps.hukou_person.view")
    assert document["exchange.plan"] == made.plan.digest
    assert document["exchange.masks"] == {
        "id": {"kind": "partial", "first": 6, "last": 4},
        "income": {"kind": "verdict", "op": "le", "value": 560},
    }


def test_fields_stand_in_the_datasets_order_with_their_masks() -> None:
    """The order is the dataset's, not the plan's; `doc` says the mask; defaults, tags, aliases stay behind."""
    fields = view(field("sex"), field("id", "partial", first=6, last=4)).schema.document["fields"]
    assert fields[0] == {
        "name": "id",
        "type": "string",
        "doc": "公民身份号码 [mask: partial first=6 last=4]",
    }
    assert [entry["name"] for entry in fields] == ["id", "sex"]


@pytest.mark.parametrize(
    ("path", "mask", "expected"),
    [
        ("id", {"name": "keep"}, "string"),
        ("id", {"name": "null"}, ["null", "string"]),
        ("id", {"name": "redact"}, "string"),
        ("id", {"name": "year"}, "int"),
        ("name", {"name": "keep"}, ["null", "string"]),
        ("name", {"name": "redact"}, ["null", "string"]),
        ("name", {"name": "pseudonym", "scope": "agr-1"}, ["null", "string"]),
        ("sex", {"name": "keep"}, SEX),
        ("sex", {"name": "redact"}, "string"),
        ("old_sex", {"name": "redact"}, ["string", "null"]),
        ("old_sex", {"name": "keep"}, [SEX, "null"]),
        ("old_sex", {"name": "null"}, ["null", SEX]),
        ("income", {"name": "redact"}, ["null", "long"]),
        ("income", {"name": "round", "to": 100}, "long"),
        ("income", {"name": "bucket", "edges": [0]}, "string"),
        ("income", {"name": "verdict", "op": "le", "value": 5}, ["null", "boolean"]),
        ("any", {"name": "redact"}, ["null", "long", {**ADDRESS}]),
    ],
)
def test_types_under_masks(path: str, mask: dict[str, Any], expected: Any) -> None:
    """The table of plan.md; nullable stays nullable, null in its place."""
    found = types(field(path, **mask))[path]
    assert found == expected


def test_what_is_not_named_is_absent() -> None:
    """A leaf that is not named is not in the schema; a record with no leaf left disappears."""
    found = types(field("home.region"), field("items[].street"))
    assert list(found) == ["home", "items"]
    assert [entry["name"] for entry in found["home"]["fields"]] == ["region"]
    inner = found["items"]["items"]
    assert inner[0] == "null"
    assert [entry["name"] for entry in inner[1]["fields"]] == ["street"]


def test_a_path_that_names_a_record_means_its_leaves() -> None:
    """As written out when an agreement is approved, on this very schema."""
    assert types(field("home")) == types(field("home.region"), field("home.street"))
    assert types(field("items[]")) == types(field("items[].region"), field("items[].street"))


def test_named_types_used_again_get_names_of_their_own() -> None:
    """Equal rests of a type share a name, other rests get another, and fastavro reads the result."""
    made = view(
        field("home"), field("hukou.region", "redact"), field("items[].region"), field("items[].street"), field("sex"),
        field("old_sex"), field("codes{}", "null"),
    )  # fmt: skip
    text = json.dumps(made.schema.document)
    assert text.count('"name": "ps.hukou_person.view.Sex"') == 1
    assert [text.count(f'"name": "ps.hukou_person.view.{name}"') for name in ("Address", "Address_2", "Address_3")] == [
        1,
        1,
        0,
    ]
    parsed: Any = fastavro.parse_schema(json.loads(text))
    assert parsed["name"] == "ps.hukou_person.view.HukouPerson"


def test_an_inner_type_may_bear_the_records_name() -> None:
    """An inner type with the short name of the view's record gets another."""
    inner = {"type": "enum", "name": "inner.T", "symbols": ["A"]}
    schema = from_document({"type": "record", "name": "outer.T", "fields": [{"name": "v", "type": inner}]})
    plan = Plan.from_document(plan_document([field("v")]), draft=True)
    document = compile_view(plan, schema, writers={}, keys={}, sets={}).schema.document
    assert document["fields"][0]["type"]["name"] == "ps.hukou_person.view.T_2"


def test_logical_types_stay_but_for_decimals_that_do_not_fit() -> None:
    """What we ignore may mean something to the consumer; a decimal of no precision stops other readers."""
    nanos = {"type": "long", "logicalType": "timestamp-nanos"}
    broken = {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 4}
    entries = [{"name": "at", "type": nanos}, {"name": "sum", "type": ["null", broken]}]
    schema = from_document({"type": "record", "name": "T", "fields": entries})
    plan = Plan.from_document(plan_document([field("at"), field("sum")]), draft=True)
    document = compile_view(plan, schema, writers={}, keys={}, sets={}).schema.document
    assert [entry["type"] for entry in document["fields"]] == [nanos, ["null", {"type": "bytes"}]]
    assert fastavro.parse_schema(json.loads(json.dumps(document)))


def test_the_view_of_another_plan_has_another_fingerprint() -> None:
    """The plan's digest is part of the schema."""
    assert view(field("id")).fingerprint == view(field("id")).fingerprint
    assert view(field("id")).fingerprint != view(field("id"), purpose="other").fingerprint


@pytest.mark.parametrize(
    ("fields", "changed", "code", "where"),
    [
        ([field("nickname")], {}, "view_path_unknown", "plan.fields[0].path"),
        ([field("id"), field("items")], {}, "view_path_unknown", "plan.fields[1].path"),
        ([field("home.region"), field("home")], {}, "view_path_twice", "plan.fields[1].path"),
        ([field("id")], {"schema": "sha256:" + "1" * 64}, "view_schema_differs", "plan.schema"),
        ([field("id")], {"dataset": "no dataset"}, "view_dataset_malformed", "plan.dataset"),
        ([field("id")], {"dataset": ""}, "view_dataset_malformed", "plan.dataset"),
        ([field("name", "pseudonym", scope="short")], {}, "view_key_malformed", "keys.short"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(fields: Any, changed: dict[str, Any], code: str, where: str) -> None:
    """Unknown and overlapping paths, another schema, an impossible name: refused when compiled."""
    plan = Plan.from_document(plan_document(fields, **changed), draft=True)
    with pytest.raises(Invalid) as caught:
        compile_view(plan, SCHEMA, writers={}, keys={**KEYS, "short": b"123"}, sets={})
    assert (caught.value.code, caught.value.where) == (code, where)


def test_a_plan_for_this_schema_compiles() -> None:
    """The fingerprint in the plan is that of the schema given."""
    assert view(field("id"), schema=SCHEMA.fingerprint).dataset is SCHEMA


def test_a_refusal_compiles_to_nothing() -> None:
    """There is no view of a deny; its reasons are told."""
    with pytest.raises(Refused) as caught:
        compile_view(Plan.from_document(deny_document("zone")), SCHEMA, writers={}, keys={}, sets={})
    assert (caught.value.code, caught.value.facts["reasons"]) == ("view_denied", "zone")
