"""Schema files: one normal form, one fingerprint, and an error with its place for all else."""

import json
import random
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.avro.records import Codec
from exchange.avro.schema import Leaf, from_document, parse
from exchange.errors import Invalid
from exchange.names import digest
from tests.avro.outcome import outcome
from tests.avro.strategies import documents
from tests.profiles import examples

PERSON: dict[str, Any] = {
    "type": "record",
    "name": "person",
    "namespace": "ps",
    "doc": "a person",
    "fields": [
        {"name": "id", "type": "string", "confluent:tags": ["id"], "doc": "号码"},
        {"name": "sex", "type": {"type": "enum", "name": "sex", "symbols": ["M", "F"]}},
        {"name": "other_sex", "type": ["null", "sex"], "default": None},
        {"name": "born", "type": {"type": "int", "logicalType": "date"}},
        {
            "name": "address",
            "type": {
                "type": "record",
                "name": "address",
                "fields": [{"name": "street", "type": ["string", "null"], "confluent:tags": ["address"]}],
            },
        },
        {"name": "former", "type": {"type": "array", "items": "address"}},
        {"name": "phones", "type": {"type": "map", "values": ["null", "string"]}},
        {"name": "marks", "type": {"type": "array", "items": "long"}},
        {"name": "any", "type": ["null", "long", {"type": "string", "x": 1}]},
    ],
}


