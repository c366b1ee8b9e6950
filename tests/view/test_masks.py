"""Masks: exact results, nulls, rare characters, and the types each is defined for."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from exchange.avro.schema import from_document
from exchange.errors import Invalid
from exchange.plan import Plan
from exchange.plan.tree import MASKS
from exchange.view.compiled import View, compile_view
from exchange.view.masks import DEFINED
from exchange.view.pseudonyms import cmac_of
from tests.view import reference
from tests.view.plans import KEYS, field, plan_document
from tests.view.test_rows import TYPES

WITHHELD = object()
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
DATE = {"type": "int", "logicalType": "date"}
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
LOCAL = {"type": "long", "logicalType": "local-timestamp-micros"}
TIME = {"type": "int", "logicalType": "time-millis"}
UUID_TYPE = {"type": "string", "logicalType": "uuid"}
SOME_UUID = UUID("123e4567-e89b-12d3-a456-42661417400a")
SEX = {"type": "enum", "name": "Sex", "symbols": ["M", "F"]}


def masked(avro: Any, value: Any, name: str, /, **parameters: Any) -> Any:
    """What is shown of a value of this type under this mask; WITHHELD when its record is."""
    schema = from_document({"type": "record", "name": "T", "fields": [{"name": "v", "type": avro}]})
    plan = Plan.from_document(plan_document([field("v", name, **parameters)]), draft=True)
    view = compile_view(plan, schema, writers={}, keys=KEYS, sets={})
    applied = view.judge([{"v": value}], [b""])
    if applied.withheld:
        return WITHHELD
    assert view.codec.faults(applied.values[0]) == []
    return applied.values[0]["v"]


@pytest.mark.parametrize(
    ("text", "first", "last", "expected"),
    [
        ("张三", 1, 0, "张*"),
        ("欧阳𠮷䶮", 1, 1, "欧**䶮"),
        ("𠮷", 0, 0, "*"),
        ("𠮷野", 1, 1, "**"),
        ("𠮷野家", 1, 1, "𠮷*家"),
        ("43112619800101123X", 6, 4, "431126********123X"),
        ("ab", 2, 0, "**"),
        ("ab", 5, 5, "**"),
        ("abc", 0, 0, "***"),
        ("abc", 0, 1, "**c"),
        ("", 1, 1, ""),
    ],
)
def test_partial_counts_code_points(text: str, first: int, last: int, expected: str) -> None:
    """Code points kept at both ends, each other one `*`; when nothing would be hidden, all are."""
    assert masked("string", text, "partial", first=first, last=last) == expected


def test_partial_of_a_uuid_is_of_its_text() -> None:
    """The canonical text, whatever way it was written in."""
    assert masked(UUID_TYPE, SOME_UUID, "partial", first=4, last=0) == "123e" + "*" * 32


@pytest.mark.parametrize(
    ("avro", "value", "expected"),
    [
        (DATE, date(1980, 12, 31), 1980),
        (MILLIS, datetime(2025, 12, 31, 16, tzinfo=UTC), 2026),
        (MICROS, datetime(2025, 12, 31, 15, 59, 59, 999999, tzinfo=UTC), 2025),
        (LOCAL, datetime(2025, 12, 31, 23, 59), 2025),  # noqa: DTZ001  a local timestamp has no zone
        (MILLIS, datetime(9999, 12, 31, 20, tzinfo=UTC), WITHHELD),
        (["null", MILLIS], datetime(9999, 12, 31, 20, tzinfo=UTC), None),
        ("string", "2026", 2026),
        ("string", "2026-03", 2026),
        ("string", "2026-03-01", 2026),
        ("string", "20260301", 2026),
        ("string", "2025-12-31T16:00:00Z", 2026),
        ("string", "2025-12-31T16:00:00", 2025),
        ("string", "20251231T235900-0500", 2026),
        ("string", "2026-13", WITHHELD),
        ("string", "2026-02-30", WITHHELD),
        ("string", "二〇二六", WITHHELD),
        ("string", "202603", WITHHELD),
        (["null", "string"], "unknown", None),
        (["null", "string"], None, None),
    ],
)
def test_year(avro: Any, value: Any, expected: Any) -> None:
    """The calendar year: of a timestamp in UTC+8, of a text in ISO 8601; where there is none, null or withheld."""
    assert masked(avro, value, "year") == expected


@pytest.mark.parametrize(
    ("avro", "unit", "value", "expected"),
    [
        (DATE, "month", date(2026, 5, 17), date(2026, 5, 1)),
        (DATE, "quarter", date(2026, 6, 30), date(2026, 4, 1)),
        (DATE, "quarter", date(2026, 12, 31), date(2026, 10, 1)),
        (DATE, "year", date(2026, 5, 17), date(2026, 1, 1)),
        (DATE, "day", date(2026, 5, 17), date(2026, 5, 17)),
        (MILLIS, "hour", datetime(2026, 5, 17, 3, 59, tzinfo=UTC), datetime(2026, 5, 17, 3, tzinfo=UTC)),
        (MILLIS, "day", datetime(2026, 5, 17, 16, 30, tzinfo=UTC), datetime(2026, 5, 17, 16, tzinfo=UTC)),
        (MICROS, "month", datetime(2026, 5, 31, 20, tzinfo=UTC), datetime(2026, 5, 31, 16, tzinfo=UTC)),
        (MICROS, "quarter", datetime(2026, 5, 31, 20, tzinfo=UTC), datetime(2026, 3, 31, 16, tzinfo=UTC)),
        (MILLIS, "year", datetime(2025, 12, 31, 17, tzinfo=UTC), datetime(2025, 12, 31, 16, tzinfo=UTC)),
        (LOCAL, "hour", datetime(2026, 5, 17, 3, 59), datetime(2026, 5, 17, 3)),  # noqa: DTZ001  local
        (LOCAL, "day", datetime(2026, 5, 17, 20, 30), datetime(2026, 5, 17)),  # noqa: DTZ001  local
        (LOCAL, "year", datetime(1, 5, 1, 8), datetime(1, 1, 1)),  # noqa: DTZ001  local
        (MILLIS, "year", datetime(1, 1, 1, tzinfo=UTC), WITHHELD),
        (["null", DATE], "year", None, None),
    ],
)
def test_truncate_gives_the_first_instant(avro: Any, unit: str, value: Any, expected: Any) -> None:
    """The first day of a date's period; for a timestamp the first instant of the period as UTC+8 has it."""
    assert masked(avro, value, "truncate", unit=unit) == expected


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("province", "430000000000"),
        ("prefecture", "431100000000"),
        ("county", "431126000000"),
        ("township", "431126103000"),
        ("village", "431126103201"),
    ],
)
def test_region_keeps_the_length(level: str, expected: str) -> None:
    """The first characters, the others `0`; a shorter code stays as it is."""
    assert masked("string", "431126103201", "region", level=level) == expected
    assert masked("string", "43", "region", level=level) == "43"
    assert masked("string", "", "region", level=level) == ""


