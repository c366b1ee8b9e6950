"""A plan applied without a server: documents and a container file in, batches of a view out (`exchange view`)."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from exchange.avro import container
from exchange.avro.records import Codec, resolver
from exchange.avro.schema import Schema, parse
from exchange.errors import Invalid, Refused
from exchange.names import set_digest
from exchange.plan import Plan
from exchange.plan.shapes import form, listing, mapping, read_json, text, word
from exchange.signing.tags import SubjectTagger
from exchange.view.compiled import Applied, View, compile_view, subject_getter
from exchange.view.paths import Record

SUBJECT: Final = "subject"  # the name of K_subject among the keys
_HEX: Final = re.compile(r"([0-9a-fA-F]{2})+")
_MOST_TAGS: Final = 5_000_000
Tag = Callable[[Record], bytes]


@dataclass(frozen=True, slots=True)
class Documents:
    """The inputs but for the plan and the records, as bytes; `names` says for each what to call it in an error."""

    schema: bytes
    keys: bytes | None
    sets: bytes | None
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Offline:
    """A view and the records that it is applied to."""

    view: View
    records: Iterator[Record | None]  # as records of the plan's schema; None for one that cannot be
    tag: Tag

    def apply(self, records: Sequence[Record | None]) -> Applied:
        """The view of some of the records."""
        return self.view.judge(records, [b"" if record is None else self.tag(record) for record in records])


def read_plan(document: bytes, where: str) -> Plan:
    """The plan, which may be a draft.

    Raises:
        Refused: `view_denied` when it is a refusal.
        Invalid: what `read_json` and `Plan.from_document` raise.
    """
    plan = Plan.from_document(read_json(document, where=where), draft=True)
    if not plan.allowed:
        raise Refused("view_denied", where=where, reasons=", ".join(plan.codes))
    return plan


def prepare(plan: Plan, documents: Documents, source: BinaryIO) -> Offline:
    """Everything compiled and found, the container's header read, none of its records.

    Raises:
        Invalid: what `compile_view` and `container.read` raise; `view_key_missing`, `view_key_malformed`,
            `view_set_differs`.
    """
    names = documents.names
    schema = parse(documents.schema, where=names["schema"])
    keys, sets = _keys(documents.keys, names), _sets(documents.sets, names)
    scopes = {scope: key for scope, key in keys.items() if scope != SUBJECT}
    view = compile_view(plan, schema, writers={}, keys=scopes, sets=sets)
    tag = _tagger(plan, schema, keys)
    writer, records = container.read(source, names["source"])
    return Offline(view, _as_planned(records, writer, schema), tag)


def _keys(document: bytes | None, names: Mapping[str, str]) -> dict[str, bytes]:
    if document is None:
        return {}
    found = read_json(document, where=names["keys"])
    mapping(word, text)(found, "keys")
    for scope, written in _items(found):
        if not _HEX.fullmatch(written):
            raise Invalid("view_key_malformed", where=f"keys.{scope}", expected="hex")
    return {scope: bytes.fromhex(written) for scope, written in _items(found)}


def _sets(document: bytes | None, names: Mapping[str, str]) -> dict[str, frozenset[bytes]]:
    if document is None:
        return {}
    found = read_json(document, where=names["sets"], most=_MOST_TAGS)
    mapping(form("digest"), listing(form("tag"), most=_MOST_TAGS))(found, "sets")
    sets = {name: frozenset(bytes.fromhex(tag) for tag in tags) for name, tags in _items(found)}
    for name, tags in sets.items():
        if (correct := set_digest(tags)) != name:
            raise Invalid("view_set_differs", where=f"sets.{name}", found=correct)
    return sets


def _items(document: object) -> list[tuple[str, Any]]:
    return list(document.items()) if isinstance(document, dict) else []


def _tagger(plan: Plan, schema: Schema, keys: Mapping[str, bytes]) -> Tag:
    """Gives the subject's tag, empty for a record without a subject, or where no condition asks for subjects."""
    get = subject_getter(plan, schema)
    if get is None:
        return lambda _record: b""
    if SUBJECT not in keys:
        raise Invalid("view_key_missing", where="plan.rows", scope=SUBJECT)
    tagger, subject_type = SubjectTagger(keys[SUBJECT]), plan.subject["type"]

    def tag(record: Record) -> bytes:
        text_of_id = get(record)
        try:
            return b"" if text_of_id is None else tagger.tag(subject_type, text_of_id)
        except Invalid:  # nothing but white space: no subject, so the condition is unknown
            return b""

    return tag


def _as_planned(records: Iterator[Record], writer: Schema, schema: Schema) -> Iterator[Record | None]:
    """The records as the plan's schema has them, by way of their Avro bytes, as they come out of a log."""
    if writer.fingerprint == schema.fingerprint:
        yield from records
        return
    encode, resolve = Codec(writer).encode, resolver(writer, schema)
    for record in records:
        try:
            yield resolve(encode(record))
        except Invalid:
            yield None
