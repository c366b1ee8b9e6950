"""The shapes of delivery of a view: Avro object container, JSON lines, CSV, Arrow IPC stream.

The same values give the same bytes. Avro and Arrow carry the view's schema with the plan's digest; the sync marker of
the container comes from the schema's fingerprint. Nulls: `null` in JSON lines, an empty cell without quotes in CSV,
where an empty text is `""`.

CSV (RFC 4180, UTF-8 without byte order mark, since it goes through pipes): the header has the paths; a nested record
has a column for each leaf, an array or map one column of JSON text under its own path. A text that a spreadsheet would
run as a formula (it begins with `=`, `+`, `-`, `@`, tab or carriage return, any number of `'` in front) gets one `'` in
front: whoever reads it by program takes one `'` off such a text. Numbers are never changed. Who needs the values
exactly takes Avro, JSON lines or Arrow.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, BinaryIO, Final

from exchange.avro import container
from exchange.avro.kinds import Avro, branches, kind, resolve
from exchange.avro.schema import Schema
from exchange.errors import Invalid
from exchange.plan.shapes import shown
from exchange.view.compiled import View
from exchange.view.plain import Plain, plain

Values = Sequence[Mapping[str, Any]]
MEDIA_TYPES: Final = {
    "avro": "application/avro",
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
    "arrow": "application/vnd.apache.arrow.stream",
}
FORMATS: Final = tuple(MEDIA_TYPES)
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_QUOTED: Final = re.compile(r'[",\r\n]|^\s|\s$')


def encode(view: View, values: Values, form: str) -> bytes:
    """One batch of a view as a complete file of this format.

    Raises:
        Invalid: `view_format_unknown`; `view_arrow_missing` when pyarrow is not installed.
    """
    stream = BytesIO()
    write(view.schema, [values], form, stream)
    return stream.getvalue()


def write(schema: Schema, batches: Iterable[Values], form: str, stream: BinaryIO) -> None:
    """Batches of values of a view's schema as one file of this format; each batch is written before the next is asked.

    Raises:
        Invalid: as `encode`, before the first batch is asked for.
    """
    writer = _WRITERS.get(form)
    if writer is None:
        raise Invalid("view_format_unknown", name=shown(form), known=", ".join(FORMATS))
    writer(schema, batches, stream)


def _write_avro(schema: Schema, batches: Iterable[Values], stream: BinaryIO) -> None:
    container.write(stream, schema, (value for values in batches for value in values))


def _write_jsonl(schema: Schema, batches: Iterable[Values], stream: BinaryIO) -> None:
    convert = plain(schema.document, schema.named) or _same
    dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
    stream.writelines("".join(dump(convert(value)) + "\n" for value in values).encode() for values in batches)


def _same(value: Any) -> Any:  # noqa: ANN401  a value as it came
    return value


def _write_csv(schema: Schema, batches: Iterable[Values], stream: BinaryIO) -> None:
    columns = list(_columns(schema.document, (), schema))
    stream.write((",".join(".".join(path) for path, _ in columns) + "\r\n").encode())
    for values in batches:
        lines = (",".join([cell(_at(value, path)) for path, cell in columns]) for value in values)
        stream.write("".join(line + "\r\n" for line in lines).encode())


def _columns(
    record: Mapping[str, Any], prefix: tuple[str, ...], schema: Schema
) -> Iterator[tuple[tuple[str, ...], Callable[[Any], str]]]:
    for entry in record["fields"]:
        path = (*prefix, entry["name"])
        options, _ = branches(resolve(entry["type"], schema.named))
        only: Avro = resolve(options[0], schema.named) if len(options) == 1 else options
        if kind(only) == "record":
            yield from _columns(only, path, schema)
        else:
            yield path, _cell(only, plain(only, schema.named) or _same)


def _at(value: Mapping[str, Any], path: tuple[str, ...]) -> Any:  # noqa: ANN401  a value of the view
    found: Any = value
    for name in path:
        if found is None:
            return None
        found = found[name]
    return found


def _cell(avro: Avro, convert: Plain) -> Callable[[Any], str]:
    """How a value that may be null stands in a cell."""
    word = kind(avro)
    if word in ("int", "long", "float", "double", "bytes", "fixed") and _is_number(avro):
        return lambda value: "" if value is None else str(convert(value))
    if word == "boolean":
        return lambda value: "" if value is None else "true" if value else "false"
    if word in ("array", "map", "union"):
        return lambda value: "" if value is None else _text(json.dumps(convert(value), ensure_ascii=False))
    return lambda value: "" if value is None else _text(convert(value))


def _is_number(avro: Avro) -> bool:
    """Whether the JSON value is a number, or a decimal's digits: what no spreadsheet runs."""
    if isinstance(avro, dict) and "logicalType" in avro:
        return bool(avro["logicalType"] == "decimal")
    return kind(avro) not in ("bytes", "fixed")


def _text(text: str) -> str:
    if _FORMULA.match(text):
        text = "'" + text
    if not text or _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _write_arrow(schema: Schema, batches: Iterable[Values], stream: BinaryIO) -> None:
    from exchange.view.arrow import write_arrow

    write_arrow(schema, batches, stream)


_WRITERS: Final[Mapping[str, Callable[[Schema, Iterable[Values], BinaryIO], None]]] = {
    "avro": _write_avro,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "arrow": _write_arrow,
}
