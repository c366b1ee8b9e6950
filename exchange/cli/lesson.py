"""`audit lesson`: one sound evidence bundle and six others, for whoever learns to judge them in ten minutes.

The log is made up, small, and the same every time; its keys are known to everybody. Nothing here touches a site.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from exchange.audit import tiles
from exchange.audit.entries import Entry, decode, encode, entry_id, make, schema_entry
from exchange.audit.note import Checkpoint, sign_checkpoint, vkey
from exchange.audit.schemas import kind_of
from exchange.audit.sealing import rows_of
from exchange.audit.segments import PAGE
from exchange.names import canonical, digest, digest_bytes
from exchange.signing.keys import SigningKey
from exchange.signing.merkle import leaf_hashes, root
from exchange.wiring.checker import NAME, checker
from exchange.wiring.evidence import FORMAT, archive

ORIGIN: Final = "lesson.exchange.invalid/log"
_START: Final = 1_795_420_800_000_000_000  # 2026-11-23
_KINDS: Final = (
    *("audit_query", "control", "decision", "gateway_run", "policy_revision", "record_commit", "refusal", "release"),
)
_TAG: Final = bytes.fromhex("9cccea48c325e9c0dfc005c17c3a4de6")
_POLICY, _SCHEMA, _VIEW = (digest(name) for name in ("policy", "schema", "view"))
_ACTORS: Final = tuple(hashlib.sha256(name.encode()).hexdigest()[:32] for name in ("a", "b", "c", "d"))
_RUN: Final = entry_id("lesson", "run")
_HOUR: Final = 3_600_000_000_000
_FIELDS: Final = [
    {"mask": {"kind": "keep"}, "path": "person_id"},
    {"mask": {"first": 0, "kind": "partial", "last": 4}, "path": "bank_account"},
]


@dataclass(frozen=True, slots=True)
class Log:
    """A log in memory."""

    leaves: Sequence[bytes]
    key: SigningKey

    def checkpoint(self, size: int | None = None) -> bytes:
        """Its signed checkpoint, or the one that it had at a size."""
        leaves = self.leaves[:size]
        edge, _ = tiles.Edge().append(leaves)
        return sign_checkpoint(Checkpoint(ORIGIN, len(leaves), edge.root()), self.key)

    def tile(self, level: int, n: int) -> list[bytes]:
        """A tile's hashes."""
        _, files = tiles.Edge().append(self.leaves)
        data = files[tiles.path(level, n, tiles.width_at(level, n, len(self.leaves)))]
        return [data[at : at + tiles.HASH] for at in range(0, len(data), tiles.HASH)]


