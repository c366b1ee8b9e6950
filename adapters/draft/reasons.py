"""Why a draft proposes what it does: the class of a field, how it is read, what is left out; each with its reason."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as field_
from typing import Final

from adapters.draft import kinds
from adapters.draft.columns import Look
from adapters.draft.table import Table
from exchange.names import CLASSES

_LEAST: Final = "L2"


@dataclass(frozen=True)
class Reason:
    """Why something is proposed: a sentence of the catalogue (`text.draft_…`) and the facts that fill it."""

    key: str
    facts: Mapping[str, object] = field_(default_factory=dict)


@dataclass
class Seen:
    """What a reading of all rows counts: records, rows of another width than the header's, and of sums and remarks."""

    rows: int = 0
    misfits: int = 0
    summaries: Counter[str] = field_(default_factory=Counter)


def class_of(look: Look) -> tuple[str, str, tuple[str, ...], list[Reason]]:
    """The kind, and the gravest class of all that was recognised, with the reasons; L2 where nothing was."""
    found: list[tuple[kinds.Kind, Reason]] = []
    if look.kind:
        share = round(look.share * 100)
        found.append((kinds.KINDS[look.kind], Reason(f"draft_by_values_{look.kind}", {"share": share})))
    if look.word and look.word.kind:
        found.append((kinds.KINDS[look.word.kind], Reason(f"draft_by_header_{look.word.kind}")))
    for inside, count in sorted(look.inside.items()):
        if inside != look.kind:
            found.append((kinds.KINDS[inside], Reason(f"draft_inside_{inside}", {"count": count})))
    if not found:
        return "", _LEAST, (), [Reason("draft_not_recognised")]
    gravest = max((kind for kind, _ in found), key=lambda kind: CLASSES.index(kind.security_class))
    tags = tuple(dict.fromkeys(tag for kind, _ in found for tag in kind.tags))
    reasons = [reason for kind, reason in found if kind is gravest or CLASSES.index(kind.security_class) > 1]
    return gravest.name, gravest.security_class, tags, reasons or [found[0][1]]


def type_reasons(look: Look, lost: int) -> list[Reason]:
    """What is to be known of how a column is read; `lost` counts its cells whose value is not to be had."""
    reasons = [Reason("draft_lost", {"count": lost})] if lost else []
    if look.failing:
        reasons.append(Reason("draft_failing", {"count": look.failing}))
    if look.months_only and look.reading.type == "date":
        reasons.append(Reason("draft_months_only", {"count": look.months_only}))
    if look.ten_thousands and look.hint == "fen":
        reasons.append(Reason("draft_ten_thousands"))
    elif look.hint == "fen" and look.reading.type == "text":
        reasons.append(Reason("draft_not_all_amounts"))
    return reasons


def table_notes(table: Table) -> list[Reason]:
    """How the table was found in its file."""
    notes = [Reason("draft_form_xlsx" if table.form == "xlsx" else "draft_form_csv", {"encoding": table.encoding})]
    if len(table.sheets) > 1:
        notes.append(Reason("draft_sheets", {"sheet": table.config.sheet, "count": len(table.sheets)}))
    if table.config.header == 0:
        notes.append(Reason("draft_no_header"))
    elif table.config.header_lines > 1:
        last = table.config.header + table.config.header_lines - 1
        notes.append(Reason("draft_header_lines", {"first": table.config.header, "last": last}))
    elif table.config.header > 1:
        notes.append(Reason("draft_header_below", {"line": table.config.header}))
    return notes


def left_out(looks: Sequence[Look], seen: Seen, lost: Mapping[int, int]) -> list[Reason]:
    """The columns that make no field (`looks`), and the rows that are no records or will not become any."""
    unfilled = [(look.header or f"#{look.place + 1}", look.place in lost) for look in looks]
    empty = [header for header, is_lost in unfilled if not is_lost]
    uncalculated = [header for header, is_lost in unfilled if is_lost]
    notes = []
    if uncalculated:
        notes.append(Reason("draft_lost_columns", {"columns": ", ".join(uncalculated[:10])}))
    if seen.misfits:
        notes.append(Reason("draft_misfits", {"count": seen.misfits}))
    if seen.summaries:
        words = ", ".join(sorted(seen.summaries))
        notes.append(Reason("draft_totals", {"count": seen.summaries.total(), "words": words}))
    if empty:
        notes.append(Reason("draft_empty_columns", {"count": len(empty), "columns": ", ".join(empty[:10])}))
    return notes
