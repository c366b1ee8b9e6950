"""Tables for people's spreadsheets: CSV that a spreadsheet reads as it is meant, and xlsx, with headers in words."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

_BOM: Final = b"\xef\xbb\xbf"  # without it spreadsheets take UTF-8 for something else
_FORMULA: Final = tuple("=+-@\t\r")  # a cell that begins so would be worked out, not shown
_SHEET: Final = 1_000_000  # rows: xlsx has room for 1,048,576
_CELL: Final = 32_767  # characters in a cell of xlsx
SUFFIXES: Final = (".csv", ".xlsx")

Write = Callable[[Sequence[Any]], None]


@contextmanager
def table(out: Any, suffix: str, headers: Sequence[str], title: str) -> Iterator[Write]:  # noqa: ANN401 - a binary file
    """Writes rows into a file as CSV or xlsx, by one of `SUFFIXES`; it is whole at the end of the block."""
    if suffix == ".csv":
        yield _csv(out, headers)
        return
    with _workbook(out, headers, title) as write:
        yield write


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


def cells(row: Mapping[str, Any], columns: Sequence[str], time: Callable[[int], str]) -> list[Any]:
    """What a search found, in the order of the columns; lists in one cell, fields as paths with their masks."""
    told = {**row, "time_ns": time(row["time_ns"])}
    if row.get("fields"):  # what a person looks for in a table
        told["fields"] = [f"{one['path']} ({one['mask']['kind']})" for one in json.loads(row["fields"])]
    return [", ".join(map(str, value)) if isinstance(value, list) else value for value in map(told.get, columns)]