def write(folder: Path) -> list[Path]:
    """Writes the checker, the log's key, the checkpoint that was kept, and seven bundles, whose number says nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    true = SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"lesson").digest()))
    other = SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"somebody else").digest()))
    log = Log(_leaves(), true)
    kept = log.checkpoint(len(log.leaves) - 4)
    sound = _files(log, kept)
    forged = {
        NAME: checker(),
        "vkey": vkey(ORIGIN, true.public).encode() + b"\n",
        "kept-checkpoint": kept,
        "bundle-1.zip": archive(_changed(sound)),
        "bundle-2.zip": archive(sound),
        "bundle-3.zip": archive(_left_out(sound)),
        "bundle-4.zip": archive(_files(Log(_leaves(recipient="ny.minzheng"), other), None)),
        "bundle-5.zip": archive(_files(Log(_leaves(recipient="ny.minzheng"), true), None)),
        "bundle-6.zip": archive(_files(Log(_leaves(revoked=True), true), kept)),
        "bundle-7.zip": archive(_silent(true, kept)),
    }
    for name, data in forged.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in forged]


def _leaves(recipient: str = "ny.weijian", *, revoked: bool = False) -> list[bytes]:
    """The log's entries: an agreement, a read that showed the subject's record, a look-up, a refusal, the question."""
    story = _story(recipient, revoked=revoked)
    schemas = [schema_entry(kind_of(name), _START) for name in ("schema", *_KINDS)]
    leaves = [encode(entry) for entry in (*schemas, *story)]
    return [*leaves, encode(_asked(_question(leaves)))]


def _asked(question: Mapping[str, Any]) -> Entry:
    return make(
        "audit_query",
        entry_id("lesson", "query"),
        _START + 9 * _HOUR,
        actor=_ACTORS[3],
        department="ny.shenji",
        query="who_saw",
        tags=[_TAG],
        parameters_digest=digest(question),
        size=question["size"],
        results=len(question["answer"]),
    )


def _story(recipient: str, *, revoked: bool) -> list[Entry]:
    terms = {
        "actions": ["read", "lookup"],
        "case_bound": True,
        "consumer": recipient,
        "dataset": "hrss.pension_account",
        "expires_ns": _START + 10_000 * _HOUR,
        "fields": _FIELDS,
        "not_before_ns": _START,
        "purpose": "dibao.initial_check",
    }
    steps = ("requested", "endorsed", "approved")
    life = [_event(number, name, {"terms": terms}) for number, name in enumerate(steps, 1)]
    policy = make("policy_revision", entry_id("lesson", "policy"), _START, event="activated", revision=_POLICY)
    run = make("gateway_run", _RUN, _START, run=_RUN, gateway="gw-1", version="1")
    commit = make(
        *("record_commit", entry_id("lesson", "commit"), _START),
        topic="hrss.pension_account",
        partition=0,
        lo=0,
        hi=500,
        count=500,
        root=bytes(32),
        source="ny.renshe/pension",
        department="ny.renshe",
    )
    end = [_event(4, "revoked", {})] if revoked else []
    span = {"topic": "hrss.pension_account", "partition": 0, "lo": 0, "hi": 200, "released": 200}
    read = _release(recipient, 1, span)
    place = {"topic": "hrss.pension_account", "tags": [_TAG], "partitions": [0], "positions": [42], "released": 1}
    first, second = _decision(recipient, 1, []), _decision(recipient, 2, [_TAG])
    return [policy, *life, run, commit, first, read, *end, second, _release(recipient, 2, place), _refusal()]


def _event(number: int, name: str, data: Mapping[str, Any]) -> Entry:
    return make(
        *("control", entry_id("lesson", "event", number), _START + number),
        type=f"agreement.{name}/1",
        aggregate="agreement/agr-7",
        version=number,
        actor=_ACTORS[(number - 1) % 3],
        data=canonical(data).decode(),
        data_digest=digest(data),
    )


def _facts(number: int) -> dict[str, Any]:
    return {
        "dataset": "hrss.pension_account",
        "actor": _ACTORS[1],
        "purpose": "dibao.initial_check",
        "case": "case-2026-000123",
        "action": "read" if number == 1 else "lookup",
        "zone": "extranet",
        "agreement": "agr-7",
        "policy_revision": _POLICY,
        "schema": _SCHEMA,
        "expires_ns": _START + number * _HOUR + _HOUR,
    }


def _decision(recipient: str, number: int, tags: list[bytes]) -> Entry:
    return make(
        *("decision", entry_id("lesson", "decision", number), _START + number * _HOUR),
        **_facts(number),
        question_digest=digest([number, "question"]),
        plan_digest=digest([number, "plan"]),
        effect="allow",
        reasons=["agreement"],
        consumer=recipient,
        tags=tags,
    )


def _release(recipient: str, number: int, what: Mapping[str, Any]) -> Entry:
    return make(
        *("release", entry_id("lesson", "release", number), _START + number * _HOUR + 1),
        **_facts(number),
        **what,
        decision=entry_id("lesson", "decision", number),
        recipient=recipient,
        epochs={},
        excluded_count=0,
        withheld=0,
        view_schema=_VIEW,
        fields=canonical(_FIELDS).decode(),
        format="jsonl",
        payload_digest=digest([number, "payload"]),
        payload_bytes=1_000,
        run=_RUN,
        counter=number,
        attempt=0,
    )


def _refusal() -> Entry:
    return make(
        *("refusal", entry_id("lesson", "refusal"), _START + 5 * _HOUR),
        reasons=["not_in_case"],
        dataset="hrss.pension_account",
        consumer="ny.shuiwu",
        actor=_ACTORS[2],
        purpose="tax.check",
        action="lookup",
        tags=[_TAG],
    )


def _question(leaves: Sequence[bytes]) -> dict[str, Any]:
    prefixes = [kind_of(name).prefix for name in ("release", "refusal")]
    seen = [index for index, leaf in enumerate(leaves) if leaf[:8] in prefixes]
    answer = [{"index": index, "positions": [42] if leaves[index][:8] == prefixes[0] else []} for index in seen]
    return {"format": FORMAT, "query": "who_saw", "tags": [_TAG.hex()], "size": len(leaves), "answer": answer}


def _files(log: Log, kept: bytes | None) -> dict[str, bytes]:
    """The bundle of a log with everything in it; with the way from a checkpoint of it that was kept."""
    note, size = log.checkpoint(), len(log.leaves)
    files = {
        "question.json": canonical({**_question(log.leaves[:-1]), "asked": size - 1}) + b"\n",
        "vkey": vkey(ORIGIN, log.key.public).encode() + b"\n",
        "checkpoint": note,
    }
    for index, leaf in enumerate(log.leaves):
        files[f"entries/{index}"] = leaf
        files[f"proofs/{index}"] = tiles.proof_text(index, tiles.inclusion(index, size, log.tile), note)
    old = size - 4 if kept is None else int(kept.split(b"\n")[1])
    hashes = [base64.b64encode(one).decode() for one in tiles.consistency(old, size, log.tile)]
    files[f"kept/{old}"] = log.checkpoint(old)
    files[f"consistency/{old}"] = "\n".join([f"old {old}", *hashes, ""]).encode() + b"\n" + note
    return files


def _changed(sound: Mapping[str, bytes]) -> dict[str, bytes]:
    """One word of one entry is another."""
    name = next(name for name, data in sorted(sound.items()) if name.startswith("entries/") and b"ny.shuiwu" in data)
    return {**sound, name: sound[name].replace(b"ny.shuiwu", b"ny.gongan")}


def _left_out(sound: Mapping[str, bytes]) -> dict[str, bytes]:
    """The answer lacks one of its entries, and so does the bundle."""
    question = json.loads(sound["question.json"])
    gone = question["answer"].pop(1)["index"]
    rest = {name: data for name, data in sound.items() if name not in (f"entries/{gone}", f"proofs/{gone}")}
    return {**rest, "question.json": canonical(question) + b"\n"}


def _silent(key: SigningKey, kept: bytes) -> dict[str, bytes]:
    """An answer without one of its entries, which the log's keeper recorded and signed: the sealed index has it."""
    leaves = [*_leaves()[:-1], encode(schema_entry(kind_of("index_segment"), _START))]
    size, segments = len(leaves), _segments(leaves)
    leaves += [encode(entry) for entry, _ in segments]
    question = {**_question(leaves), "sealed": size}
    gone = question["answer"].pop(1)["index"]
    log = Log([*leaves, encode(_asked(question))], key)
    files = _files(log, kept)
    files["question.json"] = canonical({**question, "asked": len(leaves)}) + b"\n"
    for number, (_, pages) in enumerate(segments, size):
        files[f"segments/{number}/proof"] = b""
        files.update({f"segments/{number}/{at}": page for at, page in enumerate(pages)})
    return {name: data for name, data in files.items() if name not in (f"entries/{gone}", f"proofs/{gone}")}


