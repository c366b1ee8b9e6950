"""Row conditions: the closed tree, its three values, its types."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from exchange.avro.schema import Schema, from_document
from exchange.errors import Invalid
from exchange.view.rows import Conditions
from tests.view.plans import ALL, MEMBERS_NAME, OPS, SETS

TYPES: dict[str, Any] = {
    "s": "string",
    "ns": ["null", "string"],
    "e": {"type": "enum", "name": "E", "symbols": ["A", "B"]},
    "i": "int",
    "l": ["null", "long"],
    "f": "double",
    "d": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2},
    "b": "boolean",
    "day": {"type": "int", "logicalType": "date"},
    "at": {"type": "long", "logicalType": "timestamp-micros"},
    "there": {"type": "long", "logicalType": "local-timestamp-millis"},
    "hour": {"type": "int", "logicalType": "time-millis"},
    "uuid": {"type": "string", "logicalType": "uuid"},
    "nanos": {"type": "long", "logicalType": "timestamp-nanos"},
    "raw": "bytes",
    "fix": {"type": "fixed", "name": "F", "size": 2},
    "u2": ["null", {"type": "string", "logicalType": "uuid"}, {"type": "long", "logicalType": "time-micros"}],
    "u": ["null", "long", "string"],
    "rec": ["null", {"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]}],
    "many": {"type": "array", "items": "int"},
    "named": {"type": "map", "values": {"type": "record", "name": "M", "fields": [{"name": "c", "type": "int"}]}},
}
SCHEMA: Schema = from_document(
    {"type": "record", "name": "T", "fields": [{"name": name, "type": avro} for name, avro in TYPES.items()]}
)
RECORD: dict[str, Any] = {
    "s": "𠮷b",
    "ns": None,
    "e": "B",
    "i": 5,
    "l": None,
    "f": 0.1,
    "d": Decimal("12345678901234567890123456789012345.67"),
    "b": True,
    "day": date(2026, 3, 1),
    "at": datetime(2026, 3, 1, 0, 0, 0, 5, tzinfo=UTC),
    "there": datetime(2026, 3, 1, 8, 0),  # noqa: DTZ001  a local timestamp has no zone
    "hour": time(8, 30),
    "uuid": UUID("123e4567-e89b-12d3-a456-42661417400a"),
    "nanos": 7,
    "u2": UUID(int=7),
    "raw": b"\x00\xff",
    "fix": b"ab",
    "u": "7",
    "rec": None,
    "many": [1],
    "named": {},
}
TRUE, UNKNOWN = ALL, {"op": "eq", "path": "ns", "value": "x"}
FALSE = {"op": "not", "of": [ALL]}
NODES = {True: TRUE, False: FALSE, None: UNKNOWN}


def holds(node: dict[str, Any], tag: bytes = b"", **changed: Any) -> bool | None:
    """What a condition says of the record."""
    return Conditions(SCHEMA, SETS).compile(node, "plan.rows")({**RECORD, **changed}, tag)


def comparing(path: str, op: str, value: Any, **changed: Any) -> bool | None:
    """What a comparison says of the record."""
    return holds({"op": op, "path": path, "value": value}, **changed)


@pytest.mark.parametrize("left", [True, False, None])
@pytest.mark.parametrize("right", [True, False, None])
def test_and_or_not_follow_kleene(left: bool | None, right: bool | None) -> None:
    """Kleene's tables, all nine pairs: and is the least, or the greatest of false < unknown < true."""
    rank = {False: 0, None: 1, True: 2}
    pair = [NODES[left], NODES[right]]
    assert holds({"op": "and", "of": pair}) is min((left, right), key=lambda one: rank[one])
    assert holds({"op": "or", "of": pair}) is max((left, right), key=lambda one: rank[one])
    assert holds({"op": "not", "of": [NODES[left]]}) is (None if left is None else not left)


