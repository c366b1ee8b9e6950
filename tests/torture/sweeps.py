"""One script of a few commits, struck at its first, its second, … call, each time on a fresh log."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.audit.building import control, release
from tests.torture.lives import Fault, Log, Step
from tests.torture.places import Base

BEGUN = ([control(1, policy=1)], [control(2)])
# Schemas come with the first entry of their kind: the second of these steps has one, the others have none.
STEPS = (
    Step([[control(3)], [control(4), control(5)]]),
    Step([[release(1, epochs={"policy": 1})]], control(6)),
    Step([[control(7, policy=2), release(2, epochs={"policy": 1})], [release(3, epochs={"policy": 2})]]),
    Step([[release(4, epochs={"policy": 1})]]),
)
Fresh = Callable[[], Log]


def copies(base: Base, folder: Path) -> Fresh:
    """Makes a fresh log each time, in a folder of its own."""
    numbers = itertools.count(1)

    def fresh() -> Log:
        number = next(numbers)
        return Log(base.copy(folder / f"run-{number}"), base.judge.copy(), Random(number))

    return fresh


def sweep(fresh: Fresh, layer: str, way: str, steps: Sequence[Step] = STEPS) -> list[str]:
    """Strikes the calls of the layer one after another, until none is left: which they were.

    Raises:
        Broken: after one of them something does not hold.
    """
    struck: list[str] = []
    for at in itertools.count(1):
        log = fresh()
        name = log.live(steps, Fault(layer, at, way))
        log.recover(control(99))
        if not name:
            break
        struck.append(name)
    return struck
