"""What became of a bundle: what is wrong, what was proved, what was not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


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
    the entries that covered the subjects and held them back, and those behind the answer that may concern them. Of
    other questions: `first` and `last` entry of the range that was judged whole, the `earliest_ns` and `latest_ns` of
    the times they state, and how many go `backwards`. `asked_ns` is the time that the log's entry of the question has.
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
    asked_ns: int

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
            "asked_ns": self.asked_ns,
        }
