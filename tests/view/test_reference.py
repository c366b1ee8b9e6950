"""The compiled view against the naive interpreter of plan.md, and its output against its own schema."""

import io
from typing import Any

import fastavro
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.avro.records import Codec
from exchange.avro.schema import Schema
from exchange.plan import Plan
from exchange.view.compiled import Applied, View, compile_view
from exchange.view.formats import encode
from tests.avro.strategies import schemas_with_records, values
from tests.profiles import examples
from tests.view import reference
from tests.view.plans import KEYS, SETS, documents

Played = tuple[dict[str, Any], Schema, list[dict[str, Any]], list[bytes]]
MANY = settings(max_examples=examples(18), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def _plays(draw: st.DrawFn) -> Played:
    schema, record = draw(schemas_with_records())
    records = [record, *draw(st.lists(values(schema.document, schema.named), max_size=2))]
    tags = [draw(st.sampled_from([b"", b"m" * 16, b"o" * 16])) for _ in records]
    return draw(documents(schema, records)), schema, records, tags


def _applied(play: Played) -> tuple[View, Applied]:
    document, schema, records, tags = play
    view = compile_view(Plan.from_document(document, draft=True), schema, writers={7: schema}, keys=KEYS, sets=SETS)
    encode_record = Codec(schema).encode
    return view, view.apply([7] * len(records), [encode_record(record) for record in records], tags)


@given(_plays())
@MANY
def test_the_compiled_view_is_what_plan_md_says(play: Played) -> None:
    """Any plan on any schema gives what the naive interpreter gives, and it fits the view's own schema.

    Values, records held back and withheld are the same; fastavro reads the container, and its strict writer takes the
    values back unchanged.
    """
    document, schema, records, tags = play
    view, applied = _applied(play)
    decoded = [Codec(schema).decode(Codec(schema).encode(record)) for record in records]
    shown, excluded, withheld = reference.apply(document, schema.document, decoded, tags, KEYS, SETS)
    assert (applied.values, applied.excluded, applied.withheld) == (shown, excluded, withheld)
    assert sorted(applied.kept + excluded + withheld) == list(range(len(records)))
    reader = fastavro.reader(io.BytesIO(encode(view, applied.values, "avro")))
    read = list(reader)
    assert read == applied.values
    again = io.BytesIO()
    fastavro.writer(again, reader.writer_schema, read, strict=True, validator=True)
    assert list(fastavro.reader(io.BytesIO(again.getvalue()))) == read
