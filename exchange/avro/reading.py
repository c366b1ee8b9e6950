"""Turns a writer's schema, and a reader's, into one Python function that reads a record (specification 1.11,
"Schema Resolution").

The function walks every byte, those of fields that the reader does not have too. It raises `Unresolvable` where the
bytes are right and the reader's schema has no place for them (a branch, a symbol); for wrong bytes `Wrong`,
IndexError, KeyError, ValueError or OverflowError. Where the two schemas can never meet, compiling gives a function
that raises `Unresolvable`.
"""

import struct
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final, NoReturn

from exchange.avro.binary import TOOLS, Wrong, blocks, day_reader, decimal_reader, length
from exchange.avro.defaults import default_value
from exchange.avro.kinds import Avro, Named, branches, kind, logical, resolve
from exchange.avro.meanings import MEANINGS
from exchange.avro.resolution import Mismatch, pick, promotion, sources, symbol_map
from exchange.avro.schema import Schema

FAILURES: Final = (Wrong, IndexError, KeyError, ValueError, OverflowError, struct.error)
Read = Callable[[bytes, int], tuple[Any, int]]


class Unresolvable(Exception):  # never leaves the room
    """The record has something that the reader's schema has no place for."""


def compile_reader(writer: Schema, reader: Schema) -> Read:
    """The function (body, start) → (record, end) of records written with one schema, as the other sees them."""
    same = writer.fingerprint == reader.fingerprint
    return _Reader(writer.named, reader.named).function(writer.document, None if same else reader.document)


