"""Where the mapped columns stand among a file's: by their headers, or by their place where a header says nothing."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from adapters.files.config import FilesConfig, plain_header
from adapters.files.rows import Headers
from exchange.errors import Invalid

_PLACE: Final = re.compile("#([1-9][0-9]{0,3})")


def found_headers(config: FilesConfig, lines: Sequence[Sequence[str]], where: str) -> Headers:
    """The configuration's columns in a header of these lines.

    Raises:
        Invalid: `file_column_missing`, `file_column_repeated`, each with the header.
    """
    found = joined(lines)
    positions = {column.header: _position(column.header, found, where) for column in config.columns}
    taken = set(positions.values())
    unmapped = tuple(header for place, header in enumerate(found) if header and place not in taken)
    return Headers(positions, len(found), unmapped)


def numbered_headers(config: FilesConfig) -> Headers:
    """Of a file without a header: columns are named by number, from "1"."""
    positions = {column.header: int(column.header) - 1 for column in config.columns}
    return Headers(positions, max(positions.values()) + 1)


def joined(lines: Sequence[Sequence[str]]) -> list[str]:
    """One header for each column, without white space: the texts of its lines from above.

    A text that stands above several columns (merged cells: only the first has it) goes before the text of each of
    them, as far to the right as there is something below and nothing beside it.
    """
    width = max(map(len, lines), default=0)
    grid = [[plain_header(cell) for cell in line] + [""] * (width - len(line)) for line in lines]
    for upper, lower in pairwise(grid):
        for place in range(1, width):
            if not upper[place] and lower[place] and lower[place - 1]:
                upper[place] = upper[place - 1]
    return ["".join(texts) for texts in zip(*grid, strict=True)]


def _position(header: str, found: Sequence[str], where: str) -> int:
    place = _PLACE.fullmatch(header)
    if place:
        if int(place[1]) > len(found):
            raise Invalid("file_column_missing", where=where, column=header)
        return int(place[1]) - 1
    plain = plain_header(header)
    if plain not in found:
        raise Invalid("file_column_missing", where=where, column=header)
    if found.count(plain) > 1:
        raise Invalid("file_column_repeated", where=where, column=header)
    return found.index(plain)
