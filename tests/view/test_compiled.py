"""A compiled view: batches, versions of the schema, arrays and maps, records that are withheld."""

from typing import Any
from uuid import UUID

import pytest

from exchange.avro.records import Codec
from exchange.avro.schema import Schema, from_document
from exchange.errors import Invalid
from exchange.plan import Plan
from exchange.view.compiled import View, compile_view, subject_getter
from tests.view.plans import ALL, KEYS, MEMBERS_NAME, SETS, field, plan_document


def schema_of(*fields: tuple[Any, ...], **changed: Any) -> Schema:
    """A record schema; a field may have a default: (name, type, default)."""
    entries = [dict(zip(("name", "type", "default"), one, strict=False)) for one in fields]
    return from_document({"type": "record", "name": "T", "fields": entries, **changed})


def view_of(schema: Schema, *fields: dict[str, Any], rows: Any = ALL, writers: dict[int, Schema] | None = None) -> View:
    """The view of these fields and rows."""
    plan = Plan.from_document(plan_document(fields, rows), draft=True)
    return compile_view(plan, schema, writers=writers or {1: schema}, keys=KEYS, sets=SETS)


def test_masks_reach_every_element() -> None:
    """A mask inside an array or map applies to each element; nulls and keys stay."""
    item = {"type": "record", "name": "I", "fields": [{"name": "c", "type": "string"}, {"name": "d", "type": "int"}]}
    schema = schema_of(
        ("items", ["null", {"type": "array", "items": ["null", item]}]),
        ("m", {"type": "map", "values": "I"}),
        ("tags", {"type": "array", "items": "string"}),
    )
    view = view_of(
        schema, field("items[].c", "partial", first=1, last=0), field("m{}.c", "redact"), field("tags[]", "redact")
    )
    record = {"items": [{"c": "ab", "d": 1}, None], "m": {"k": {"c": "x", "d": 2}}, "tags": ["t", "u"]}
    expected = {"items": [{"c": "a*"}, None], "m": {"k": {"c": "***"}}, "tags": ["***", "***"]}
    assert view.judge([record, {"items": None, "m": {}, "tags": []}], [b"", b""]).values == [
        expected,
        {"items": None, "m": {}, "tags": []},
    ]


def test_the_condition_sees_true_values_and_hidden_fields() -> None:
    """Masks come after the row condition, which may use fields that the view does not show."""
    schema = schema_of(("name", "string"), ("secret", "int"))
    rows = {
        "op": "and",
        "of": [{"op": "eq", "path": "name", "value": "张三"}, {"op": "gt", "path": "secret", "value": 4}],
    }
    view = view_of(schema, field("name", "redact"), rows=rows)
    records = [{"name": "张三", "secret": 5}, {"name": "张三", "secret": 4}, {"name": "李四", "secret": 5}]
    applied = view.judge(records, [b""] * 3)
    assert (applied.values, applied.kept, applied.excluded) == ([{"name": "***"}], [0], [1, 2])


def test_records_of_other_versions_are_resolved() -> None:
    """Older and newer writers are read as the plan's schema: defaults, aliases, promotions; others are withheld."""
    old = schema_of(("name", "string"), ("age", "int"))
    new = schema_of(
        ("name", "string"), ("age", "long"), ("town", "string", "-"),
        ("sex", {"type": "enum", "name": "S", "symbols": ["M", "F"]}, "M"),
    )  # fmt: skip
    newer = schema_of(
        ("name", "string"), ("age", "long"), ("town", "string"), ("extra", "int"),
        ("sex", {"type": "enum", "name": "S", "symbols": ["M", "F", "X"]}),
    )  # fmt: skip
    view = view_of(new, field("age"), field("town"), field("sex"), writers={1: old, 3: newer})
    bodies = [
        Codec(old).encode({"name": "a", "age": 7}),
        Codec(newer).encode({"name": "b", "age": 8, "town": "t", "extra": 1, "sex": "F"}),
        Codec(newer).encode({"name": "b", "age": 8, "town": "t", "extra": 1, "sex": "X"}),
        b"\xff",
    ]
    applied = view.apply([1, 3, 3, 1], bodies, [b""] * 4)
    assert applied.values == [{"age": 7, "town": "-", "sex": "M"}, {"age": 8, "town": "t", "sex": "F"}]
    assert (applied.kept, applied.withheld, applied.excluded) == ([0, 1], [2, 3], [])


def test_an_unexpected_writer_is_an_error() -> None:
    """A wire id that the view was not compiled for is no reason to guess."""
    schema = schema_of(("name", "string"))
    with pytest.raises(Invalid, match="view_writer_unknown"):
        view_of(schema, field("name")).apply([1, 2], [b"\x02a", b"\x02a"], [b"", b""])


def test_a_value_without_a_result_withholds_its_record() -> None:
    """Where a mask has no result and the view no null, the record is withheld, not guessed."""
    schema = schema_of(("birth", "string"))
    applied = view_of(schema, field("birth", "year")).judge([{"birth": "1980"}, {"birth": "?"}], [b"", b""])
    assert (applied.values, applied.kept, applied.withheld) == ([{"birth": 1980}], [0], [1])


def test_subjects_are_asked_for_only_where_members_are() -> None:
    """The subject's id is taken from the plan's path when a condition has `member`; it must be text."""
    schema = schema_of(("id_number", "string"), ("n", "int"))
    plain = Plan.from_document(plan_document([field("n")]), draft=True)
    member = {"op": "not", "of": [{"op": "member", "set": MEMBERS_NAME}]}
    asking = Plan.from_document(plan_document([field("n")], member), draft=True)
    wrong = Plan.from_document(plan_document([field("n")], member, subject={"type": "person", "path": "n"}), draft=True)
    assert subject_getter(plain, schema) is None
    get = subject_getter(asking, schema)
    assert get is not None
    assert get({"id_number": "x", "n": 1}) == "x"
    with pytest.raises(Invalid, match="view_subject_unusable"):
        subject_getter(wrong, schema)


def test_a_subject_may_be_a_uuid() -> None:
    """Its canonical text is the subject's id."""
    schema = schema_of(("id_number", ["null", {"type": "string", "logicalType": "uuid"}]), ("n", "int"))
    plan = Plan.from_document(plan_document([field("n")], {"op": "member", "set": MEMBERS_NAME}), draft=True)
    get = subject_getter(plan, schema)
    assert get is not None
    assert get({"id_number": UUID(int=7), "n": 1}) == str(UUID(int=7))
    assert get({"id_number": None, "n": 1}) is None


def test_pseudonyms_are_the_same_in_and_across_batches() -> None:
    """The memory of pseudonyms changes no value, even when it overflows."""
    schema = schema_of(("id", "string"))
    view = view_of(schema, field("id", "pseudonym", scope="agr-1"))
    first = view.judge([{"id": "a"}, {"id": "a"}, {"id": "b"}], [b""] * 3).values
    view.judge([{"id": str(number)} for number in range(20_001)], [b""] * 20_001)
    assert view.judge([{"id": "a"}], [b""]).values == first[:1] == first[1:2]
    assert first[2] != first[0]
