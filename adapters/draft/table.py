"""Where the records stand in a file: below titles and a header of one or two lines, above totals and signatures."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from adapters.draft.words import meaning
from adapters.files.config import Column, FilesConfig, plain_header
from adapters.files.encoding import encoding_of, is_workbook
from adapters.files.forms import open_file
from adapters.files.headers import joined
from adapters.files.rows import RawRow, SourceFile, is_summary
from exchange.errors import Invalid

MAX_COLUMNS: Final = 500
DELIMITERS: Final = (",", ";", "\t", "|")
# What rows begin with that are no records: sums, and what is said below a table.
# fmt: off
SUMS: Final = ("合计", "总计", "小计", "共计", "累计", "总和", "本页小计", "本页合计", "Total", "Sum", "Subtotal")
SUMMARIES: Final = (
    *SUMS, "制表", "制表人", "制表单位", "制表日期", "填表人", "填表日期", "填报人", "填报单位", "审核", "审核人",
    "复核", "复核人", "经办人", "负责人", "单位负责人", "备注", "说明", "注",
)
# fmt: on
_LOOKED_AT: Final = 60
_LONGEST_LABEL: Final = 60
_HALF: Final = 2
# A number, a date, an id: what stands in records. 2025年, 2026年1月 may well be headers.
_VALUE: Final = re.compile(
    r"[¥￥+-]?\d[\d,]*(?:\.\d+)?%?|\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2}.*)?|\d{4}年\d{1,2}月\d{1,2}日|\d{17}[Xx]"
    r"|\d+(?:\.\d+)?E\+\d+|[A-Za-z0-9_.+-]+@[A-Za-z0-9.-]+\.[A-Za-z]+"
)
_YEAR: Final = re.compile(r"\d{4}年?度?")


@dataclass(frozen=True)
class Table:
    """A file's table: `headers` has one text without white space for each column (empty: none), `labels` the same as
    people wrote it.

    `header` is the line of the header (0: the file has none) and `header_lines` how many it has; `titles` are the
    texts above it. `lost` counts, by column from 0, the cells of a workbook whose value is not to be had (an error, a
    formula that was never calculated).
    """

    path: Path
    config: FilesConfig
    form: str
    encoding: str
    titles: tuple[str, ...]
    headers: tuple[str, ...]
    labels: tuple[str, ...]
    sheets: tuple[str, ...] = ()
    lost: Mapping[int, int] = field(default_factory=dict)

    def records(self) -> "Iterator[RawRow]":
        """The rows below the header, empty ones left out; cells of faulty ones may be missing."""
        below = self.config.header + self.config.header_lines - 1 if self.config.header else 0
        for row in self.rows():
            if row.row > below:
                yield row

    def rows(self) -> "Iterator[RawRow]":
        """All rows of the file that are not empty."""
        with closing(_open(self.path, self.config)) as file:
            yield from file.rows(len(self.headers))


def look_at(path: Path) -> Table:
    """The table of a CSV or .xlsx file.

    Raises:
        Invalid: `draft_no_file`, `draft_no_records`, `draft_too_many_columns`; what the readers of the forms raise.
    """
    if path.exists() and not path.is_file():
        raise Invalid("draft_no_file", where=path.name)
    workbook = is_workbook(path)
    encoding = "" if workbook else encoding_of(path, "guess")[0]
    delimiter = "," if workbook else _delimiter(path, encoding)
    config = _reading(delimiter)
    with closing(_open(path, config)) as file:
        first = list(islice(file.rows(1), _LOOKED_AT))
        sheet, sheets = str(getattr(file, "sheet", "")), tuple(getattr(file, "filled_sheets", ()))
        lost: Mapping[int, int] = getattr(file, "lost", {})
    grid = [list(row.cells) for row in first]
    width = max(map(len, grid), default=0)
    if width > MAX_COLUMNS:
        raise Invalid("draft_too_many_columns", where=path.name, found=width, most=MAX_COLUMNS)
    start, lines = _header(grid, [row.row for row in first])
    if not grid or start + lines >= len(grid):
        raise Invalid("draft_no_records", where=path.name)
    headers = joined(grid[start : start + lines]) if lines else [""] * _usual(grid)
    return Table(
        path,
        _reading(delimiter, sheet if len(sheets) > 1 else "", first[start].row if lines else 0, max(lines, 1)),
        "xlsx" if workbook else "csv",
        encoding.removesuffix("-sig").upper(),
        tuple(" ".join(filled) for row in grid[:start] if (filled := _filled(row))) if lines else (),
        tuple(headers),
        tuple(_labels(headers, grid[start] if lines == 1 else ())),
        sheets,
        lost,
    )


def _reading(delimiter: str, sheet: str = "", header: int = 0, header_lines: int = 1) -> FilesConfig:
    """The configuration that reads a file without knowing its columns."""
    nothing = (Column(header="1", field="x", type="text"),)
    return FilesConfig(
        "draft", "draft.draft", nothing, delimiter=delimiter, sheet=sheet, header=header, header_lines=header_lines
    )


def _open(path: Path, config: FilesConfig) -> SourceFile:
    return open_file(path, config)


def _delimiter(path: Path, encoding: str) -> str:
    """The one that cuts the first lines into the most columns of which most lines have the same number."""
    with path.open(encoding=encoding, errors="replace", newline="") as stream:
        text = stream.read(1 << 16)
    lines = text.splitlines()[: _LOOKED_AT if len(text) < 1 << 16 else -1] or [text]

    def columns(delimiter: str) -> tuple[int, int]:
        try:
            counts = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        except csv.Error:
            return 0, 0
        usual = max(set(counts), key=lambda width: (counts.count(width) * (width > 1), width))
        return counts.count(usual) * (usual > 1), usual

    return max(DELIMITERS, key=columns)


def _usual(grid: Sequence[Sequence[str]]) -> int:
    widths = [len(row) for row in grid]
    return max(set(widths), key=lambda width: (widths.count(width), width))


def _header(grid: Sequence[Sequence[str]], numbers: Sequence[int]) -> tuple[int, int]:
    """The index of the header's first row among these, and how many lines it has (0: there is none).

    `numbers` are the rows' numbers in the file: a header's lines stand directly below each other.
    """
    most = max((len(_filled(row)) for row in grid), default=0)
    for index, row in enumerate(grid):
        filled = len(_filled(row))
        if filled * _HALF <= most > 1 or is_summary(row, SUMS) or (filled < most and _is_note(row)):
            continue
        if not _like_labels(row):
            return 0, 0
        if index and numbers[index - 1] + 1 == numbers[index] and _spans(grid[index - 1], row):
            return index - 1, 2
        below = index + 1 < len(grid) and numbers[index] + 1 == numbers[index + 1]
        if below and _continues(row, grid[index + 1], grid[index + 2 :]):
            return index, 2
        return index, 1
    return 0, 0


def _labels(headers: Sequence[str], line: Sequence[str]) -> Iterator[str]:
    """Spaces part words in a header of Latin letters; between Han they are only there to fill the cell."""
    for place, header in enumerate(headers):
        written = " ".join(line[place].split()) if place < len(line) else ""
        yield written if written.isascii() and written else header


def _spans(upper: Sequence[str], lower: Sequence[str]) -> bool:
    """Whether a row of few texts is the upper line of a header: names of groups, not a title or a note."""
    texts = _filled(upper)
    enough = len(texts) > 1 and _like_labels(upper) and not _is_note(upper)
    return enough and all(not above or below for above, below in zip(upper, lower, strict=False))


def _continues(upper: Sequence[str], lower: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether the row below a header's first line is its second: texts where it has gaps, and no record."""
    pairs = list(zip(upper, lower, strict=False))
    fills = any(not above.strip() and text.strip() for above, text in pairs)
    holes = any(above.strip() and not text.strip() for above, text in pairs)
    if not (fills and _like_labels(lower)):
        return False
    known = sum(meaning(plain_header(text)) is not None for text in _filled(lower))
    return known * _HALF >= len(_filled(lower)) or (holes and _values_begin(lower, below))


def _values_begin(row: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    return any(
        text.strip() and not _is_value(text) and below[0][place : place + 1] and _is_value(below[0][place])
        for place, text in enumerate(row)
        if below
    )


def _is_note(row: Sequence[str]) -> bool:
    """单位：元, 填报单位：某局: said about a table, above or below it."""
    return any(":" in text or "：" in text for text in row)


def _filled(row: Sequence[str]) -> list[str]:
    return [text.strip() for text in row if text.strip()]


def _like_labels(row: Sequence[str]) -> bool:
    texts = _filled(row)
    return bool(texts) and all(len(text) <= _LONGEST_LABEL and not _is_value(text) for text in texts)


def _is_value(text: str) -> bool:
    plain = text.strip()
    return bool(_VALUE.fullmatch(plain)) and not _YEAR.fullmatch(plain)
