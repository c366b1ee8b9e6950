"""Records as Avro bytes: the same bytes as fastavro's, and nothing that does not fit."""

import io
import json
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.avro.records import Codec
from exchange.avro.schema import Schema, parse
from exchange.errors import Invalid
from tests.avro.strategies import schemas_with_records
from tests.profiles import examples

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
FIELDS = {
    "number": "int",
    "count": "long",
    "flag": "boolean",
    "share": "double",
    "rough": "float",
    "text": "string",
    "raw": "bytes",
    "day": {"type": "int", "logicalType": "date"},
    "at": {"type": "long", "logicalType": "timestamp-micros"},
    "at_ms": {"type": "long", "logicalType": "timestamp-millis"},
    "from": {"type": "int", "logicalType": "time-millis"},
    "until": {"type": "long", "logicalType": "time-micros"},
    "there": {"type": "long", "logicalType": "local-timestamp-micros"},
    "there_ms": {"type": "long", "logicalType": "local-timestamp-millis"},
    "uuid": {"type": "string", "logicalType": "uuid"},
    "money": DECIMAL,
    "hash": {"type": "fixed", "name": "hash4", "size": 4},
    "kind": {"type": "enum", "name": "kind_of", "symbols": ["A", "B"]},
    "maybe": ["null", "string"],
    "either": ["string", "null", "long"],
    "inner": {"type": "record", "name": "inner_of", "fields": [{"name": "b", "type": "long"}]},
    "list": {"type": "array", "items": "int"},
    "map": {"type": "map", "values": "string"},
}
GOOD: dict[str, Any] = {
    "number": -1,
    "count": 2**63 - 1,
    "flag": False,
    "share": 0.5,
    "rough": 1.5,
    "text": "䶮小明",
    "raw": b"\0",
    "day": date(1980, 2, 29),
    "at": datetime(2026, 11, 23, 1, 2, 3, 4, UTC),
    "at_ms": datetime(2026, 11, 23, 1, 2, 3, 4000, timezone(timedelta(hours=8))),
    "from": time(8, 30, 0, 5000),
    "until": time(23, 59, 59, 999_999),
    "there": datetime(2026, 11, 23, 1, 2, 3, 4),  # noqa: DTZ001  a local timestamp has no zone
    "there_ms": datetime(1, 1, 1),  # noqa: DTZ001  as above
    "uuid": UUID("123e4567-e89b-12d3-a456-42661417400a"),
    "money": Decimal("12.34"),
    "hash": b"1234",
    "kind": "A",
    "maybe": None,
    "either": 7,
    "inner": {"b": 1},
    "list": [1, 2],
    "map": {"k": "v"},
}


class Text(StrEnum):
    """A subclass of str, which is not exactly str."""

    A = "A"


class NoOffset(tzinfo):
    """A zone that does not know its offset: such a moment is as naive as one without a zone."""

    def utcoffset(self, _moment: datetime | None) -> None:
        """None: not known."""
        return

    def dst(self, _moment: datetime | None) -> None:
        """None: not known."""
        return

    def tzname(self, _moment: datetime | None) -> None:
        """None: not known."""
        return


def schema() -> Schema:
    """A schema with a field of every type."""
    fields = [{"name": name, "type": avro} for name, avro in FIELDS.items()]
    return parse(json.dumps({"type": "record", "name": "all", "fields": fields}))


CODEC = Codec(schema())


def reference_bytes(of: Schema, value: Any) -> bytes:
    """What fastavro writes."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, of.parsed, value, strict=True)
    return out.getvalue()


@settings(max_examples=examples(40), deadline=None)
@given(schemas_with_records())
def test_the_reference_writes_and_reads_the_same(case: tuple[Schema, dict[str, Any]]) -> None:
    """For a record that fits: no faults, fastavro's bytes, and both read back the record."""
    of, record = case
    codec = Codec(of)
    assert codec.faults(record) == []
    body = codec.encode(record)
    assert body == reference_bytes(of, record)
    assert codec.decode(body) == record == fastavro.schemaless_reader(io.BytesIO(body), of.parsed, None)


def test_reading_gives_exact_types_and_utc() -> None:
    """Values come back with the very types that writing demands, moments in UTC: what was read can be written."""
    record = CODEC.decode(CODEC.encode(GOOD))
    assert record == GOOD
    assert {name: type(value) for name, value in record.items()} == {n: type(v) for n, v in GOOD.items()}
    assert record["at_ms"].tzinfo is UTC
    assert CODEC.faults(record) == []


