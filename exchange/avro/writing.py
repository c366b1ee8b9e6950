"""Turns a schema into one Python function that checks a record and writes it, in one pass.

The generated function raises `Wrong`, KeyError, TypeError, ValueError, OverflowError or struct.error at the first
thing that does not fit; which, and where, `faults.py` finds out afterwards, so that good records pay nothing for
good messages. Names from the schema enter the source as string literals only.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from exchange.avro.binary import TOOLS, Wrong, day_writer, decimal_writer, zigzag
from exchange.avro.kinds import Avro, Named, Value, branches, kind, logical, resolve
from exchange.avro.meanings import MEANINGS
from exchange.avro.schema import Schema

Write = Callable[[Value], bytes]
REFUSALS: Final = (Wrong, KeyError, TypeError, ValueError, OverflowError, struct.error)

_EXACT: Final = {
    "boolean": "bool",
    "int": "int",
    "long": "int",
    "float": "float",
    "double": "float",
    "bytes": "bytes",
    "string": "str",
    "fixed": "bytes",
    "enum": "str",
    "record": "dict",
    "array": "list",
    "map": "dict",
}
_EXPRESSIONS: Final = {
    "date": "write_day(x)",
    "timestamp-millis": "zigzag(millis(x))",
    "timestamp-micros": "zigzag(micros(x))",
    "time-millis": "zigzag(time_millis(x))",
    "time-micros": "zigzag(time_micros(x))",
    "local-timestamp-millis": "zigzag(local_millis(x))",
    "local-timestamp-micros": "zigzag(local_micros(x))",
    "uuid": "L[36] + uuid_bytes(x)",
    "int": "varint(n)",
    "long": "varint(n)",
    "string": "(L[n] if n < 512 else zigzag(n)) + y",
    "bytes": "(L[n] if n < 512 else zigzag(n)) + x",
    "boolean": "(b'\\1' if x else b'\\0')",
    "float": "pack_float(x)",
    "double": "pack_double(finite(x))",
    "fixed": "x",
}
_LOGICAL: Final = {
    "date": "date",
    "timestamp-millis": "datetime",
    "timestamp-micros": "datetime",
    "time-millis": "time",
    "time-micros": "time",
    "local-timestamp-millis": "datetime",
    "local-timestamp-micros": "datetime",
    "uuid": "UUID",
    "decimal": "Decimal",
}


def exact_type(avro: Avro) -> str:
    """The word for the one Python type that a resolved Avro type's values have (a UUID may come as its text too)."""
    return _LOGICAL.get(logical(avro)) or _EXACT[kind(avro)]


def compile_writer(schema: Schema) -> Write:
    """The function record → Avro bytes; raises one of `REFUSALS`."""
    return _Writer(schema.named).function(schema.document)


