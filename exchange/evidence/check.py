"""A bundle judged: its files, signatures and proofs, the question with its answer, and what the answer rests on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import Any, NamedTuple, Sequence

from . import avro, complete, forms
from .complete import Shown
from .question import asks, canonical, concerns

FORMAT = "exchange.evidence/1"
# The schema of the kind `schema`, by which every other schema is read; its text stands in the log too.
_SCHEMA_PREFIX = "d47716b0fe6b8764"
_ENTRY = re.compile(r"(entries|proofs)/(0|[1-9][0-9]{0,17})")
_KEPT = re.compile(r"(kept|consistency)/(0|[1-9][0-9]{0,17})")
_ASKED = {"answer", "asked", "format", "query", "size", "tags"}
_SAME = (
    *("agreement", "dataset", "purpose", "policy_revision", "expires_ns"),
    *("schema", "action", "case", "zone", "actor"),
)
_SCHEMA_OF_SCHEMAS = json.dumps(
    {
        "type": "record",
        "fields": [
            {"name": "id", "type": {"type": "fixed", "name": "Id", "size": 16}},
            {"name": "time_ns", "type": "long"},
            {"name": "kind", "type": "string"},
            {"name": "text", "type": "string"},
        ],
    }
)


class Finding(NamedTuple):
    """One thing that is wrong: a stable code, the file or entry, and the facts."""

    code: str
    place: str
    detail: str


@dataclass(frozen=True)
class Entry:
    """An entry that is proved to be in the log."""

    index: int
    kind: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What became of a bundle. `proved` and `unproved` are stable codes, each with a number; `answer` are the proved
    entries that answer the question. `covered` is empty unless the answer is proved to be complete: `entries` of the
    log, of which `sealed` by segments, `records` the end of each partition's sealed positions, `excluded` and `later`
    the entries that covered the subjects and held them back, and those behind the answer that may concern them.
    """

    findings: list[Finding]
    question: dict[str, Any]
    answer: list[Entry]
    size: int
    root: str
    origin: str
    key_fingerprint: str
    checkpoint_fingerprint: str
    proved: dict[str, int]
    unproved: dict[str, int]
    covered: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "format": "exchange.evidence_verdict/1",
            "ok": self.ok,
            "findings": [dict(one._asdict()) for one in self.findings],
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "key_fingerprint": self.key_fingerprint,
            "checkpoint_fingerprint": self.checkpoint_fingerprint,
            "question": self.question,
            "answer": [one.index for one in self.answer],
            "proved": self.proved,
            "unproved": self.unproved,
            "covered": self.covered,
        }


def check(path: str, vkey: str | None = None, kept: Sequence[bytes] = ()) -> Result:
    """Judges the bundle at this path, an archive or a folder, by a key and by checkpoints that the auditor kept.

    Without a key the one in the bundle is taken, and that is said: anybody can make a key.
    """
    run = _Check()
    files = run.read(path)
    if files is not None and run.keys(files, vkey):
        run.proofs(files)
        run.history(files, kept)
        run.strays(files)
        try:
            run.question(files)
            run.complete(files)
            run.grounds()
        except (KeyError, TypeError, AttributeError, ValueError):
            # A log may sign what it likes, schemas too: such entries have fields that no kind of ours has.
            run.find("entry_undecodable", "question.json", "an entry without the fields of its kind")
            run.answer.clear()
    return run.result()


