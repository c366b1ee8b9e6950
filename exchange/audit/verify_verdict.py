"""What the offline verifier says: its findings, and what it could not judge, for people and for machines.

Part of `verify`, and like it written without the code that it judges.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exchange import messages


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: what (a stable code), at which entry or in which file, and the facts."""

    code: str
    index: int | None = None
    file: str | None = None
    detail: str = ""

    def sentence(self, language: messages.Language) -> str:
        """For a person."""
        place = self.file if self.index is None else str(self.index)
        return messages.text(f"finding_{self.code}", language, place=place or "", detail=self.detail)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier found. `root` is hex; `size` and `root` are those of the signed checkpoint; `entries` counts
    by kind. At most 200 findings are kept, the first ones; `ok` is whether there was none. `unchecked` says by a
    stable code what could not be judged, and how often; `resumed_at` is where the run began.
    """

    ok: bool
    origin: str
    size: int
    root: str
    entries: Mapping[str, int]
    findings: tuple[Finding, ...]
    unchecked: Mapping[str, int]
    resumed_at: int = 0

    def told_unchecked(self, language: messages.Language) -> Iterator[str]:
        """For a person: what was not proved, a sentence each."""
        for what, count in self.unchecked.items():
            yield messages.text(f"unchecked_{what}", language, count=count)

    def to_document(self) -> dict[str, Any]:
        """For machines."""
        findings = [
            {"code": one.code, "index": one.index, "file": one.file, "detail": one.detail} for one in self.findings
        ]
        return {
            "format": "exchange.verdict/1",
            "ok": self.ok,
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "entries": dict(self.entries),
            "findings": findings,
            "unchecked": dict(self.unchecked),
            "resumed_at": self.resumed_at,
        }