@pytest.mark.parametrize(
    ("avro", "value", "edges", "expected"),
    [
        ("int", -1, [0, 100], "<0"),
        ("int", 0, [0, 100], "[0,100)"),
        ("long", 99, [0, 100], "[0,100)"),
        ("long", 100, [0, 100], ">=100"),
        ("int", 5, [5], ">=5"),
        ("int", 4, [5], "<5"),
        ("double", 0.5, ["0.50", 1], "[0.50,1)"),
        ("double", 0.1, ["0.1", 1], "[0.1,1)"),
        (MONEY, Decimal("9.99"), ["9.99", "10"], "[9.99,10)"),
        (["null", "int"], None, [1], None),
    ],
)
def test_bucket_writes_edges_as_the_plan_does(avro: Any, value: Any, edges: list[Any], expected: Any) -> None:
    """`<a`, `[a,b)`, `>=z`, each edge spelt as in the plan."""
    assert masked(avro, value, "bucket", edges=edges) == expected


@pytest.mark.parametrize(
    ("avro", "value", "to", "expected"),
    [
        ("int", 5, 10, 0),
        ("int", 15, 10, 20),
        ("int", 25, 10, 20),
        ("int", -5, 10, 0),
        ("int", -15, 10, -20),
        ("int", 26, 10, 30),
        ("int", 2**31 - 1, 10, 2147483640),
        ("int", -(2**31), 10, -2147483640),
        ("int", 7, 3, 6),
        ("long", 2**63 - 1, 2**62, 2**62),
        (MONEY, Decimal("12.35"), "0.10", Decimal("12.40")),
        (MONEY, Decimal("12.45"), "0.1", Decimal("12.40")),
        (MONEY, Decimal("99.99"), 1, Decimal("99.00")),
        (MONEY, Decimal("-2.50"), 5, Decimal("0.00")),
        (["null", "int"], None, 10, None),
    ],
)
def test_round_is_half_to_even(avro: Any, value: Any, to: Any, expected: Any) -> None:
    """The nearest multiple, half to even; at the end of the type the nearest one that it holds."""
    assert masked(avro, value, "round", to=to) == expected


