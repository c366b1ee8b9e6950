"""The demo's report: one page that shows what was played, with nothing in it that was not asked of the exchange.

The page needs nothing but itself: no script, no picture, no font from elsewhere. Its words are the catalogue's.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exchange.audit.drawing import draw_path
from exchange.audit.note import Checkpoint, open_checkpoint
from exchange.messages import Language, text

_TEMPLATE: Final = Path(__file__).parent / "report.html"


@dataclass(frozen=True, slots=True)
class View:
    """What somebody may see (`kind` is `provider`, `clerk` or `checker`): the plan in sentences, and the records."""

    kind: str
    who: str
    plan: Sequence[str]
    records: Sequence[Mapping[str, Any]]

    def cell(self, record: int, field: str) -> str | None:
        """A value as it was released, or None where the field is not in the view."""
        values = self.records[record]
        if field not in values:
            return None
        value = values[field]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry's inclusion proof as `audit proof` wrote it, under a checkpoint whose signature holds."""

    index: int
    leaf: bytes
    siblings: Sequence[bytes]
    checkpoint: Checkpoint

    @classmethod
    def of(cls, evidence: str, leaf: bytes, vkey: str) -> "Proof":
        """Reads the text of a C2SP tlog-proof; the checkpoint's signature is checked against the log's key.

        Raises:
            Tampered: `audit_note_invalid`.
        """
        head, _, note = evidence.partition("\n\n")
        _, index, *siblings = head.splitlines()
        checkpoint = open_checkpoint(note.encode(), vkey)
        return cls(int(index.split()[1]), leaf, [base64.b64decode(one) for one in siblings], checkpoint)

    def drawn(self, language: Language) -> str:
        """The proof as a picture; a proof that does not hold is an error, not a picture."""
        size, root = self.checkpoint.size, self.checkpoint.root
        return draw_path(self.index, size, self.leaf, self.siblings, root, self.checkpoint.origin, language)


@dataclass(frozen=True, slots=True)
class Attack:
    """What was done to a copy of the log, and what the verifier said of it, line by line."""

    what: str
    verdict: Sequence[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What the demo found.

    `county` is seed, scale, persons and households; `engines` what the site ran on, by `described`; `figures` the rows
    of `exchange status`, `asked` those of `counted`; `labels` the names of the viewed dataset's fields; `checks` what
    was compared and what was found.
    """

    language: Language
    county: tuple[int, float, int, int]
    engines: Mapping[str, str]
    figures: Sequence[Mapping[str, Any]]
    asked: Sequence[Mapping[str, Any]]
    dataset: str
    labels: Mapping[str, str]
    views: Sequence[View]
    seen: Sequence[str]
    proof: Proof
    attacks: Sequence[Attack]
    checks: Sequence[tuple[str, str]]

    def counts(self, what: str) -> dict[str, int]:
        """The figures of one sort, by name."""
        return {str(row["name"]): int(row["count"]) for row in self.figures if row["what"] == what}


def written(report: Report) -> str:
    """The report as one HTML page, in its language. Whatever stands in the records is text there, never mark-up.

    Raises:
        Tampered: the proof does not lead to the checkpoint's root.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_TEMPLATE.read_text("utf-8"))
    seed, scale, persons, households = report.county
    return page.render(
        report=report,
        t=lambda key, **facts: text(f"report_{key}", report.language, **facts),
        seed=seed,
        scale=scale,
        persons=persons,
        households=households,
        datasets=report.counts("records"),
        letters=report.counts("dead letters"),
        entries=report.counts("entries"),
        released=sum(report.counts("records released").values()),
        records=range(len(report.views[0].records)),
        # The drawing escapes what it is given.
        drawing=Markup(report.proof.drawn(report.language)),  # noqa: S704
    )
