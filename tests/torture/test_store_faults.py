"""Every call of the store that commits make, persisted and failed or not: the log recovers, nobody is told too much."""

from pathlib import Path
from random import Random

import pytest

from tests.torture.lives import Log
from tests.torture.places import Base, folder_base, schema_base
from tests.torture.sweeps import BEGUN, Fresh, copies, sweep

pytestmark = pytest.mark.torture


@pytest.fixture(name="base", scope="module")
def _base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return folder_base(tmp_path_factory.mktemp("base") / "log", BEGUN)


@pytest.fixture(name="fresh")
def _fresh(base: Base, tmp_path: Path) -> Fresh:
    return copies(base, tmp_path)


EVERY_CALL = {
    *("head", "lead", "epochs", "schemas", "published", "unstage", "submit", "add", "pending", "stage", "swap"),
    *("staged", "write", "read", "publish", "prune"),
}
EVERY_OPERATION = {"write", "rename", "sync_folder", "make_folder", "remove", "read", "names"}


@pytest.mark.parametrize("way", ["before", "after", "kill"])
def test_every_call_of_the_store(fresh: Fresh, way: str) -> None:
    """On files: the call fails and did nothing, or did it, or the process ends there; each of some sixty calls."""
    assert set(sweep(fresh, "store", way)) >= EVERY_CALL


@pytest.mark.parametrize("way", ["before", "after", "kill"])
def test_every_call_of_the_event_store(fresh: Fresh, way: str) -> None:
    """A control event and its entry are in one transaction: both are there, or neither."""
    assert "append" in sweep(fresh, "events", way)


@pytest.mark.parametrize("way", ["after", "cut"])
def test_every_operation_on_files(fresh: Fresh, way: str) -> None:
    """Below the store: each write, rename and sync is done and fails all the same, or the power fails there."""
    assert set(sweep(fresh, "files", way)) >= EVERY_OPERATION


@pytest.mark.postgres
@pytest.mark.parametrize("way", ["before", "after"])
def test_every_call_of_the_store_on_a_server(postgres: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL, where the place of the sequencer is given up after a fault, and rows are all there is."""
    monkeypatch.setattr("exchange.audit.log._POLL_S", 0.005)
    place, judge = schema_base(postgres, BEGUN)

    def fresh() -> Log:
        place.reset()
        return Log(place, judge.copy(), Random(1))

    try:
        assert set(sweep(fresh, "store", way)) >= EVERY_CALL
        assert "append" in sweep(fresh, "events", way)
    finally:
        place.close()
