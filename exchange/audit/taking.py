"""What the index keeps of entries and records: rows of its tables, one batch at a time."""

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Insert, Table

from exchange.audit import index_tables as t
from exchange.log.server import SCHEME
from exchange.names import canonical

# What is not listed here is in the log and in no index.
INDEXED: Final = frozenset(
    ("ack", "audit_query", "control", "key", "policy_revision", "refusal", "release", "restore"),
)
_DEPARTMENT: Final[Mapping[str, str]] = {"release": "recipient", "ack": "recipient", "key": "owner"}
_FACTS: Final = (
    *("action", "actor", "agreement", "aggregate", "case", "consumer", "dataset", "department", "event", "fields"),
    *("on_behalf_of", "outcome", "owner", "policy_revision", "purpose", "query", "reasons", "recipient", "revision"),
    *("type", "use"),
)
_AGREEMENT: Final = "agreement/"
_CASE: Final = "case/"
_CHUNK: Final = 500  # values in one IN (…)


class Taking:
    """One batch: entries are taken in order, `write` puts what came of them into the tables."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._facts: dict[bytes, dict[str, Any]] = {}
        self._entries: list[dict[str, Any]] = []
        self._named: list[dict[str, Any]] = []
        self._acked: list[dict[str, Any]] = []
        self._ranges: list[tuple[int, Mapping[str, Any]]] = []
        self._terms: dict[str, Mapping[str, Any]] = {}
        self._segments: list[dict[str, Any]] = []

    def take(self, index: int, kind: str, body: Mapping[str, Any]) -> None:
        """One entry of the audit log."""
        if kind == "index_segment":
            self._segments.append(_segment(index, body))
        if kind not in INDEXED:
            return
        digest = self._fact(kind, {**body, **self._about(kind, body)})
        self._entries.append({"idx": index, "time_ns": body["time_ns"], "digest": digest})
        tags = body.get("tags") or ()
        places = body.get("positions") or [None] * len(tags)
        self._named += [{"tag": tag, "idx": index, "position": place} for tag, place in zip(tags, places, strict=False)]
        if kind == "release" and body["lo"] is not None and body["hi"] > body["lo"]:
            self._ranges.append((index, body))
        if kind == "ack" and body["index"] is not None:
            self._acked.append({"release": body["index"], "idx": index, "outcome": body["outcome"]})

    def records(self, part: int, tags: Sequence[bytes], positions: Sequence[int]) -> None:
        """Records of a partition."""
        rows = [{"tag": tag, "part": part, "position": at} for tag, at in zip(tags, positions, strict=True)]
        put(self._connection, t.SEEN, rows)

    def part(self, topic: str, partition: int) -> int:
        """The number of a partition in the index."""
        put(self._connection, t.PART, [{"topic": topic, "part": partition}])
        found = sa.select(t.PART.c.id).where(t.PART.c.topic == topic, t.PART.c.part == partition)
        return int(self._connection.execute(found).scalar_one())

    def write(self) -> None:
        """Puts what was taken into the tables."""
        ids = self._written_facts()
        entries = [{**row, "facts": ids[row.pop("digest")]} for row in self._entries]
        put(self._connection, t.ENTRY, entries)
        put(self._connection, t.NAMED, self._named)
        put(self._connection, t.ACKED, self._acked)
        put(self._connection, t.SEGMENT, self._segments)
        terms = [{"agreement": name, "text": canonical(one).decode()} for name, one in self._terms.items()]
        put(self._connection, t.TERMS, terms)
        self._write_ranges({row["idx"]: (row["time_ns"], row["facts"]) for row in entries})

    def _about(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a control event is about, beyond what it says itself: an agreement's terms, a case."""
        if kind != "control":
            return {}
        aggregate = str(body["aggregate"])
        if aggregate.startswith(_CASE):
            return {"case": aggregate.removeprefix(_CASE)}
        if not aggregate.startswith(_AGREEMENT):
            return {}
        name = aggregate.removeprefix(_AGREEMENT)
        if name not in self._terms:
            self._terms[name] = self._known_terms(name) or _terms(body["data"])
        return {"agreement": name, **self._terms[name]}

    def _known_terms(self, agreement: str) -> Mapping[str, Any] | None:
        found = self._connection.execute(sa.select(t.TERMS.c.text).where(t.TERMS.c.agreement == agreement)).scalar()
        return None if found is None else dict(json.loads(found))

    def _fact(self, kind: str, body: Mapping[str, Any]) -> bytes:
        facts = {"kind": kind, **{name: body[name] for name in _FACTS if body.get(name) not in (None, [])}}
        text = canonical(facts).decode()
        digest = sha256(text.encode()).digest()[:16]
        if digest not in self._facts:
            facets = {name: body.get(name) for name in ("dataset", "actor", "purpose")}
            # Whom it concerns: the consumer of an agreement, not who approved it.
            department = body.get("consumer") or body.get(_DEPARTMENT.get(kind, "department"))
            told = {**facets, "department": department, "matter": body.get("case")}
            self._facts[digest] = {"digest": digest, "kind": kind, **told, "text": text}
        return digest

    def _written_facts(self) -> Mapping[bytes, int]:
        before = self._ids(self._facts)
        fresh = [row for digest, row in self._facts.items() if digest not in before]
        put(self._connection, t.FACTS, fresh)
        ids = {**before, **self._ids([row["digest"] for row in fresh])}
        shown = [
            {"path": one["path"], "facts": ids[row["digest"]]}
            for row in fresh
            for one in json.loads(json.loads(row["text"]).get("fields", "[]"))
        ]
        put(self._connection, t.SHOWN, shown)
        return ids

    def _ids(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        wanted = list(digests)
        for first in range(0, len(wanted), _CHUNK):
            query = sa.select(t.FACTS.c.digest, t.FACTS.c.id)
            query = query.where(t.FACTS.c.digest.in_(wanted[first : first + _CHUNK]))
            found.update((bytes(digest), int(number)) for digest, number in self._connection.execute(query))
        return found

    def _write_ranges(self, entries: Mapping[int, tuple[int, int]]) -> None:
        """Each range goes into the first stream of its partition and agreement that ends before it begins."""
        if not self._ranges:
            return
        streams = {
            int(row.id): (int(row.part), str(row.agreement), int(row.hi))
            for row in self._connection.execute(sa.select(t.STREAM))
        }
        by_key: dict[tuple[int, str], list[int]] = {}
        for number in sorted(streams):
            part, agreement, _ = streams[number]
            by_key.setdefault((part, agreement), []).append(number)
        known, rows = dict(streams), []
        for index, body in self._ranges:
            part, agreement = self.part(body["topic"], body["partition"]), body["agreement"] or ""
            fitting = (one for one in by_key.get((part, agreement), ()) if streams[one][2] <= body["lo"])
            number = next(fitting, 0)
            if not number:
                number = len(streams) + 1
                by_key.setdefault((part, agreement), []).append(number)
            streams[number] = (part, agreement, body["hi"])
            row = {"stream": number, "lo": body["lo"], "hi": body["hi"], "excluded": body["excluded"]}
            time_ns, facts = entries[index]
            rows.append({**row, "idx": index, "time_ns": time_ns, "facts": facts})
        put(self._connection, t.RANGE, rows)
        changed = [
            {"id": number, "part": part, "agreement": agreement, "hi": hi}
            for number, (part, agreement, hi) in streams.items()
            if known.get(number) != (part, agreement, hi)
        ]
        self._connection.execute(sa.delete(t.STREAM).where(t.STREAM.c.id.in_([one["id"] for one in changed])))
        put(self._connection, t.STREAM, changed)


def put(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts rows; one that is there stays as it is."""
    if rows:
        from sqlalchemy.dialects import postgresql, sqlite

        made: Insert = (postgresql if connection.dialect.name == SCHEME else sqlite).insert(table)
        connection.execute(made.on_conflict_do_nothing(), list(rows))  # type: ignore[attr-defined]  # both dialects' own


def _terms(data: str | None) -> Mapping[str, Any]:
    """Dataset, consumer and purpose of a request for an agreement."""
    terms = json.loads(data or "{}").get("terms") or {}
    return {name: terms[name] for name in ("dataset", "consumer", "purpose") if isinstance(terms.get(name), str)}


def _segment(index: int, body: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: body[name] for name in ("topic", "lo", "hi", "root", "digest")}
    return {"idx": index, "part": body["partition"], "rows": body["count"], **told}
