"""Rules of audit entries: what a leaf is, and that nothing else becomes one."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.audit.entries import MAX_LEAF, Entry, counters_digest, decode, embedded, encode, entry_id, make
from exchange.audit.schemas import KINDS, kind_of, parse_schema, schema_prefix
from exchange.audit.verify_rules import KINDS as KINDS_OF_VERIFIER
from exchange.audit.verify_rules import SCHEMA_OF_SCHEMAS
from exchange.errors import Invalid, Tampered
from exchange.names import canonical, digest
from tests.audit.building import control, refusal, release
from tests.profiles import examples

SCHEMAS = {kind_of(kind).prefix: kind_of(kind).parsed for kind in KINDS}
# Leaves are for ever: a prefix that changes here means that a kind's schema was edited. Add a kind, never edit one.
PREFIXES = {
    "ack": "e465b1a5030560dc",
    "anchor": "d4cf0ae4c8befe51",
    "audit_query": "75aa53461ab91834",
    "control": "03c13d42563ce095",
    "decision": "5be39d13513eb770",
    "detail_expiry": "9ef89ed6ec5647ec",
    "gateway_run": "c1e78d964e25a491",
    "index_segment": "4d0ace3086748d47",
    "key": "085294debec28956",
    "policy_revision": "baadc5150a357bd0",
    "record_commit": "63b9b7a90c11a476",
    "refusal": "91e72f91963bda20",
    "release": "f24fe31bb93ee5b0",
    "restore": "8bdeec63d26f57a5",
    "schema": "d47716b0fe6b8764",
}


def _value(avro: Any, named: dict[str, int]) -> st.SearchStrategy[Any]:
    if isinstance(avro, list):
        return st.none() | _value(avro[1], named)
    if isinstance(avro, dict) and avro["type"] == "fixed":
        named[avro["name"].rpartition(".")[2]] = avro["size"]
        return st.binary(min_size=avro["size"], max_size=avro["size"])
    if isinstance(avro, dict) and avro["type"] == "record":
        return st.fixed_dictionaries({field["name"]: _value(field["type"], named) for field in avro["fields"]})
    if isinstance(avro, dict) and avro["type"] == "array":
        return st.lists(_value(avro["items"], named), max_size=3)
    if isinstance(avro, dict):
        return st.dictionaries(st.text(max_size=5), _value(avro["values"], named), max_size=3)
    avro = avro.rpartition(".")[2]
    if avro in named:
        return st.binary(min_size=named[avro], max_size=named[avro])
    bits = {"int": 31, "long": 63}.get(avro, 0)
    simple: dict[str, st.SearchStrategy[Any]] = {
        "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        "boolean": st.booleans(),
    }
    if avro in simple:
        return simple[avro]
    return st.integers(-(1 << bits), (1 << bits) - 1) if bits else st.binary(max_size=9)


@settings(max_examples=examples(25))
@given(st.data(), st.sampled_from(KINDS))
def test_what_is_encoded_is_decoded(data: st.DataObject, kind: str) -> None:
    """Every body that fits its kind comes back from its leaf, under the schema that the leaf names."""
    named: dict[str, int] = {}
    parsed = kind_of(kind).parsed
    body = data.draw(st.fixed_dictionaries({f["name"]: _value(f["type"], named) for f in parsed["fields"]}))
    rests_on = body["epochs"] if kind == "release" else {}
    entry = Entry(kind, body["id"], body, body.get("raises", {}), rests_on)
    assert decode(encode(entry), SCHEMAS) == (kind, body)


def test_the_schemas_of_kinds_never_change() -> None:
    """A leaf written today is read for ever: each kind's schema text is fixed, to the byte."""
    assert {kind: kind_of(kind).prefix.hex() for kind in KINDS} == PREFIXES
    assert set(KINDS) == KINDS_OF_VERIFIER
    assert kind_of("schema").text == SCHEMA_OF_SCHEMAS


def test_every_field_of_every_kind_says_what_it_means() -> None:
    """The schemas are the documentation: each kind and each field has a doc, id and time_ns come first."""
    for kind in KINDS:
        parsed = kind_of(kind).parsed
        assert parsed["doc"]
        assert all(field["doc"] for field in parsed["fields"])
        assert [field["name"] for field in parsed["fields"]][:2] == ["id", "time_ns"]


