r"""Bodies of lines: a record a line (`application/x-ndjson`), or an event a line, as the command line sends them.

    {"sequence": 7, "place": {"file": "people.csv", "row": 9, "column": ""}, "value": {"person_id": "…"}}
    {"sequence": 8, "place": {"file": "people.csv", "row": 10, "column": "身份号码"},
     "rejected": {"code": "cell_id_damaged", "shape": {"person_id": "9.99A+99"}}}

Of records, empty lines count as lines and are no records. A line that is no JSON is a record that cannot be published;
of events it ends the reading, since its event has no id.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from exchange.api.bodies.adapter import FILE, Event, Form
from exchange.api.bodies.content import Content
from exchange.avro.from_json import from_json
from exchange.errors import Invalid
from exchange.source import Place

MAX_LINE: Final = 1 << 20
MAX_DEPTH: Final = 64
_LARGEST: Final = 1 << 62
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MOST_SHAPES: Final = 1_000
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKETS: Final = re.compile(rb"[\[\]{}]")


def records(content: Content, form: Form) -> Iterator[Event]:
    """A record a line, with sequences from `form.first` on."""
    convert = from_json(form.schema.document, form.schema.named) or _same
    sequence = form.first
    for row, line, fault in _lines(content, form.charset):
        value, code = (None, fault) if fault else parsed(line)
        if code and not line.endswith(b"\n") and not fault:
            raise Invalid("body_cut_off", where=f"{FILE}:{row}")
        place = Place(FILE, row)
        if code:
            yield Event(sequence, place, None, code, {"": f"bytes:{len(line)}"})
        else:
            yield Event(sequence, place, convert(value))
        sequence += 1


def events(content: Content, form: Form) -> Iterator[Event]:
    """An event a line; each says its own sequence, and they rise."""
    convert = from_json(form.schema.document, form.schema.named) or _same
    last = 0
    for row, line, fault in _lines(content, form.charset):
        told, code = (None, fault) if fault else parsed(line)
        if code and not line.endswith(b"\n") and not fault:
            raise Invalid("body_cut_off", where=f"{FILE}:{row}")
        event = None if code else _event(told)
        if event is None or event.sequence <= last:
            detail = code or "sequence, place, value | rejected"
            raise Invalid("body_malformed", where=f"{FILE}:{row}", detail=detail)
        last = event.sequence
        yield event if event.code else Event(last, event.place, convert(event.value))


def depth(text: bytes) -> int:
    """How deep the brackets of a JSON text are nested."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return 0
    deepest = level = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", text)):
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def _same(value: object) -> object:
    return value


def _lines(content: Content, charset: str) -> Iterator[tuple[int, bytes, str]]:
    """Number, bytes, and what is wrong with it as a line, of each line that is not empty."""
    if charset not in {"", "utf-8", "utf8"}:
        raise Invalid("body_charset_unknown", known="utf-8")
    row, first = 0, True
    with content.open("rb") as stream:
        while line := stream.readline(MAX_LINE + 1):
            row += 1
            if row == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if len(line) > MAX_LINE and not line.endswith(b"\n"):
                _skip(stream, row)
                yield row, line, Invalid("line_too_long", limit=MAX_LINE).code
            elif not line.isspace() and line:
                wrong = _wrong_text(line)
                if wrong and first:  # not one damaged record, but another character set
                    raise Invalid("body_not_utf8", where=f"{FILE}:{row}")
                yield row, line, wrong
            else:
                continue
            first = False


def _skip(stream: BinaryIO, row: int) -> None:
    """Goes on to the next line."""
    while piece := stream.readline(MAX_LINE):
        if piece.endswith(b"\n"):
            return
    raise Invalid("body_cut_off", where=f"{FILE}:{row}")


def _wrong_text(line: bytes) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return Invalid("line_not_utf8").code
    return ""


def parsed(line: bytes) -> tuple[Any, str]:
    """The JSON of a line, or why it has none."""
    if depth(line) > MAX_DEPTH:
        return None, Invalid("json_too_deep", limit=MAX_DEPTH).code
    try:
        return json.loads(line, object_pairs_hook=_once), ""
    except (ValueError, RecursionError):  # numbers of thousands of digits, too
        return None, Invalid("json_malformed").code


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError
    return made


def _event(told: object) -> Event | None:
    """The event of a line; None where it is not of the form."""
    if not isinstance(told, dict):
        return None
    sequence, place = told.get("sequence"), _place(told.get("place"))
    if type(sequence) is not int or not 0 < sequence <= _LARGEST or place is None:
        return None
    if told.keys() == {"sequence", "place", "value"}:
        return Event(sequence, place, told["value"])
    rejected = told.get("rejected")
    if told.keys() != {"sequence", "place", "rejected"} or not isinstance(rejected, dict):
        return None
    code, shape = rejected.get("code"), rejected.get("shape")
    if not isinstance(code, str) or not _CODE.fullmatch(code) or not isinstance(shape, dict):
        return None
    if len(shape) > _MOST_SHAPES or not all(isinstance(one, str) for one in shape.values()):
        return None
    return Event(sequence, place, None, code, shape)


def _place(told: object) -> Place | None:
    if not isinstance(told, dict) or told.keys() != {"file", "row", "column"}:
        return None
    file, row, column = told["file"], told["row"], told["column"]
    if not isinstance(file, str) or not isinstance(column, str) or type(row) is not int or not 0 <= row <= _LARGEST:
        return None
    return Place(file, row, column)
