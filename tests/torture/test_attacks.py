"""A site set back, wholly or in part; a blind swap; a number used twice: noticed at the opening or by the auditor."""

import itertools
import shutil
from pathlib import Path
from random import Random

import pytest

from exchange.access.flight import Flight
from exchange.audit import rows
from exchange.audit.verify import verify
from exchange.errors import ExchangeError, Tampered, Unavailable
from tests.torture import site
from tests.torture.faults import Bases, Run, Script
from tests.torture.judge import Broken
from tests.torture.lives import Log
from tests.torture.work import Work

pytestmark = pytest.mark.torture

PARTS = ("audit", "control.db", "records.db")


@pytest.fixture(name="begun", scope="module")
def _begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A site in which something was published, and its log's key."""
    from exchange.policy.bundle import load_bundle
    from exchange.policy.regorus import RegorusEngine
    from exchange.wiring import standing

    folder = tmp_path_factory.mktemp("attacked")
    bundle = load_bundle(standing("policies"))
    engine = RegorusEngine(5.0)
    tests = engine.test(bundle)
    engine.close()
    key = site.prepare(folder / "site", bundle, tests)
    _goes_on(folder / "site", 1)
    return folder / "site", key


def _goes_on(root: Path, seed: int) -> None:
    """Publishes, reads, opens a case."""
    with site.opened(root) as exchange:
        doing = Work(exchange, Random(seed), lambda *_: None)
        for _ in range(3):
            doing.publish()
        doing.read()
        doing.opening()


@pytest.fixture(name="later", scope="module")
def _later(begun: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same site some time later, with what an auditor kept then."""
    root = site.copy(begun[0], tmp_path_factory.mktemp("later") / "site")
    _goes_on(root, 2)
    audit = root / "data/audit"
    assert verify(audit, begun[1], state=root / "state").ok
    shutil.copy(audit / "checkpoint", root / "kept")
    return root


def _set_back(later: Path, old: Path, to: Path, parts: tuple[str, ...]) -> Path:
    root = site.copy(later, to)
    for part in parts:
        for name in (part, f"{part}-wal", f"{part}-shm"):
            target, source = root / "data" / name, old / "data" / name
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists():
                shutil.copy(source, target)
    return root


@pytest.mark.parametrize(
    ("parts", "at_once"),
    [
        *((parts, True) for count in (1, 2) for parts in itertools.combinations(PARTS, count)),
        (PARTS, False),
    ],
)
def test_a_site_that_was_set_back(
    begun: tuple[Path, str], later: Path, tmp_path: Path, parts: tuple[str, ...], at_once: bool
) -> None:
    """Where its parts do not fit together it is not opened, and nothing is signed; where all was set back, so that
    it is an older state of itself, it goes on, and the auditor's checkpoint and state each find the fork.
    """
    root = _set_back(later, begun[0], tmp_path / "site", parts)
    audit, key = root / "data/audit", begun[1]
    public = (audit / "checkpoint").read_bytes()
    if at_once:
        with pytest.raises(Tampered):
            _goes_on(root, 3)
        assert (audit / "checkpoint").read_bytes() == public
        return
    for seed in range(3, 9):  # beyond the size that the auditor has seen, too
        with_state = {one.code for one in verify(audit, key, state=root / "state").findings}
        with_note = {one.code for one in verify(audit, key, [(root / "kept").read_bytes()]).findings}
        assert with_state & with_note & {"log_cut_off", "history_rewritten"}
        _goes_on(root, seed)


def test_a_swap_that_does_not_look_at_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: without the condition in the compare-and-swap a second sequencer's log is forked, and that is noticed."""
    bases = Bases.made(tmp_path / "bases")

    def rivals() -> None:
        for seed in range(3):
            run, random = Run(bases.small.begin, tmp_path / f"{seed}", str(seed)), Random(seed)
            place = bases.small.copy(tmp_path / f"log-{seed}-{id(run)}")
            log, script = Log(place, bases.small.judge.copy(), random), Script(random)
            run._rival(log, place, script, random)
            log.recover(script.event())

    rivals()
    blind = rows._SWAP.replace("AND size = ?", "AND ? >= 0")
    assert blind != rows._SWAP
    monkeypatch.setattr(rows, "_SWAP", blind)
    with pytest.raises(Broken):
        rivals()


class Uncertain:
    """The audit log, of which one `submit` stores what it was given, or not, and fails."""

    def __init__(self, inner: object, *, stored: bool) -> None:
        self._inner, self._stored, self._left = inner, stored, 3

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def submit(self, entries: list[object], **how: bool) -> None:
        """The third of its calls fails."""
        self._left -= 1
        if self._left or self._stored:
            self._inner.submit(entries, **how)  # type: ignore[attr-defined]  # it is an `AuditLog`
        if not self._left:
            raise Unavailable("audit_stopped", cause="by the test")


def _numbered(root: Path, key: str, *, stored: bool) -> None:
    """Reads while a release's entry may or may not be stored, and again; what the log says then is sound."""
    with site.opened(root) as exchange:
        doing = Work(exchange, Random(1), lambda *_: None)
        parts = exchange.gateway._parts
        object.__setattr__(parts, "audit", Uncertain(parts.audit, stored=stored))
        with pytest.raises(Unavailable):
            doing.read()
        doing.read()
        doing.read()
    verdict = verify(root / "data/audit", key)
    assert verdict.ok, verdict.findings


@pytest.mark.parametrize("stored", [True, False])
def test_a_number_whose_fate_is_unknown_is_spent(begun: tuple[Path, str], tmp_path: Path, stored: bool) -> None:
    """A release's entry was submitted and the answer is lost: the next release has the number of another run."""
    _numbered(site.copy(begun[0], tmp_path / "site"), begun[1], stored=stored)


def test_a_number_given_again_is_noticed(
    begun: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the run goes on with the number whose fate is unknown."""

    def again(self: Flight) -> None:
        self._counters.update({key: number - len(self._waiting) for key, number in self._counters.items()})
        self._waiting.clear()
        self._unsent = 0

    monkeypatch.setattr(Flight, "_end_run", again)
    with pytest.raises((ExchangeError, AssertionError)):
        _numbered(site.copy(begun[0], tmp_path / "site"), begun[1], stored=True)
