"""Answers to searches, as whoever has the key of a log could make them: sound ones, and what forgeries begin with."""

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from exchange.audit import tiles
from exchange.audit.entries import Entry, encode, entry_id, make, schema_entry
from exchange.audit.note import vkey
from exchange.audit.schemas import KINDS, kind_of
from exchange.cli import lesson
from exchange.evidence import check as judge
from exchange.evidence.result import Result
from exchange.names import canonical, digest
from exchange.wiring.evidence import FORMAT, archive
from exchange.wiring.searched import range_files
from tests.audit.building import DIGEST, KEY, START_NS, approved, refusal, release

HOUR = 3_600 * 10**9


Files = dict[str, bytes]


Facts = Mapping[str, Any]


def _story(choice: random.Random, count: int) -> list[tuple[Entry, Facts]]:
    """Entries of all kinds that are asked for, in no order of time, each with what is true of it."""
    told: list[tuple[Entry, Facts]] = []
    terms = {
        f"agr-{number}": {"dataset": f"d{number}", "consumer": f"dep{number}", "purpose": f"p{number}"}
        for number in range(3)
    }
    for number, (name, one) in enumerate(terms.items()):
        data = canonical({"terms": {**one, "fields": []}}).decode()
        for version, step in ((1, "requested"), (2, "approved")):
            entry = approved(
                *(version, name),
                type=f"agreement.{step}/1",
                actor=f"a{number}",
                data=data if version == 1 else "{}",
            )
            about = {**one, "department": one["consumer"], "officer": f"a{number}"}
            told.append((entry, {"what": ["grants"], "time": START_NS + version, **about}))
    released: list[tuple[Entry, dict[str, Any]]] = []
    for number in range(count):
        at = START_NS + choice.randrange(10) * HOUR
        dep, data, officer = f"dep{choice.randrange(3)}", f"d{choice.randrange(3)}", f"a{choice.randrange(3)}"
        case, purpose = choice.choice([None, "c1", "c2"]), f"p{choice.randrange(2)}"
        own: dict[str, Any] = {"dataset": data, "actor": officer, "purpose": purpose, "case": case}
        facts: dict[str, Any] = {
            "dataset": data,
            "officer": officer,
            "purpose": purpose,
            "case": case,
            "department": dep,
            "time": at,
        }
        kind = choice.choice(["release", "release", "refusal", "case", "query", "key", "policy", "ack"])
        if kind == "release":
            path = choice.choice(["name", "born"])
            text = canonical([{"path": path, "mask": {"kind": "keep"}}]).decode()
            entry = at_time(release(number, recipient=dep, fields=text, **own), at)
            released.append((entry, {"what": ["releases", "unconfirmed"], "field": path, **facts}))
            told.append(released[-1])
        elif kind == "refusal":
            told.append((at_time(refusal(number, consumer=dep, **own), at), {"what": ["refusals"], **facts}))
        elif kind == "case":
            opened = approved(1, "x", aggregate=f"case/c{number}", type="case.opened/1", actor=officer, department=dep)
            opened = at_time(_named(opened, number), at)
            told.append((opened, _only(facts, "openings", "officer", "department", case=f"c{number}")))
        elif kind == "query":
            entry = make(
                "audit_query", entry_id("q", number), at, query="who_saw", actor=officer, department=dep, tags=[]
            )
            told.append((entry, _only(facts, "queries", "officer", "department")))
        elif kind == "key":
            more: dict[str, Any] = {
                "event": "added",
                "use": "seal",
                "owner": dep,
                "algorithm": "ed25519",
                "actor": officer,
            }
            told.append((make("key", entry_id("k", number), at, **more), _only(facts, "keys", "officer", "department")))
        elif kind == "policy":
            more = {"event": "submitted", "revision": DIGEST, "actor": officer, "department": dep}
            entry = make("policy_revision", entry_id("p", number), at, **more)
            told.append((entry, _only(facts, "policy", "officer", "department")))
        elif released:
            index = 14 + next(at for at, one in enumerate(told) if one[0] is released[-1][0])
            released[-1][1]["what"] = ["releases"]
            more = {"release": released[-1][0].id, "index": index, "recipient": dep, "outcome": "received"}
            told.append((make("ack", entry_id("ack", number), at, **more), {"what": [], "time": at}))
    return told


def at_time(entry: Entry, ns: int) -> Entry:
    """The entry, stating another time."""
    return dataclasses.replace(entry, body={**entry.body, "time_ns": ns})


def _named(entry: Entry, number: int) -> Entry:
    identity = entry_id("case", number)
    return dataclasses.replace(entry, id=identity, body={**entry.body, "id": identity})