WRONG: list[tuple[str, Any, str]] = [
    ("number", 1.0, "value_wrong_type"),
    ("number", True, "value_wrong_type"),
    ("number", 2**31, "value_out_of_range"),
    ("number", -(2**31) - 1, "value_out_of_range"),
    ("number", "1", "value_wrong_type"),
    ("number", None, "value_missing"),
    ("count", 1.5, "value_wrong_type"),
    ("count", True, "value_wrong_type"),
    ("count", 2**63, "value_out_of_range"),
    ("count", -(2**63) - 1, "value_out_of_range"),
    ("count", 10**5000, "value_out_of_range"),
    ("flag", "no", "value_wrong_type"),
    ("flag", None, "value_missing"),
    ("flag", 1, "value_wrong_type"),
    ("share", 1, "value_wrong_type"),
    ("share", float("nan"), "value_not_finite"),
    ("share", float("inf"), "value_not_finite"),
    ("rough", 1e39, "value_out_of_range"),
    ("rough", float("-inf"), "value_not_finite"),
    ("rough", float("nan"), "value_not_finite"),
    ("text", "a\ud800", "value_broken_text"),
    ("text", b"a", "value_wrong_type"),
    ("text", Text.A, "value_wrong_type"),
    ("text", 5, "value_wrong_type"),
    ("raw", "a", "value_wrong_type"),
    ("raw", bytearray(b"a"), "value_wrong_type"),
    ("day", "1980-02-29", "value_wrong_type"),
    ("day", datetime(1980, 2, 29, tzinfo=UTC), "value_wrong_type"),
    ("day", 3711, "value_wrong_type"),
    ("at", datetime(2026, 1, 1), "value_without_zone"),  # noqa: DTZ001  naive is the point
    ("at", datetime(2026, 1, 1, tzinfo=NoOffset()), "value_without_zone"),
    ("at", date(2026, 1, 1), "value_wrong_type"),
    ("at", 1_700_000_000, "value_wrong_type"),
    ("at", datetime.min.replace(tzinfo=timezone(timedelta(hours=8))), "value_out_of_range"),
    ("at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-8))), "value_out_of_range"),
    ("at_ms", datetime(2026, 1, 1, microsecond=1, tzinfo=UTC), "value_too_precise"),
    ("at_ms", datetime(2026, 1, 1), "value_without_zone"),  # noqa: DTZ001  naive is the point
    ("from", time(8, 30, 0, 5), "value_too_precise"),
    ("from", time(8, 30, tzinfo=UTC), "value_with_zone"),
    ("from", 5, "value_wrong_type"),
    ("until", time(8, 30, tzinfo=NoOffset()), "value_with_zone"),
    ("until", "08:30:00", "value_wrong_type"),
    ("there", datetime(2026, 1, 1, tzinfo=UTC), "value_with_zone"),
    ("there", datetime(2026, 1, 1, tzinfo=NoOffset()), "value_with_zone"),
    ("there", date(2026, 1, 1), "value_wrong_type"),
    ("there_ms", datetime(2026, 1, 1, microsecond=1), "value_too_precise"),  # noqa: DTZ001  naive is right here
    ("uuid", "123E4567-E89B-12D3-A456-42661417400A", "value_wrong_type"),
    ("uuid", "123e4567e89b12d3a45642661417400a", "value_wrong_type"),
    ("uuid", b"0123456789abcdef", "value_wrong_type"),
    ("uuid", "", "value_wrong_type"),
    ("money", Decimal("123.45"), "value_out_of_range"),
    ("money", Decimal(123), "value_out_of_range"),
    ("money", Decimal("1E+1000000000"), "value_out_of_range"),
    ("money", Decimal("1.234"), "value_too_precise"),
    ("money", Decimal("NaN"), "value_not_finite"),
    ("money", Decimal("-Infinity"), "value_not_finite"),
    ("money", 12, "value_wrong_type"),
    ("money", "12.34", "value_wrong_type"),
    ("hash", b"123", "value_wrong_size"),
    ("hash", b"12345", "value_wrong_size"),
    ("kind", "C", "value_unknown_symbol"),
    ("kind", 0, "value_wrong_type"),
    ("kind", ["A"], "value_wrong_type"),
    ("kind", Text.A, "value_wrong_type"),
    ("maybe", 5, "value_wrong_type"),
    ("maybe", "\udfff", "value_broken_text"),
    ("either", 2**63, "value_wrong_type"),
    ("either", True, "value_wrong_type"),
    ("either", b"x", "value_wrong_type"),
    ("inner", [], "value_wrong_type"),
    ("inner", None, "value_missing"),
    ("list", (1, 2), "value_wrong_type"),
    ("list", {1: 2}, "value_wrong_type"),
    ("map", [("k", "v")], "value_wrong_type"),
]


@pytest.mark.parametrize(("field", "value", "code"), WRONG, ids=[f"{f}-{i}" for i, (f, _, _) in enumerate(WRONG)])
def test_a_wrong_value_is_refused_at_its_place(field: str, value: Any, code: str) -> None:
    """Each wrong value has exactly its fault at its path; writing refuses it; the record itself stays as it was."""
    record = {**GOOD, field: value}
    assert [(fault.path, fault.code) for fault in CODEC.faults(record)] == [(field, code)]
    with pytest.raises(Invalid, match="record_malformed") as refused:
        CODEC.encode(record)
    assert (refused.value.where, refused.value.facts["fault"]) == (field, code)


@pytest.mark.parametrize(
    ("field", "value", "path", "code"),
    [
        ("inner", {}, "inner.b", "value_missing"),
        ("inner", {"b": None}, "inner.b", "value_missing"),
        ("inner", {"b": 1, "c": 2}, "inner.?", "value_unknown_field"),
        ("list", [1, 2**31], "list[]", "value_out_of_range"),
        ("map", {"k": 1}, "map{}", "value_wrong_type"),
        ("map", {1: "v"}, "map{}", "value_wrong_type"),
        ("map", {"\ud800": "v"}, "map{}", "value_broken_text"),
    ],
)
def test_a_fault_inside_names_the_leaf(field: str, value: Any, path: str, code: str) -> None:
    """Inside records, arrays and maps the path is the leaf's; indexes and keys, which are data, are not shown."""
    record = {**GOOD, field: value}
    assert [(fault.path, fault.code) for fault in CODEC.faults(record)] == [(path, code)]
    with pytest.raises(Invalid, match="record_malformed"):
        CODEC.encode(record)


def test_missing_and_extra_fields_are_refused_even_when_nullable_or_with_default() -> None:
    """A field may be null, never absent; a default is for reading, it does not excuse absence in writing."""
    fields = [{"name": "a", "type": ["null", "string"], "default": None}, {"name": "b", "type": "int", "default": 3}]
    codec = Codec(parse(json.dumps({"type": "record", "name": "r", "fields": fields})))
    assert [fault.path for fault in codec.faults({})] == ["a", "b"]
    extra = codec.faults({"a": None, "b": 1, "431126198002290017": "x"})
    assert [(fault.path, fault.code, fault.shape) for fault in extra] == [("?", "value_unknown_field", "fields:1")]
    for record in ({}, {"a": None}, {"a": None, "b": 1, "c": 1}, {"a": None, "c": 1}):
        with pytest.raises(Invalid, match="record_malformed"):
            codec.encode(record)


@pytest.mark.parametrize("value", [None, 5, "x", [("a", 1)]])
def test_what_is_no_record_is_refused(value: Any) -> None:
    """Anything that is no mapping is one fault, not a foreign exception."""
    assert [fault.code for fault in CODEC.faults(value)] == ["value_wrong_type"]
    with pytest.raises(Invalid, match="record_malformed"):
        CODEC.encode(value)


def test_a_uuid_may_be_written_from_its_canonical_text() -> None:
    """As by fastavro's writer, but only of a text that is a UUID as RFC 4122 writes it; read it is a UUID again."""
    record = {**GOOD, "uuid": str(GOOD["uuid"])}
    assert CODEC.faults(record) == []
    assert CODEC.encode(record) == CODEC.encode(GOOD) == reference_bytes(CODEC.schema, record)
    assert CODEC.decode(CODEC.encode(record)) == GOOD


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=4), st.dates(),
    st.datetimes(), st.decimals(), st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=1), st.text()),
    st.times(), st.uuids(), st.uuids().map(str),
)  # fmt: skip