class _Reader:
    def __init__(self, writer: Named, reader: Named) -> None:
        self._writer, self._reader = writer, reader
        self._space: dict[str, Any] = {
            **TOOLS,
            **MEANINGS,
            "copy": deepcopy,
            "day": day_reader(),
            "lost": _lost,
            "float_at": struct.Struct("<f").unpack_from,
            "double_at": struct.Struct("<d").unpack_from,
        }

    def function(self, writer: Avro, reader: Avro) -> Read:
        """Reads a value of the writer's type into the reader's; `reader` None: as it was written."""
        lines = ["z = len(b)", *self._lines(writer, reader), "return x, i"]
        return self._compile(lines)

    def _compile(self, lines: list[str]) -> Read:
        source = "def read(b, i):\n" + "".join(f"    {line}\n" for line in lines)
        made: dict[str, Any] = {}
        exec(compile(source, "<avro reader>", "exec"), self._space, made)  # noqa: S102  our own source
        found: Read = made["read"]
        return found

    def _keep(self, thing: object) -> str:
        name = f"k{len(self._space)}"
        self._space[name] = thing
        return name

    def _lines(self, avro: Avro, reader: Avro) -> list[str]:
        """Lines that read a value at `i` into `x`."""
        writer = resolve(avro, self._writer)
        if kind(writer) == "union":
            return self._union(writer, reader)
        if reader is None:
            return self._plain(writer, None)
        try:
            return self._plain(writer, pick(writer, resolve(reader, self._reader), self._reader))
        except Mismatch:
            return ["lost()"]

    def _union(self, writer: list[Any], reader: Avro) -> list[str]:
        options, nullable = branches(writer)
        if len(options) == 1 and nullable:
            null, some = (0, 2) if writer[0] == "null" else (2, 0)
            inner = self._lines(options[0], reader)
            absent = "x = None" if reader is None or self._takes_null(reader) else "lost()"
            return [
                "n = b[i]",
                "i += 1",
                f"if n == {some}:",
                *(f"    {line}" for line in inner),
                f"elif n == {null}: {absent}",
                "else: fail()",
            ]
        table = {}
        for index, branch in enumerate(writer):
            taken = reader is None or branch != "null" or self._takes_null(reader)
            read = self.function(branch, reader) if branch != "null" else (_null if taken else _lost)
            table[2 * index] = read
        return [*_NUMBER, f"x, i = {self._keep(table)}[n](b, i)"]

    def _takes_null(self, reader: Avro) -> bool:
        return branches(resolve(reader, self._reader))[1]

    def _plain(self, writer: Avro, reader: Avro) -> list[str]:
        """A type that is no union, into the resolved type that the reader takes it as."""
        match kind(writer):
            case "record":
                return [f"x, i = {self._keep(self._record(writer, reader))}(b, i)"]
            case "array":
                item = self.function(writer["items"], None if reader is None else reader["items"])
                return [f"x, i = {self._keep(_array(item))}(b, i)"]
            case "map":
                item = self.function(writer["values"], None if reader is None else reader["values"])
                return [f"x, i = {self._keep(_map(item))}(b, i)"]
            case "enum":
                symbols = list(writer["symbols"]) if reader is None else list(symbol_map(writer, reader).values())
                table = {2 * index: symbol for index, symbol in enumerate(symbols)}
                lost = ["if x is None: lost()"] if None in symbols else []
                return [*_NUMBER, f"x = {self._keep(table)}[n]", *lost]
            case _:
                lines = self._value(writer)
                change = "" if reader is None else promotion(writer, reader)
                return [*lines, *_CHANGES[change]]

    def _value(self, avro: Avro) -> list[str]:
        match kind(avro):
            case "boolean":
                return ["n = b[i]", "i += 1", "if n > 1: fail()", "x = n == 1"]
            case "int" | "long" as word:
                return [*_NUMBER, *self._integer(word, logical(avro))]
            case "float":
                return ["x = finite(float_at(b, i)[0])", "i += 4"]
            case "double":
                return ["x = finite(double_at(b, i)[0])", "i += 8"]
            case "string":
                return [*_SPAN, "x = b[i:e].decode()", "i = e", *(["x = uuid_of(x)"] if logical(avro) else [])]
            case "bytes":
                return [*_SPAN, "x = b[i:e]", "i = e", *self._decimal(avro)]
            case _:
                lines = [f"e = i + {avro['size']}", "if e > z: fail()", "x = b[i:e]", "i = e"]
                return [*lines, *self._decimal(avro)]

    def _integer(self, word: str, meaning: str) -> list[str]:
        lines = ["x = (n >> 1) ^ -(n & 1)"]
        if word == "int":
            lines.append("if n > 4294967295: fail()")
        if meaning:
            lines.append(f"x = {_INTEGERS[meaning]}(x)")
        return lines

    def _decimal(self, avro: Avro) -> list[str]:
        if logical(avro) != "decimal":
            return []
        return [f"x = {self._keep(decimal_reader(avro['precision'], avro.get('scale', 0)))}(x)"]

    def _record(self, writer: Avro, reader: Avro) -> Read:
        if reader is None:
            wanted = {entry["name"]: (entry["name"], None) for entry in writer["fields"]}
            order = list(wanted)
        else:
            types = {entry["name"]: entry["type"] for entry in reader["fields"]}
            wanted = {theirs: (ours, types[ours]) for ours, theirs in sources(writer, reader).items()}
            order = list(types)
        lines, found = ["z = len(b)"], {}
        for number, entry in enumerate(writer["fields"]):
            ours, into = wanted.get(entry["name"], ("", None))
            lines += self._lines(entry["type"], into)
            if ours:
                lines.append(f"v{number} = x")
                found[ours] = f"v{number}"
        for entry in () if reader is None else reader["fields"]:
            if entry["name"] not in found:
                found[entry["name"]] = self._default(entry)
        pairs = ", ".join(f"{name!r}: {found[name]}" for name in order)
        return self._compile([*lines, f"return {{{pairs}}}, i"])

    def _default(self, entry: Avro) -> str:
        if "default" not in entry:
            return "lost()"
        value = default_value(entry["default"], entry["type"], self._reader)
        return f"copy({self._keep(value)})" if isinstance(value, list | dict) else self._keep(value)


_NUMBER: Final = ("n = b[i]", "i += 1", "if n > 127: n, i = more(b, i, n)")
_SPAN: Final = (*_NUMBER, "if n & 1: fail()", "e = i + (n >> 1)", "if e > z: fail()")
_INTEGERS: Final = {
    "date": "day",
    "time-millis": "time_of_millis",
    "time-micros": "time_of_micros",
    "timestamp-millis": "moment_of_millis",
    "timestamp-micros": "moment_of_micros",
    "local-timestamp-millis": "local_of_millis",
    "local-timestamp-micros": "local_of_micros",
}
_CHANGES: Final = {
    "": (),
    "float": ("x = float(x)",),
    "encode": ("x = x.encode()",),
}


def _lost(*_: object) -> NoReturn:
    raise Unresolvable


def _null(_: bytes, at: int) -> tuple[None, int]:
    return None, at


def _array(item: Read) -> Read:
    def read(body: bytes, at: int) -> tuple[list[Any], int]:
        found: list[Any] = []

        def take(body: bytes, at: int) -> int:
            value, at = item(body, at)
            found.append(value)
            return at

        end = blocks(body, at, take)
        return found, end

    return read


def _map(item: Read) -> Read:
    def read(body: bytes, at: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}

        def take(body: bytes, at: int) -> int:
            end, start = length(body, at)
            key = body[start:end].decode()
            if key in found:
                raise Wrong
            found[key], at = item(body, end)
            return at

        end = blocks(body, at, take)
        return found, end

    return read
