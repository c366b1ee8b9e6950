"""The decoder of entries: every kind as fastavro writes it, and hostile bytes."""

import io
import random
from contextlib import suppress

import fastavro
import pytest

from exchange.audit.entries import encode
from exchange.audit.schemas import KINDS, kind_of
from exchange.evidence.avro import Malformed, decoded
from tests.audit.building import commit, control, decision, gateway_run, refusal, release


@pytest.mark.parametrize(
    "entry", [control(1, policy=3), commit(3, 9), decision(), gateway_run(), refusal(1), release(7)]
)
def test_it_reads_what_the_reference_writes(entry: object) -> None:
    """The same body as fastavro gives, for each kind with its own types; with a byte more or less, none."""
    leaf = encode(entry)  # type: ignore[arg-type]
    kind = kind_of(entry.kind)  # type: ignore[attr-defined]
    expected = fastavro.schemaless_reader(io.BytesIO(leaf[8:]), kind.parsed, None)
    assert decoded(kind.text, leaf[8:]) == expected
    for bad in (leaf[8:-1], leaf[8:] + b"\x00", b""):
        with pytest.raises(Malformed):
            decoded(kind.text, bad)


def test_hostile_bytes_end_soon() -> None:
    """Random bytes under every schema: a body or `Malformed`, nothing else."""
    choice = random.Random(7)
    for name in KINDS:
        for _ in range(20):
            data = choice.randbytes(choice.randrange(1, 300))
            with suppress(Malformed):
                assert isinstance(decoded(kind_of(name).text, data), dict)


@pytest.mark.parametrize(
    "text", ["7", "[]", '"long"', '{"type":"record"}', '{"type":"record","fields":[{"name":"a"}]}']
)
def test_a_schema_that_is_none(text: str) -> None:
    """Refused, whatever it is."""
    with pytest.raises(Malformed):
        decoded(text, b"\x00")
