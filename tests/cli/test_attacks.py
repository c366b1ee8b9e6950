"""The three attacks of the demo do what they say: each is found with a kept checkpoint, and one only with it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.audit.verify import verify
from exchange.cli.attacks import cut_off, flip_byte, rewrite
from exchange.errors import Invalid
from tests.audit.building import KEY, ORIGIN, VKEY, control, grounds, log_at, release
from tests.log.memory import folder_in_memory


def made(folder: Path, releases: int) -> tuple[Path, bytes]:
    """A log with so many releases, and the checkpoint that an auditor kept."""
    with log_at(folder) as log:
        epochs = {"agreement/agr": 1}
        many = [release(n, epochs=epochs) for n in range(1, releases)]
        entries = [*grounds(epochs, committed=10_000), control(1, agreement_agr=1), *many]
        log.submit(entries)
        log.wait(entries[-1].id)
        return folder / "audit", log.checkpoint()


@pytest.mark.parametrize("releases", [3, 300])
def test_each_attack_is_named(releases: int) -> None:
    """In a log of one bundle, and of several; the copies are whole but for what was done to them."""
    with folder_in_memory() as folder:
        log, kept = made(folder, releases)
        before = {path: path.read_bytes() for path in log.rglob("*") if path.is_file()}
        attacked = {
            "entry_changed": flip_byte(log, folder / "flipped"),
            "log_cut_off": cut_off(log, folder / "cut", ORIGIN, KEY, 1),
            "history_rewritten": rewrite(log, folder / "rewritten", ORIGIN, KEY),
        }
        for code, copy in attacked.items():
            assert [one.code for one in verify(copy, VKEY, [kept]).findings][:1] == [code]
        assert {path: path.read_bytes() for path in log.rglob("*") if path.is_file()} == before


def test_only_a_kept_checkpoint_shows_what_the_real_key_signed() -> None:
    """Cut off or rewritten, the log is sound in itself: that is why auditors keep checkpoints."""
    with folder_in_memory() as folder:
        log, _ = made(folder, 300)
        for copy in (
            cut_off(log, folder / "cut", ORIGIN, KEY, 40),
            rewrite(log, folder / "rewritten", ORIGIN, KEY),
        ):
            assert verify(copy, VKEY).findings == ()


def test_a_log_without_what_an_attack_needs() -> None:
    """No entries, no releases, more to cut than there is: said, and not played."""
    with folder_in_memory() as folder:
        with log_at(folder) as log:
            with pytest.raises(Invalid) as caught:
                flip_byte(folder / "audit", folder / "flipped")
            assert caught.value.code == "attack_impossible"
            log.append(control(1))
        copy = folder / "copy"
        attacks: list[Callable[[], Path]] = [
            lambda: rewrite(folder / "audit", copy, ORIGIN, KEY),
            lambda: cut_off(folder / "audit", copy, ORIGIN, KEY, 0),
            lambda: cut_off(folder / "audit", copy, ORIGIN, KEY, 9),
        ]
        for attack in attacks:
            with pytest.raises(Invalid) as caught:
                attack()
            assert caught.value.code == "attack_impossible"
