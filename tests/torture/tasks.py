"""What one worker process does, reported on standard output: a line for each unit of work, its sums last."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.torture import mutants, syscalls
from tests.torture.mutations import mutations
from tests.torture.rounds import Rounds, prepared

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
    return {"caught": caught, "failures": failures}


Task = Callable[[Path, str, tuple[int, int], int, float], dict[str, Any]]
TASKS: Final[dict[str, Task]] = {"rounds": rounds, "syscalls": points, "mutants": hunts, "mutations": mutations}


def main(words: Sequence[str]) -> int:
    """`TASK SEED NUMBER OF MOST SECONDS`, as `tests.torture` starts it."""
    task, seed, number, of, most, seconds = words
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    sums = TASKS[task](folder, f"{seed}.{number}", (int(number), int(of)), int(most), float(seconds))
    print(json.dumps(sums), flush=True)
    if sums["failures"]:
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
