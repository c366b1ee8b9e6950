"""Kill rounds: a process of the exchange is started, killed at a random moment, and what is left is judged.

The parent has one thread and imports everything before its first fork, so a child starts in a millisecond.
"""

import gc
import json
import os
import select
import shutil
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.torture import site
from tests.torture.judge import Broken
from tests.torture.oracle import UNREADABLE, check_disk, check_open
from tests.torture.told import Ledger, Tell, teller
from tests.torture.work import ACTIONS, Work, work

ROUNDS_OF_A_COPY: Final = 8  # a log that grows makes each look at it dearer
_STUCK_S: Final = 60.0
_UNRECOVERED: Final = 0.4  # so often the next process is killed while it recovers, or soon after
_AT_START: Final = 0.15  # so often a process is killed while it opens a site in good order
_MOST_ACTIONS: Final = 5
_LONGEST_S: Final = 0.03


@dataclass
class Tally:
    """What rounds came to."""

    rounds: int = 0
    doing: Counter[str] = field(default_factory=Counter)
    in_commit: int = 0
    released: int = 0
    batches: int = 0
    controls: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kill:
    """When a child is killed: so long after it has told this so often; never counted from wall time alone, so that
    a busy machine does not make every kill one of the start.
    """

    after_s: float
    times: int = 0
    told: bytes = b'["doing", '


def run_child(body: Callable[[Tell], None], kill: Kill | None = None) -> tuple[bytes, int]:
    """Forks and runs `body` in the child until it ends or is killed: what it told, its wait status."""
    reading, writing = os.pipe()
    child = start_child(body, reading, writing)
    try:
        told = until_end(reading, child, kill)
    finally:
        os.close(reading)
    return told, os.waitpid(child, 0)[1]


def start_child(body: Callable[[Tell], None], reading: int, writing: int) -> int:
    """Forks a child that runs `body` and tells on `writing`; its process id. The parent keeps `reading`."""
    child = os.fork()
    if child == 0:
        os.close(reading)
        _as_child(body, teller(writing))
    os.close(writing)
    return child


def _as_child(body: Callable[[Tell], None], tell: Tell) -> None:
    """Never returns: nothing of the parent (buffers, exit handlers, pytest) may run on in the child."""
    try:
        body(tell)
    except BaseException as error:  # noqa: BLE001 - whatever it was, it is told and judged
        detail = "".join(traceback.format_exception(error))[-3_000:]
        tell("error", f"{type(error).__name__}: {error}\n{detail}")
        os._exit(1)
    os._exit(0)


def until_end(pipe: int, child: int, kill: Kill | None = None) -> bytes:
    """All that comes until the other end is closed; a child that is stuck is killed, too, and that is an error."""
    told = b""
    while True:
        if kill is not None and told.count(kill.told) >= kill.times:
            time.sleep(kill.after_s)
            os.kill(child, signal.SIGKILL)
            kill = None
        ready, _, _ = select.select([pipe], [], [], _STUCK_S)
        if not ready:
            os.kill(child, signal.SIGKILL)
            told += b'["error", "stuck"]\n'
            continue
        part = os.read(pipe, 65_536)
        if not part:
            return told
        told += part


@dataclass(frozen=True)
class Prepared:
    """A site to copy, its log's public key, and the folder for copies.

    `damage` changes the code in each child that is killed, and `first` is what it does first.
    """

    site: Path
    key: str
    folder: Path
    damage: Callable[[], None] | None = None
    first: str | None = None


def prepared(folder: Path, seed: str) -> Prepared:
    """Makes the site, and does everything once here, so that each child finds every module imported.

    Raises:
        RuntimeError: a thread was left, with which forking would not be sound.
    """
    from exchange.policy.bundle import load_bundle
    from exchange.policy.regorus import RegorusEngine
    from exchange.wiring import standing

    bundle = load_bundle(standing("policies"))
    engine = RegorusEngine(5.0)
    tests = engine.test(bundle)
    engine.close()
    key = site.prepare(folder / "site", bundle, tests)
    with site.opened(folder / "site") as exchange:
        for _ in range(2):
            Work(exchange, Random(seed), lambda *_: None).publish()
    _do_everything(site.copy(folder / "site", folder / "warm"), Ledger(key), seed)
    if threading.active_count() > 1:
        raise RuntimeError("this process has more than one thread")
    gc.collect()
    gc.freeze()  # a child that collects would copy every page
    return Prepared(folder / "site", key, folder)