@pytest.mark.parametrize(
    ("path", "op", "value", "expected"),
    [
        ("s", "eq", "𠮷b", True),
        ("s", "gt", "\uffff", True),  # by code point, where UTF-16 would say less
        ("e", "eq", "B", True),
        ("e", "gt", "A", True),
        ("i", "le", 5, True),
        ("i", "ne", 5, False),
        ("f", "eq", "0.1", False),  # the double nearest to 0.1 is a little more
        ("f", "gt", "0.1", True),
        ("f", "lt", 1, True),
        ("d", "eq", "12345678901234567890123456789012345.67", True),
        ("d", "lt", "12345678901234567890123456789012345.68", True),
        ("d", "gt", 5, True),
        ("b", "eq", True, True),
        ("b", "ne", True, False),
        ("day", "eq", "2026-03-01", True),
        ("day", "lt", "2026-03-02", True),
        ("at", "gt", "2026-03-01T00:00:00Z", True),
        ("at", "eq", "2026-03-01T08:00:00.000005+08:00", True),
        ("at", "lt", "2026-02-28T20:00-05:00", True),
        ("there", "eq", "2026-03-01T08:00", True),
        ("there", "lt", "2026-03-01T08:00:00.001", True),
        ("there", "ge", "2026-03-01T08:00:00.001", False),
        ("hour", "eq", "08:30", True),
        ("hour", "gt", "08:29:59.999999", True),
        ("hour", "lt", "08:30:00", False),
        ("uuid", "eq", "123e4567-e89b-12d3-a456-42661417400a", True),
        ("uuid", "ne", "123E4567-E89B-12D3-A456-42661417400A", False),
        ("uuid", "lt", "2", True),
        ("uuid", "gt", "123e4567", True),
        ("uuid", "eq", "none", False),
        ("nanos", "eq", 7, True),
        ("u2", "eq", "00000000-0000-0000-0000-000000000007", True),
        ("u2", "lt", "08:30:00", True),  # the uuid's text: no branch but the value's own is asked
        ("raw", "eq", "AP8=", True),
        ("fix", "lt", "YWM=", True),
        ("u", "eq", "7", True),
        ("u", "eq", 7, None),
    ],
)
def test_values_compare_by_their_type(path: str, op: str, value: Any, expected: bool | None) -> None:
    """Text by code point, numbers exactly by value, dates and timestamps by instant, bytes by base64."""
    assert comparing(path, op, value) is expected


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("s", 5),
        ("s", True),
        ("e", 1),
        ("i", "5"),
        ("i", True),
        ("f", False),
        ("d", True),
        ("b", "true"),
        ("b", 1),
        ("day", 20513),
        ("at", 0),
        ("there", 0),
        ("hour", 30600000),
        ("uuid", 5),
        ("nanos", "2026-03-01T00:00:00Z"),
        ("raw", 1),
        ("l", 1),
        ("ns", "x"),
    ],
)
def test_null_and_unlike_are_unknown(path: str, value: Any) -> None:
    """A null, and values of unlike types, compare as unknown; `not` lets neither through."""
    for op in OPS:
        assert comparing(path, op, value) is None
        assert holds({"op": "not", "of": [{"op": op, "path": path, "value": value}]}) is None


@pytest.mark.parametrize("op", ["lt", "le", "gt", "ge"])
def test_booleans_have_no_order(op: str) -> None:
    """Whether true is more than false is unknown."""
    assert comparing("b", op, False) is None


def test_unlike_comparisons_are_told() -> None:
    """The places that can never be anything but unknown are listed, for the steward to see."""
    conditions = Conditions(SCHEMA, SETS)
    rows = {
        "op": "or",
        "of": [ALL, {"op": "eq", "path": "i", "value": "5"}, {"op": "in", "path": "s", "values": ["a", 1]}],
    }
    conditions.compile(rows, "plan.rows")
    assert conditions.unlike == ["plan.rows.of[1]", "plan.rows.of[2].values[1]"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("d", "abc"),
        ("f", "1e5"),
        ("day", "2026-02-30"),
        ("day", "2026-3-1"),
        ("day", "2026-03-01T00:00:00Z"),
        ("at", "2026-03-01"),
        ("at", "2026-03-01T00:00:00"),
        ("at", "2026-03-01T00:00:00.1234567Z"),
        ("there", "2026-03-01T00:00:00Z"),
        ("there", "2026-03-01T00:00:00+08:00"),
        ("there", "2026-03-01"),
        ("hour", "8:30"),
        ("hour", "24:00"),
        ("hour", "08:30Z"),
        ("raw", "%%%"),
        ("at", "2026-03-01T25:00:00Z"),
        ("raw", "AP8"),
    ],
)
def test_a_misspelt_constant_is_refused(path: str, value: str) -> None:
    """A string that should be a decimal, date, timestamp or base64 and is none is refused when compiled."""
    with pytest.raises(Invalid) as caught:
        comparing(path, "eq", value)
    assert (caught.value.code, caught.value.where) == ("view_value_malformed", "plan.rows.value")


