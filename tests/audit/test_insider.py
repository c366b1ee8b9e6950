"""An insider who has the log's signing key and all its storage, against an auditor who keeps one old state of it."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from exchange.audit.verify import verify
from tests import simulator
from tests.audit.building import VKEY, control, grounds, leaves_of, refusal, release, write_log

pytestmark = pytest.mark.whole

OLD = 40  # entries that the auditor has seen
LEAVES = leaves_of(
    [*grounds(), control(1), *(release(number) for number in range(1, 30)), *(refusal(one) for one in range(20))]
)
Forging = Callable[[list[bytes], int], object]


def _deleted(leaves: list[bytes], index: int) -> None:
    del leaves[index]


def _altered(leaves: list[bytes], index: int) -> None:
    leaves[index] = leaves[index][:-1] + bytes([leaves[index][-1] ^ 1])


def _moved(leaves: list[bytes], index: int) -> None:
    leaves.insert(index + 1, leaves.pop(index))


def _put_in(leaves: list[bytes], index: int) -> None:
    leaves.insert(index, leaves[-1])


def _cut_off(leaves: list[bytes], index: int) -> None:
    del leaves[index:]


FORGED: dict[str, Forging] = {
    "deleted": _deleted,
    "altered": _altered,
    "moved": _moved,
    "put in": _put_in,
    "cut off": _cut_off,
}


@pytest.fixture(name="state", scope="module")
def _state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the auditor keeps of the log as it was."""
    folder = tmp_path_factory.mktemp("kept")
    assert verify(write_log(folder / "log", LEAVES[:OLD]), VKEY, state=folder / "state").ok
    return folder / "state"


def _forged(folder: Path, forging: Forging, index: int) -> Path:
    """The log with one entry changed, every tile made again, signed with the real key."""
    shutil.rmtree(folder, ignore_errors=True)
    leaves = list(LEAVES)
    forging(leaves, index)
    return write_log(folder, leaves)


def _found(log: Path, kept: Sequence[bytes], state: Path | None) -> set[str]:
    return {one.code for one in verify(log, VKEY, kept, state=state).findings}


@pytest.mark.parametrize("what", FORGED)
def test_any_entry_that_the_auditor_has_seen(tmp_path: Path, state: Path, what: str) -> None:
    """Deleted, altered, moved, put in, cut off, at each index: sound in itself, and found by what was kept; the state
    stays as it was.
    """
    own = Path(shutil.copy(state, tmp_path / "state"))
    kept = (write_log(tmp_path / "old", LEAVES[:OLD]) / "checkpoint").read_bytes()
    for index in range(OLD - 1 if what == "moved" else OLD):
        log = _forged(tmp_path / "log", FORGED[what], index)
        assert verify(log, VKEY, rules=False).ok
        assert _found(log, [], own) & {"history_rewritten", "log_cut_off"}, index
        assert _found(log, [kept], None) & {"history_rewritten", "log_cut_off"}, index
        assert own.read_bytes() == state.read_bytes()
    assert verify(write_log(tmp_path / "true", LEAVES), VKEY, state=own).ok


def test_the_auditors_command(tmp_path: Path, state: Path) -> None:
    """`exchange audit verify FOLDER --state KEPT` fails and names it; of the true log it does not."""
    own = Path(shutil.copy(state, tmp_path / "state"))
    (tmp_path / "vkey").write_text(VKEY)

    def verified(log: Path) -> simulator.Ran:
        words = ["audit", "verify", str(log), "--key", str(tmp_path / "vkey"), "--state", str(own), "--json"]
        return simulator.run(words, {"LANG": "C"})

    for what, forging in FORGED.items():
        ran = verified(_forged(tmp_path / "log", forging, 20))
        assert ran.code != 0, what
        assert {one["code"] for one in ran.json["findings"]} & {"history_rewritten", "log_cut_off"}, what
    assert verified(write_log(tmp_path / "true", LEAVES)).code == 0