class _Writer:
    def __init__(self, named: Named) -> None:
        self._named = named
        self._made: dict[str, Write] = {}
        self._space: dict[str, Any] = {
            **TOOLS,
            **MEANINGS,
            "REFUSALS": REFUSALS,
            "pack_float": struct.Struct("<f").pack,
            "pack_double": struct.Struct("<d").pack,
            "write_day": day_writer(),
        }

    def function(self, avro: Avro) -> Write:
        """The function that checks and writes a value of this type; one for each named type."""
        definition = resolve(avro, self._named)
        name = definition.get("name") if isinstance(definition, Mapping) else None
        if name in self._made:
            return self._made[name]
        match kind(definition):
            case "record":
                lines = self._record(definition)
            case "array" | "map":
                lines = self._sequence(definition)
            case "union":
                lines = self._union(definition)
            case _:
                lines = [*self._checked(definition), f"return {self._expression(definition)}"]
        made = self._compile(lines)
        if name is not None:
            self._made[name] = made
        return made

    def _compile(self, lines: list[str]) -> Write:
        source = "def write(x):\n" + "".join(f"    {line}\n" for line in lines)
        made: dict[str, Any] = {}
        exec(compile(source, "<avro writer>", "exec"), self._space, made)  # noqa: S102  our own source, see above
        write: Write = made["write"]
        return write

    def _keep(self, thing: object) -> str:
        """A name for a constant of the generated code."""
        name = f"k{len(self._space)}"
        self._space[name] = thing
        return name

    def _record(self, definition: Mapping[str, Any]) -> list[str]:
        fields = definition["fields"]
        lines = [f"if type(x) is not dict or len(x) != {len(fields)}: fail()", "v = x"]
        for number, entry in enumerate(fields):
            lines.append(f"x = v[{entry['name']!r}]")
            lines += self._part(resolve(entry["type"], self._named), f"p{number}")
        parts = [f"p{number}" for number in range(len(fields))]
        joined = parts[0] if len(parts) == 1 else f"b''.join(({', '.join(parts)}))"
        return [*lines, f"return {joined}"]

    def _part(self, avro: Avro, target: str) -> list[str]:
        options, nullable = branches(avro)
        if len(options) > 1:
            return [f"{target} = {self._keep(self.function(avro))}(x)"]
        plain = resolve(options[0], self._named)
        if not isinstance(avro, list):
            return [*self._checked(plain), f"{target} = {self._expression(plain)}"]
        if not nullable:
            return [*self._checked(plain), f"{target} = b'\\0' + {self._expression(plain)}"]
        null, some = (b"\0", b"\2") if avro[0] == "null" else (b"\2", b"\0")
        inner = [*self._checked(plain), f"{target} = {some!r} + {self._expression(plain)}"]
        return [f"if x is None: {target} = {null!r}", "else:", *(f"    {line}" for line in inner)]

    def _checked(self, avro: Avro) -> list[str]:
        """Lines that make sure of the value `x`, and prepare what `_expression` needs."""
        word = kind(avro)
        if word in ("record", "array", "map", "union"):
            return []
        if logical(avro) == "uuid":
            return []
        lines = [f"if type(x) is not {exact_type(avro)}: fail()"]
        if logical(avro):
            return lines
        if word in ("int", "long"):
            low, high = TOOLS[word.upper()]
            return [*lines, f"if not {low} <= x <= {high}: fail()", "n = x + x if x >= 0 else -x - x - 1"]
        if word == "string":
            return [*lines, "y = x.encode()", "n = len(y)"]
        if word == "bytes":
            return [*lines, "n = len(x)"]
        if word == "fixed":
            return [*lines, f"if len(x) != {avro['size']}: fail()"]
        if word == "float":
            return [*lines, "if not -FLOAT_MAX <= x <= FLOAT_MAX: fail()"]
        return lines

    def _expression(self, avro: Avro) -> str:
        match logical(avro) or kind(avro):
            case word if word in _EXPRESSIONS:
                return _EXPRESSIONS[word]
            case "decimal":
                return f"{self._keep(decimal_writer(avro['precision'], avro.get('scale', 0), avro.get('size')))}(x)"
            case "enum":
                symbols = {symbol: zigzag(index) for index, symbol in enumerate(avro["symbols"])}
                return f"{self._keep(symbols)}[x]"
            case _:
                return f"{self._keep(self.function(avro))}(x)"

    def _sequence(self, definition: Mapping[str, Any]) -> list[str]:
        if definition["type"] == "array":
            item = self._keep(self.function(definition["items"]))
            check, parts = "list", f"[{item}(i) for i in x]"
        else:
            item, key = self._keep(self.function(definition["values"])), self._keep(self.function("string"))
            check, parts = "dict", f"[{key}(k) + {item}(i) for k, i in x.items()]"
        return [
            f"if type(x) is not {check}: fail()",
            "if not x: return b'\\0'",
            f"return zigzag(len(x)) + b''.join({parts}) + b'\\0'",
        ]

    def _union(self, avro: list[Any]) -> list[str]:
        """The first branch that the value fits in every part, null by itself."""
        lines: list[str] = []
        for index, branch in enumerate(avro):
            head = zigzag(index)
            if branch == "null":
                lines.insert(0, f"if x is None: return {head!r}")
                continue
            lines += [f"try: return {head!r} + {self._keep(self.function(branch))}(x)", "except REFUSALS: pass"]
        return [*lines, "fail()"]
