"""The shapes of delivery: what each says of the same values."""

import csv
import io
import json
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.avro.schema import from_document
from exchange.errors import Invalid
from exchange.plan import Plan
from exchange.view.compiled import View, compile_view
from exchange.view.formats import FORMATS, MEDIA_TYPES, body, encode, header
from tests.profiles import examples
from tests.view.plans import field, plan_document

TYPES: dict[str, Any] = {
    "name": "string",
    "n": ["null", "long"],
    "f": "double",
    "ok": ["null", "boolean"],
    "day": {"type": "int", "logicalType": "date"},
    "ms": {"type": "long", "logicalType": "timestamp-millis"},
    "us": ["null", {"type": "long", "logicalType": "timestamp-micros"}],
    "money": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2},
    "raw": "bytes",
    "fix": {"type": "fixed", "name": "F", "size": 2},
    "e": {"type": "enum", "name": "E", "symbols": ["A", "B"]},
    "home": ["null", {"type": "record", "name": "H", "fields": [{"name": "town", "type": "string"}]}],
    "days": {"type": "array", "items": ["null", {"type": "int", "logicalType": "date"}]},
    "hour": {"type": "int", "logicalType": "time-millis"},
    "tick": ["null", {"type": "long", "logicalType": "time-micros"}],
    "there": {"type": "long", "logicalType": "local-timestamp-millis"},
    "there_us": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}],
    "key": {"type": "string", "logicalType": "uuid"},
    "keys": {"type": "array", "items": ["null", {"type": "string", "logicalType": "uuid"}]},
    "nanos": {"type": "long", "logicalType": "timestamp-nanos"},
    "wide": {"type": "bytes", "logicalType": "decimal", "precision": 64, "scale": 1},
    "m": {"type": "map", "values": {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 1}},
    "u": ["null", "string", "bytes", {"type": "array", "items": {"type": "int", "logicalType": "date"}}],
}
VALUE: dict[str, Any] = {
    "name": "䶮\n",
    "n": 2**62 + 1,
    "f": -1.5,
    "ok": True,
    "day": date(2026, 3, 1),
    "ms": datetime(2026, 3, 1, 8, 0, 0, 120_000, tzinfo=UTC),
    "us": datetime(2026, 3, 1, 8, 0, 0, 5, tzinfo=UTC),
    "money": Decimal("123456789012345678901234567890123456.70"),
    "raw": b"\x00\xff",
    "fix": b"ab",
    "e": "A",
    "home": {"town": "湾井镇"},
    "days": [None, date(2026, 3, 2)],
    "hour": time(8, 30),
    "tick": time(8, 30, 0, 5),
    "there": datetime(2026, 3, 1, 8),  # noqa: DTZ001  a local timestamp has no zone
    "there_us": datetime(2026, 3, 1, 8, 0, 0, 5),  # noqa: DTZ001  as above
    "key": UUID(int=7),
    "keys": [UUID(int=8), None],
    "nanos": -7,
    "wide": Decimal("9" * 63 + ".5"),
    "m": {"k": Decimal("1.0")},
    "u": [date(2026, 3, 3)],
}
EMPTY: dict[str, Any] = {
    **VALUE, "name": "", "n": None, "ok": False, "us": None, "tick": None, "there_us": None,
    "home": None, "days": [], "m": {}, "u": None,
}  # fmt: skip
PLAIN: dict[str, Any] = {
    **VALUE,
    "day": "2026-03-01",
    "ms": "2026-03-01T08:00:00.120Z",
    "us": "2026-03-01T08:00:00.000005Z",
    "money": "123456789012345678901234567890123456.70",
    "raw": "AP8=",
    "fix": "YWI=",
    "days": [None, "2026-03-02"],
    "hour": "08:30:00.000",
    "tick": "08:30:00.000005",
    "there": "2026-03-01T08:00:00.000",
    "there_us": "2026-03-01T08:00:00.000005",
    "key": "00000000-0000-0000-0000-000000000007",
    "keys": ["00000000-0000-0000-0000-000000000008", None],
    "wide": "9" * 63 + ".5",
    "m": {"k": "1.0"},
    "u": ["2026-03-03"],
}


def view_of(types: dict[str, Any]) -> View:
    """Everything kept."""
    fields = [{"name": name, "type": avro} for name, avro in types.items()]
    schema = from_document({"type": "record", "name": "T", "fields": fields})
    plan = Plan.from_document(plan_document([field(path) for path in schema.leaves]), draft=True)
    return compile_view(plan, schema, writers={}, keys={}, sets={})


VIEW = view_of(TYPES)


def test_avro_is_a_container_with_the_views_schema() -> None:
    """Other readers find the values, the schema as plan.md says it, and the plan's digest."""
    reader = fastavro.reader(io.BytesIO(encode(VIEW, [VALUE, EMPTY], "avro")))
    assert list(reader) == [VALUE, EMPTY]
    written = json.loads(reader.metadata["avro.schema"])
    assert (written["name"], written["namespace"]) == ("T", "ps.hukou_person.view")
    assert written["exchange.plan"] == VIEW.plan.digest


def test_long_avro_is_in_many_blocks() -> None:
    """No block is much larger than 256 KiB, so a reader needs little memory."""
    values = [{**VALUE, "name": "x" * 100_000}] * 10
    blocks = list(fastavro.block_reader(io.BytesIO(encode(VIEW, values, "avro"))))
    assert [block.num_records for block in blocks] == [3, 3, 3, 1]


def test_json_lines() -> None:
    """One object a line in UTF-8, keys in the view's order; dates, decimals, bytes as the table in `plain` says."""
    first, second, end = encode(VIEW, [VALUE, EMPTY], "jsonl").decode().split("\n")
    assert json.loads(first) == PLAIN
    assert list(json.loads(first)) == list(TYPES)
    assert "䶮\\n" in first
    assert json.loads(second)["n"] is None
    assert end == ""


