"""The draft of a file: its fields with types, names and classes, each with its reasons, and what is left out."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from adapters.draft.columns import Look
from adapters.draft.reasons import Reason, Seen, class_of, left_out, table_notes, type_reasons
from adapters.draft.table import SUMMARIES, Table, look_at
from adapters.draft.words import ascii_name, in_ten_thousands, name_of
from adapters.files.rows import RawRow, is_summary
from exchange.errors import Invalid

_LONG_NUMBER: Final = re.compile("[0-9]{9}")
_SAMPLE: Final = 2_000
_TOLD: Final = 1_000
_MOSTLY: Final = 0.9
_LABEL: Final = 50
_FEN: Final = "（分）"
_YUAN: Final = re.compile("[（(]元[）)]$")
# What tells no rows apart, though all of it may be different by chance.
_NO_KEY: Final = frozenset({"name", "address", "amount", "birth_date", "sex", "serial_number"})
_TEXTS: Final = frozenset({"text", "name", "id"})


@dataclass(frozen=True)
class DraftField:
    """One field: `column` (from 1) and `header` say where it stands, `key` is how the adapter's configuration names it.

    `type`, `form`, `values` and `also` are the adapter's (`adapters.files.config`). `failing` counts filled cells that
    cannot be read so; `examples` are values as they would be published, of the first rows.
    """

    column: int
    header: str
    key: str
    field: str
    label_en: str
    type: str
    form: str
    values: Mapping[str, Any]
    also: tuple[str, ...]
    nullable: bool
    kind: str
    security_class: str
    tags: tuple[str, ...]
    reasons: tuple[Reason, ...]
    filled: int
    failing: int
    examples: tuple[Any, ...]

    @property
    def label_zh(self) -> str:
        """The header as the file has it, in one line; what the contract calls the field."""
        label = shown_line(self.header, _LABEL - len(_FEN)) or f"第{self.column}列"
        return _YUAN.sub("", label) + _FEN if self.type == "fen" else label


@dataclass(frozen=True)
class Draft:
    """What is proposed for one file. `subject_path` is always one of the fields, and a text."""

    table: Table
    department: str
    dataset: str
    fields: tuple[DraftField, ...]
    key: tuple[str, ...]
    subject_type: str
    subject_path: str
    nulls: tuple[str, ...]
    skip: tuple[str, ...]
    rows: int
    notes: tuple[Reason, ...]

    @property
    def source(self) -> str:
        """The name of the source of events."""
        return f"{self.department}/{self.dataset.rpartition('.')[2]}"


def draft_file(
    path: Path, *, department: str = "own.department", on_rows: Callable[[int], None] = lambda _: None
) -> Draft:
    """Looks at all of a CSV or .xlsx file; `on_rows` is told now and then how many rows were seen.

    Raises:
        Invalid: `draft_no_file`, `draft_no_records`, `draft_too_many_columns`; what the adapter's readers raise.
    """
    table = look_at(path)
    seen = Seen()
    looks = _looked(table, seen, on_rows)
    if not any(look.filled for look in looks):
        raise Invalid("draft_no_records", where=path.name)
    # Without a header the last column that is read tells how many a row has.
    kept = [look for look in looks if look.filled or (look is looks[-1] and not table.config.header)]
    subject, key = _identity(kept)
    named = _named(kept)
    fields = tuple(_field(look, name, table, subject) for look, name in zip(kept, named, strict=True))
    by_place = {look.place: one.field for look, one in zip(kept, fields, strict=True)}
    by_person = subject.reading.type == "id" and subject.reading.form == "person"
    subject_type = "person" if by_person else "firm" if subject.kind == "credit_code" else "record"
    notes = [
        *table_notes(table),
        *left_out([look for look in looks if look not in kept], seen, table.lost),
        Reason(f"draft_subject_{subject_type}", {"field": by_place[subject.place]}),
        Reason("draft_key" if key else "draft_no_key", {"field": by_place[key.place] if key else ""}),
    ]
    return Draft(
        table=table,
        department=department,
        dataset=f"own.{ascii_name(path.stem) or 'table'}",
        fields=fields,
        key=(by_place[key.place],) if key else (),
        subject_type=subject_type,
        subject_path=by_place[subject.place],
        nulls=tuple(sorted(set[str]().union(*(look.nulls for look in kept)))),
        skip=tuple(sorted(seen.summaries)),
        rows=seen.rows + seen.misfits,
        notes=tuple(notes),
    )


def _looked(table: Table, seen: Seen, on_rows: Callable[[int], None]) -> list[Look]:
    """Every column looked at, all rows read once."""
    wan = any(in_ten_thousands(title) for title in table.titles)
    named = zip(table.headers, table.labels, strict=True)
    looks = [Look(place, header, label, ten_thousands=wan) for place, (header, label) in enumerate(named)]
    records = _records(table, seen)
    sample = list(islice(records, _SAMPLE))
    for look in looks:
        look.begin(row.cells[look.place] for row in sample)
    for row in chain(sample, records):
        for look, cell in zip(looks, row.cells, strict=False):
            look.take(cell)
        seen.rows += 1
        if seen.rows % _TOLD == 0:
            on_rows(seen.rows)
    for look in looks:
        look.end()
    on_rows(seen.rows)
    return looks


def _records(table: Table, seen: Seen) -> Iterator[RawRow]:
    """The rows that may be records: no sums, and as many cells as the header has."""
    width = len(table.headers)
    for row in table.records():
        word = _summary(row)
        if word:
            seen.summaries[word] += 1
        elif len(row.cells) == width:
            yield row
        else:
            seen.misfits += 1


def _summary(row: RawRow) -> str:
    if not is_summary(row.cells, SUMMARIES):
        return ""
    return next(word for word in SUMMARIES if is_summary(row.cells, (word,)))


def _identity(looks: Sequence[Look]) -> tuple[Look, Look | None]:
    """The column of the subject (always a text) and the one that tells rows apart."""
    sound = [look for look in looks if look.filled >= look.rows * _MOSTLY]
    persons = [look for look in sound if look.reading.type == "id" and look.reading.form == "person"]
    firms = [look for look in sound if look.kind == "credit_code"]
    unique = [look for look in sound if look.unique and look.full and _tells_apart(look)]
    coded = [look for look in unique if look.reading.form == "code" or look.hint == "code"]
    subject = next(iter([*persons, *firms, *coded, *unique]), None)
    if subject is None:
        texts = [look for look in looks if look.reading.type in _TEXTS]
        subject = max(texts or looks, key=lambda look: look.filled)
    key = subject if subject.unique and subject in sound else next(iter(coded), None)
    for look in {subject, *([key] if key else [])}:
        if look.reading.type not in _TEXTS:
            look.as_code()
    return subject, key


def _tells_apart(look: Look) -> bool:
    kind = look.word.kind if look.word else ""
    counted = look.reading.type == "int" and look.word is not None  # how many of something, or a year
    return (
        kind not in _NO_KEY and look.kind not in _NO_KEY and look.reading.type in {"text", "id", "int"} and not counted
    )


def _named(looks: Sequence[Look]) -> list[str]:
    """A field's name for each column: by its header's words, else its own ASCII, else its place; each once."""
    names: list[str] = []
    for look in looks:
        word = name_of(look.word, look.kind)
        name = word.field if word else ascii_name(look.label) or f"column_{look.place + 1}"
        name = f"{name}_fen" if look.reading.type == "fen" else name
        wanted, number = name, 2
        while name in names:
            name, number = f"{wanted}_{number}", number + 1
        names.append(name)
    return names


def shown_line(text: str, most: int) -> str:
    """The printable part of a text in one line; nothing of one that holds a long number, which may be somebody's."""
    plain = "".join(character for character in text if character.isprintable()).strip()[:most]
    return "" if _LONG_NUMBER.search(plain) else plain


def _field(look: Look, name: str, table: Table, subject: Look) -> DraftField:
    kind, security_class, tags, reasons = class_of(look)
    header = look.header
    known = table.headers.count(header) == 1 and header == shown_line(header, 1000) and not header.startswith("#")
    place = f"#{look.place + 1}" if table.config.header else f"{look.place + 1}"
    reading, word = look.reading, name_of(look.word, look.kind)
    return DraftField(
        column=look.place + 1,
        header=look.label,
        key=header if header and known and table.config.header else place,
        field=name,
        label_en=(word.label_en if word else name.replace("_", " ")) + (" in fen" if reading.type == "fen" else ""),
        type=reading.type,
        form=reading.form,
        values=reading.values,
        also=reading.also,
        nullable=not look.full and look is not subject,
        kind=kind,
        security_class=security_class,
        tags=tags,
        reasons=(*reasons, *type_reasons(look, table.lost.get(look.place, 0))),
        filled=look.filled,
        failing=look.failing,
        examples=tuple(look.examples),
    )
