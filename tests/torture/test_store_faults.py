"""Every call of the store that commits make, persisted and failed or not: the log recovers, nobody is told too much."""

import itertools
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.audit.building import control, release
from tests.torture.lives import Fault, Log, Step
from tests.torture.places import Base, folder_base, schema_base

pytestmark = pytest.mark.torture

BEGUN = ([control(1, policy=1)], [control(2)])
# Schemas come with the first entry of their kind: the second of these steps has one, the others have none.
STEPS = (
    Step([[control(3)], [control(4), control(5)]]),
    Step([[release(1, epochs={"policy": 1})]], control(6)),
    Step([[control(7, policy=2), release(2, epochs={"policy": 1})], [release(3, epochs={"policy": 2})]]),
)
Fresh = Callable[[], Log]


@pytest.fixture(name="base", scope="module")
def _base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return folder_base(tmp_path_factory.mktemp("base") / "log", BEGUN)


@pytest.fixture(name="fresh")
def _fresh(base: Base, tmp_path: Path) -> Fresh:
    numbers = itertools.count()
    return lambda: Log(base.copy(tmp_path / f"run-{next(numbers)}"), base.judge.copy(), Random(1))


def sweep(fresh: Fresh, layer: str, way: str) -> list[str]:
    """Strikes the first, the second, … call of the layer until none is left: which calls they were."""
    struck: list[str] = []
    for at in itertools.count(1):
        log = fresh()
        name = log.live(STEPS, Fault(layer, at, way))
        log.recover(control(99))
        if not name:
            return struck
        struck.append(name)
    raise AssertionError


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


@pytest.mark.parametrize("way", ["before", "after", "kill", "cut"])
def test_every_operation_on_files(fresh: Fresh, way: str) -> None:
    """Below the store: each write, rename and sync fails, or the process ends there, or the power does."""
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
