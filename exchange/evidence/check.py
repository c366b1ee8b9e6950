"""A bundle judged: its files, signatures and proofs, the question with its answer, and what the answer rests on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Any, Sequence

from . import avro, complete, forms, grounds, history, searched, spans, tables
from .complete import Shown
from .question import asks, canonical, concerns
from .result import Entry, Finding, Result

FORMAT = "exchange.evidence/1"
# The schema of the kind `schema`, by which every other schema is read; its text stands in the log too.
_SCHEMA_PREFIX = "d47716b0fe6b8764"
_ENTRY = re.compile(r"(entries|proofs)/(0|[1-9][0-9]{0,17})")
_SKEW_NS = 300 * 10**9  # by which two clocks may differ
_ASKED = {"answer", "asked", "format", "query", "size", "tags"}
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


def check(
    path: str | bytes,
    vkey: str | None = None,
    kept: Sequence[bytes] = (),
    states: Sequence[bytes] = (),
    *,
    table: bytes | None = None,
    now_ns: int | None = None,
) -> Result:
    """Judges the bundle at this path, an archive or a folder (or an archive's bytes), by a key and by what the auditor
    kept: checkpoints, states of his verifications. `table`, a CSV of the same question, is held against the answer;
    entries that state a time after `now_ns` are counted.

    Without a key the one in the bundle is taken, and that is said: anybody can make a key.
    """
    run = _Check()
    files = run.read(path)
    if files is not None and run.keys(files, vkey):
        run.proofs(files)
        run.history(files, kept, states)
        run.strays(files)
        try:
            run.question(files)
            if run.asked.get("query") == "who_saw":
                run.who_saw()
                run.complete(files)
                run.grounds()
            elif run.asked:
                run.searched()
            run.beside(table, now_ns)
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
        self.span: spans.Span | None = None
        self.entries: dict[int, Entry] = {}
        self.asked: dict[str, Any] = {}
        self.answer: list[Entry] = []
        self.proved: dict[str, int] = {}
        self.unproved: dict[str, int] = {}
        self.covered: dict[str, Any] = {}
        self.asked_ns = 0

    def find(self, code: str, place: object = "", detail: object = "") -> None:
        if len(self.findings) < 200:
            self.findings.append(Finding(code, str(place), str(detail)))

    def read(self, path: str | bytes) -> dict[str, bytes] | None:
        """The bundle's files."""
        name = os.path.basename(path) if isinstance(path, str) else "-"
        try:
            if isinstance(path, str) and os.path.isdir(path):
                return forms.folder(path)
            files, changed, exact = forms.unarchived(path if isinstance(path, bytes) else _archive(path))
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
        leaves = self._range(files)
        known = (match for match in map(_ENTRY.fullmatch, files) if match is not None)
        for index in sorted({*leaves, *(int(match[2]) for match in known)}):
            leaf = leaves[index] if index in leaves else self._proved(files, index)
            if leaf is not None:
                self._decode(index, leaf, schemas)
        self.proved["entries"] = len(self.entries)

    def _range(self, files: dict[str, bytes]) -> dict[int, bytes]:
        """The leaves of a range that the bundle holds whole; none of them has a proof of its own beside that."""
        assert self.checkpoint is not None
        try:
            self.span = spans.read(files, self.checkpoint.size, self.checkpoint.root)
        except complete.LeftOut as error:
            self.find(*error.args)
        leaves = dict(enumerate(self.span.leaves, self.span.lo)) if self.span else {}
        for name in sorted(files):
            match = _ENTRY.fullmatch(name)
            if match is not None and int(match[2]) in leaves:
                self.find("file_stray", name)
        return leaves

    def _proved(self, files: dict[str, bytes], index: int) -> bytes | None:
        """An entry's leaf, when its proof leads to the checkpoint."""
        assert self.checkpoint is not None
        leaf, proof = files.get("entries/%d" % index), files.get("proofs/%d" % index)
        if leaf is None or proof is None:
            self.find("file_missing", "%s/%d" % ("entries" if leaf is None else "proofs", index))
            return None
        try:
            hashes = forms.proof_of(proof, "c2sp.org/tlog-proof@v1\nindex %d\n" % index, files["checkpoint"])
        except forms.Wrong as error:
            self.find("file_changed", "proofs/%d" % index, error)
            return None
        if not forms.included(forms.leaf_hash(leaf), index, self.checkpoint.size, hashes, self.checkpoint.root):
            self.find("entry_not_proved", index)
            return None
        return leaf

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

    def history(self, files: dict[str, bytes], kept: Sequence[bytes], states: Sequence[bytes]) -> None:
        """That the checkpoint continues each one that the auditor kept: those in the bundle, and his own."""
        assert self.key is not None
        assert self.checkpoint is not None
        own, inside = history.judged(files, self.key, self.checkpoint, kept, states, self.find)
        if own:
            self.proved["history"] = own
        else:
            self.unproved["history"] = inside

    def strays(self, files: dict[str, bytes]) -> None:
        """Every file of the bundle is one that was judged."""
        for name in sorted(files):
            if name not in ("vkey", "checkpoint", "question.json") and not (
                any(one.fullmatch(name) for one in (_ENTRY, history.FILE, complete.FILE, spans.FILE))
            ):
                self.find("file_stray", name)

    def question(self, files: dict[str, bytes]) -> None:
        """The question is the log's own, and so is the answer."""
        data = files.get("question.json", b"")
        try:
            asked = json.loads(data.decode("utf-8"))
            if asked["format"] != FORMAT and isinstance(asked["format"], str):
                self.find("format_unknown", "question.json", asked["format"][:80])
                return
            if canonical(asked) + b"\n" != data or asked["format"] != FORMAT or not _in_form(asked):
                raise forms.Wrong("not in its one form")
            entry, tags = self.entries.get(asked["asked"]), [bytes.fromhex(tag) for tag in asked.get("tags", ())]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.find("file_changed", "question.json", "not a question in its one form")
            return
        told = {name: value for name, value in asked.items() if name != "asked"}
        if entry is None or entry.kind != "audit_query" or not asks(entry.body, told, tags, len(asked["answer"])):
            self.find("question_differs", "question.json", asked["asked"])
            return
        self.asked = asked
        self.proved["question"] = entry.index
        self.asked_ns = entry.body["time_ns"]
        about_subjects = asked["query"] == "who_saw"
        strange = [] if about_subjects and "sealed" in asked else [complete.FILE]
        strange += [] if "range" in asked else [spans.FILE]
        for name in sorted(files):
            if any(one.fullmatch(name) for one in strange):
                self.find("file_stray", name)

    def who_saw(self) -> None:
        """The entries of the answer, each of which concerns the subjects."""
        tags = [bytes.fromhex(tag) for tag in self.asked["tags"]]
        for row in self.asked["answer"]:
            found = self.entries.get(row["index"])
            if found is None:
                self.find("answer_missing", row["index"])
            elif not concerns(found, tags, row["positions"]):
                self.find("answer_foreign", row["index"])
            else:
                self.answer.append(found)
        self.proved["answer"] = len(self.answer)
        by_position = sum(1 for one in self.answer if not set(tags) & set(one.body.get("tags", ())))
        self.unproved.update({"completeness": 0, "outside": 0})
        if by_position:
            self.unproved["positions"] = by_position

    def complete(self, files: dict[str, bytes]) -> None:
        """That the answer leaves nothing out, where the question says that segments prove it."""
        if "sealed" not in self.asked or self.checkpoint is None:
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
        releases = [one for one in self.answer if one.kind == "release"]
        if releases:
            self.proved["decisions"] = grounds.judged(releases, self.entries, self.find)
            self.unproved["deliveries"] = len(releases)
            self.unproved["ended"] = len(releases)

    def searched(self) -> None:
        """That each entry of the answer answers the question, and that no other of the range does."""
        assert self.checkpoint is not None
        before = len(self.findings)
        found = searched.judged(self.asked, self.entries, self.span, self.find)
        if found is None:
            return
        self.answer = [self.entries[index] for index in found.answer]
        for at, one in enumerate(self.answer):
            if one.index in found.facts:  # for the report: an agreement's event says itself not whose it is
                self.answer[at] = Entry(one.index, one.kind, {**one.body, **found.facts[one.index]})
        self.proved["answer"] = self.proved["fits"] = len(self.answer)
        filters, whole = self.asked["filter"], self.span is not None and len(self.findings) == before
        if whole and self.span is not None:
            self.proved["range"] = len(self.span.leaves)
            names = ("first", "last", "earliest_ns", "latest_ns", "backwards")
            values = (self.span.lo, self.span.hi - 1, found.earliest_ns, found.latest_ns, found.backwards)
            self.covered = dict(zip(names, values))
        told = {
            "omitted": not whole,
            "period": whole and (self.covered["first"] > 0 or self.covered["last"] + 1 < self.asked["size"]),
            "times": "from_ns" in filters or "until_ns" in filters,
            "officer": "officer" in filters,
            "acks": self.asked["query"] == "unconfirmed" and not whole,
            "permitted": any(one.kind == "release" for one in self.answer),
        }
        self.unproved.update({name: len(self.answer) for name, holds in told.items() if holds})
        if self.checkpoint.size - self.asked["size"] > 1:
            self.unproved["later"] = self.checkpoint.size - self.asked["size"] - 1

    def beside(self, data: bytes | None, now_ns: int | None) -> None:
        """A table beside the bundle, and the clock of this machine."""
        if data is not None and tables.judged(data, [one.index for one in self.answer], self.find):
            self.proved["table"] = len(self.answer)
        if now_ns is not None:
            future = sum(1 for one in self.entries.values() if one.body["time_ns"] > now_ns + _SKEW_NS)
            self.unproved.update({"future": future} if future else {})

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
            self.asked_ns,
        )


def _archive(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(forms.MAX_BUNDLE + 1)


def _in_form(asked: dict[str, Any]) -> bool:
    """Whether a question has the one form of its query."""
    if asked["query"] in searched.QUERIES:
        return searched.in_form(asked)
    rows = [(row["index"], *row["positions"]) for row in asked["answer"]]
    if any(type(one) is not int for row in rows for one in row):
        return False
    return bool(asked["query"] == "who_saw" and asked.keys() - {"sealed"} == _ASKED)