@settings(max_examples=examples(70), deadline=None)
@given(st.sampled_from(sorted(FIELDS)), JUNK)
def test_the_writer_and_the_faults_agree(field: str, value: Any) -> None:
    """Generated writer and slow walk are two implementations of one rule: one takes a record iff the other does."""
    record = {**GOOD, field: value}
    faults = CODEC.faults(record)
    if faults:
        with pytest.raises(Invalid, match="record_malformed"):
            CODEC.encode(record)
    else:
        assert CODEC.encode(CODEC.decode(CODEC.encode(record))) == CODEC.encode(record)


def test_no_fault_and_no_error_shows_a_value() -> None:
    """Neither faults nor the error, printed with its causes, hold what stood in the record."""
    record = {**GOOD, "number": "431126198002290017", "text": "secret-value\ud800", "kind": "OTHER-SYMBOL"}
    shown = repr(CODEC.faults(record))
    with pytest.raises(Invalid) as refused:
        CODEC.encode(record)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    shown += repr(refused.value) + str(refused.value)
    assert not [word for word in ("431126", "secret", "OTHER") if word in shown]


def test_faults_are_limited() -> None:
    """A list of a million wrong items gives a hundred faults, not a million."""
    assert len(CODEC.faults({**GOOD, "list": ["x"] * 1_000_000})) == 100
