"""Bodies of Avro: an object container, or Confluent's frames in the form of its REST proxy (v2, binary).

{"records": [{"value": "AAAAAAUCYQ=="}, …]}        each value base64 of a zero byte, schema id and Avro body
"""

import json
from base64 import b64decode
from binascii import Error
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from exchange.api.bodies.adapter import FILE, Event, Form
from exchange.api.bodies.content import Content
from exchange.api.bodies.lines import MAX_DEPTH, depth
from exchange.avro.container import read
from exchange.avro.frame import unframe
from exchange.avro.records import resolver
from exchange.contracts.compatibility import incompatibilities
from exchange.errors import Invalid
from exchange.source import Place

_LONGEST: Final = 2 << 20  # of one element of `records`; a body in base64 is 1.2 MB at most
_PIECE: Final = 1 << 18
_SPACE: Final = " \t\r\n"


def container(content: Content, form: Form) -> Iterator[Event]:
    """The records of a container; its schema is the dataset's, or one that the dataset's reads."""
    with content.open("rb") as stream:
        writer, found = read(stream, FILE, form.schema)
        reasons = incompatibilities(writer, form.schema)
        if reasons:
            raise Invalid("body_schema_differs", where=FILE, detail=reasons[0][:200])
        for number, value in enumerate(found, 1):
            yield Event(form.first + number - 1, Place(FILE, number), value)


def frames(content: Content, form: Form) -> Iterator[Event]:
    """A frame a record; one of a schema that the dataset does not have cannot be published."""
    readers = {number: resolver(writer, form.schema) for number, writer in form.writers.items()}
    with content.open("rb") as stream:
        for number, element in enumerate(_elements(stream), 1):
            value, code = _record(element, readers)
            yield Event(form.first + number - 1, Place(FILE, number), value, code)


def _record(element: object, readers: dict[int, Callable[[bytes], dict[str, Any]]]) -> tuple[Any, str]:
    text = element.get("value") if isinstance(element, dict) else None
    try:
        framed = b64decode(text, validate=True) if isinstance(text, str) else None
    except (Error, ValueError):
        framed = None
    if framed is None:
        return None, Invalid("base64_malformed").code
    try:
        schema_id, body = unframe(framed)
        if schema_id not in readers:
            return None, Invalid("schema_id_unknown").code
        return readers[schema_id](body), ""
    except Invalid as error:
        return None, error.code


def _elements(stream: BinaryIO) -> Iterator[object]:
    """The elements of `records`, one by one."""
    text = _Text(stream)
    for mark in ("{", '"records"', ":", "["):
        text.take(mark)
    if not text.try_take("]"):
        while True:
            yield text.element()
            if text.try_take("]"):
                break
            text.take(",")
    text.take("}")
    text.end()


class _Text:
    """JSON text that comes in pieces; in memory is one element of it, or one piece."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._json, self._utf8 = stream, json.JSONDecoder(), getincrementaldecoder("utf-8")()
        self._held, self._at, self._number = "", 0, 0

    def take(self, mark: str) -> None:
        """Goes past this mark, which has to come."""
        if not self.try_take(mark):
            raise self._wrong(f"{mark} expected")

    def try_take(self, mark: str) -> bool:
        """Goes past this mark, if it comes."""
        self._skip_space()
        while len(self._held) - self._at < len(mark) and self._more():
            pass
        if not self._held.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def element(self) -> object:
        """The next value."""
        self._number += 1
        self._skip_space()
        while True:
            try:
                value, end = self._json.raw_decode(self._held, self._at)
            except RecursionError:
                raise self._too_deep() from None
            except ValueError:
                if len(self._held) - self._at > _LONGEST or not self._more():
                    raise self._wrong("JSON expected") from None
                continue
            if end == len(self._held) and not isinstance(value, dict) and self._more():
                continue  # a number may go on
            if depth(self._held[self._at : end].encode("utf-8", "surrogatepass")) > MAX_DEPTH:
                raise self._too_deep()
            self._at = end
            return value

    def end(self) -> None:
        """Nothing but space may follow."""
        self._skip_space()
        if self._at < len(self._held):
            raise self._wrong("the end expected")

    def _skip_space(self) -> None:
        while True:
            while self._at < len(self._held) and self._held[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._held) or not self._more():
                return

    def _more(self) -> bool:
        piece = self._stream.read(_PIECE)
        try:
            self._held = self._held[self._at :] + self._utf8.decode(piece, final=not piece)
        except UnicodeDecodeError:
            raise Invalid("body_not_utf8", where=self._where()) from None
        self._at = 0
        return bool(piece)

    def _where(self) -> str:
        return f"{FILE}:{self._number}" if self._number else FILE

    def _too_deep(self) -> Invalid:
        return Invalid("json_too_deep", where=self._where(), limit=MAX_DEPTH)

    def _wrong(self, detail: str) -> Invalid:
        """The text is wrong here, or ends too early."""
        if not self._stream.read(1) and self._only_begun():
            return Invalid("body_cut_off", where=self._where())
        return Invalid("body_malformed", where=self._where(), detail=detail)

    def _only_begun(self) -> bool:
        """Whether what is held is nothing, or a value that has not come to its end."""
        rest = self._held[self._at :]
        try:
            self._json.raw_decode(rest)
        except json.JSONDecodeError as error:
            return error.pos >= len(rest) or error.msg.startswith("Unterminated")
        return False