def _do_everything(root: Path, ledger: Ledger, seed: str) -> None:
    told: list[bytes] = []
    with site.opened(root) as exchange:
        doing = Work(exchange, Random(seed), lambda *message: told.append(json.dumps(message).encode()))
        for name in ACTIONS:
            getattr(doing, name)()
    ledger.take(b"\n".join(told))
    check_disk(root, ledger)
    with site.opened(root) as exchange:
        check_open(exchange, ledger)


class Rounds:
    """Rounds on copies of a prepared site. The same seed gives the same actions and delays, not the same moments."""

    def __init__(self, prepared: Prepared, seed: str) -> None:
        self._prepared, self._seed = prepared, seed
        self._copy = prepared.folder / f"copy-{seed}"
        self._ledger = Ledger(prepared.key)
        self._dirty = False
        self.tally = Tally()

    def run(self) -> bool:
        """One round; False when something is broken, and then the copy is kept and the tally says what and where."""
        number = self.tally.rounds
        random = Random(f"{self._seed}/{number}")
        if number % ROUNDS_OF_A_COPY == 0:
            self._fresh()
        try:
            self._kill(random)
            self._dirty = random.random() < _UNRECOVERED and (number + 1) % ROUNDS_OF_A_COPY != 0
            if not self._dirty:
                self._recover(random)
        except (Broken, *UNREADABLE) as error:
            kept = self._copy.with_name(f"failed-{self._seed}-{number}")
            self._copy.rename(kept)
            self.tally.failures.append(f"seed {self._seed}, round {number}: {error}; the site is kept in {kept}")
            self._fresh()
        self.tally.rounds += 1
        return not self.tally.failures

    def close(self) -> None:
        """Removes the copy; the tally is complete."""
        self._sum_up()
        shutil.rmtree(self._copy, ignore_errors=True)

    def _sum_up(self) -> None:
        self.tally.released += len(self._ledger.releases)
        self.tally.controls += len(self._ledger.controls)
        self.tally.batches += self._ledger.batches
        self._ledger = Ledger(self._prepared.key)

    def _fresh(self) -> None:
        self._sum_up()
        site.copy(self._prepared.site, self._copy)
        self._dirty = False

    def _kill(self, random: Random) -> None:
        start_up = self._dirty or random.random() < _AT_START
        first = self._prepared.first
        actions = 0 if start_up else random.randint(1, 2 if first else _MOST_ACTIONS)
        kill = Kill(random.uniform(0, _LONGEST_S), actions)
        self._child(lambda tell: work(self._copy, random, tell, first), kill)
        self.tally.doing[self._ledger.doing] += 1
        self.tally.in_commit += any((self._copy / "data/audit/staging").iterdir())
        check_disk(self._copy, self._ledger)

    def _recover(self, random: Random) -> None:
        """Opens the site again, looks at it, and has the log go on."""
        before = len(self._ledger.leaves)
        self._child(lambda tell: recover(self._copy, self._ledger, random, tell))
        check_disk(self._copy, self._ledger)
        if len(self._ledger.leaves) < before + 4:  # a release, its run, a commit, a command
            raise Broken("the log does not go on")

    def _child(self, body: Callable[[Tell], None], kill: Kill | None = None) -> None:
        damage = self._prepared.damage

        def damaged(tell: Tell) -> None:
            if damage is not None and kill is not None:
                damage()
            body(tell)

        told, _ = run_child(damaged, kill)
        self._ledger.take(told)
        if self._ledger.error:
            raise Broken(self._ledger.error)


def recover(root: Path, ledger: Ledger, random: Random, tell: Tell) -> None:
    """Recovers the site, judges it, and uses it once more on every path."""
    with site.opened(root) as exchange:
        check_open(exchange, ledger)
        again = Work(exchange, random, tell)
        again.publish()
        again.read()
        again.opening()
