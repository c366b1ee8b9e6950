"""What one worker process does, reported on standard output: a line for each unit of work, its sums last."""

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.audit.building import control
from tests.torture import faults, mutants, order, syscalls
from tests.torture.mutations import mutations
from tests.torture.places import schema_base
from tests.torture.rounds import Rounds, prepared

ON_SERVER: Final = "TORTURE_POSTGRES"  # addresses of empty control databases, one for each worker
UNIT: Final = "{}"
_MOST_ROUNDS: Final = 500  # a mutant that lives longer has survived


def rounds(folder: Path, seed: str, share: tuple[int, int], most: int, seconds: float) -> dict[str, Any]:
    """Kill rounds, until enough, until the time is over or until one breaks something."""
    mine = len(range(share[0], most, share[1]))
    running = Rounds(prepared(folder, seed), seed)
    until = time.monotonic() + seconds if seconds else float("inf")
    while running.tally.rounds < mine and time.monotonic() < until and running.run():
        print(UNIT, flush=True)
    running.close()
    return vars(running.tally)


def points(folder: Path, seed: str, share: tuple[int, int], most: int, seconds: float) -> dict[str, Any]:
    """Every system call of one release, one commit, one command; or `most` of them."""
    ready = prepared(folder, seed)
    found = syscalls.points(ready)
    of_all = Random(seed.rpartition(".")[0])  # the same for every worker
    chosen = of_all.sample(found, min(most, len(found))) if most else found
    print(json.dumps({"total": len(chosen)}), flush=True)
    until = time.monotonic() + seconds if seconds else float("inf")
    struck, met, failures = 0, 0, []
    for point in chosen[share[0] :: share[1]]:
        if time.monotonic() > until:
            break
        was_met, broken = syscalls.strike(ready, point, seed)
        struck, met = struck + 1, met + was_met
        failures += [broken] if broken else []
        print(UNIT, flush=True)
    return {"struck": struck, "met": met, "failures": failures}


def drawn(folder: Path, seed: str, share: tuple[int, int], most: int, seconds: float) -> dict[str, Any]:
    """Randomised fault runs; each failure is told with the seed that plays it again."""
    bases, met, failures, runs = faults.Bases.made(folder / "bases"), Counter[str](), [], 0
    until = time.monotonic() + seconds if seconds else float("inf")
    for number in range(share[0], most, share[1]):
        if time.monotonic() > until:
            break
        alone = f"{seed}/{number}"
        what, broken = faults.play(bases, folder, alone)
        failures += [f"{broken}; --replay {alone}"] if broken else []
        met += what
        runs += 1
        print(UNIT, flush=True)
    return {"runs": runs, "met": met, "failures": failures}


def drawn_on_server(folder: Path, seed: str, share: tuple[int, int], most: int, seconds: float) -> dict[str, Any]:
    """The same on PostgreSQL, in this worker's own database, whose address is in the environment."""
    from exchange.audit import log

    log.__dict__["_POLL_S"] = 0.005  # after a fault a log on a server looks again: not so late here
    first = [[control(1, policy=1)], [control(2)]]
    place, judge = schema_base(os.environ[ON_SERVER].split(" ")[share[0]], first)
    met, failures, runs = Counter[str](), [], 0
    until = time.monotonic() + seconds if seconds else float("inf")
    for number in range(share[0], most, share[1]):
        if time.monotonic() > until:
            break
        what, broken = faults.play_on_server(place, judge, folder, f"{seed}/{number}")
        failures += [f"{broken}; on PostgreSQL, {seed}/{number}"] if broken else []
        met += what
        runs += 1
        print(UNIT, flush=True)
    place.close()
    return {"runs": runs, "met": met, "failures": failures}


def hunts(folder: Path, seed: str, share: tuple[int, int], most: int, _seconds: float) -> dict[str, Any]:
    """Every mutant: at the moment that shows it, and (unless `most` is 0) by random kills."""
    ready, caught, failures = prepared(folder, seed), {}, []
    for name in list(mutants.MUTANTS)[share[0] :: share[1]]:
        if not mutants.cornered(ready, name, seed):
            failures.append(f"the mutant {name} survives being killed in its gap")
        if most:
            caught[name] = mutants.hunted(ready, name, seed, _MOST_ROUNDS)
            failures += [] if caught[name] else [f"the mutant {name} survives {_MOST_ROUNDS} random kills"]
        print(UNIT, flush=True)
    if most:
        found = _of_the_order(folder, seed, share)
        caught |= found
        failures += [f"the mutant {name} survives {_MOST_ROUNDS} fault runs" for name in found if not found[name]]
    return {"caught": caught, "failures": failures}


def _of_the_order(folder: Path, seed: str, share: tuple[int, int]) -> dict[str, int]:
    """In how many randomised fault runs each mutant of the order of writes was caught; 0 when it lived."""
    import pytest  # for its way to replace what is put back

    bases, found = faults.Bases.made(folder / "bases"), dict[str, int]()
    threading.excepthook = lambda _: None  # a mutant's thread may end in any way
    for name in list(order.MUTANTS)[share[0] :: share[1]]:
        with pytest.MonkeyPatch.context() as patch:
            order.MUTANTS[name].damage(patch.setattr)
            runs = (number for number in range(1, _MOST_ROUNDS) if faults.play(bases, folder, f"{seed}/{number}")[1])
            found[name] = next(runs, 0)
    return found


Task = Callable[[Path, str, tuple[int, int], int, float], dict[str, Any]]
TASKS: Final[dict[str, Task]] = {
    "rounds": rounds,
    "faults": drawn,
    "faults_on_server": drawn_on_server,
    "syscalls": points,
    "mutants": hunts,
    "mutations": mutations,
}
_IN_MEMORY: Final = ("faults",)  # their power cuts and their files are of our own making: a disk proves nothing more


def main(words: Sequence[str]) -> int:
    """`TASK SEED NUMBER OF MOST SECONDS`, as `tests.torture` starts it."""
    task, seed, number, of, most, seconds = words
    memory = Path("/dev/shm") if task in _IN_MEMORY and Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="torture-", dir=memory))
    sums = TASKS[task](folder, f"{seed}.{number}", (int(number), int(of)), int(most), float(seconds))
    print(json.dumps(sums), flush=True)
    if not sums["failures"] or task in _IN_MEMORY:  # such a run is played again, whatever it left
        shutil.rmtree(folder)
    return 1 if sums["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
