"""The kinds of audit entries: their Avro schemas (`kinds/*.avsc`), their names in a leaf, and a strict check."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import fastavro

from exchange.errors import Invalid, Tampered
from exchange.names import canonical

KINDS: Final = (
    "ack",
    "anchor",
    "audit_query",
    "control",
    "decision",
    "detail_expiry",
    "gateway_run",
    "index_segment",
    "key",
    "policy_revision",
    "record_commit",
    "refusal",
    "release",
    "restore",
    "schema",
)
PREFIX_BYTES: Final = 8

_INTS: Final = {"int": 1 << 31, "long": 1 << 63}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind with its schema: canonical text, the prefix of its leaves, the parsed form and a strict check; `maps` are
    its fields that are maps.
    """

    name: str
    text: str
    prefix: bytes
    parsed: Any
    blank: Mapping[str, Any]
    maps: Sequence[str]
    fits: Callable[[Mapping[str, Any]], bool]
    checks: Mapping[str, Callable[[object], bool]]

    def check(self, body: Mapping[str, Any]) -> None:
        """Whether the body has exactly these fields, of these types; else `Invalid("audit_entry_malformed")`."""
        if body.keys() == self.checks.keys() and self.fits(body):
            return
        if body.keys() != self.checks.keys():
            name = min(body.keys() ^ self.checks.keys(), key=str)
            raise malformed(f"{self.name}.{name}", "missing" if name in self.checks else "not a field of this kind")
        for name, fits in self.checks.items():
            if not fits(body[name]):
                raise malformed(f"{self.name}.{name}", f"not of its type: {type(body[name]).__name__}")


def parse_schema(text: str) -> tuple[bytes, Any]:
    """Prefix and parsed form of a schema entry's text; `Tampered("audit_leaf_undecodable")` when it is none."""
    try:
        parsed = fastavro.parse_schema(json.loads(text), named_schemas={})
    except (ValueError, TypeError, KeyError, RecursionError, fastavro.schema.SchemaParseException):
        parsed = None
    if not isinstance(parsed, dict) or parsed.get("type") != "record":
        raise Tampered("audit_leaf_undecodable", detail="a schema entry that is no schema")
    return schema_prefix(text), parsed


def schema_prefix(text: str) -> bytes:
    """The first 8 bytes of the SHA-256 of a schema's canonical JSON: how leaves name it."""
    return hashlib.sha256(text.encode()).digest()[:PREFIX_BYTES]


@cache
def kind_of(name: str) -> Kind:
    """The kind of this name; `Invalid("audit_entry_malformed")` when there is none."""
    if name not in KINDS:
        raise malformed(name[:40], "no such kind of entry")
    document = json.loads(resources.files(__package__).joinpath("kinds", f"{name}.avsc").read_bytes())
    text = canonical(document).decode()
    types = {item["name"]: item["type"] for item in document["fields"]}
    named: dict[str, int] = {}
    checks = {field_name: _check_of(avro, named) for field_name, avro in types.items()}
    blank = {field_name: value for field_name, avro in types.items() if (value := _blank(avro)) is not _NONE}
    parsed = fastavro.parse_schema(document, named_schemas={})
    maps = [field_name for field_name, avro in types.items() if _is_map(avro)]
    return Kind(name, text, schema_prefix(text), parsed, blank, maps, _fits(types, checks), checks)


_NONE: Final = object()


def _is_map(avro: Any) -> bool:  # noqa: ANN401 - a JSON schema
    plain = avro[1] if isinstance(avro, list) else avro
    return isinstance(plain, dict) and plain["type"] == "map"


def _blank(avro: object) -> object:
    if isinstance(avro, list):
        return None
    if isinstance(avro, dict) and avro["type"] in ("array", "map"):
        return () if avro["type"] == "array" else {}
    return _NONE


def _check_of(avro: Any, named: dict[str, int]) -> Callable[[object], bool]:  # noqa: ANN401 - a JSON schema
    """A strict check for the few Avro types that kinds use: fastavro's writer lets too much through."""
    if isinstance(avro, list):
        inner = _check_of(avro[1], named)
        return lambda value: value is None or inner(value)
    if isinstance(avro, str):
        return _sized(named[avro]) if avro in named else _PRIMITIVES[avro]
    if avro["type"] == "fixed":
        named[avro["name"]] = avro["size"]
        return _sized(avro["size"])
    if avro["type"] == "record":
        fields = {item["name"]: _check_of(item["type"], named) for item in avro["fields"]}
        return lambda value: _is_record(value, fields)
    inner = _check_of(avro["items"] if avro["type"] == "array" else avro["values"], named)
    if avro["type"] == "array":
        return lambda value: isinstance(value, list | tuple) and all(map(inner, value))
    return lambda value: isinstance(value, dict) and all(type(k) is str and inner(v) for k, v in value.items())


def _is_record(value: object, fields: Mapping[str, Callable[[object], bool]]) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == fields.keys()
        and all(fits(value[name]) for name, fits in fields.items())
    )


def _fits(types: Mapping[str, Any], checks: Mapping[str, Callable[[object], bool]]) -> Callable[[Any], bool]:
    """All checks of a kind in one expression: some thousand releases a second pass through here twice."""
    names = {f"_{name}": check for name, check in checks.items()}
    terms = [_term(avro, f"body[{name!r}]", f"_{name}") for name, avro in types.items()]
    made: Callable[[Any], bool] = eval(f"lambda body: {' and '.join(terms)}", names)  # noqa: S307  # of our own schemas
    return made


def _term(avro: object, value: str, check: str) -> str:
    if isinstance(avro, list):
        return f"({value} is None or {_term(avro[1], value, check)})"
    if avro == "long":
        return f"type({value}) is int and {-1 << 63} <= {value} < {1 << 63}"
    if avro in ("string", "bytes"):
        return f"type({value}) is {'str' if avro == 'string' else 'bytes'}"
    return f"{check}({value})"


def _sized(size: int) -> Callable[[object], bool]:
    return lambda value: type(value) is bytes and len(value) == size


def _whole(limit: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and -limit <= value < limit


_PRIMITIVES: Final[Mapping[str, Callable[[object], bool]]] = {
    "string": lambda value: type(value) is str,
    "bytes": lambda value: type(value) is bytes,
    "boolean": lambda value: type(value) is bool,
    **{name: _whole(limit) for name, limit in _INTS.items()},
}


def malformed(where: str, detail: str) -> Invalid:
    """The error for an entry that does not fit its kind: never a value, only the place."""
    return Invalid("audit_entry_malformed", where=where, detail=detail)
