"""Each step of the path fails once, before or after its work was stored: what was handed over is always audited.

The table is (step fails) × (stored all the same?) × (which call of it). Whatever fails, the caller gets an error of
our families, and the next use of the gateway, or of another one, goes on with a sound log.
"""

from collections.abc import Callable
from typing import Any

import pytest

from exchange.access import Gateway, Release
from exchange.errors import Unavailable
from tests.access.oracle import judge
from tests.access.test_paths import amounts, of_members
from tests.access.town import LOOKUP, MEMBERS, READ, Town

pytestmark = pytest.mark.torture  # steps that fail: the second part of `make test`

STEPS = ("decide", "view", "committed", "members", "start_run", "log.read", "state.apply", "audit.submit", "audit.wait")


class FailsOnce:
    """Calls through, but fails at the call of this number: before it did anything, or after it did all."""

    def __init__(self, call: Callable[..., Any], number: int, *, stored: bool) -> None:
        self._call, self._left, self._stored = call, number, stored

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self._left -= 1
        if self._left:
            return self._call(*arguments, **named)
        if self._stored:
            self._call(*arguments, **named)
        raise Unavailable("audit_unavailable", seconds=0)


class With:
    """An object with one method in another's place."""

    def __init__(self, inner: Any, name: str, method: Callable[..., Any]) -> None:
        self._inner, self._name, self._method = inner, name, method

    def __getattr__(self, name: str) -> Any:
        return self._method if name == self._name else getattr(self._inner, name)


def failing(town: Town, step: str, number: int, *, stored: bool) -> Gateway:
    """A gateway of which one step fails at its call of this number."""
    parts = town.parts()
    part, _, method = step.partition(".")
    inner = getattr(parts, part)
    if not method:
        return town.gateway(**{part: FailsOnce(inner, number, stored=stored)})
    return town.gateway(**{part: With(inner, method, FailsOnce(getattr(inner, method), number, stored=stored))})


def until_it_fails(town: Town, gateway: Gateway) -> tuple[list[Release], bool]:
    """A look-up and a read: what was handed over, and whether something failed."""
    handed: list[Release] = []
    try:
        handed.append(gateway.lookup(town.reader, LOOKUP, MEMBERS[:2], "jsonl"))
        handed.extend(gateway.read(town.reader, READ, {}, "jsonl"))
    except Unavailable:
        return handed, True
    return handed, False


@pytest.mark.parametrize("stored", [False, True], ids=["lost", "stored"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails(town: Town, step: str, stored: bool) -> None:
    """Nothing unaudited was handed over; the gateway goes on, and its numbers have no gap."""
    failures, handed = 0, list[Release]()
    for number in (1, 3):
        gateway = failing(town, step, number, stored=stored)
        some, failed = until_it_fails(town, gateway)
        failures += failed
        handed += some
    again = town.read(gateway)
    assert sorted(amounts(*again)) == of_members(*range(1, 25))
    assert failures
    judge(town, [*handed, *again])


@pytest.mark.parametrize("stored", [False, True], ids=["lost", "stored"])
def test_a_refusal_that_cannot_be_written(town: Town, stored: bool) -> None:
    """Releases are refused for their epoch, and the entry that takes their numbers fails: the run is over."""
    audit = town.exchange.audit

    def submit(entries: Any, **how: Any) -> None:
        if entries[0].kind == "refusal" and entries[0].body["counter"] is not None:
            if stored:
                audit.submit(entries, **how)
            raise Unavailable("audit_unavailable", seconds=0)
        audit.submit(entries, **how)

    gateway = town.gateway(audit=With(audit, "submit", submit))
    town.agree()
    town.log.once("read", town.revoke)
    handed, failed = until_it_fails(town, gateway)
    assert failed
    handed += town.read(gateway)
    judge(town, handed)


def test_an_error_of_a_step_names_its_family(town: Town) -> None:
    """A release whose receipt never came is not handed over, though its entry stands."""
    gateway = failing(town, "audit.wait", 1, stored=True)
    handed, failed = until_it_fails(town, gateway)
    assert (handed, failed) == ([], True)
    assert len(town.bodies("release")) == 1
