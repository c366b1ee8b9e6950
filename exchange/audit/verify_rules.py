"""The offline verifier's rules for entries: what a log must not say, whoever signed it.

Part of `verify`: like it, this module imports nothing else of `exchange.audit`, for an oracle that imports the code
it judges does not count.
"""

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import IO, Any, Final

import fastavro

from exchange.audit.verify_anchors import Anchors
from exchange.audit.verify_ranges import Ranges, Runs
from exchange.audit.verify_rights import MustRestartError, Rights
from exchange.audit.verify_segments import Segments

KINDS: Final = frozenset(
    (
        *("ack", "anchor", "audit_query", "control", "decision", "detail_expiry", "gateway_run", "index_segment"),
        *("key", "policy_revision", "record_commit", "refusal", "release", "restore", "schema"),
    )
)
# The schema of the kind `schema`: the one thing about entries that a reader must know beforehand.
SCHEMA_OF_SCHEMAS: Final = (
    '{"doc":"Avro schema of later entries. It stands before the first entry that uses it; the first entry of a log is '
    'the schema of this kind itself, which readers know beforehand.","fields":[{"doc":"Idempotency id: the same id '
    'never stands twice in a log.","name":"id","type":{"name":"Id","size":16,"type":"fixed"}},{"doc":"When the entry '
    "was made, by the clock of who made it: nanoseconds since 1970, UTC. Order comes from the index, not from "
    'this.","name":"time_ns","type":"long"},{"doc":"The kind of entry that the schema is for: the schema\'s record '
    'name.","name":"kind","type":"string"},{"doc":"The schema as canonical JSON. The first 8 bytes of its SHA-256 '
    'begin each leaf that uses it.","name":"text","type":"string"}],"name":"schema","namespace":"exchange.audit",'
    '"type":"record"}'
)
_IDS_IN_MEMORY: Final = 100_000
_UNREADABLE: Final = (
    EOFError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError, RecursionError,
)  # fmt: skip

Report = Callable[[str, int, str], None]