def record(*fields: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    """A record schema document."""
    return {"type": "record", "name": "r", "fields": list(fields), **attributes}


def with_type(avro: Any, **attributes: Any) -> dict[str, Any]:
    """A record schema document with one field of that type."""
    return record({"name": "f", "type": avro, **attributes})


def test_leaves_are_the_places_that_hold_values() -> None:
    """Paths a, a.b, items[].c, m{}, in schema order; references resolved; null taken off; tags and doc kept."""
    schema = parse(json.dumps(PERSON))
    assert schema.name == "ps.person"
    assert list(schema.leaves) == [
        "id", "sex", "other_sex", "born", "address.street", "former[].street", "phones{}", "marks[]", "any",
    ]  # fmt: skip
    enum = {"type": "enum", "name": "ps.sex", "symbols": ["M", "F"]}
    date = {"type": "int", "logicalType": "date"}
    assert schema.leaves["id"] == Leaf("id", "string", None, nullable=False, tags=("id",), doc="号码")
    assert schema.leaves["other_sex"] == Leaf("other_sex", enum, None, nullable=True, tags=(), doc="")
    assert schema.leaves["born"] == Leaf("born", date, "date", nullable=False, tags=(), doc="")
    assert schema.leaves["former[].street"].tags == ("address",)
    assert schema.leaves["any"].type == ["long", {"type": "string", "x": 1}]


def test_the_normal_form_has_full_names_and_keeps_attributes() -> None:
    """Names become full, namespaces disappear, plain primitives become words, unknown attributes stay."""
    schema = parse(json.dumps(with_type({"type": "string"}, namespace="a.b", note={"x": [1.0]})))
    assert schema.document["fields"] == [{"name": "f", "type": "string", "namespace": "a.b", "note": {"x": [1]}}]
    inner = {"type": "fixed", "name": "h", "namespace": "z", "size": 2, "aliases": ["old", "q.old"]}
    schema = parse(json.dumps({**record({"name": "f", "type": inner}, {"name": "g", "type": "z.h"}), "namespace": "n"}))
    normal = {"type": "fixed", "name": "z.h", "size": 2, "aliases": ["z.old", "q.old"]}
    assert schema.document == {
        "type": "record",
        "name": "n.r",
        "fields": [{"name": "f", "type": normal}, {"name": "g", "type": "z.h"}],
    }


def _shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        keys = chance.sample(list(value), len(value))
        return {key: _shuffled(value[key], chance) for key in keys}
    return [_shuffled(item, chance) for item in value] if isinstance(value, list) else value


def _wrapped(value: Any) -> Any:
    """The same schema with `"string"` written as `{"type": "string"}` in fields."""
    if isinstance(value, dict):
        if value.get("type") == "record":
            fields = [{**entry, "type": _wrapped(entry["type"])} for entry in value["fields"]]
            return {**value, "fields": fields}
        return value
    return {"type": value} if value in ("string", "long", "bytes") else value


@settings(max_examples=examples(20), deadline=None)
@given(documents(), st.randoms(use_true_random=False))
def test_the_fingerprint_depends_on_the_meaning_only(document: dict[str, Any], chance: random.Random) -> None:
    """Key order, white space and the way of writing do not change it; reading the normal form gives it again."""
    schema = from_document(document)
    again = _wrapped(_shuffled(document, chance))
    assert parse(json.dumps(again, indent=2)) == schema
    assert parse(json.dumps(schema.document)).document == schema.document
    assert schema.fingerprint == digest(schema.document)
    assert fastavro.parse_schema(json.loads(json.dumps(schema.document)))


@pytest.mark.parametrize(
    "change", [{"doc": "x"}, {"confluent:tags": ["id"]}, {"default": "x"}, {"type": {"type": "string", "n": 1}}]
)
def test_the_fingerprint_keeps_attributes_apart(change: dict[str, Any]) -> None:
    """A tag, doc, default or attribute makes another schema (Avro's own canonical form would lose them)."""
    assert from_document(with_type("string")) != from_document(with_type("string", **{"x": 1} | change))
    assert from_document(with_type("string")) != from_document(record({"name": "f", "type": "string", **change}))


@pytest.mark.timeout(10)
def test_large_schemas_are_read_or_refused_in_good_time() -> None:
    """Nothing in the reading is quadratic: what is quadratic takes longer than the limit."""
    symbols = [f"s{i}" for i in range(40_000)]
    assert from_document(with_type({"type": "enum", "name": "e", "symbols": symbols})).leaves
    fields = [{"name": f"f{i}", "type": "int"} for i in range(10_000)]
    with pytest.raises(Invalid, match="schema_unsupported"):
        from_document(record(*fields))
    with pytest.raises(Invalid, match="stands twice"):
        parse("{" + ", ".join(f'"k{i}": 1' for i in range(40_000)) + ', "k39999": 1}')


def _bomb(levels: int) -> dict[str, Any]:
    inner: Any = "string"
    for i in range(levels):
        named: dict[str, Any] = {"type": "record", "name": f"r{i}", "fields": [{"name": "a", "type": inner}]}
        named["fields"] += [{"name": n, "type": inner if i == 0 else f"r{i - 1}"} for n in "bcdefghij"]
        inner = named
    return named


DECIMAL = {"type": "bytes", "logicalType": "decimal"}
UNPARSABLE: dict[str, Any] = {
    "the top level must be a record": "string",
    "a type is a name": 5,
    "there is no type 'strnig'": with_type("strnig"),
    "a record needs a list `fields`": {"type": "record", "name": "r"},
    "a field is an object with `name` and `type`": record({"name": "f"}),
    "is no field name": record({"name": "f-g", "type": "int"}),
    "the field f stands twice": record({"name": "f", "type": "int"}, {"name": "f", "type": "int"}),
    "declared twice or reserved": with_type({"type": "fixed", "name": "r", "size": 1}),
    "is no name": record({"name": "f", "type": "int"}, name="1r"),
    "a named type needs": {"type": "record", "fields": []},
    "an array needs `items`": with_type({"type": "array"}),
    "a map needs `values`": with_type({"type": "map"}),
    "`symbols` must be a list of strings": with_type({"type": "enum", "name": "e", "symbols": "AB"}),
    "at least one symbol": with_type({"type": "enum", "name": "e", "symbols": []}),
    "the symbol A stands twice": with_type({"type": "enum", "name": "e", "symbols": ["A", "A"]}),
    "the default is no symbol": with_type({"type": "enum", "name": "e", "symbols": ["A"], "default": "B"}),
    "`size` must be an integer": with_type({"type": "fixed", "name": "h", "size": True}),
    "a union directly inside a union": with_type(["null", ["string"]]),
    "the union branch string stands twice": with_type(["string", {"type": "string", "x": 1}]),
    "the default must be an integer": with_type("int", default=True),
    "the default must be null": with_type(["null", "string"], default="x"),
    "the default must be a string": with_type("bytes", default=1),
    "the default must be a list": with_type({"type": "array", "items": "int"}, default={}),
    "the default has another length": with_type({"type": "fixed", "name": "h", "size": 2}, default="x"),
    "the default must be a UUID": with_type({"type": "string", "logicalType": "uuid"}, default=""),
    "the default must be a time of day": with_type({"type": "int", "logicalType": "time-millis"}, default=-1),
    "the default lacks the field f": record(
        {"name": "a", "type": record({"name": "f", "type": "int"}, name="i"), "default": {}}
    ),
    "the default has an unknown field": record(
        {"name": "a", "type": record({"name": "f", "type": "int"}, name="i"), "default": {"f": 1, "g": 2}}
    ),
    "`confluent:tags` must be": with_type("int", **{"confluent:tags": "id"}),
    "`doc` must be a string": with_type("int", doc=5),
    "`order` must be": with_type("int", order="up"),
    "half of a surrogate pair": with_type("int", doc="\ud800"),
    "is no alias": with_type("int", aliases=["a b"]),
    "the field alias g stands twice": with_type("int", aliases=["g", "g"]),
}
UNSUPPORTED: dict[str, Any] = {
    "contains itself": record({"name": "f", "type": ["null", "r"]}),
    "a record without fields": record(),
    "can only be null": with_type("null"),
    "a union without a branch other than null": with_type(["null"]),
    "`error` types": {**with_type("int"), "type": "error"},
    "more than 1000 digits": with_type({**DECIMAL, "precision": 1001}),
    "a fraction": with_type("double", default=0.5),
    "nested more than": with_type(json.loads('{"type": "array", "items": ' * 30 + '"int"' + "}" * 30)),
    "an attribute nested": with_type("int", x=json.loads("[" * 30 + "]" * 30)),
    "more than 2000 leaves": _bomb(8),
    "more than 500 named types": record(
        *({"name": f"f{i}", "type": {"type": "fixed", "name": f"h{i}", "size": 1}} for i in range(501))
    ),
}


@pytest.mark.parametrize(
    ("avro", "value"),
    [
        ({"type": "long", "logicalType": "timestamp-nanos"}, 5),
        ({"type": "long", "logicalType": "timestamp-milis"}, 5),
        ({"type": "string", "logicalType": "date"}, "x"),
        ({"type": "int", "logicalType": "time-micros"}, 5),
        ({"type": "int", "logicalType": None}, 5),
        ({"type": "int", "logicalType": ["date"]}, 5),
        ({"type": "fixed", "name": "d", "size": 16, "logicalType": "uuid"}, bytes(16)),
        ({"type": "fixed", "name": "d", "size": 12, "logicalType": "duration"}, bytes(12)),
        ({"type": "array", "items": "int", "logicalType": "date"}, [5]),
        ({"type": "enum", "name": "e", "symbols": ["A"], "logicalType": "uuid"}, "A"),
        (DECIMAL, b""),
        ({**DECIMAL, "precision": 0}, b""),
        ({**DECIMAL, "precision": "3"}, b""),
        ({**DECIMAL, "precision": True}, b""),
        ({**DECIMAL, "precision": 3, "scale": 4}, b""),
        ({**DECIMAL, "precision": 3, "scale": -1}, b""),
        ({**DECIMAL, "type": "fixed", "name": "d", "size": 1, "precision": 3}, b"x"),
        ({**DECIMAL, "type": "fixed", "name": "d", "size": 60_000, "precision": 10**9}, b"x" * 60_000),
    ],
)
def test_a_logical_type_that_is_unknown_or_does_not_fit_is_ignored(avro: dict[str, Any], value: Any) -> None:
    """The values are those of the type below; the attribute stays in the document and the fingerprint.

    Not refused, since Avro demands it: a department's schemas hold what other programs know.
    """
    schema = from_document(with_type(avro))
    bare = {key: part for key, part in avro.items() if key != "logicalType"}
    assert Codec(schema).decode(Codec(schema).encode({"f": value})) == {"f": value}
    assert Codec(schema).encode({"f": value}) == Codec(from_document(with_type(bare))).encode({"f": value})
    assert schema.document["fields"][0]["type"]["logicalType"] == avro["logicalType"]
    assert schema.fingerprint != from_document(with_type(bare)).fingerprint
    assert all(leaf.logical is None for leaf in schema.leaves.values())


@pytest.mark.parametrize(("size", "most"), [(1, 2), (4, 9), (9, 21), (16, 38)])
def test_a_fixed_decimal_has_the_digits_that_its_bytes_hold(size: int, most: int) -> None:
    """One digit more and the type is plain bytes (the specification's formula for the greatest precision)."""
    for precision, expected in ((most, "decimal"), (most + 1, None)):
        avro = {**DECIMAL, "type": "fixed", "name": "d", "size": size, "precision": precision}
        assert from_document(with_type(avro)).leaves["f"].logical == expected


def test_attributes_of_kafka_connect_pass_through() -> None:
    """What Connect writes beside a type stays; its decimals of 64 digits are decimals."""
    extra = {"connect.version": 1, "connect.name": "org.apache.kafka.connect.data.Decimal"}
    avro = {**DECIMAL, "scale": 2, "precision": 64, **extra, "connect.parameters": {"scale": "2"}}
    schema = from_document(with_type(["null", avro], default=None))
    value = Decimal("9" * 62 + ".99")
    assert schema.leaves["f"].type == avro
    assert Codec(schema).decode(Codec(schema).encode({"f": value})) == {"f": value}


@pytest.mark.parametrize("detail", UNPARSABLE)
def test_what_is_no_schema_is_refused_with_its_reason(detail: str) -> None:
    """Each fault is named, with the file."""
    with pytest.raises(Invalid, match="schema_unparsable") as refused:
        parse(json.dumps(UNPARSABLE[detail]), where="v1.avsc")
    assert detail in str(refused.value.facts["detail"])
    assert refused.value.where.startswith("v1.avsc")


@pytest.mark.parametrize("detail", UNSUPPORTED)
def test_what_we_do_not_take_is_refused_with_its_reason(detail: str) -> None:
    """Schemas that are Avro and have no finite or unambiguous meaning here."""
    with pytest.raises(Invalid, match="schema_unsupported") as refused:
        parse(json.dumps(UNSUPPORTED[detail]))
    assert detail in str(refused.value.facts["detail"])


def test_the_place_inside_the_schema_is_named() -> None:
    """The error's place is the file and the leaf's path."""
    inner = record({"name": "c", "type": "strnig"}, name="i")
    with pytest.raises(Invalid) as refused:
        parse(json.dumps(record({"name": "a", "type": {"type": "array", "items": inner}})), where="v1.avsc")
    assert refused.value.where == "v1.avsc: a[].c"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "no JSON"),
        ('{"type": "record",', "no JSON"),
        ('{"type": "record", "type": "enum"}', "the key 'type' stands twice"),
        ('{"x": NaN}', "NaN is no JSON"),
        (b"\xff\xfe{", "utf-8"),
        ("[" * 100_000, "nested too deeply"),
        ('{"x": ' + "9" * 5000 + "}", "4300 digits"),
        (" " * (1024 * 1024 + 1), "1048577 bytes"),
    ],
    ids=["empty", "cut off", "twins", "NaN", "encoding", "deep", "digits", "large"],
)
def test_text_that_is_no_json_is_refused(text: str | bytes, detail: str) -> None:
    """One error, never a foreign one; the line is named where it is known."""
    with pytest.raises(Invalid, match="schema_unparsable") as refused:
        parse(text, where="v1.avsc")
    assert detail in str(refused.value.facts["detail"])


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from(["record", "enum", "fixed", "array", "map", "string", "r", "logicalType", "decimal"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "name", "fields", "items", "values", "symbols", "size", "default", "logicalType"]),
        inner,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=examples(50), deadline=None)
@given(JSONS)
def test_any_json_is_a_schema_or_one_error(document: Any) -> None:
    """Hostile documents, in the place of a field's type or of the whole, never leak a foreign exception."""
    for whole in (document, with_type(document), with_type("int", default=document), with_type("int", x=document)):
        _, code = outcome(lambda whole=whole: from_document(whole))  # type: ignore[misc]  # mypy cannot infer it
        assert code in ("", "schema_unparsable", "schema_unsupported")


def test_a_byte_order_mark_is_taken_off() -> None:
    """Files from Windows editors begin with one."""
    assert parse(b"\xef\xbb\xbf" + json.dumps(PERSON).encode()) == parse(json.dumps(PERSON))
