"""A power cut at every operation of the audit log on its folder, with what was not synced lost in any mixture."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from exchange.audit.entries import Receipt
from exchange.audit.files import DiskFiles
from exchange.audit.log import AuditLog
from exchange.audit.verify import verify
from exchange.errors import ExchangeError, Unavailable
from tests.audit.building import KEY, START_NS, VKEY, clock, control, new_log, store_at
from tests.torture.leaves import decoded, leaves_of
from tests.torture.power import PowerFiles

pytestmark = pytest.mark.torture
_MORE = range(2, 4)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with an entry, closed."""
    folder = tmp_path_factory.mktemp("begun")
    log = new_log(folder)
    log.append(control(1))
    log.close()
    log._store._engine.dispose()  # type: ignore[attr-defined]  # else its WAL goes at some later moment
    return folder


def _cut(folder: Path, last: int, random: Random, forgotten: frozenset[str]) -> tuple[bool, dict[int, Receipt]]:
    """Appends until the power fails at this operation: whether it did, and what was told before, by number."""
    files = PowerFiles(folder / "audit", last, forgotten)
    told: dict[int, Receipt] = {}
    try:
        log = AuditLog(store_at(folder, files), KEY, clock(START_NS + 10**12))
        for number in _MORE:
            told[number] = log.append(control(number))
        log.close()
    except Unavailable:
        assert files.cut
    if files.cut:
        files.lose(random)
    return files.cut, told


def _check(folder: Path, told: dict[int, Receipt], kept: list[bytes]) -> None:
    """The log verifies, continues what was seen of it, and holds what was told."""
    checkpoints = [*kept, *(receipt.checkpoint for receipt in told.values())]
    verdict = verify(folder / "audit", VKEY, checkpoints, rules=False)  # its entries are numbers, not a story
    assert verdict.ok, verdict.findings
    entries = decoded(leaves_of(folder / "audit"), [])
    for number, receipt in told.items():
        kind, body = entries[receipt.index]
        assert (kind, body["id"]) == ("control", control(number).id)


def _cuts(begun: Path, work: Path, seed: int, forgotten: frozenset[str]) -> int:
    """Cuts at the first, second, … operation until none is left: how many; each time the log recovers and goes on."""
    kept, random, last, cut = [(begun / "audit/checkpoint").read_bytes()], Random(seed), 0, True
    while cut:
        last += 1
        folder = Path(shutil.copytree(begun, work / f"{seed}-{last}"))
        cut, told = _cut(folder, last, random, forgotten)
        _check(folder, told, kept)
        log = AuditLog(store_at(folder), KEY, clock(START_NS + 10**13))
        told |= {number: log.append(control(number)) for number in (*_MORE, 99)}
        log.close()
        _check(folder, told, kept)
    return last - 1


@pytest.mark.parametrize("seed", [1, 2])
def test_a_power_cut_at_any_operation_loses_nothing_that_was_told(begun: Path, tmp_path: Path, seed: int) -> None:
    """Whatever of the unsynced names survives: the log verifies, has what was told, and goes on."""
    assert _cuts(begun, tmp_path, seed, frozenset()) > 20


@pytest.mark.parametrize("forgotten", ["staging", "tile/entries/000.p", "tile/0/000.p", ""])
def test_a_folder_that_is_not_synced_is_noticed(begun: Path, tmp_path: Path, forgotten: str) -> None:
    """Mutants: without the sync of any one folder, some power cut loses or breaks something."""

    def cuts() -> None:
        for seed in range(1, 6):
            _cuts(begun, tmp_path, seed, frozenset({forgotten}))

    with pytest.raises((AssertionError, ExchangeError)):
        cuts()


def test_bytes_are_synced_before_they_have_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `PowerFiles` takes for granted of `write`: the file itself is synced, after its last byte."""
    calls: list[str] = []

    def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(name)
            return real(*arguments)

        return call

    for name in ("write", "fsync"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    DiskFiles(tmp_path).write("one", b"bytes")
    assert calls == ["write", "fsync"]
