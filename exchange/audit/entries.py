"""Entries of the audit log: what a leaf is.

A leaf is the first 8 bytes of the SHA-256 of the entry's Avro schema, then the Avro body. The schema that is hashed
is the canonical JSON (`exchange.names.canonical`) of `kinds/<kind>.avsc`; it stands in the log itself, as a `schema`
entry before the first entry that uses it. The schema of the kind `schema` is the one that a reader must know
beforehand: it is `kinds/schema.avsc`, it never changes, and it too stands in the log, as the first entry.

Leaves are for ever and never migrate: a kind has all its fields from its first version on, unused ones null.
Digests are strings `sha256:<hex>`, ids and tags 16 bytes, actors keyed pseudonyms; no citizen's id, no payload.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import fastavro

from exchange.audit.details import Detail, named
from exchange.audit.schemas import PREFIX_BYTES, Kind, kind_of, malformed
from exchange.errors import Invalid, Tampered
from exchange.names import canonical, digest

MAX_LEAF: Final = 65_535  # C2SP tlog-tiles: entries have a uint16 length
MAX_EMBEDDED: Final = 30_000  # bytes of JSON that may stand in a leaf; beyond, its digest alone does
ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be appended. `body` has exactly the fields of the kind's schema; `make` builds one.

    `id` (16 bytes) makes a repeated append harmless and equals `body["id"]`. `raises` equals `body["raises"]` where
    the kind has that field, `rests_on` equals `body["epochs"]` of a release; both are empty for every other kind.
    `details` are kept beside the log, under the names that the body gives.
    """

    kind: str
    id: bytes
    body: Mapping[str, Any]
    raises: Mapping[str, int] = field(default_factory=dict)
    rests_on: Mapping[str, int] = field(default_factory=dict)
    details: Sequence[Detail] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an entry stands: `index`, a published checkpoint over `size` > index entries, and when it was committed."""

    index: int
    size: int
    checkpoint: bytes
    at_ns: int


def entry_id(*parts: str | bytes | int) -> bytes:
    """An idempotency id: 16 bytes of SHA-256 over the parts, each with its type and length before it."""
    state = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        state.update(f"{type(part).__name__}:{len(data)}:".encode() + data)
    return state.digest()[:ID_BYTES]


def make(kind: str, entry_id: bytes, time_ns: int, details: Sequence[Detail] = (), /, **fields: object) -> Entry:
    """An entry of this kind: fields not given are null, empty lists or empty maps where the schema allows.

    Raises:
        Invalid: `audit_entry_malformed`, with the kind and field, as `encode`.
    """
    body = {**kind_of(kind).blank, "id": entry_id, "time_ns": time_ns, **fields}
    kind_of(kind).check(body)
    return Entry(kind, entry_id, body, body.get("raises", {}), body["epochs"] if kind == "release" else {}, details)


def embedded(document: object, limit: int = MAX_EMBEDDED) -> str | None:
    """The document as canonical JSON for a leaf, or None when it is longer than `limit` bytes.

    A decision holds a question and a plan: give each 25,000, so that its tags have room.
    """
    text = canonical(document)
    return text.decode() if len(text) <= limit else None


def counters_digest(counters: Mapping[str, int]) -> str:
    """What `gateway_run.previous_counters_digest` holds: agreement (or dataset) to the last counter used."""
    return digest(dict(counters))


def encode(entry: Entry) -> bytes:
    """The leaf. Equal entries give equal bytes: maps are written in the order of their keys.

    Raises:
        Invalid: `audit_entry_malformed` for an unknown kind or a body that does not fit its schema exactly;
            `audit_entry_too_large` above 65,535 bytes.
    """
    check(entry)
    kind = kind_of(entry.kind)
    body = {**entry.body, **{name: dict(sorted(entry.body[name].items())) for name in kind.maps if entry.body[name]}}
    stream = io.BytesIO()
    try:
        fastavro.schemaless_writer(stream, kind.parsed, body)
    except UnicodeEncodeError as error:
        raise malformed(entry.kind, "a lone surrogate") from error
    leaf = kind.prefix + stream.getvalue()
    if len(leaf) > MAX_LEAF:
        raise Invalid("audit_entry_too_large", where=entry.kind, bytes=len(leaf), limit=MAX_LEAF)
    return leaf


def check(entry: Entry) -> None:
    """Whether the entry fits its kind exactly; `Invalid("audit_entry_malformed")` says which field does not."""
    body = entry.body
    kind_of(entry.kind).check(body)
    if body["id"] != entry.id:
        raise malformed(f"{entry.kind}.id", "differs from the entry's id")
    if dict(entry.raises) != body.get("raises", {}):
        raise malformed(f"{entry.kind}.raises", "differs from what the entry raises")
    if dict(entry.rests_on) != (body["epochs"] if entry.kind == "release" else {}):
        raise malformed(f"{entry.kind}.epochs", "differs from what the entry rests on")
    if sorted(one.name for one in entry.details) != sorted(named(body).values()):
        raise malformed(entry.kind, "it names other details than it has")


def decode(leaf: bytes, schemas: Mapping[bytes, Any]) -> tuple[str, dict[str, Any]]:
    """Kind and body of a leaf, given the parsed schemas of the log by prefix.

    Raises:
        Tampered: `audit_leaf_undecodable` for an unknown prefix, a body cut off or with bytes left over.
    """
    parsed = schemas.get(leaf[:PREFIX_BYTES])
    stream = io.BytesIO(leaf[PREFIX_BYTES:])
    if parsed is None:
        raise Tampered("audit_leaf_undecodable", detail="no schema entry for its prefix")
    try:
        body = fastavro.schemaless_reader(stream, parsed, None)
    except (EOFError, ValueError, IndexError, OverflowError, TypeError, MemoryError) as error:
        raise Tampered("audit_leaf_undecodable", detail=type(error).__name__) from error
    if not isinstance(body, dict) or stream.read(1):
        raise Tampered("audit_leaf_undecodable", detail="bytes left over")
    return kind_name(parsed), body


def kind_name(parsed: Any) -> str:  # noqa: ANN401  # fastavro's parsed form
    """The kind that a schema is of."""
    return str(parsed["name"]).rpartition(".")[2]


def schema_entry(kind: Kind, time_ns: int) -> Entry:
    """The entry that makes a kind's schema known to the log; its id follows from the schema."""
    return make("schema", entry_id("schema", kind.prefix), time_ns, kind=kind.name, text=kind.text)
