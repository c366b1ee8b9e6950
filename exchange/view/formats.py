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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, get_args

from exchange.avro.binary import zigzag
from exchange.avro.container import MAGIC, SYNC_BYTES
from exchange.avro.kinds import Avro, branches, kind, logical, resolve
from exchange.avro.schema import Schema
from exchange.errors import Invalid
from exchange.names import canonical
from exchange.plan.shapes import shown
from exchange.view.compiled import View
from exchange.view.plain import Plain, plain

Format = Literal["avro", "jsonl", "csv", "arrow"]
Values = Sequence[Mapping[str, Any]]
FORMATS: Final = get_args(Format)
MEDIA_TYPES: Final[Mapping[str, str]] = {
    "avro": "application/avro",
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
    "arrow": "application/vnd.apache.arrow.stream",
}
_BLOCK: Final = 256 * 1024
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_QUOTED: Final = re.compile(r'[",\r\n]|^\s|\s$')


def encode(view: View, values: Values, form: str) -> bytes:
    """A batch of a view as a whole file: its header and its body."""
    return header(view, form) + body(view, values, form)


def header(view: View, form: str) -> bytes:
    """What a file of this format begins with, before the first body.

    Raises:
        Invalid: `view_format_unknown`; `view_arrow_missing` when pyarrow is not installed.
    """
    return _WRITERS[_known(form)][0](view)


def body(view: View, values: Values, form: str) -> bytes:
    """These values in this format; bodies one after the other, behind one header, are a file.

    Raises:
        Invalid: as `header`.
    """
    return _WRITERS[_known(form)][1](view, values)


def _known(form: str) -> str:
    if form not in _WRITERS:
        raise Invalid("view_format_unknown", name=shown(form), known=", ".join(FORMATS))
    return form


def _avro_header(view: View) -> bytes:
    meta = {"avro.codec": b"null", "avro.schema": canonical(view.schema.document)}
    pairs = b"".join(_sized(key.encode()) + _sized(value) for key, value in meta.items())
    return MAGIC + zigzag(len(meta)) + pairs + b"\0" + _sync(view)


def _avro_body(view: View, values: Values) -> bytes:
    """Blocks of about 256 KiB, so that a reader of any size of file needs little memory."""
    blocks, bodies, held = [], list[bytes](), 0
    for value in values:
        bodies.append(view.codec.encode(value))
        held += len(bodies[-1])
        if held >= _BLOCK:
            blocks.append(_block(view, bodies))
            bodies, held = [], 0
    return b"".join([*blocks, *([_block(view, bodies)] if bodies else [])])


def _block(view: View, bodies: list[bytes]) -> bytes:
    return zigzag(len(bodies)) + _sized(b"".join(bodies)) + _sync(view)


def _sync(view: View) -> bytes:
    return bytes.fromhex(view.fingerprint[-2 * SYNC_BYTES :])


def _sized(data: bytes) -> bytes:
    return zigzag(len(data)) + data


def _jsonl_body(view: View, values: Values) -> bytes:
    convert = plain(view.schema.document, view.schema.named) or _same
    dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
    return "".join([dump(convert(value)) + "\n" for value in values]).encode()


def _same(value: Any) -> Any:  # noqa: ANN401  a value as it came
    return value


def _csv_header(view: View) -> bytes:
    return (",".join(".".join(path) for path, _ in _columns(view.schema.document, (), view.schema)) + "\r\n").encode()


def _csv_body(view: View, values: Values) -> bytes:
    columns = list(_columns(view.schema.document, (), view.schema))
    lines = [",".join([cell(_at(value, path)) for path, cell in columns]) + "\r\n" for value in values]
    return "".join(lines).encode()


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
    meaning = logical(avro)
    return meaning == "decimal" if meaning else kind(avro) not in ("bytes", "fixed")


def _text(text: str) -> str:
    if _FORMULA.match(text):
        text = "'" + text
    if not text or _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _arrow_header(view: View) -> bytes:
    from exchange.view.arrow import arrow_header

    return arrow_header(view.schema)


def _arrow_body(view: View, values: Values) -> bytes:
    from exchange.view.arrow import arrow_body

    return arrow_body(view.schema, values)


_WRITERS: Final[Mapping[str, tuple[Callable[[View], bytes], Callable[[View, Values], bytes]]]] = {
    "avro": (_avro_header, _avro_body),
    "jsonl": (lambda _: b"", _jsonl_body),
    "csv": (_csv_header, _csv_body),
    "arrow": (_arrow_header, _arrow_body),
}