def _segments(leaves: Sequence[bytes]) -> list[tuple[Entry, list[bytes]]]:
    """The lists of this log and of its records, each sealed whole, with its pages."""
    known = {kind_of(name).prefix: kind_of(name).parsed for name in ("schema", *_KINDS, "index_segment")}
    entries = [(index, *decode(leaf, known)) for index, leaf in enumerate(leaves)]
    others = [hashlib.sha256(b"%d" % number).digest()[:16] for number in range(500)]
    tags = [_TAG if at == 42 else tag for at, tag in enumerate(others)]
    lists = {
        "hrss.pension_account": (500, [tag + at.to_bytes(8, "big") for at, tag in enumerate(tags)]),
        "@named": (len(leaves), list(rows_of("named", entries))),
        "@ranges": (len(leaves), list(rows_of("ranges", entries))),
    }
    return [_segment(topic, end, sorted(rows)) for topic, (end, rows) in lists.items()]


def _segment(topic: str, end: int, rows: Sequence[bytes]) -> tuple[Entry, list[bytes]]:
    pages = [b"".join(rows[at : at + PAGE]) for at in range(0, len(rows), PAGE)]
    hashes = leaf_hashes(pages)
    entry = make(
        *("index_segment", entry_id("lesson", topic), _START + 8 * _HOUR),
        topic=topic,
        partition=0,
        lo=0,
        hi=end,
        count=len(rows),
        page_records=PAGE,
        root=root(hashes),
        digest=digest_bytes(b"".join([*pages, *hashes])),
    )
    return entry, pages
