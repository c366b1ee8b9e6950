"""Cells become values exactly, or are refused with a code."""

from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.files import cells
from adapters.files.config import Column
from exchange.errors import Invalid


def convert(kind: str, cell: str, **options: Any) -> Any:
    """The value of a cell in a column of this type."""
    return cells.converter(Column("列", "field", kind, **options), Counter())(cell)


@given(st.integers(-(10**16), 10**16), st.booleans())
def test_fen_are_exact(amount: int, commas: bool) -> None:
    """Every amount of fen, written in yuan with or without commas, comes back as itself."""
    yuan = Decimal(amount) / 100
    assert convert("fen", f"{yuan:,.2f}" if commas else f"{yuan:.2f}") == amount


@pytest.mark.parametrize(
    ("cell", "amount"),
    [("0", 0), ("12.5", 1250), ("-3", -300), ("１２３．４０", 12340), (" 7.100 ", 710), ("+0.01", 1)],
)
def test_yuan_as_people_write_them(cell: str, amount: int) -> None:
    """Whole yuan, one place, more zeros, full-width digits."""
    assert convert("fen", cell) == amount


@pytest.mark.parametrize(
    ("kind", "cell", "code"),
    [
        ("fen", "0.001", "cell_money_malformed"),
        ("fen", "1,23", "cell_money_malformed"),
        ("fen", "若干", "cell_money_malformed"),
        ("fen", "1.2E+05", "cell_number_damaged"),
        ("fen", "9" * 16, "cell_money_malformed"),
        ("int", "1.0", "cell_number_malformed"),
        ("int", "9223372036854775808", "cell_number_malformed"),
        ("int", "1e5", "cell_number_damaged"),
        ("int", "4" * 5000, "cell_number_malformed"),
        ("date", "2026-02-30", "cell_date_malformed"),
        ("date", "2026-1/3", "cell_date_malformed"),
        ("date", "46025", "cell_date_malformed"),
        ("date", "0000-01-01", "cell_date_malformed"),
        ("date", "03/01/2026", "cell_date_malformed"),
        ("month", "2026-13", "cell_date_malformed"),
        ("month", "2026", "cell_date_malformed"),
        ("timestamp", "2026-01-03 25:00:00", "cell_date_malformed"),
        ("timestamp", "2026-01-03", "cell_date_malformed"),
        ("timestamp", "0001-01-01 00:00:00+14:00", "cell_date_malformed"),
        ("bool", "maybe", "cell_value_unknown"),
    ],
)
def test_what_is_not_a_value_is_refused(kind: str, cell: str, code: str) -> None:
    """Each type refuses with its code, and the error holds nothing of the cell."""
    with pytest.raises(Invalid) as found:
        convert(kind, cell)
    assert found.value.code == code
    assert not found.value.facts
    assert found.value.__cause__ is None


@pytest.mark.parametrize("cell", ["2026-01-03", "2026/1/3", "2026.1.3", "20260103", "2026年1月3日", "２０２６-01-03"])
def test_forms_of_a_date(cell: str) -> None:
    """All customary forms are one date."""
    assert convert("date", cell) == date(2026, 1, 3)


@pytest.mark.parametrize("cell", ["2026-01", "2026/1", "2026.1", "202601", "2026年1月"])
def test_forms_of_a_month(cell: str) -> None:
    """All customary forms are one month."""
    assert convert("month", cell) == "2026-01"


def test_times_are_utc() -> None:
    """A time without an offset is in the column's zone; the value is in UTC."""
    assert convert("timestamp", "2026-01-03 08:00:00") == datetime(2026, 1, 3, tzinfo=UTC)
    assert convert("timestamp", "2026-01-03T08:00:00.5Z").hour == 8
    assert convert("timestamp", "2026-01-03 08:00:00", zone="+00:00").hour == 8


def test_symbols() -> None:
    """An enum has its list; a bool has the customary words unless it has a list."""
    assert convert("enum", " 男 ", values={"男": "MALE"}) == "MALE"
    assert [convert("bool", word) for word in ("是", "否", "1", "N")] == [True, False, True, False]
    assert convert("bool", "有", values={"有": True}) is True
    with pytest.raises(Invalid, match="cell_value_unknown"):
        convert("bool", "是", values={"有": True})


def members(cell: str) -> Any:
    """A list of persons."""
    parts = (Column("列", "person_id", "id"), Column("列", "relation", "text"))
    return convert("list", cell, parts=parts)


def test_list_of_records() -> None:
    """A delimited cell is a list of records; one wrong item refuses the cell with the item's code."""
    assert members("431126198001010013:本人; 431126800101001 :配偶;") == [
        {"person_id": "431126198001010013", "relation": "本人"},
        {"person_id": "431126800101001", "relation": "配偶"},
    ]
    for cell, code in {
        "431126198001010013": "cell_list_malformed",
        "431126198001010013:a:b": "cell_list_malformed",
        "4.31E+17:本人": "cell_id_damaged",
        "431126800101001:x;" * 1001: "cell_list_malformed",
    }.items():
        with pytest.raises(Invalid, match=code):
            members(cell)


@given(
    st.sampled_from(("text", "name", "id", "int", "fen", "date", "month", "bool", "timestamp")),
    st.text(),
)
def test_no_text_gives_another_error(kind: str, cell: str) -> None:
    """Whatever a cell holds, it is a value or one of our errors."""
    with suppress(Invalid):
        convert(kind, cell)
