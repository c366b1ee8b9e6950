"""A leaf's Avro body decoded, for the few types that entries of the audit log have."""

from __future__ import annotations

import json
from typing import Any


class Malformed(ValueError):
    """Not a body of this schema."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.data) - self.at:
            raise Malformed("cut off")
        self.at += count
        return self.data[self.at - count : self.at]

    def long(self) -> int:
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 63:
                raise Malformed("a number without end")
        if number >> 64:
            raise Malformed("a number too large")
        return (number >> 1) ^ -(number & 1)


def decoded(text: str, data: bytes) -> dict[str, Any]:
    """The body under the schema of this JSON text; `Malformed` when it is none, or has bytes left over."""
    try:
        schema = json.loads(text)
        reader = _Reader(data)
        body = _value(schema, reader, {}, 0)
    except (KeyError, TypeError, IndexError, RecursionError, AttributeError) as error:
        raise Malformed("not a schema that entries have") from error
    if reader.at != len(data) or not isinstance(body, dict):
        raise Malformed("bytes left over")
    return body


def _value(schema: Any, reader: _Reader, named: dict[str, int], depth: int) -> Any:
    if depth > 8:
        raise Malformed("too deep")
    if isinstance(schema, list):
        branch = reader.long()
        if not 0 <= branch < len(schema):
            raise Malformed("no such branch")
        return _value(schema[branch], reader, named, depth + 1)
    if isinstance(schema, str):
        return _plain(schema, reader, named)
    kind = schema["type"]
    if kind == "record":
        return {field["name"]: _value(field["type"], reader, named, depth + 1) for field in schema["fields"]}
    if kind == "fixed":
        named[schema["name"]] = schema["size"]
        return reader.take(schema["size"])
    if kind == "array":
        return [_value(schema["items"], reader, named, depth + 1) for _ in _blocks(reader)]
    if kind == "map":
        return {_text(reader): _value(schema["values"], reader, named, depth + 1) for _ in _blocks(reader)}
    return _plain(kind, reader, named)


def _blocks(reader: _Reader) -> Any:
    while True:
        count = reader.long()
        if count == 0:
            return
        if count < 0:
            count = -count
            reader.long()
        for _ in range(count):
            if reader.at >= len(reader.data):
                raise Malformed("cut off")
            yield None


def _plain(kind: str, reader: _Reader, named: dict[str, int]) -> Any:
    if kind in ("long", "int"):
        return reader.long()
    if kind == "string":
        return _text(reader)
    if kind == "bytes":
        return reader.take(reader.long())
    if kind == "boolean":
        byte = reader.take(1)[0]
        if byte > 1:
            raise Malformed("neither true nor false")
        return byte == 1
    if kind == "null":
        return None
    return reader.take(named[kind])


def _text(reader: _Reader) -> str:
    try:
        return reader.take(reader.long()).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("not text") from None
