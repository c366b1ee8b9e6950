"""Workbooks (.xlsx): one sheet's rows as texts, as a CSV of the same sheet would have them, only more exactly.

A formula counts as its last calculated value; one that was never calculated, and an error (#N/A, #REF!, …), is a fault
of its row, as far as its column is mapped. Numbers are written out as a spreadsheet shows them, with 15 digits: what is
longer (an id, a bank card) has lost digits there, stands here as a power of ten, and is refused as such. A date is
written 2026-01-03, whatever its format; where that is a plain number's it stays one (see `also` in `config`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import python_calamine

from adapters.files.config import FilesConfig
from adapters.files.headers import found_headers, numbered_headers
from adapters.files.rows import MAX_CELL, SUSPECT, Headers, RawRow, suspect
from adapters.files.unpacking import Part, look_into
from exchange import names
from exchange.errors import Invalid

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

Value = int | float | str | bool | time | date | datetime | timedelta
EXACT: Final = 10**15  # from here on a spreadsheet does not keep every digit


class Workbook:
    """One sheet of a file, opened for one reading; see `adapters.files.rows.SourceFile`."""

    def __init__(self, path: Path, config: FilesConfig) -> None:
        """Opens the file and finds the sheet.

        Raises:
            Invalid: what `look_into` raises; `file_damaged`, `file_sheet_missing`.
        """
        self._file, self._config = path.name, config
        parts = look_into(path)
        self._book = _opened(path)
        self.sheet = self._chosen(config.sheet)
        self._part = parts.get(self.sheet, Part())
        self.notes = self._first_notes()
        found = self._read(self.sheet)
        # The library gives all rows from the first on, but columns only from the first that is used.
        self._left = found.start[1] if found.start else 0
        self._rows = enumerate(found.iter_rows(), 1)
        self._merged = found.merged_cell_ranges or []
        self._mapped: set[int] | None = None

    def close(self) -> None:
        """Close the file."""
        self._book.close()

    @property
    def filled_sheets(self) -> list[str]:
        """The names of the visible sheets in which something stands."""
        return _visible(self._book)

    def headers(self) -> Headers:
        """Read up to the header's row and find the mapped columns.

        Raises:
            Invalid: `file_header_missing`, `file_column_missing`, `file_column_repeated`.
        """
        config = self._config
        if config.header == 0:
            headers = numbered_headers(config)
        else:
            last = config.header + config.header_lines - 1
            lines = [self._texts(row) for number, row in _until(self._rows, last) if number >= config.header]
            if not any(map(any, lines)):
                raise Invalid("file_header_missing", where=self._file, line=config.header)
            headers = found_headers(config, lines, f"{self._file}:{config.header}")
        self._mapped = set(headers.positions.values())
        self._note_merged(config.header + config.header_lines - 1 if config.header else 0)
        return headers

    def rows(self, width: int) -> Iterator[RawRow]:
        """The records below the header, empty ones left out; each has at least `width` cells."""
        file, number = self._file, 0
        lost = self._lost()
        for row, values in self._rows:
            cells = self._texts(values)
            faulty = lost.get(row - 1)
            if not faulty and not any(cells):
                continue
            number += 1
            cells += [""] * (width - len(cells))
            if faulty:
                yield RawRow(file, row, number, cells, Invalid(faulty[1]), faulty[0])
            elif max(map(len, cells), default=0) > MAX_CELL:
                yield RawRow(file, row, number, (), Invalid("cell_too_large"))
            elif SUSPECT.search("".join(cells)):
                yield suspect(RawRow(file, row, number, cells))
            else:
                yield RawRow(file, row, number, cells)

    @property
    def lost(self) -> Mapping[int, int]:
        """How many cells of which column (from 0) hold an error, or a formula that was never calculated."""
        return Counter(column for _, column in self._part.lost)

    def _texts(self, values: "Sequence[Value]") -> list[str]:
        return ["" for _ in range(self._left)] + [v if type(v) is str else text_of(v) for v in values]

    def _lost(self) -> dict[int, tuple[int, str]]:
        """For each row that has one among the mapped columns, its first cell whose value is not to be had."""
        found: dict[int, tuple[int, str]] = {}
        for (row, column), code in sorted(self._part.lost.items()):
            if self._mapped is None or column in self._mapped:
                found.setdefault(row, (column, code))
        return found

    def _chosen(self, name: str) -> str:
        sheets = _visible(self._book) or self._book.sheet_names
        if not name and sheets:
            return sheets[0]
        if name in self._book.sheet_names:
            return name
        nearest = names.nearest(name, self._book.sheet_names) or "-"
        raise Invalid("file_sheet_missing", where=self._file, sheet=name[:100], nearest=nearest[:100])

    def _first_notes(self) -> list[str]:
        notes = []
        others = [name for name in _visible(self._book) if name != self.sheet]
        if others and not self._config.sheet:
            notes.append(f"{self._file}: sheets not read | 未读取的工作表: {', '.join(others[:10])}")
        if formulas := self._part.formulas:
            note = "formulas, taken with their last calculated value | 个公式，按最近一次计算结果取值"
            notes.append(f"{self._file}: {formulas} {note}")
        return notes

    def _note_merged(self, above: int) -> None:
        """Cells that were merged over several rows below the header: which rows they mean is for people to say."""
        over = sum(first[0] >= above and last[0] > first[0] for first, last in self._merged)
        if over:
            note = "cells merged over several rows: only the first row has the value | 处跨行合并的单元格，仅首行有值"
            self.notes.append(f"{self._file}: {over} {note}")

    def _read(self, name: str) -> "CalamineSheet":
        with _damage(self._file):
            return self._book.get_sheet_by_name(name)


class _damage:  # noqa: N801  reads as `with _damage(file)`
    """Whatever the library raises inside, a panic of its native part too, means that the file is damaged."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, python_calamine.PasswordError):
            raise Invalid("file_protected", where=self._where) from error
        panicked = kind is not None and kind.__name__ == "PanicException"
        if panicked or isinstance(error, python_calamine.CalamineError | ValueError | OSError):
            raise Invalid("file_damaged", where=self._where) from error


def _opened(path: Path) -> "CalamineWorkbook":
    with _damage(path.name):
        return python_calamine.CalamineWorkbook.from_path(path)


def _visible(book: "CalamineWorkbook") -> list[str]:
    seen, sheets = python_calamine.SheetVisibleEnum.Visible, python_calamine.SheetTypeEnum.WorkSheet
    return [one.name for one in book.sheets_metadata if one.visible == seen and one.typ == sheets]


def _until(rows: "Iterator[tuple[int, list[Value]]]", last: int) -> "Iterator[tuple[int, list[Value]]]":
    for number, row in rows:
        yield number, row
        if number >= last:
            return


def text_of(value: Value) -> str:
    """A cell's value as the text that stands for it in a CSV."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _number(value)
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime():
            return value.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def _number(value: float) -> str:
    if abs(value) >= EXACT:
        return f"{value:.14E}"
    if value == int(value):
        return str(int(value))
    plain = format(value, ".15g")
    return format(Decimal(plain), "f") if "e" in plain else plain