class _Check:
    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.key: forms.Key | None = None
        self.checkpoint: forms.Checkpoint | None = None
        self.entries: dict[int, Entry] = {}
        self.asked: dict[str, Any] = {}
        self.answer: list[Entry] = []
        self.proved: dict[str, int] = {}
        self.unproved: dict[str, int] = {}
        self.covered: dict[str, Any] = {}

    def find(self, code: str, place: object = "", detail: object = "") -> None:
        if len(self.findings) < 200:
            self.findings.append(Finding(code, str(place), str(detail)))

    def read(self, path: str) -> dict[str, bytes] | None:
        """The bundle's files."""
        name = os.path.basename(path)
        try:
            if os.path.isdir(path):
                return forms.folder(path)
            with open(path, "rb") as file:
                files, changed, exact = forms.unarchived(file.read(forms.MAX_BUNDLE + 1))
        except (OSError, forms.Wrong) as error:
            self.find("bundle_unreadable", name, error.strerror if isinstance(error, OSError) else error)
            return None
        for one in changed:
            self.find("file_changed", one, "its check sum does not fit")
        if not exact:
            self.find("archive_changed", name)
        return files

    def keys(self, files: dict[str, bytes], vkey: str | None) -> bool:
        """The key, and the checkpoint that all proofs end in."""
        for name in ("vkey", "checkpoint", "question.json"):
            if name not in files:
                self.find("file_missing", name)
        try:
            self.key = forms.key_of((vkey.strip() + "\n").encode() if vkey is not None else files.get("vkey", b""))
        except forms.Wrong as error:
            self.find("key_malformed", "vkey" if vkey is None else "--key", error)
            return False
        if files.get("vkey") != (self.key.text + "\n").encode():
            self.find("key_other", "vkey")
        if vkey is None:
            self.unproved["key"] = 0
        try:
            self.checkpoint = forms.opened(files.get("checkpoint", b""), self.key)
        except forms.Wrong as error:
            self.find("checkpoint_invalid", "checkpoint", error)
            return False
        self.proved["signature"] = self.checkpoint.size
        return True

    def proofs(self, files: dict[str, bytes]) -> None:
        """Every entry under the checkpoint; schemas come before their use."""
        assert self.checkpoint is not None
        schemas = {_SCHEMA_PREFIX: _SCHEMA_OF_SCHEMAS}
        known = (match for match in map(_ENTRY.fullmatch, files) if match is not None)
        for index in sorted({int(match[2]) for match in known}):
            leaf, proof = files.get("entries/%d" % index), files.get("proofs/%d" % index)
            if leaf is None or proof is None:
                self.find("file_missing", "%s/%d" % ("entries" if leaf is None else "proofs", index))
                continue
            head = "c2sp.org/tlog-proof@v1\nindex %d\n" % index
            try:
                hashes = forms.proof_of(proof, head, files["checkpoint"])
            except forms.Wrong as error:
                self.find("file_changed", "proofs/%d" % index, error)
                continue
            if not forms.included(forms.leaf_hash(leaf), index, self.checkpoint.size, hashes, self.checkpoint.root):
                self.find("entry_not_proved", index)
                continue
            self._decode(index, leaf, schemas)
        self.proved["entries"] = len(self.entries)

    def _decode(self, index: int, leaf: bytes, schemas: dict[str, str]) -> None:
        text = schemas.get(leaf[:8].hex())
        if text is None:
            self.find("schema_missing", index)
            return
        try:
            body = avro.decoded(text, leaf[8:])
            if leaf[:8].hex() == _SCHEMA_PREFIX:
                schemas[hashlib.sha256(body["text"].encode()).digest()[:8].hex()] = body["text"]
                kind = "schema"
            else:
                kind = str(json.loads(text)["name"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.find("entry_undecodable", index, error)
            return
        self.entries[index] = Entry(index, kind, body)

    def history(self, files: dict[str, bytes], kept: Sequence[bytes]) -> None:
        """That the checkpoint continues each one that the auditor kept: those in the bundle, and his own."""
        assert self.key is not None
        inside = [(name, files[name]) for name in sorted(files) if name.startswith("kept/")]
        for name in sorted(files):
            match = _KEPT.fullmatch(name)
            if match and match[1] == "consistency" and "kept/" + match[2] not in files:
                self.find("file_missing", "kept/" + match[2])
        for name, note in inside:
            self._continues(files, name, note)
        own = [("--checkpoint %d" % number, note) for number, note in enumerate(kept, 1)]
        for name, note in own:
            self._continues(files, name, note)
        if own:
            self.proved["history"] = len(own)
        else:
            self.unproved["history"] = len(inside)

    def _continues(self, files: dict[str, bytes], name: str, note: bytes) -> None:
        assert self.key is not None
        assert self.checkpoint is not None
        try:
            old = forms.opened(note, self.key)
        except forms.Wrong as error:
            self.find("kept_invalid", name, error)
            return
        if name.startswith("kept/") and name != "kept/%d" % old.size:
            self.find("kept_invalid", name, "of another size than its name says")
            return
        place, hashes = "consistency/%d" % old.size, []
        if old.size > self.checkpoint.size:
            self.find("log_cut_off", name, "%d > %d" % (old.size, self.checkpoint.size))
            return
        if old.size not in (0, self.checkpoint.size) or place in files:
            if place not in files:
                self.find("history_not_shown", name, old.size)
                return
            try:
                hashes = forms.proof_of(files[place], "old %d\n" % old.size, files["checkpoint"])
            except forms.Wrong as error:
                self.find("file_changed", place, error)
                return
        if not forms.continued(old, self.checkpoint, hashes):
            self.find("history_rewritten", old.size, name)

    def strays(self, files: dict[str, bytes]) -> None:
        """Every file of the bundle is one that was judged."""
        for name in sorted(files):
            if name not in ("vkey", "checkpoint", "question.json") and not (
                _ENTRY.fullmatch(name) or _KEPT.fullmatch(name) or complete.FILE.fullmatch(name)
            ):
                self.find("file_stray", name)

    def question(self, files: dict[str, bytes]) -> None:
        """The question is the log's own, and so is the answer."""
        data = files.get("question.json", b"")
        try:
            asked = json.loads(data.decode("utf-8"))
            if (
                canonical(asked) + b"\n" != data
                or asked["format"] != FORMAT
                or asked["query"] != "who_saw"
                or asked.keys() - {"sealed"} != _ASKED
            ):
                raise forms.Wrong("not in its one form")
            entry = self.entries.get(asked["asked"])
            rows = [(int(row["index"]), list(map(int, row["positions"]))) for row in asked["answer"]]
            tags = [bytes.fromhex(tag) for tag in asked["tags"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.find("file_changed", "question.json", "not a question in its one form")
            return
        told = {name: value for name, value in asked.items() if name != "asked"}
        if entry is None or entry.kind != "audit_query" or not asks(entry.body, told, tags, len(rows)):
            self.find("question_differs", "question.json", asked["asked"])
            return
        self.asked = asked
        self.proved["question"] = entry.index
        for index, positions in rows:
            found = self.entries.get(index)
            if found is None:
                self.find("answer_missing", index)
            elif not concerns(found, tags, positions):
                self.find("answer_foreign", index)
            else:
                self.answer.append(found)
        self.proved["answer"] = len(self.answer)
        by_position = sum(1 for one in self.answer if not set(tags) & set(one.body.get("tags", ())))
        self.unproved.update({"completeness": 0, "outside": 0})
        if by_position:
            self.unproved["positions"] = by_position

    def complete(self, files: dict[str, bytes]) -> None:
        """That the answer leaves nothing out, where the question says that segments prove it."""
        if not self.asked or self.checkpoint is None:
            return
        if "sealed" not in self.asked:
            for name in sorted(files):
                if complete.FILE.fullmatch(name):
                    self.find("file_stray", name)
            return
        tags, size = [bytes.fromhex(tag) for tag in self.asked["tags"]], self.asked["size"]
        told = {int(row["index"]): sorted(row["positions"]) for row in self.asked["answer"]}
        try:
            found = complete.shown(files, self.entries, tags, self.asked["sealed"], size, self.checkpoint.size)
        except complete.LeftOut as error:
            self.find(*error.args)
            return
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            self.find("segment_differs", "segments", type(error).__name__)
            return
        wrong = [index for index in sorted({*told, *found.found}) if told.get(index) != found.found.get(index)]
        for index in wrong:
            self.find("answer_incomplete" if index in found.found else "answer_foreign", index)
        if not wrong:
            self._covers(found)

    def _covers(self, found: Shown) -> None:
        later = [index for index in found.later if index != self.asked["asked"]]
        records = {"%s/%d" % place: end for place, end in sorted(found.records.items())}
        names = ("entries", "sealed", "records", "excluded", "later")
        values = (self.asked["size"], self.asked["sealed"], records, found.excluded, later)
        self.covered = dict(zip(names, values))
        del self.unproved["completeness"]
        self.unproved.pop("positions", None)
        self.proved["complete"] = self.asked["size"]
        if found.excluded:
            self.proved["excluded"] = len(found.excluded)
        if found.unseen:
            self.unproved["later"] = found.unseen
        else:
            self.proved["later"] = self.checkpoint.size - self.asked["size"] if self.checkpoint else 0
        if later:
            self.unproved["since"] = len(later)
        self.unproved.update({"records": len(records), "lists": self.asked["sealed"]})

    def grounds(self) -> None:
        """What each release of the answer rests on, as far as it is in the bundle."""
        decisions = {one.body["id"]: one for one in self.entries.values() if one.kind == "decision"}
        releases = [one for one in self.answer if one.kind == "release"]
        judged = 0
        for one in releases:
            decision = decisions.get(one.body["decision"])
            if decision is None or decision.index > one.index:
                self.find("decision_missing", one.index)
            elif decision.body["effect"] != "allow" or decision.body["consumer"] != one.body["recipient"]:
                self.find("decision_differs", one.index, "effect, recipient")
            else:
                differing = [name for name in _SAME if decision.body[name] != one.body[name]]
                if differing:
                    self.find("decision_differs", one.index, ", ".join(differing))
                judged += 1
            if one.body["time_ns"] >= one.body["expires_ns"]:
                self.find("release_expired", one.index)
            self._agreement(one)
            self._policy(one)
        if releases:
            self.proved["decisions"] = judged
            self.unproved["deliveries"] = len(releases)
            self.unproved["ended"] = len(releases)

    def _agreement(self, one: Entry) -> None:
        name = one.body["agreement"]
        if name is None:
            return
        state = ""
        for event in self._before(one.index, "control"):
            if event.body["aggregate"] == "agreement/%s" % name:
                state = str(event.body["type"])
        if state != "agreement.approved/1":
            self.find("agreement_not_in_force", one.index, "%s: %s" % (name, state or "-"))

    def _policy(self, one: Entry) -> None:
        active = None
        for event in self._before(one.index, "policy_revision"):
            if event.body["event"] in ("activated", "withdrawn"):
                active = event.body["revision"] if event.body["event"] == "activated" else None
        if active != one.body["policy_revision"]:
            self.find("policy_not_active", one.index, active or "-")

    def _before(self, index: int, kind: str) -> list[Entry]:
        return [self.entries[at] for at in sorted(self.entries) if at < index and self.entries[at].kind == kind]

    def result(self) -> Result:
        """All of it."""
        size, root, text = self.checkpoint if self.checkpoint is not None else (0, b"", "")
        origin, key = (self.key.name, self.key.text) if self.key is not None else ("", "")
        of_key, of_text = (forms.fingerprint(one.encode()) if one else "" for one in (key, text))
        return Result(
            self.findings,
            self.asked,
            self.answer,
            size,
            root.hex(),
            origin,
            of_key,
            of_text,
            self.proved,
            self.unproved,
            self.covered,
        )
