"""The Confluent wire format."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.avro.frame import frame, unframe
from exchange.errors import Invalid


@given(st.integers(1, 2**31 - 1), st.binary(max_size=10))
def test_a_frame_comes_apart_again(schema_id: int, body: bytes) -> None:
    """Zero byte, id big-endian, body."""
    data = frame(schema_id, body)
    assert data == b"\0" + schema_id.to_bytes(4, "big") + body
    assert unframe(data) == (schema_id, body)


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"\1\0\0\0\1x", b"\0\0\0\0\0x", b"\0\x80\0\0\0x"])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    """Too short, another magic byte, an id that no registry gives."""
    with pytest.raises(Invalid, match="frame_malformed"):
        unframe(data)


@pytest.mark.parametrize("schema_id", [0, -1, 2**31])
def test_an_impossible_id_is_not_written(schema_id: int) -> None:
    """An id outside a Java int's positive range would be read as another."""
    with pytest.raises(Invalid, match="frame_malformed"):
        frame(schema_id, b"")
