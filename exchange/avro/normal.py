"""The normal form of an Avro schema, and every check that a schema must pass to have one."""

import re
from typing import Any, Final

from exchange.avro.defaults import default_fault
from exchange.avro.kinds import Avro, first_twin, logical
from exchange.errors import Invalid

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 24
MAX_NAMED: Final = 500
MAX_FIXED: Final = 65_536
MAX_PRECISION: Final = 1000

PRIMITIVES: Final = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def problem(code: str, where: str, path: str, detail: str) -> Invalid:
    """The error for a schema: its file and the path inside, and what is wrong there."""
    place = ": ".join(part for part in (where, path) if part)
    return Invalid(code, where=place, detail=detail)


class Normaliser:
    """Reads one schema document; `named` then holds every named type by its full name."""

    def __init__(self, where: str) -> None:
        self.named: dict[str, dict[str, Any]] = {}
        self._where = where
        self._open: set[str] = set()

    def type(self, raw: object, namespace: str, path: str, depth: int) -> Avro:
        """The normal form of a type at a path, names relative to `namespace`."""
        if depth > MAX_DEPTH:
            raise self._refuse(path, f"nested more than {MAX_DEPTH} deep")
        if isinstance(raw, str):
            return raw if raw in PRIMITIVES else self._reference(raw, namespace, path)
        if isinstance(raw, list):
            return self._union(raw, namespace, path, depth)
        if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
            raise self._wrong(path, "a type is a name, a list of types or an object with a string `type`")
        normal = self._definition(raw, namespace, path, depth)
        return normal["type"] if len(normal) == 1 else normal

    def _definition(self, raw: dict[str, Any], namespace: str, path: str, depth: int) -> dict[str, Any]:
        attributes = self._attributes(raw, path)
        match raw["type"]:
            case "record":
                return self._record(raw, attributes, namespace, path, depth)
            case "enum":
                return self._enum(raw, attributes, namespace, path)
            case "fixed":
                return self._fixed(raw, attributes, namespace, path)
            case "array" | "map" as word:
                inner, mark = ("items", "[]") if word == "array" else ("values", "{}")
                if inner not in raw:
                    raise self._wrong(
                        path, f"an {word} needs `{inner}`" if word == "array" else f"a map needs `{inner}`"
                    )
                found = self.type(raw[inner], namespace, path + mark, depth + 1)
                self._not_null(found, path + mark)
                return {**attributes, inner: found}
            case word if word in PRIMITIVES:
                self._bounded(attributes, path)
                return attributes
            case "error":
                raise self._refuse(path, "`error` types are for RPC")
            case word:
                return {"type": self._reference(word, namespace, path)}

    def _record(
        self, raw: dict[str, Any], attributes: dict[str, Any], namespace: str, path: str, depth: int
    ) -> dict[str, Any]:
        space, name = self._declare(raw, attributes, namespace, path)
        entries = raw.get("fields")
        if not isinstance(entries, list):
            raise self._wrong(path, "a record needs a list `fields`")
        if not entries:
            raise self._refuse(path, "a record without fields")
        self.named[name] = attributes
        self._open.add(name)
        attributes["fields"] = [self._field(entry, space, path, depth) for entry in entries]
        self._open.remove(name)
        self._unique([entry["name"] for entry in attributes["fields"]], path, "field")
        aliases = [alias for entry in attributes["fields"] for alias in entry.get("aliases", ())]
        self._unique(aliases, path, "field alias")
        return attributes

    def _field(self, entry: object, namespace: str, path: str, depth: int) -> dict[str, Any]:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or "type" not in entry:
            raise self._wrong(path, "a field is an object with `name` and `type`")
        name = self._simple(entry["name"], path, "field name")
        here = f"{path}.{name}" if path else name
        normal = self._plain(entry, here)
        normal["type"] = self.type(entry["type"], namespace, here, depth + 1)
        self._not_null(normal["type"], here)
        self._strings(entry.get("confluent:tags", []), here, "confluent:tags")
        if not isinstance(entry.get("doc", ""), str):
            raise self._wrong(here, "`doc` must be a string")
        for alias in self._strings(entry.get("aliases", []), here, "aliases"):
            self._simple(alias, here, "alias")
        if entry.get("order", "ascending") not in ("ascending", "descending", "ignore"):
            raise self._wrong(here, "`order` must be ascending, descending or ignore")
        if "default" in entry and (fault := default_fault(normal["default"], normal["type"], self.named)):
            raise self._wrong(here, f"the default {fault}")
        return normal

    def _enum(self, raw: dict[str, Any], attributes: dict[str, Any], namespace: str, path: str) -> dict[str, Any]:
        _, name = self._declare(raw, attributes, namespace, path)
        symbols = self._strings(raw.get("symbols"), path, "symbols")
        if not symbols:
            raise self._wrong(path, "an enum needs at least one symbol")
        for symbol in symbols:
            self._simple(symbol, path, "symbol")
        self._unique(symbols, path, "symbol")
        if "default" in raw and raw["default"] not in symbols:
            raise self._wrong(path, "the default is no symbol of the enum")
        self.named[name] = attributes
        return attributes

    def _fixed(self, raw: dict[str, Any], attributes: dict[str, Any], namespace: str, path: str) -> dict[str, Any]:
        _, name = self._declare(raw, attributes, namespace, path)
        size = attributes.get("size")
        if type(size) is not int or not 1 <= size <= MAX_FIXED:
            raise self._wrong(path, f"`size` must be an integer from 1 to {MAX_FIXED}")
        self._bounded(attributes, path)
        self.named[name] = attributes
        return attributes

    def _union(self, raw: list[Any], namespace: str, path: str, depth: int) -> list[Any]:
        normal = [self.type(branch, namespace, path, depth + 1) for branch in raw]
        if any(isinstance(branch, list) for branch in normal):
            raise self._wrong(path, "a union directly inside a union")
        kinds = [self._branch_name(branch) for branch in normal]
        self._unique(kinds, path, "union branch")
        if not set(kinds) - {"null"}:
            raise self._refuse(path, "a union without a branch other than null")
        return normal

    def _branch_name(self, branch: Avro) -> str:
        if isinstance(branch, str):
            return branch
        return str(branch.get("name", branch["type"]))

    def _reference(self, raw: str, namespace: str, path: str) -> str:
        name = raw if "." in raw or not namespace else f"{namespace}.{raw}"
        if name in self._open:
            raise self._refuse(path, f"the record {name[:60]} contains itself")
        if name not in self.named:
            raise self._wrong(path, f"there is no type {raw[:60]!r}")
        return name

    def _declare(self, raw: dict[str, Any], attributes: dict[str, Any], namespace: str, path: str) -> tuple[str, str]:
        """Puts the full name and full aliases into `attributes`; gives the namespace inside and the full name."""
        name, space = raw.get("name"), raw.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(space, str):
            raise self._wrong(path, "a named type needs a string `name`, and `namespace` is a string")
        full = name if "." in name or not space else f"{space}.{name}"
        for part in full.split("."):
            self._simple(part, path, "name")
        if full in self.named or full in PRIMITIVES:
            raise self._wrong(path, f"the name {full[:60]} is declared twice or reserved")
        if len(self.named) >= MAX_NAMED:
            raise self._refuse(path, f"more than {MAX_NAMED} named types")
        inside = full.rpartition(".")[0]
        attributes.pop("namespace", None)
        attributes["name"] = full
        if "aliases" in raw:
            aliases = self._strings(raw["aliases"], path, "aliases")
            attributes["aliases"] = [alias if "." in alias or not inside else f"{inside}.{alias}" for alias in aliases]
        return inside, full

    def _bounded(self, attributes: dict[str, Any], path: str) -> None:
        if logical(attributes) == "decimal" and attributes["precision"] > MAX_PRECISION:
            raise self._refuse(path, f"a decimal of more than {MAX_PRECISION} digits")

    def _attributes(self, raw: dict[str, Any], path: str) -> dict[str, Any]:
        if not isinstance(raw.get("doc", ""), str):
            raise self._wrong(path, "`doc` must be a string")
        inner = {"record": "fields", "array": "items", "map": "values"}.get(raw["type"])
        return self._plain({key: value for key, value in raw.items() if key != inner}, path)

    def _plain(self, raw: dict[str, Any], path: str) -> dict[str, Any]:
        """A copy whose attributes fit canonical JSON: whole fractions become integers, others are refused."""
        return {
            self._text(key, path): value if key == "type" else self._value(value, path, 0) for key, value in raw.items()
        }

    def _value(self, value: object, path: str, depth: int) -> object:
        if depth > MAX_DEPTH:
            raise self._refuse(path, f"an attribute nested more than {MAX_DEPTH} deep")
        if isinstance(value, dict):
            return {self._text(key, path): self._value(item, path, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, path, depth + 1) for item in value]
        if isinstance(value, float):
            if not value.is_integer() or abs(value) > 2**53:
                raise self._refuse(path, "a fraction in the schema, which canonical JSON does not have")
            return int(value)
        return self._text(value, path) if isinstance(value, str) else value

    def _text(self, text: str, path: str) -> str:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._wrong(path, "half of a surrogate pair")
        return text

    def _not_null(self, avro: Avro, path: str) -> None:
        if avro == "null":
            raise self._refuse(path, "a type that can only be null")

    def _simple(self, name: str, path: str, what: str) -> str:
        if not _NAME.fullmatch(name):
            raise self._wrong(path, f"{name[:40]!r} is no {what}: letters, digits, underscores")
        return name

    def _strings(self, value: object, path: str, what: str) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(path, f"`{what}` must be a list of strings")
        return value

    def _unique(self, names: list[str], path: str, what: str) -> None:
        twin = first_twin(names)
        if twin is not None:
            raise self._wrong(path, f"the {what} {twin[:60]} stands twice")

    def _wrong(self, path: str, detail: str) -> Invalid:
        return problem("schema_unparsable", self._where, path, detail)

    def _refuse(self, path: str, detail: str) -> Invalid:
        return problem("schema_unsupported", self._where, path, detail)
