"""A row of a file before its cells are understood: what every reader of a form of file gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from exchange.errors import Invalid


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
