"""Shapes tell the kind of a value and never the value."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.avro.shapes import shape, shapes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "boolean"),
        (-123, "integer:3"),
        (10**50, "integer:51"),
        (1.5, "fraction"),
        ("", "text:0"),
        ("431126198002290017", "text:18:digits"),
        ("43112619800229001x", "text:18:digits+latin"),
        ("４３", "text:2:wide-digits"),
        ("欧阳·小明", "text:5:han+marks"),
        ("4.31E+17", "text:8:digits+latin+marks"),
        (" a\t\0", "text:4:control+latin+space"),
        ("䶮", "text:1:han"),
        ("é", "text:1:letters"),
        ("\ud800", "text:1:surrogate"),
        (b"abc", "bytes:3"),
        (date(1980, 1, 1), "date"),
        (datetime(1980, 1, 1, tzinfo=UTC), "moment"),
        (datetime(1980, 1, 1), "moment:no-zone"),  # noqa: DTZ001  naive is the point
        (time(8, 0), "time"),
        (time(8, 0, tzinfo=UTC), "time:zone"),
        (UUID(int=7), "uuid"),
        (Decimal("1.5"), "decimal"),
        ({"a": 1}, "record:1"),
        ([1, 2], "list:2"),
        (object(), "other"),
    ],
)
def test_the_shape_of(value: Any, expected: str) -> None:
    """Type, length, kinds of characters."""
    assert shape(value) == expected


@given(st.text(min_size=6))
def test_a_text_is_never_in_its_shape(text: str) -> None:
    """Whatever the text, its shape depends on length and kinds alone."""
    assert shape(text) == shape(text[::-1])


def test_a_record_shows_only_fields_that_the_schema_knows() -> None:
    """Names that came with the data are counted, not shown; what is no record has no shape."""
    known = {"a": None, "b": None, "c": None}
    assert shapes({"b": 1, "431126198002290017": 1, "a": "x"}, known) == {
        "a": "text:1:latin",
        "b": "integer:1",
        "?": "fields:1",
    }
    assert shapes(5, known) == {}


def test_a_giant_number_has_a_shape() -> None:
    """Python refuses to write out more than 4300 digits; the shape is then an estimate, not an error."""
    assert shape(10**9000).startswith("integer:90")
