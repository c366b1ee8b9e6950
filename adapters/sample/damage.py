"""What goes wrong on the way out of a system: ids spoilt by a spreadsheet, rows cut, dates that do not exist.

Each kind of damage is done to a stated number of rows that nothing is planted in, and counted.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

Row = list[str]

# Stands for a byte that is no text; `writing` puts 0xFF in its place.
WRONG_BYTE: Final = "\U000f0000"
_FULL_WIDTH: Final = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_SPACES: Final = (" {}", "{} ", "\u3000{}", "{}\t", "\u00a0{}\u00a0")


@dataclass
class Damage:
    """Rows of one file to be damaged; `rejected` counts those a reader has to refuse, by code."""

    random: Random
    rows: list[Row]
    spared: frozenset[str]
    id_column: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    wrong_check: int = 0
    _touched: set[int] = field(default_factory=set)

    def refuse(self, code: str, count: int, spoil: Callable[[Row], None]) -> None:
        """Spoil so many rows, each of which has to be refused with this code."""
        for row in self._pick(count, lambda _: True):
            spoil(row)
            self.rejected[code] += 1

    def mend(self, count: int, write: Callable[[str, int], str], *, ending: str = "") -> None:
        """Write so many ids otherwise, in a way that a reader has to mend."""
        for number, row in enumerate(self._pick(count, lambda row: row[self.id_column].endswith(ending))):
            row[self.id_column] = write(row[self.id_column], number)

    def miscount(self, count: int) -> None:
        """Give so many ids a wrong check digit: taken as they are."""
        for row in self._pick(count, lambda row: len(row[self.id_column]) == 18):
            identifier = row[self.id_column]
            row[self.id_column] = identifier[:17] + ("2" if identifier[17] != "2" else "4")
            self.wrong_check += 1

    def _pick(self, count: int, fits: Callable[[Row], bool]) -> list[Row]:
        free = [
            place
            for place, row in enumerate(self.rows)
            if place not in self._touched and row[self.id_column] not in self.spared and fits(row)
        ]
        chosen = self.random.sample(free, min(count, len(free)))
        self._touched.update(chosen)
        return [self.rows[place] for place in chosen]


def full_width(identifier: str, _: int) -> str:
    """４３１１…"""
    return identifier.translate(_FULL_WIDTH)


def lower(identifier: str, _: int) -> str:
    """…x"""
    return identifier.lower()


def spaced(identifier: str, number: int) -> str:
    """Spaces of several kinds around or within."""
    within = identifier[:6] + " " + identifier[6:14] + " " + identifier[14:]
    return within if number % 6 == 5 else _SPACES[number % 6].format(identifier)


def cell(column: int, text: str) -> Callable[[Row], None]:
    """Puts this text in that column."""

    def spoil(row: Row) -> None:
        row[column] = text

    return spoil


def cut_off(row: Row) -> None:
    """Two columns fewer."""
    del row[-2:]


def one_more(row: Row) -> None:
    """One column more, as an unquoted delimiter gives."""
    row.insert(2, "")


def damage_registry(damage: Damage) -> None:
    """The registry's file: everything at once."""
    damage.mend(5, lower, ending="X")
    damage.mend(5, full_width)
    damage.mend(6, spaced)
    damage.miscount(3)
    damage.refuse("cell_id_damaged", 3, cell(0, "4.31E+17"))
    damage.refuse("cell_id_damaged", 1, cell(0, "4.31126E+17"))
    damage.refuse("cell_id_malformed", 1, cell(0, "身份不详"))
    damage.refuse("cell_date_malformed", 2, cell(3, "1987-02-30"))
    damage.refuse("cell_undecodable", 1, cell(1, f"王{WRONG_BYTE}"))
    damage.refuse("cell_value_unknown", 1, cell(2, "？"))
    damage.refuse("row_width", 1, cut_off)
    damage.refuse("row_width", 1, one_more)


def damage_pensions(damage: Damage) -> None:
    """The pensions' file, which went through a spreadsheet."""
    damage.refuse("cell_id_damaged", 2, cell(0, "4.52E+17"))
    damage.refuse("cell_money_malformed", 1, cell(4, "一百八十元"))
    damage.refuse("cell_date_malformed", 1, cell(5, "2026-13"))


def damage_receipts(damage: Damage) -> None:
    """The receipts' file: vague and shortened amounts."""
    damage.refuse("cell_money_malformed", 2, cell(5, "若干"))
    damage.refuse("cell_number_damaged", 1, cell(5, "1.2E+05"))
    damage.refuse("row_width", 1, cut_off)


def damage_applications(damage: Damage) -> None:
    """The applications' file: a member's id, a date in words."""
    damage.refuse("cell_id_damaged", 1, cell(2, "4.31E+17:本人"))
    damage.refuse("cell_date_malformed", 1, cell(5, "长期"))