def test_in_is_several_equalities() -> None:
    """True when one is equal; unknown when none is and one comparison is unknown, or the value is null."""
    assert holds({"op": "in", "path": "i", "values": [4, 5, "x"]}) is True
    assert holds({"op": "in", "path": "i", "values": [4, 6]}) is False
    assert holds({"op": "in", "path": "i", "values": [4, "5"]}) is None
    assert holds({"op": "in", "path": "i", "values": []}) is False
    assert holds({"op": "in", "path": "l", "values": []}) is None
    assert holds({"op": "in", "path": "f", "values": ["0.5", 1]}, f=0.5) is True
    assert holds({"op": "in", "path": "uuid", "values": ["x", "123E4567-E89B-12D3-A456-42661417400A"]}) is True
    assert holds({"op": "in", "path": "uuid", "values": ["x", 5]}) is None
    assert holds({"op": "in", "path": "hour", "values": ["08:30"]}) is True
    assert holds({"op": "in", "path": "u", "values": [1, "7"]}) is True
    assert holds({"op": "in", "path": "u", "values": [1, 2]}) is None


def test_prefix_is_of_text() -> None:
    """Text, symbols and UUIDs have prefixes; a null or any other type is unknown."""
    assert holds({"op": "prefix", "path": "s", "value": "𠮷"}) is True
    assert holds({"op": "prefix", "path": "s", "value": "b"}) is False
    assert holds({"op": "prefix", "path": "e", "value": "B"}) is True
    assert holds({"op": "prefix", "path": "ns", "value": ""}) is None
    assert holds({"op": "prefix", "path": "i", "value": "5"}) is None
    assert holds({"op": "prefix", "path": "uuid", "value": "123e"}) is True
    assert holds({"op": "prefix", "path": "uuid", "value": "123E"}) is False


def test_null_is_never_unknown() -> None:
    """`null` says whether there is a value; a leaf under a null record is absent, so there is none."""
    assert holds({"op": "null", "path": "ns"}) is True
    assert holds({"op": "null", "path": "s"}) is False
    assert holds({"op": "null", "path": "rec.x"}) is True
    assert holds({"op": "null", "path": "rec.x"}, rec={"x": 0}) is False


def test_a_leaf_under_a_null_record_is_unknown() -> None:
    """Comparing an absent value is unknown."""
    assert comparing("rec.x", "eq", 1) is None
    assert comparing("rec.x", "eq", 1, rec={"x": 1}) is True


def test_member_looks_for_the_subjects_tag() -> None:
    """True for a tag in the set, false for another, unknown for a record without a subject."""
    node = {"op": "member", "set": MEMBERS_NAME}
    assert [holds(node, tag) for tag in (b"m" * 16, b"o" * 16, b"")] == [True, False, None]


@pytest.mark.parametrize(
    ("node", "code", "where"),
    [
        ({"op": "eq", "path": "z", "value": 1}, "view_path_unknown", "plan.rows.path"),
        ({"op": "null", "path": "rec"}, "view_path_unknown", "plan.rows.path"),
        ({"op": "eq", "path": "many[]", "value": 1}, "view_path_many", "plan.rows.path"),
        ({"op": "in", "path": "named{}.c", "values": [1]}, "view_path_many", "plan.rows.path"),
        ({"op": "prefix", "path": "431126198001011234", "value": "4"}, "view_path_unknown", "plan.rows.path"),
        ({"op": "member", "set": "sha256:" + "9" * 64}, "view_set_missing", "plan.rows.set"),
        ({"op": "and", "of": []}, "plan_empty", "plan.rows.of"),
        ({"op": "not", "of": [ALL, ALL]}, "plan_oversized", "plan.rows.of"),
        ({"op": "xor", "of": [ALL]}, "plan_name_unknown", "plan.rows.op"),
        (
            {"op": "or", "of": [ALL, {"op": "and", "of": [{"op": "null", "path": "zz"}]}]},
            "view_path_unknown",
            "plan.rows.of[1].of[0].path",
        ),
    ],
)
def test_a_condition_that_means_nothing_is_refused(node: dict[str, Any], code: str, where: str) -> None:
    """Unknown paths, sets and operators, empty and overfull lists: refused when compiled, at their place."""
    with pytest.raises(Invalid) as caught:
        holds(node)
    assert (caught.value.code, caught.value.where) == (code, where)
    assert "431126198001011234" not in str(caught.value)
