"""From a row's cells to a record by field name, with the digests by which the ledger knows it again."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.files import cells
from adapters.files.config import FilesConfig
from adapters.files.rows import Headers, RawRow
from exchange.errors import Invalid
from exchange.source import Place

_SHOWN: Final = 40
_EMPTY: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Item:
    """A row understood (`value`) or refused (`code`, `shape`), with its key and content as salted digests."""

    key: bytes
    content: bytes
    place: Place
    value: Mapping[str, Any] | None
    code: str = ""
    shape: Mapping[str, str] = field(default_factory=dict)


class Mapper:
    """Reads the rows of one file. `counts` rises with what is worth a note (`cells.WRONG_CHECK`)."""

    def __init__(self, config: FilesConfig, headers: Headers, salt: bytes, counts: Counter[str]) -> None:
        self._columns = [
            (headers.positions[column.header], column.header, column.field, cells.converter(column, counts))
            for column in sorted(config.columns, key=lambda column: column.field)
        ]
        self._headers = {position: header for header, position in headers.positions.items()}
        self._fields = {column.header: column.field for column in config.columns}
        self._nulls = config.nulls
        self._fixed = {**dict.fromkeys(sorted(config.absent)), **dict(sorted(config.constants.items()))}
        self._key = config.key
        self._salt = salt
        self._width = headers.width

    def item(self, row: RawRow) -> Item:
        """This row as a record, or refused with a code; never raises for what stands in the file."""
        if row.fault:
            return self._refused(row, row.fault.code, self._headers.get(row.column, ""))
        value: dict[str, Any] = dict(self._fixed)
        header = ""
        try:
            for position, header, name, convert in self._columns:  # noqa: B007 - the handler names the column
                cell = row.cells[position]
                value[name] = None if cell.strip() in self._nulls else convert(cell)
        except Invalid as error:
            return self._refused(row, error.code, header)
        key = [value[name] for name in self._key]
        if None in key:
            return self._refused(row, Invalid("row_key_missing").code, "")
        identity = ["key", *key] if key else ["place", row.file, row.number]
        return Item(self._digest(identity), self._digest(value), Place(row.file, row.row), value)

    def _refused(self, row: RawRow, code: str, header: str) -> Item:
        # A refused row is known by its content alone, so that it is told once, wherever it stands, and never
        # takes the place of the good record with its key.
        content = self._digest(["refused", code, *row.cells] if row.cells else ["refused", row.file, row.row])
        shape = _EMPTY
        if code == "row_width":
            shape = {"columns": f"{len(row.cells)}, not {self._width}"}
        elif header and row.cells:
            position = next(place for place, name in self._headers.items() if name == header)
            shape = {self._fields[header]: shape_of(row.cells[position])}
        return Item(content, content, Place(row.file, row.row, header), None, code, shape)

    def _digest(self, document: object) -> bytes:
        # `ascii` writes plain values exactly and alike in every version of Python, for it escapes all but ASCII.
        return hashlib.blake2b(ascii(document).encode(), digest_size=16, key=self._salt).digest()


def shape_of(text: str) -> str:
    """What a text looks like without what it says: 9 for a digit, A for a letter, 字 for Han, ? for the unprintable."""
    shown = "".join(_kind(character) for character in text[:_SHOWN])
    return f"{shown}… ({len(text)})" if len(text) > _SHOWN else shown


def _kind(character: str) -> str:
    if character.isdecimal():
        return "9" if character.isascii() else "９"
    if character.isascii():
        return "A" if character.isalpha() else character if character.isprintable() else "?"
    return "字" if unicodedata.category(character) == "Lo" else "?"