class Rules:
    """Takes the entries in order and reports what breaks a rule, as (code, index, detail). Memory does not grow with
    the log's releases, but with its epochs, agreements, people, schemas and gateway runs.

    `state`, what `dump` gave for the entries before, makes it go on from there; `MustRestartError` then says that an
    entry can be judged only by who has seen them all.
    """

    def __init__(self, report: Report, state: Mapping[str, Any] | None = None, anchors: Anchors | None = None) -> None:
        self.counts: dict[str, int] = {}
        self._report = report
        self._schemas: dict[bytes, Any] = {_prefix(SCHEMA_OF_SCHEMAS): _parsed(SCHEMA_OF_SCHEMAS)}
        self._texts: list[str] = []  # of the schemas that are announced
        self._announced: set[bytes] = set()
        self._unknown: set[bytes] = set()
        self._ids = _Ids()
        self._rights = Rights(report, resumed=state is not None)
        self._ranges, self._runs, self._segments = Ranges(report), Runs(report), Segments(report)
        self.anchors = anchors or Anchors(report, None, ())
        self._rules: Final = {
            "anchor": self.anchors.anchor,
            "schema": self._schema,
            "control": self._rights.control,
            "policy_revision": self._rights.policy_revision,
            "decision": self._rights.decision,
            "release": self._release,
            "refusal": self._refusal,
            "record_commit": self._commit,
            "index_segment": self._segments.sealed,
            "gateway_run": self._runs.opened,
        }
        if state is not None:
            self._load(state)

    def dump(self) -> dict[str, Any]:
        """All that later entries are judged by, as JSON; the ids of entries are not in it."""
        return {
            "counts": self.counts,
            "schemas": self._texts,
            "rights": self._rights.dump(),
            "ranges": self._ranges.dump(),
            "runs": self._runs.dump(),
            "segments": self._segments.dump(),
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        if "segments" not in state:
            raise MustRestartError  # an earlier version's, which did not judge them
        self.counts = dict(state["counts"])
        for text in state["schemas"]:
            self._announce(text, _parsed(text))
        self._rights.load(state["rights"])
        self._ranges.load(state["ranges"])
        self._runs.load(state["runs"])
        self._segments.load(state["segments"])

    @property
    def unchecked(self) -> dict[str, int]:
        """What could not be judged, by a stable code, with how often."""
        releases, acks = self.counts.get("release", 0), self.counts.get("ack", 0)
        found = {**self._rights.unchecked, "deliveries": max(releases - acks, 0), "segments": self._segments.unseen}
        found |= {"anchors": self.anchors.unchecked}
        return {what: count for what, count in found.items() if count}

    def lost(self) -> None:
        """Entries could not be read: from here on a gap proves nothing."""
        self._rights.blind = self._ranges.blind = self._runs.blind = self._segments.blind = True

    def take(self, index: int, leaf: bytes) -> None:
        """The entry at this index."""
        parsed = self._known(index, leaf[:8])
        if parsed is None:
            return
        body = _decoded(parsed, leaf[8:])
        if body is None:
            self._report("entry_undecodable", index, "its body does not fit its schema")
            self.lost()
            return
        self._judge(index, kind_of(parsed), body)

    def take_body(self, index: int, prefix: bytes, kind: str, body: Mapping[str, Any]) -> None:
        """The same for one that `decoded_all` has read, by a text that is among `texts`."""
        if self._known(index, prefix) is not None:
            self._judge(index, kind, body)

    @property
    def texts(self) -> Sequence[str]:
        """The schemas that are announced so far."""
        return self._texts

    def _known(self, index: int, prefix: bytes) -> Any:  # noqa: ANN401 - fastavro's parsed schema; None: refused
        parsed = self._schemas.get(prefix)
        if parsed is None or (prefix not in self._announced and self._announced):
            self._refuse_schema(index, prefix)
            return None
        return parsed

    def _judge(self, index: int, kind: str, body: Mapping[str, Any]) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._ids.take(index, body["id"])
        rule = self._rules.get(kind)
        try:
            self._segments.take(index, kind, body)
            if rule is not None:
                rule(index, body)
            else:
                self._rights.raised(body)
        except _UNREADABLE:
            self._report("entry_undecodable", index, "a field that this kind has always had is of another type")

    def close(self) -> None:
        """What can be said only at the end."""
        for index in self._ids.repeated():
            self._report("id_repeated", index, "its id stands earlier in the log")
        self._runs.close()
        self._rights.close()

    def discard(self) -> None:
        """Gives back what was kept in temporary files; nothing is taken after this."""
        self._segments.close()

    def _refuse_schema(self, index: int, prefix: bytes) -> None:
        self.lost()
        if prefix not in self._unknown:
            self._unknown.add(prefix)
            self._report("schema_unknown", index, "no schema entry before it has its prefix")

    def _schema(self, index: int, body: Mapping[str, Any]) -> None:
        text, kind = body["text"], body["kind"]
        parsed = _parsed(text)
        if kind not in KINDS:
            self._report("kind_unknown", index, "a kind that this verifier does not know: use a newer one")
        elif parsed is None or parsed["name"] != f"exchange.audit.{kind}":
            self._report("schema_malformed", index, "not a schema of the kind it names")
        else:
            self._announce(text, parsed)

    def _announce(self, text: str, parsed: Any) -> None:  # noqa: ANN401 - fastavro's parsed schema
        self._schemas[_prefix(text)] = parsed
        self._announced.add(_prefix(text))
        self._texts.append(text)

    def _commit(self, index: int, body: Mapping[str, Any]) -> None:
        self._ranges.commit(index, body)
        self._segments.commit(body)

    def _release(self, index: int, body: Mapping[str, Any]) -> None:
        self._rights.release(index, body)
        self._ranges.release(index, body)
        self._runs.count(index, body["run"], body["agreement"] or body["dataset"], body["counter"])

    def _refusal(self, index: int, body: Mapping[str, Any]) -> None:
        self._rights.refusal(index, body)
        run, counter = body.get("run"), body.get("counter")
        if run is not None and counter is not None:
            self._runs.count(index, run, body.get("agreement") or body.get("dataset") or "", counter)


class _Ids:
    """Entry ids seen, in memory or, when they are many, in temporary files by their first bits."""

    def __init__(self) -> None:
        self._recent: dict[bytes, int] = {}
        self._again: list[int] = []
        self._files: list[IO[bytes]] = []

    def take(self, index: int, entry_id: bytes) -> None:
        if entry_id in self._recent:
            self._again.append(index)
            return
        self._recent[entry_id] = index
        if len(self._recent) >= _IDS_IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        if not self._files:
            self._files = [tempfile.TemporaryFile() for _ in range(64)]  # noqa: SIM115 - closed when read back, or with us
        parts: list[list[bytes]] = [[] for _ in self._files]
        for entry_id, index in self._recent.items():
            parts[entry_id[0] & 63].append(entry_id + index.to_bytes(8, "big"))
        for file, part in zip(self._files, parts, strict=True):
            file.write(b"".join(part))
        self._recent = {}

    def repeated(self) -> Iterator[int]:
        """The indexes of entries whose id stands earlier."""
        yield from self._again[:1_000]
        if not self._files:
            return
        self._spill()
        for file in self._files:
            file.seek(0)
            seen = set()
            while record := file.read(24):
                if record[:16] in seen:
                    yield int.from_bytes(record[16:], "big")
                seen.add(record[:16])
            file.close()


def decoded_all(leaves: Sequence[bytes], texts: Sequence[str]) -> list[tuple[bytes, str, dict[str, Any]]] | None:
    """Prefix, kind and body of each leaf, by the schemas of these texts alone; None where one is not to be read."""
    forms = _forms(tuple(texts))
    found = []
    for leaf in leaves:
        form = forms.get(leaf[:8])
        body = _decoded(form[1], leaf[8:]) if form is not None else None
        if form is None or body is None:
            return None
        found.append((leaf[:8], form[0], body))
    return found


@lru_cache(4)
def _forms(texts: tuple[str, ...]) -> dict[bytes, tuple[str, Any]]:
    parsed = {_prefix(text): _parsed(text) for text in texts}
    return {prefix: (kind_of(one), one) for prefix, one in parsed.items() if one is not None}


def kind_of(parsed: Any) -> str:  # noqa: ANN401 - fastavro's parsed schema
    """The kind that a schema is of."""
    return str(parsed["name"]).rpartition(".")[2]


def _prefix(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:8]


def _parsed(text: str) -> Any:  # noqa: ANN401 - fastavro's parsed schema, None when the text is none that we allow
    try:
        document = json.loads(text)
        fields = {field["name"]: field["type"] for field in document["fields"]}
        if document["type"] != "record" or not _allowed(document, 0) or fields["time_ns"] != "long":
            return None
        if fields["id"] != {"name": "Id", "size": 16, "type": "fixed"}:
            return None
        return fastavro.parse_schema(document, named_schemas={})
    except (*_UNREADABLE, fastavro.schema.SchemaParseException):
        return None


def _allowed(avro: Any, depth: int) -> bool:  # noqa: ANN401 - a JSON schema
    """Only types of which each value takes at least one byte: so a leaf of 64 KB cannot unfold into more."""
    if depth > 8 or isinstance(avro, list):
        return depth <= 8 and len(avro) == 2 and avro[0] == "null" and _allowed(avro[1], depth + 1)
    if isinstance(avro, str):
        return avro in ("string", "bytes", "long", "int", "boolean", "Id", "Tag", "Hash")
    inner = {"array": "items", "map": "values"}.get(avro["type"])
    if inner is not None:
        return _allowed(avro[inner], depth + 1)
    if avro["type"] == "record":
        return bool(avro["fields"]) and all(_allowed(field["type"], depth + 1) for field in avro["fields"])
    return bool(avro["type"] == "fixed" and 0 < avro["size"] <= 64)


def _decoded(parsed: Any, data: bytes) -> dict[str, Any] | None:  # noqa: ANN401 - fastavro's parsed schema
    stream = io.BytesIO(data)
    try:
        body = fastavro.schemaless_reader(stream, parsed, None)
    except _UNREADABLE:
        return None
    return body if isinstance(body, dict) and not stream.read(1) else None
