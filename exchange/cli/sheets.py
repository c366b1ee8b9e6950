"""Tables for people's spreadsheets: CSV that a spreadsheet reads as it is meant, and xlsx, with headers in words."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from exchange.cli.terminal import replaced
from exchange.errors import Invalid

_BOM: Final = b"\xef\xbb\xbf"  # without it spreadsheets take UTF-8 for something else
_FORMULA: Final = tuple("=+-@\t\r")  # a cell that begins so would be worked out, not shown
_SHEET: Final = 1_000_000  # rows: xlsx has room for 1,048,576
_CELL: Final = 32_767  # characters in a cell of xlsx
SUFFIXES: Final = (".csv", ".xlsx")

Write = Callable[[Sequence[Any]], None]


@contextmanager
def sheet(file: Path, headers: Sequence[str], title: str) -> Iterator[Write]:
    """Writes rows into a table that appears whole, at the end of the block; by the file's suffix CSV or xlsx.

    Raises:
        Invalid: `sheet_suffix`, `file_unwritable`.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise Invalid("sheet_suffix", where=str(file), known=" ".join(SUFFIXES))
    try:
        with replaced(file) as out:
            if file.suffix.lower() == ".csv":
                yield _csv(out, headers)
                return
            with _workbook(out, headers, title) as write:
                yield write
    except OSError as error:
        raise Invalid("file_unwritable", where=str(file), detail=error.strerror) from None


def _csv(out: Any, headers: Sequence[str]) -> Write:  # noqa: ANN401 - a binary file
    out.write(_BOM)

    def write(row: Sequence[Any]) -> None:
        line = io.StringIO()
        csv.writer(line).writerow([_shown(value) for value in row])
        out.write(line.getvalue().encode())

    write(headers)
    return write


@contextmanager
def _workbook(out: Any, headers: Sequence[str], title: str) -> Iterator[Write]:  # noqa: ANN401 - a binary file
    from xlsxwriter import Workbook

    # Rows go to a file as they come, so memory does not grow; no text is taken for a formula or a link.
    book = Workbook(out, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    bold, counted = book.add_format({"bold": True}), [0]
    pages: list[Any] = []

    def write(row: Sequence[Any]) -> None:
        line = counted[0] % _SHEET
        if not line:
            pages.append(book.add_worksheet(f"{title[:25]} {len(pages) + 1}"))
            pages[-1].freeze_panes(1, 0)
            pages[-1].write_row(0, 0, headers, bold)
        for column, value in enumerate(row):
            if isinstance(value, int) and abs(value) < 1 << 53:
                pages[-1].write_number(line + 1, column, value)
            elif value is not None:
                pages[-1].write_string(line + 1, column, str(value)[:_CELL])
        counted[0] += 1

    yield write
    if not pages:
        book.add_worksheet(title[:25]).write_row(0, 0, headers, bold)
    book.close()


def _shown(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def cells(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[list[Any]]:
    """Each row's values in the order of the columns, lists in one cell."""
    for row in rows:
        yield [", ".join(map(str, value)) if isinstance(value, list) else value for value in map(row.get, columns)]
