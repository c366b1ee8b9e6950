"""Tables for people's spreadsheets, as files: `exchange.wiring.sheets` writes them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from exchange.cli.terminal import replaced
from exchange.errors import Invalid
from exchange.wiring.sheets import SUFFIXES, Write, table


@contextmanager
def sheet(file: Path, headers: Sequence[str], title: str) -> Iterator[Write]:
    """Writes rows into a table that appears whole, at the end of the block; by the file's suffix CSV or xlsx.

    Raises:
        Invalid: `sheet_suffix`, `file_unwritable`.
    """
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise Invalid("sheet_suffix", where=str(file), known=" ".join(SUFFIXES))
    try:
        with replaced(file) as out, table(out, suffix, headers, title) as write:
            yield write
    except OSError as error:
        raise Invalid("file_unwritable", where=str(file), detail=error.strerror) from None