@pytest.mark.parametrize(
    ("avro", "value", "op", "constant", "expected"),
    [
        ("long", 560, "le", 560, True),
        ("long", 561, "le", 560, False),
        (["null", "long"], None, "le", 560, None),
        ("long", 5, "le", "560", None),
        (MONEY, Decimal("5.60"), "eq", "5.6", True),
        ("string", "x", "ge", 5, None),
        ("boolean", True, "eq", True, True),
        ("boolean", True, "gt", False, None),
        (DATE, date(2026, 1, 1), "lt", "2026-01-02", True),
        (LOCAL, datetime(2026, 1, 1), "lt", "2026-01-01T00:00:00.000001", True),  # noqa: DTZ001  local
        (TIME, time(8, 30), "ge", "08:30:00", True),
        (UUID_TYPE, SOME_UUID, "eq", str(SOME_UUID), True),
        (UUID_TYPE, SOME_UUID, "eq", 5, None),
        (SEX, "M", "eq", "M", True),
        (["null", "long", "string"], "x", "eq", 5, None),
        (["null", "long", "string"], 5, "eq", 5, True),
    ],
)
def test_verdict_is_three_valued(avro: Any, value: Any, op: str, constant: Any, expected: bool | None) -> None:
    """Whether it holds; null when the value is null or not comparable."""
    assert masked(avro, value, "verdict", op=op, value=constant) is expected


@pytest.mark.parametrize(
    ("avro", "value", "expected"),
    [
        ("string", "x", "***"),
        (["null", "string"], None, "***"),
        (SEX, "M", "***"),
        (["null", SEX], None, "***"),
        ("int", 5, None),
        (["null", "int"], None, None),
        ("boolean", True, None),
        (UUID_TYPE, SOME_UUID, "***"),
        (["null", UUID_TYPE], None, "***"),
        (TIME, time(8, 30), None),
        (LOCAL, datetime(2026, 1, 1), None),  # noqa: DTZ001  local
        (["null", "int", "string"], "x", None),
    ],
)
def test_redact(avro: Any, value: Any, expected: Any) -> None:
    """`***` for text and symbols, for their nulls too; null for all else."""
    assert masked(avro, value, "redact") == expected


@pytest.mark.parametrize("avro", ["string", "int", SEX, DATE, ["string", "null"], ["null", "int", "string"]])
def test_null_is_null(avro: Any) -> None:
    """`null` gives null, whatever the value."""
    assert (
        masked(avro, {"string": "x", "int": 1}.get(avro if isinstance(avro, str) else "", _value(avro)), "null") is None
    )


def _value(avro: Any) -> Any:
    return date(2026, 1, 1) if avro == DATE else "M" if avro == SEX else None


RFC_4493 = [
    (b"", "bb1d6929e95937287fa37d129b756746"),
    (bytes.fromhex("6bc1bee22e409f96e93d7e117393172a"), "070a16b46b4d4144f79bdd9dd04a287c"),
    (
        bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411"),
        "dfa66747de9ae63030ca32611497c827",
    ),
    (
        bytes.fromhex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
        ),
        "51f0bebf7e3b9d92fc49741779363cfe",
    ),
]


@pytest.mark.parametrize(("message", "expected"), RFC_4493)
def test_cmac_gives_the_vectors_of_rfc_4493(message: bytes, expected: str) -> None:
    """The four examples of RFC 4493, section 4, by us and by the reference."""
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    assert cmac_of(key)(message).hex() == expected
    assert reference.cmac(key, message).hex() == expected


@pytest.mark.parametrize(
    ("avro", "value", "message"),
    [
        ("string", "䶮", "䶮".encode()),
        ("int", -1, b"\x01"),
        ("long", 64, b"\x80\x01"),
        (SEX, "F", b"\x02"),
        ("bytes", b"ab", b"\x04ab"),
        ("boolean", True, b"\x01"),
        (DATE, date(1970, 1, 2), b"\x02"),
        (["null", "string"], "x", b"x"),
        ({"type": "fixed", "name": "F", "size": 2}, b"ab", b"ab"),
        (MONEY, Decimal("1.00"), b"\x02\x64"),
        (UUID_TYPE, SOME_UUID, str(SOME_UUID).encode()),
        (TIME, time(0, 0, 0, 1000), b"\x02"),
        (LOCAL, datetime(1970, 1, 1, 0, 0, 0, 1), b"\x02"),  # noqa: DTZ001  local
    ],
)
def test_pseudonyms_are_over_utf8_or_avro_binary(avro: Any, value: Any, message: bytes) -> None:
    """CMAC of a string's UTF-8, of any other type's Avro binary without the union's branch."""
    assert masked(avro, value, "pseudonym", scope="agr-1") == reference.cmac(KEYS["agr-1"], message).hex()