def test_equal_entries_give_equal_leaves() -> None:
    """The order of a map's keys does not change the leaf, so that sending again is known as the same."""
    one, other = control(1, agreement_a=1, agreement_b=2), control(1, agreement_b=2, agreement_a=1)
    assert encode(one) == encode(other)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", None),
        ("version", 1.0),
        ("version", True),
        ("version", 1 << 63),
        ("type", None),
        ("type", b"x"),
        ("actor", 7),
        ("id", b"short"),
        ("id", "0" * 16),
        ("raises", None),
        ("raises", {"policy": "1"}),
        ("raises", {1: 1}),
    ],
)
def test_a_value_of_another_type_is_no_entry(field: str, value: object) -> None:
    """What fastavro's writer would let through or bend is refused, with kind and field named."""
    entry = control(1)
    body = {**entry.body, field: value}
    with pytest.raises(Invalid) as caught:
        encode(Entry("control", entry.id, body, entry.raises))
    assert (caught.value.code, caught.value.where) == ("audit_entry_malformed", f"control.{field}")


def test_missing_and_extra_fields_are_refused() -> None:
    """A body has exactly the fields of its kind."""
    entry = control(1)
    less = {name: value for name, value in entry.body.items() if name != "actor"}
    for body in (less, {**entry.body, "colour": 1}):
        with pytest.raises(Invalid, match="audit_entry_malformed"):
            encode(Entry("control", entry.id, body))


def test_the_entry_and_its_body_agree() -> None:
    """Id, epochs raised and epochs rested on stand in the leaf as the sequencer uses them, or the entry is refused."""
    entry = release(1, epochs={"policy": 1})
    for other in (
        Entry("release", b"x" * 16, entry.body, {}, entry.rests_on),
        Entry("release", entry.id, entry.body, {}, {}),
        Entry("release", entry.id, entry.body, {"policy": 1}, entry.rests_on),
        Entry("control", control(1).id, control(1, policy=2).body, {}),
        Entry("control", control(1).id, control(1).body, {}, {"policy": 1}),
        Entry("nothing", b"x" * 16, {}),
    ):
        with pytest.raises(Invalid, match="audit_entry_malformed"):
            encode(other)


def test_text_that_is_no_unicode_is_refused() -> None:
    """A lone surrogate cannot be written, so it is no entry."""
    with pytest.raises(Invalid, match="audit_entry_malformed"):
        encode(refusal(1, purpose="\ud800"))


def test_a_leaf_has_at_most_65535_bytes() -> None:
    """The length of a leaf has two bytes (C2SP tlog-tiles): one byte more is refused."""
    room = MAX_LEAF - len(encode(refusal(1, purpose=""))) - 2  # the length of a long string takes 3 bytes, not 1
    assert len(encode(refusal(1, purpose="x" * room))) == MAX_LEAF
    with pytest.raises(Invalid, match="audit_entry_too_large"):
        encode(refusal(1, purpose="x" * (room + 1)))


def test_make_fills_unused_fields() -> None:
    """Fields not given are null or empty; one without such a value must be given."""
    assert release(1).body["case"] is None
    assert release(1).body["tags"] == ()
    assert release(1, epochs={"policy": 3}).rests_on == {"policy": 3}
    assert control(1, policy=3).raises == {"policy": 3}
    with pytest.raises(Invalid, match="audit_entry_malformed"):
        make("ack", bytes(16), 0)


def test_ids_do_not_collide_by_joining() -> None:
    """The parts of an id have their type and length in it."""
    ids = {entry_id("ab", "c"), entry_id("a", "bc"), entry_id("abc"), entry_id(b"abc"), entry_id("1"), entry_id(1)}
    assert len(ids) == 6
    assert all(len(one) == 16 for one in ids)


def test_a_large_document_stands_by_its_digest_only() -> None:
    """JSON above 30,000 bytes is left out of a leaf."""
    assert embedded({"a": "x" * 29_992}) == canonical({"a": "x" * 29_992}).decode()
    assert embedded({"a": "x" * 29_993}) is None
    assert counters_digest({"agr-1": 7}) == digest({"agr-1": 7})


@given(st.data())
def test_a_damaged_leaf_is_one_clear_error(data: st.DataObject) -> None:
    """Cut off, lengthened or changed: decoding gives `Tampered` or another body, never a foreign exception."""
    leaf = bytearray(encode(release(1, epochs={"policy": 1})))
    at = data.draw(st.integers(0, len(leaf) - 1))
    leaf[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(leaf), bytes(leaf[:at])):
        with suppress(Tampered):
            assert decode(damaged, SCHEMAS)[0] == "release"
    with pytest.raises(Tampered, match="audit_leaf_undecodable"):
        decode(encode(control(1)) + b"x", SCHEMAS)


def test_a_schema_entry_that_is_no_schema_is_refused() -> None:
    """Text that is no Avro schema gives `Tampered`."""
    for text in ("", "{", "[]", "7", '{"type": "record"}', "[" * 100_000):
        with pytest.raises(Tampered, match="audit_leaf_undecodable"):
            parse_schema(text)
    assert parse_schema(SCHEMA_OF_SCHEMAS)[0] == schema_prefix(SCHEMA_OF_SCHEMAS)