def test_times_inside_a_union_lose_nothing() -> None:
    """Microseconds are written out wherever there are some, also in an array inside a union."""
    ticks = {"type": "array", "items": {"type": "long", "logicalType": "timestamp-micros"}}
    view = view_of(
        {"u": [{"type": "string", "logicalType": "uuid"}, {"type": "int", "logicalType": "time-millis"}, ticks]}
    )
    values = [UUID(int=7), time(8, 30), [datetime(2026, 3, 1, 0, 0, 0, 5, tzinfo=UTC)]]
    lines = encode(view, [{"u": value} for value in values], "jsonl").decode().splitlines()
    assert [json.loads(line)["u"] for line in lines] == [
        str(UUID(int=7)),
        "08:30:00.000",
        ["2026-03-01T00:00:00.000005Z"],
    ]


def test_csv() -> None:
    """A header of paths, RFC 4180, a nested record by leaves, arrays and maps as JSON, null apart from empty text."""
    text = encode(VIEW, [VALUE, EMPTY], "csv").decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == [*list(TYPES)[:11], "home.town", *list(TYPES)[12:]]
    assert rows[1][:4] == ["䶮\n", str(2**62 + 1), "-1.5", "true"]
    assert rows[1][4:8] == [PLAIN["day"], PLAIN["ms"], PLAIN["us"], PLAIN["money"]]
    assert rows[1][11:13] == ["湾井镇", '[null, "2026-03-02"]']
    assert rows[1][13:18] == [PLAIN[name] for name in ("hour", "tick", "there", "there_us", "key")]
    assert rows[1][19:] == ["-7", PLAIN["wide"], '{"k": "1.0"}', '["2026-03-03"]']
    assert text.split("\r\n")[2].startswith('"",,-1.5,false,')
    assert not text.startswith("\ufeff")


@given(st.lists(st.text(st.sampled_from("=+-@'\t\r\n\", 中𠮷a"), max_size=6), max_size=5))
@settings(max_examples=examples(30), deadline=None)
def test_csv_runs_no_formula_and_loses_nothing(names: list[str]) -> None:
    """No text begins like a formula, and taking one `'` off those that were guarded gives every text back."""
    view = view_of({"name": "string", "n": "int"})
    text = encode(view, [{"name": name, "n": -1} for name in names], "csv").decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
    cells = [row[0] for row in rows]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r") and cell]
    guarded = [cell.lstrip("'")[:1] in tuple("=+-@\t\r") and cell.lstrip("'") != "" for cell in cells]
    assert [cell[1:] if guard else cell for cell, guard in zip(cells, guarded, strict=True)] == names
    assert {row[1] for row in rows} <= {"-1"}


def test_arrow() -> None:
    """An IPC stream with typed columns and the plan's digest; a union of several branches is its JSON text."""
    pa = pytest.importorskip("pyarrow")
    table = pa.ipc.open_stream(encode(VIEW, [VALUE, EMPTY], "arrow")).read_all()
    first, second = table.to_pylist()
    texts = {"key": PLAIN["key"], "keys": PLAIN["keys"]}
    assert {**first, "m": dict(first["m"])} == {**VALUE, **texts, "u": '["2026-03-03"]'}
    assert {**second, "m": dict(second["m"])} == {**EMPTY, **texts}
    assert table.schema.metadata[b"exchange.plan"].decode() == VIEW.plan.digest
    kinds = {name: table.schema.field(name).type for name in ("us", "there_us", "hour", "tick", "wide")}
    assert kinds["us"] == pa.timestamp("us", "UTC")
    assert kinds["there_us"] == pa.timestamp("us")
    assert (kinds["hour"], kinds["tick"], kinds["wide"]) == (pa.time32("ms"), pa.time64("us"), pa.decimal256(64, 1))
    huge = view_of({"d": {"type": "bytes", "logicalType": "decimal", "precision": 77}})
    read = pa.ipc.open_stream(encode(huge, [{"d": Decimal("9" * 77)}], "arrow")).read_all()
    assert read.to_pylist() == [{"d": "9" * 77}]


def test_arrow_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the error says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Invalid, match="view_arrow_missing"):
        header(VIEW, "arrow")


@pytest.mark.parametrize("form", FORMATS)
def test_bodies_behind_one_header_are_one_file(form: str) -> None:
    """A file may be written batch by batch, empty ones too, and the same values give the same bytes."""
    parts = header(VIEW, form) + b"".join(body(VIEW, values, form) for values in ([VALUE], [], [EMPTY, VALUE]))
    assert _read(parts, form) == _read(encode(VIEW, [VALUE, EMPTY, VALUE], form), form)
    assert encode(VIEW, [VALUE], form) == encode(view_of(TYPES), [VALUE], form)
    assert _read(encode(VIEW, [], form), form) == []
    assert form in MEDIA_TYPES


def _read(data: bytes, form: str) -> list[Any]:
    if form == "avro":
        return list(fastavro.reader(io.BytesIO(data)))
    if form == "arrow":
        found: list[Any] = pytest.importorskip("pyarrow").ipc.open_stream(data).read_all().to_pylist()
        return found
    return data.decode().splitlines()[0 if form == "jsonl" else 1 :]


def test_an_unknown_format_is_refused() -> None:
    """A format that is not there is named with those that are."""
    with pytest.raises(Invalid) as caught:
        encode(VIEW, [], "xlsx")
    assert (caught.value.code, caught.value.facts["known"]) == ("view_format_unknown", "avro, jsonl, csv, arrow")
