"""A row of a file before its cells are understood: what every reader of a form of file gives."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from exchange.errors import Invalid

MAX_CELL: Final = 1 << 20
# Control characters no text has, and the surrogates that stand for bytes which are not of the encoding.
SUSPECT: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Openable(Protocol):
    """A path, or what is opened and called like one."""

    @property
    def name(self) -> str:
        """What dead letters call it."""
        ...

    def open(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  as `Path.open`
        """See `Path.open`."""
        ...


@dataclass(frozen=True, slots=True)
class RawRow:
    """The cells of record `number` (1 = the first below the header) that begins in line `row` of `file`.

    `fault` says why the record could not be read as cells; `column` is then the position (from 0) of the faulty
    cell where it is known, else -1.
    """

    file: str
    row: int
    number: int
    cells: Sequence[str]
    fault: Invalid | None = None
    column: int = -1


@dataclass(frozen=True)
class Headers:
    """Where each mapped header stands among the columns of one file, and how many columns a row has to have."""

    positions: dict[str, int]
    width: int
    unmapped: tuple[str, ...] = ()


class SourceFile(Protocol):
    """One file of any form, opened for one reading: first `headers`, then `rows`; `notes` fill while it is read."""

    notes: list[str]

    def close(self) -> None:
        """Close the file."""
        ...

    def headers(self) -> Headers:
        """Read up to the header's row and find the mapped columns; `Invalid` where there is no such header."""
        ...

    def rows(self, width: int) -> Iterator[RawRow]:
        """The records below the header, empty ones left out; each has at least `width` cells or a fault."""
        ...


def suspect(row: RawRow) -> RawRow:
    """The row, faulty at its first cell with a character that no text has."""
    for position, cell in enumerate(row.cells):
        if SUSPECT.search(cell):
            fault = "cell_undecodable" if _SURROGATE.search(cell) else "cell_control_character"
            return RawRow(row.file, row.row, row.number, row.cells, Invalid(fault), position)
    return row


def is_summary(cells: Sequence[str], words: Sequence[str]) -> bool:
    """Whether the first filled cell is one of these texts, or begins with one and a colon: 合计, 制表人：某某."""
    first = next((plain for cell in cells if (plain := "".join(cell.split()))), "")
    if not first.startswith(tuple(words)):
        return False
    return any(first.startswith(word) and first[len(word) :][:1] in {"", ":", "："} for word in words)
