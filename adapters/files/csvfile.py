"""CSV (RFC 4180, the delimiter as set), strictly: a wrong row is named and left out, the others go on.

What cannot be put right row by row ends the run with the place: a quotation mark that is never closed would
otherwise hide every row after it in one cell, or let the text of one cell pass for a row.
"""

import csv
from collections.abc import Iterator
from typing import Final, TextIO

from adapters.files.config import FilesConfig
from adapters.files.encoding import encoding_of
from adapters.files.headers import found_headers, numbered_headers
from adapters.files.rows import MAX_CELL, SUSPECT, Headers, Openable, RawRow, suspect
from exchange.errors import Invalid

MAX_ROW: Final = 4 << 20


class CsvFile:
    """One file, opened for one reading: first `headers`, then `rows`. `notes` fill while it is read."""

    def __init__(self, path: Openable, config: FilesConfig) -> None:
        self._config = config
        self._file = path.name
        codec, note = encoding_of(path, config.encoding)
        self.notes = [note] if note else []
        self._stream = _open(path, codec)
        self._lines = _Lines(self._stream, self._file)
        # The limit belongs to the csv module as a whole; raising it harms no other reader.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
        self._reader = csv.reader(self._lines, delimiter=config.delimiter, strict=True)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def headers(self) -> Headers:
        """Read up to the header's row and find the mapped columns.

        Raises:
            Invalid: `file_header_missing`, `file_column_missing`, `file_column_repeated`, `file_encoding`,
                `file_quotes_open`, `file_row_too_long`.
        """
        if self._config.header == 0:
            return numbered_headers(self._config)
        for _ in range(self._config.header - 1):
            if next(self._lines, None) is None:
                raise Invalid("file_header_missing", where=self._file, line=self._config.header)
        where = f"{self._file}:{self._lines.count + 1}"
        lines = [self._header_cells(where) for _ in range(self._config.header_lines)]
        if not any(map(any, lines)):
            raise Invalid("file_header_missing", where=self._file, line=self._config.header)
        return found_headers(self._config, lines, where)

    def rows(self, width: int) -> Iterator[RawRow]:
        """The records below the header, empty ones left out; each has `width` cells or a fault.

        Raises:
            Invalid: `file_quotes_open`, `file_row_too_long` at the row where reading cannot go on.
        """
        lines, reader, file, number = self._lines, self._reader, self._file, 0
        while True:
            start = lines.begin()
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                number += 1
                yield RawRow(file, start, number, (), self._fault(error, start))
                continue
            if not any(cells):
                continue
            number += 1
            if len(cells) != width:
                yield RawRow(file, start, number, cells, Invalid("row_width"))
            elif lines.suspect:
                yield suspect(RawRow(file, start, number, cells))
            else:
                yield RawRow(file, start, number, cells)
        if not lines.last.endswith(("\n", "\r")):
            note = "the last line has no line end: is the file complete? | 最后一行没有换行：文件是否完整？"
            self.notes.append(f"{file}: {note}")

    def _header_cells(self, where: str) -> list[str]:
        self._lines.begin()
        try:
            cells = next(self._reader, [])
        except csv.Error as error:
            raise Invalid("file_quotes_open", where=where) from error
        if self._lines.suspect:
            raise Invalid("file_encoding", where=where, encoding=self._config.encoding)
        return cells

    def _fault(self, error: csv.Error, start: int) -> Invalid:
        one_line = self._lines.count == start
        # An odd number of marks leaves it open whether the next line is a row or still text; only the file's
        # last line, cut off within a cell, has nothing after it to confuse.
        if not one_line or (self._lines.last.count('"') % 2 and next(self._lines, None) is not None):
            raise Invalid("file_quotes_open", where=f"{self._file}:{start}") from error
        return Invalid("cell_too_large" if "limit" in str(error) else "row_quotes")


class _Lines:
    """The lines of a text, counted, never longer than the limit; `begin` says that a record begins with the next."""

    def __init__(self, stream: TextIO, file: str) -> None:
        self._stream = stream
        self._file = file
        self._size = 0
        self._start = 1
        self.count = 0
        self.suspect = False
        self.last = "\n"

    def begin(self) -> int:
        self._size = 0
        self.suspect = False
        self._start = self.count + 1
        return self._start

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        try:
            line = self._stream.readline(MAX_ROW)
        except OSError as error:
            raise Invalid("source_unreadable", where=self._file, detail=type(error).__name__) from error
        if not line:
            raise StopIteration
        self.count += 1
        self._size += len(line)
        if self._size >= MAX_ROW:
            raise Invalid("file_row_too_long", where=f"{self._file}:{self._start}", limit=MAX_ROW)
        if self.count == 1:
            line = line.removeprefix("\ufeff")
        if SUSPECT.search(line):
            self.suspect = True
        self.last = line
        return line


def _open(path: Openable, codec: str) -> TextIO:
    try:
        stream: TextIO = path.open(encoding=codec, errors="surrogateescape", newline="")
    except OSError as error:
        raise Invalid("source_unreadable", where=path.name, detail=type(error).__name__) from error
    return stream