def _only(facts: Facts, what: str, *names: str, **more: Any) -> Facts:
    return {"what": [what], "time": facts["time"], **{name: facts[name] for name in names}, **more}


@dataclass(frozen=True)
class Bundle:
    """What a bundle is made of; whoever has the log's key makes what he likes of it, and the log records it."""

    leaves: Sequence[bytes]
    query: str
    filter: Mapping[str, Any]
    answer: Sequence[int]
    span: tuple[int, int] | None
    alone: frozenset[int] = frozenset()
    recorded: Mapping[str, Any] = field(default_factory=dict)  # what of the question the log recorded otherwise
    shown: tuple[int, ...] | None = None  # the range that the files hold; of none: ()

    def files(self) -> Files:
        """Signed and proved."""
        question: dict[str, Any] = {
            "format": FORMAT,
            "query": self.query,
            "filter": dict(self.filter),
            "size": len(self.leaves),
            "answer": list(self.answer),
            **({"range": list(self.span)} if self.span else {}),
        }
        told = {**question, **self.recorded}
        more: dict[str, Any] = {"query": told["query"], "parameters_digest": digest(told), "tags": []}
        asked = make(
            *("audit_query", entry_id("asked"), START_NS + 99 * HOUR),
            size=len(self.leaves),
            results=len(told["answer"]),
            **more,
        )
        log = lesson.Log([*self.leaves, encode(asked)], KEY)
        note, tile = log.checkpoint(), cache(log.tile)
        files = {
            "question.json": canonical({**question, "asked": len(self.leaves)}) + b"\n",
            "vkey": vkey(lesson.ORIGIN, KEY.public).encode() + b"\n",
            "checkpoint": note,
        }
        shown = self.span if self.shown is None else self.shown
        alone = {*range(14), *self.alone, len(self.leaves)}
        if shown:
            lo, hi = shown
            files |= range_files(lo, log.leaves[lo:hi], tiles.range_proof(lo, hi, len(log.leaves), tile))
            alone -= set(range(lo, hi))
        for index in alone:
            files[f"entries/{index}"] = log.leaves[index]
            proof = tiles.inclusion(index, len(log.leaves), tile)
            files[f"proofs/{index}"] = tiles.proof_text(index, proof, note)
        return files


@dataclass(frozen=True)
class World:
    """A log of 13 schemas and a story, and what is true of its entries."""

    leaves: Sequence[bytes]
    facts: Sequence[Facts]

    def truth(self, query: str, filters: Facts) -> list[int]:
        """The reference: which entries answer a question."""

        def fits(one: Facts) -> bool:
            given = dict(filters)
            begin, end = given.pop("from_ns", 0), given.pop("until_ns", 1 << 62)
            own = all(one.get(name) == value for name, value in given.items())
            return query in one["what"] and own and begin <= one["time"] < end

        return [index for index, one in enumerate(self.facts) if fits(one)]

    def whole(self, query: str, filters: Facts) -> Bundle:
        """A sound answer with every entry of the log."""
        return Bundle(self.leaves, query, filters, self.truth(query, filters), (0, len(self.leaves)))

    def listed(self, query: str, filters: Facts) -> Bundle:
        """A sound answer of the entries alone."""
        answer = self.truth(query, filters)
        requests = range(14, 20, 2) if query == "grants" else ()
        return Bundle(self.leaves, query, filters, answer, None, frozenset({*answer, *requests}))


def world_of() -> World:
    """A log of the schemas and a story of 300 entries."""
    story = _story(random.Random(7), 300)
    schemas = [
        schema_entry(kind_of(name), START_NS) for name in ("schema", *sorted(set(KINDS) - {"schema", "detail_expiry"}))
    ]
    assert len(schemas) == 14
    entries = [*schemas, *(one for one, _ in story)]
    return World([encode(one) for one in entries], [{"what": [], "time": START_NS}] * 14 + [one for _, one in story])


def judged(folder: Path, files: Files, *given: Any) -> Result:
    """What becomes of a bundle of these files."""
    (folder / "tried.zip").write_bytes(archive(files))
    return judge.check(str(folder / "tried.zip"), *given)


def wrong_in(result: Result) -> list[tuple[str, str]]:
    """Code and place of each finding."""
    return [(one.code, one.place) for one in result.findings]


def state_of(key: str, size: int, root: bytes) -> bytes:
    """What `audit verify --state` would keep of a log of this size and root."""
    from exchange.audit.verify_state import FORMAT as STATE
    from exchange.audit.verify_state import _digest

    document = {
        "format": STATE,
        "key": key,
        "size": size,
        "root": root.hex(),
        "rows": [],
        "checkpoints": [],
        "rules": {},
    }
    return json.dumps({**document, "digest": _digest(document)}).encode()
