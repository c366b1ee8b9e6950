"""A trial in words: the draft with its reasons, what was left out, both views side by side, the plan, the audit."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from exchange.cli.terminal import aligned, clipped
from exchange.errors import Invalid
from exchange.messages import Language, describe, error_codes, text

if TYPE_CHECKING:
    from adapters.draft import DraftField
    from exchange.cli.trial import Trial

_REASON: Final = 76
_HEADER: Final = 24
_VALUE: Final = 36


def lines(trial: "Trial", following: Sequence[str], language: Language) -> Iterator[str]:
    """The whole as text, section by section."""

    def say(key: str, **facts: object) -> str:
        return text(f"trial_{key}", language, **facts)

    draft = trial.draft
    yield say("title", file=clipped(draft.table.path.name, 80))
    yield "  " + say("rows", rows=draft.rows, fields=len(draft.fields), dataset=draft.dataset)
    for note in draft.notes:
        yield "  " + clipped(text(note.key, language, **note.facts), 400)
    yield from ["", say("draft")]
    yield from _draft_table(trial, language)
    yield from ["", say("published", taken=trial.published.taken, rejected=trial.published.rejected)]
    yield from (f"  {clipped(note, 400)}" for note in trial.notes)
    if trial.letters:
        yield "  " + say("letters")
        rows = [(str(row), column, why, shape) for row, column, why, shape in letters(trial, language)]
        heads = (say("head_row"), say("head_column"), say("head_why"), say("head_shape"))
        yield from ("    " + line for line in aligned([heads, *([clipped(cell, 50) for cell in row] for row in rows)]))
        if (more := trial.published.rejected - len(trial.letters)) > 0:
            yield "    " + say("letters_more", count=more)
    yield ""
    yield from _views(trial, language)
    yield from ["", say("plan"), *(f"  {line}" for line in trial.plan)]
    yield from ["", say("audit"), *(f"  {line}" for line in audit_lines(trial, language))]
    yield from ["", say("next"), *(f"  $ {line}" for line in following)]


def _draft_table(trial: "Trial", language: Language) -> Iterator[str]:
    keys = ("column", "header", "field", "type", "class", "why")
    table = [[text(f"trial_head_{key}", language) for key in keys]]
    for one in trial.draft.fields:
        kind = field_type(one, language)
        why = [clipped(reason, _REASON) for reason in reasons(one, language)]
        table.append([place(trial, one), clipped(one.header, _HEADER), one.field, kind, one.security_class, why[0]])
        table.extend(["", "", "", "", "", more] for more in why[1:])
    yield from (f"  {line}" for line in aligned(table))


def _views(trial: "Trial", language: Language) -> Iterator[str]:
    if not trial.owner:
        yield text("trial_no_views", language)
        return
    yield text("trial_views", language, count=len(trial.owner))
    heads = [text(f"trial_{key}", language) for key in ("head_field", "owner", "consumer")]
    for number, rows in enumerate(side_by_side(trial, language), 1):
        shown = [[label, clipped(owner, _VALUE), clipped(consumer, _VALUE)] for label, owner, consumer in rows]
        yield f"  {text('trial_record', language, number=number)}"
        yield from (f"    {line}" for line in aligned([heads, *shown]))


def place(trial: "Trial", one: "DraftField") -> str:
    """Where a field's column stands: its letters in a workbook, else its number."""
    if trial.draft.table.form != "xlsx":
        return str(one.column)
    letters, number = "", one.column
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def reasons(one: "DraftField", language: Language) -> list[str]:
    """Why a field is proposed as it is, as sentences."""
    return [text(reason.key, language, **reason.facts) for reason in one.reasons]


def field_type(one: "DraftField", language: Language) -> str:
    """A field's type in words."""
    kind = text(f"draft_type_{one.type}", language)
    return f"{kind}, {text('draft_may_be_empty', language)}" if one.nullable else kind


def letters(trial: "Trial", language: Language) -> Iterator[tuple[int, str, str, str]]:
    """Each row that was left out: its number in the file, the column, why, and the cell's shape."""
    for one in trial.letters:
        why = describe(Invalid(one["code"]), language)[0] if one["code"] in _plainly_said() else one["code"]
        yield one["row"], _cell(trial, one["column"], one["row"]), why, ", ".join(one["shape"].values())


def _cell(trial: "Trial", column: str, row: int) -> str:
    """A column by its header or field; in a workbook also as a spreadsheet names the cell: C7 金额."""
    named = {name: one for one in trial.draft.fields for name in (one.key, one.field)}
    if column in named and trial.draft.table.form == "xlsx":
        return f"{place(trial, named[column])}{row} {named[column].header}"
    return column or "-"


def _plainly_said() -> set[str]:
    """The codes whose sentence needs no facts, which a dead letter does not keep."""
    return {code for code, entry in error_codes().items() if "{" not in entry["en"]}


def side_by_side(trial: "Trial", language: Language) -> Iterator[list[tuple[str, str, str]]]:
    """For each of the first records its fields: label, the owner's value, the consumer's."""
    withheld = text("trial_withheld", language)
    for owner, consumer in zip(trial.owner, trial.consumer, strict=False):
        yield [
            (
                one.label_zh if language == "zh" else one.label_en,
                value_text(owner[one.field]),
                value_text(consumer[one.field]) if one.field in consumer else withheld,
            )
            for one in trial.draft.fields
        ]


def value_text(value: object) -> str:
    """A JSON value for people."""
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def audit_lines(trial: "Trial", language: Language) -> list[str]:
    """Where the release stands in the audit log, and that this was checked."""
    proof = trial.proof
    facts: dict[str, object] = {"index": proof.index, "size": proof.size}
    told = {"count": trial.released, "releases": trial.releases, **facts}
    first = text("trial_released", language, **told) if trial.releases else text("trial_decided", language, **facts)
    included = text("trial_included" if proof.included else "trial_not_included", language, root=proof.root[:16] + "…")
    whole = text("verify_ok" if proof.verdict.ok else "verify_bad", language, size=proof.verdict.size)
    return [first, included, whole, *(one.sentence(language) for one in proof.verdict.findings)]
