"""Random schedules: readers and look-ups, between any two of whose releases rights end and come back."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.access import Gateway, Release
from exchange.control import commands as c
from exchange.control.model import Principal
from exchange.errors import ExchangeError, Refused, Unavailable
from tests.access.oracle import judge
from tests.access.town import (
    AUTHORITY,
    CASE,
    LOOKUP,
    MEMBERS,
    READ,
    READER,
    SECOND,
    KeptEngine,
    Town,
    opened,
)
from tests.log.memory import folder_in_memory
from tests.profiles import examples

pytestmark = pytest.mark.torture  # steps that fail: the second part of `make test`


class Play:
    """One gateway, the readers that it serves one after the other, and what they were handed."""

    def __init__(self, town: Town) -> None:
        self.town, self.handed, self.readers = town, list[Release](), 0
        self.gateway: Gateway = town.gateway()
        self.who: Principal = town.reader
        self.reading: Iterator[Release] | None = None

    def next(self) -> None:
        """The next release of the read that goes on, or the first of another."""
        if self.reading is None:
            self.reading = self.gateway.read(self.who, READ, {}, "jsonl")
        try:
            release = next(self.reading, None)
        except ExchangeError:
            self.reading = None
            raise
        if release is None:
            self.reading = None
        else:
            self.handed.append(release)

    def leave(self) -> None:
        """The reader goes away."""
        self.reading = None

    def lookup(self) -> None:
        """An answer of the state; the read that went on is over, for a gateway serves one at a time."""
        self.reading = None
        self.handed.append(self.gateway.lookup(self.who, LOOKUP, MEMBERS[:3], "jsonl"))

    def restart(self) -> None:
        """Another gateway; what the former had in flight is lost."""
        self.reading, self.gateway = None, self.town.gateway()

    def authenticate(self) -> None:
        """The reader's token is checked again."""
        self.who = self.town.reader

    def agree(self) -> None:
        """One more agreement."""
        self.town.agree()

    def revoke(self) -> None:
        """The oldest agreement that is active ends."""
        active = [one.id for one in self.town.exchange.control.model().agreements.values() if one.status == "active"]
        if active:
            self.town.revoke(active[0])

    def members(self) -> None:
        """The case has other members."""
        count = 1 + len(self.handed) % len(MEMBERS)
        tags = self.town.exchange.tags("person", MEMBERS[:count])
        self.town.do(READER, c.ChangeCaseMembers(CASE, tags))

    def roles(self) -> None:
        """The reader's account is changed; it may read as before, when it authenticates again."""
        self.town.do(AUTHORITY, c.ChangeRoles(READER, ("department_system", "steward")))

    def wait(self) -> None:
        """Time passes: what is in flight grows too old."""
        self.town.clock.jump(3 * SECOND)

    def in_the_middle(self, action: Callable[[], None]) -> Callable[[], None]:
        """The action comes right before the next read of the log: between a decision and its entry."""
        return lambda: self.town.log.once("read", action)


STEPS = ("next", "next", "next", "leave", "lookup", "restart", "authenticate")
CHANGES = ("agree", "revoke", "members", "roles", "wait")
schedules = st.lists(
    st.one_of(
        st.tuples(st.just("now"), st.sampled_from([*STEPS, *CHANGES])),
        st.tuples(st.just("middle"), st.sampled_from(CHANGES)),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=schedules)
def test_any_schedule(made_town: Path, engine: KeptEngine, schedule: list[tuple[str, str]]) -> None:
    """No release after the end of its right, no number missing, every payload handed over in its entry."""
    with folder_in_memory() as folder, opened(Path(shutil.copytree(made_town, folder / "site")), engine) as town:
        play = Play(town)
        for when, what in schedule:
            action: Callable[[], None] = getattr(play, what)
            try:
                (play.in_the_middle(action) if when == "middle" else action)()
            except (Refused, Unavailable) as error:
                if error.code not in {"question_refused", "principal_changed", "release_unstable"}:
                    raise
        town.log.before.clear()
        judge(town, play.handed)
