"""The ten ugly files: what is guessed of each, what gets in, which cells do not and why."""

import tracemalloc
from pathlib import Path

import pytest

from adapters.draft import draft_file
from tests.adapters.draft.drafting import drafted
from tests.adapters.draft.ugly import LINK, QUICK, RUNS, Ugly, many


@pytest.mark.parametrize("ugly", QUICK, ids=lambda ugly: ugly.name)
def test_what_is_made_of_an_ugly_file(tmp_path: Path, ugly: Ugly) -> None:
    """Fields with types and classes, key and subject, records, dead letters: all as they must be.

    (All ten go the whole way in tests/cli/test_trying.py.)
    """
    file = tmp_path / ugly.name
    ugly.make(file)
    done = drafted(file, tmp_path / "out")
    assert done.fields == ugly.fields
    assert len(done.values) == ugly.taken
    assert tuple((one.code, one.place.row, one.place.column) for one in done.letters) == ugly.letters
    assert (done.draft.key, done.draft.subject_path) == (ugly.key, ugly.subject)
    assert done.said >= ugly.notes
    assert done.draft.rows == ugly.taken + len(ugly.letters)
    assert done.contract.subject_path == ugly.subject
    assert {path: terms.security_class for path, terms in done.contract.fields.items()} == {
        name: of[1] for name, of in ugly.fields.items()
    }


@pytest.mark.whole
def test_memory_grows_by_what_is_counted_alone(tmp_path: Path) -> None:
    """A row more costs less than its texts: of a column that tells rows apart a number each, else nothing."""

    def most(rows: int) -> int:
        file = tmp_path / "many.csv"
        many(file, rows)
        seen: list[int] = []
        tracemalloc.start()
        assert draft_file(file, on_rows=seen.append).rows == rows
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (seen, seen[-1]) == (sorted(seen), rows)
        return peak

    assert most(40_000) - most(10_000) < 30_000 * 250


def test_values_of_the_files_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    """They are texts like any other, and stay as they are."""
    ugly = next(one for one in QUICK if one.name == "formulas.xlsx")
    ugly.make(tmp_path / ugly.name)
    values = drafted(tmp_path / ugly.name, tmp_path / "out").values
    assert [value["title"] for value in values] == [RUNS, LINK, "@SUM(A1)", "'=1"]


def test_dates_come_out_as_they_were_meant(tmp_path: Path) -> None:
    """All spellings of one day are that day."""
    ugly = next(one for one in QUICK if one.name == "dates.xlsx")
    ugly.make(tmp_path / ugly.name)
    done = drafted(tmp_path / ugly.name, tmp_path / "out")
    assert {str(value["date"]) for value in done.values} == {"2026-01-03"}
    assert {value["month"] for value in done.values} == {"2026-01"}
    assert {one.field: set(one.also) for one in done.draft.fields if one.also} == {
        "date": {"serial", "han"},
        "month": {"han"},
    }
