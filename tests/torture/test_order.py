"""The fault tests see what they are for: our order of writes, broken in each way that they are said to catch."""

from pathlib import Path

import pytest

from tests.torture.judge import Broken
from tests.torture.order import MUTANTS, RIGHT, ordered
from tests.torture.places import Base, folder_base
from tests.torture.sweeps import BEGUN, copies, sweep

pytestmark = pytest.mark.torture


@pytest.fixture(name="base", scope="module")
def _base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return folder_base(tmp_path_factory.mktemp("base") / "log", BEGUN)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """By the very sweep that holds without it: `test_every_call_of_the_store`, `test_every_operation_on_files`."""
    mutant = MUTANTS[name]
    mutant.damage(monkeypatch.setattr)
    with pytest.raises(Broken):
        sweep(copies(base, tmp_path), mutant.layer, mutant.way)


def test_the_right_order_holds(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit as steps, in the right order: so what the mutants are caught for is their order and nothing else."""
    ordered(monkeypatch.setattr, RIGHT)
    assert "swap" in sweep(copies(base, tmp_path), "store", "kill")
