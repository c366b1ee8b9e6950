"""Measuring: wall and CPU seconds of a piece of work, one core for all threads, a child process for each benchmark."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any


@dataclass(frozen=True)
class Spent:
    """Seconds of wall clock and of this process's CPU (all threads) that a piece of work took."""

    wall: float
    cpu: float


def spent(work: Callable[..., object], *arguments: object) -> Spent:
    """What one run of `work` with these arguments takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def rates(records: int, runs: Sequence[Spent]) -> dict[str, int]:
    """Records per second of wall clock and per second of CPU: the medians of the runs."""
    return {
        "wall": round(records / median(run.wall for run in runs)),
        "cpu": round(records / median(run.cpu for run in runs)),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder on the disk of this checkout: `/tmp` may lie in memory, where an fsync costs nothing."""
    place = Path("build/bench")
    place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place) as name:
        yield Path(name).resolve()


def pin() -> None:
    """Keeps this process, all its threads and children, on one core (where the system can)."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def unpin() -> None:
    """Gives this process and what it starts every core again."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def in_child(name: str, **arguments: object) -> Any:
    """The answer of the benchmark `module.function` in a fresh, pinned process."""
    words = [sys.executable, "-m", "tests.bench.clock", name, json.dumps(arguments)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def _main(name: str, arguments: str) -> None:
    from importlib import import_module

    pin()
    module, _, function = name.partition(".")
    answer = getattr(import_module(f"tests.bench.{module}"), function)(**json.loads(arguments))
    print(json.dumps(answer))


if __name__ == "__main__":
    _main(*sys.argv[1:])
