"""Half a minute of `make torture`, in processes of their own: forking needs a parent with one thread."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture import syscalls
from tests.torture.faults import Bases, Run

pytestmark = pytest.mark.torture


def _torture(*words: str) -> str:
    command = [sys.executable, "-m", "tests.torture", "--seed", "slice", "--workers", "1", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    return done.stdout


def test_random_kills_break_nothing() -> None:
    """Released ⊆ audited, acknowledged ⊆ readable, the old prefix unchanged, the log still appends."""
    assert " kills in " in _torture("--kills", "--seconds", "4")


def test_randomised_faults_break_nothing() -> None:
    """Calls that fail, persisted or not, power cuts, clocks, a second sequencer, changed bytes, SIGKILL."""
    assert " runs: 0 broke anything: less than " in _torture("--faults", "10000", "--seconds", "14")


def test_a_run_is_played_again_by_its_seed(tmp_path: Path) -> None:
    """Alone, to the same end, down to the bytes of the log."""
    bases = Bases.made(tmp_path / "bases")
    ends = []
    for number in range(2):
        run = Run(bases.small.begin, tmp_path / f"run-{number}", "a seed without SIGKILL")
        log = run.play()
        ends.append((run.met, log.judge.leaves))
    assert ends[0] == ends[1]
    assert len(ends[0][1]) > len(bases.small.judge.leaves)


def test_faults_at_system_calls_break_nothing() -> None:
    """The same where the process is killed at, or refused (EIO, ENOSPC once or from then on), a system call."""
    why_not = syscalls.missing()
    if why_not and "ptrace" not in os.environ.get("REQUIRE", "").split(","):
        pytest.skip(why_not)
    assert " met" in _torture("--syscalls", "--points", "10")


def test_a_changed_byte_is_found_and_named() -> None:
    """In a log's folder, an evidence bundle and its archive: an entry by its index, all else by its file."""
    assert "; 0 not found or not named" in _torture("--mutations", "60")


def test_no_mutant_of_our_order_of_writes_survives() -> None:
    """The harness sees what it is for: seven ways to write in the wrong order, each killed in its gap."""
    assert "each killed in its gap" in _torture("--mutants", "--cornered")