def test_pseudonyms_of_zero_and_minus_zero_differ() -> None:
    """Values that Python takes for equal but Avro writes differently are two."""
    view = _compiled("pseudonym", "f")
    plus, minus = view.judge([{"v": 0.0}, {"v": -0.0}], [b"", b""]).values
    assert plus != minus
    assert masked(["null", "double"], None, "pseudonym", scope="agr-1") is None


def _fitting() -> list[tuple[str, str, str, bool]]:
    """Every mask on every type, and whether it is defined there."""
    words = {"s": "text", "e": "enum", "i": "integer", "f": "fraction", "d": "decimal", "b": "boolean"}
    words |= {"day": "date", "at": "timestamp", "raw": "bytes", "fix": "bytes", "u": "union", "nanos": "integer"}
    words |= {"there": "local-timestamp", "hour": "time", "uuid": "uuid"}
    masks = [
        "keep",
        "null",
        "redact",
        "partial",
        "pseudonym",
        "year",
        "truncate",
        "region",
        "bucket",
        "round",
        "verdict",
    ]
    defined = {
        "partial": {"text", "uuid"},
        "pseudonym": set(words.values()) - {"union"},
        "year": {"text", "date", "timestamp", "local-timestamp"},
        "truncate": {"date", "timestamp", "local-timestamp"},
        "region": {"text"},
        "bucket": {"integer", "decimal", "fraction"},
        "round": {"integer", "decimal"},
    }
    return [(mask, name, word, word in defined.get(mask, {word})) for mask in masks for name, word in words.items()]


PARAMETERS: dict[str, dict[str, Any]] = {
    "partial": {"first": 1, "last": 0},
    "pseudonym": {"scope": "agr-1"},
    "truncate": {"unit": "month"},
    "region": {"level": "county"},
    "bucket": {"edges": [1]},
    "round": {"to": 10},
    "verdict": {"op": "eq", "value": True},
}


def test_a_mask_is_refused_where_it_is_not_defined() -> None:
    """The table mask × type: what is not defined is refused when compiled, with mask, path and type named."""
    for mask, name, word, fits in _fitting():
        if fits:
            assert _compiled(mask, name).schema.leaves
            continue
        with pytest.raises(Invalid) as caught:
            _compiled(mask, name)
        assert (caught.value.code, caught.value.where) == ("view_mask_misfit", "plan.fields[0].mask")
        assert (caught.value.facts["mask"], caught.value.facts["type"]) == (mask, word)


def _compiled(mask: str, name: str) -> View:
    schema = from_document({"type": "record", "name": "T", "fields": [{"name": "v", "type": TYPES[name]}]})
    plan = Plan.from_document(plan_document([field("v", mask, **PARAMETERS.get(mask, {}))]), draft=True)
    return compile_view(plan, schema, writers={}, keys=KEYS, sets={})


def test_every_mask_of_the_plan_is_defined_for_something() -> None:
    """The vocabulary of the plan and the masks here are the same."""
    assert set(DEFINED) == set(MASKS)


@pytest.mark.parametrize(
    ("avro", "name", "parameters", "code", "where"),
    [
        (DATE, "truncate", {"unit": "hour"}, "view_mask_misfit", "plan.fields[0].mask"),
        ("int", "round", {"to": "10"}, "view_value_malformed", "plan.fields[0].mask.to"),
        (MONEY, "round", {"to": "0.005"}, "view_value_malformed", "plan.fields[0].mask.to"),
        (DATE, "verdict", {"op": "eq", "value": "soon"}, "view_value_malformed", "plan.fields[0].mask.value"),
        ("string", "pseudonym", {"scope": "agr-9"}, "view_key_missing", "plan.fields[0].mask"),
    ],
)
def test_a_wrong_parameter_is_refused(avro: Any, name: str, parameters: dict[str, Any], code: str, where: str) -> None:
    """What fits the mask but not the field is refused when compiled."""
    with pytest.raises(Invalid) as caught:
        masked(avro, None, name, **parameters)
    assert (caught.value.code, caught.value.where) == (code, where)
