"""Several gateways at once, with rights that end under them: the order of the log is the only one there is."""

import threading
import time
from collections.abc import Callable

import pytest

from exchange.access import Release
from exchange.errors import Refused
from tests.access.oracle import judge
from tests.access.town import LOOKUP, MEMBERS, READ, Town

pytestmark = pytest.mark.torture  # steps that fail: the second part of `make test`

ROUNDS = 4


class Play:
    """Two readers with a gateway each, and an authority that ends one agreement after the other."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.handed: tuple[list[Release], ...] = ([], [])
        self.faults: list[BaseException] = []
        self.done = threading.Event()

    def guarded(self, work: Callable[[], None]) -> None:
        """Does the work; whatever goes wrong is kept for the test, and ends the others too."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
            self.faults.append(error)
            self.done.set()

    def consume(self, into: list[Release]) -> None:
        """Reads and looks up, again and again."""
        gateway = self.town.gateway()
        while not self.done.is_set():
            try:
                into.extend(gateway.read(self.town.reader, READ, {}, "jsonl"))
                into.append(gateway.lookup(self.town.reader, LOOKUP, MEMBERS[:3], "jsonl"))
            except Refused as refusal:
                if refusal.code != "question_refused":
                    raise

    def govern(self) -> None:
        """Ends an agreement when each reader has got something since the last change, and makes the next."""
        name = "agr-1"
        for _ in range(ROUNDS):
            before, until = [len(one) for one in self.handed], time.monotonic() + 20
            while any(len(one) <= n for one, n in zip(self.handed, before, strict=True)) and time.monotonic() < until:
                time.sleep(0.001)
            self.town.revoke(name)
            name = self.town.agree()
        self.done.set()


def test_two_gateways_while_agreements_come_and_go(town: Town) -> None:
    """No release of either stands behind the end of its agreement; each numbers its own without gap."""
    play = Play(town)
    works = [lambda: play.consume(play.handed[0]), lambda: play.consume(play.handed[1]), play.govern]
    threads = [threading.Thread(target=play.guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert play.faults == []
    entries = judge(town, [*play.handed[0], *play.handed[1]])
    releases = [body for _, kind, body in entries if kind == "release"]
    assert len({body["agreement"] for body in releases}) >= ROUNDS
    assert len({body["run"] for body in releases}) == 2


def test_each_gateway_has_its_own_line_of_runs(town: Town) -> None:
    """A gateway that begins while another is at work does not take it for its predecessor."""
    one, other = town.gateway(), town.gateway()
    handed = [*town.read(one), *town.read(other), *town.read(one)]
    opened = town.bodies("gateway_run")
    assert [body["previous"] for body in opened] == [None, None]
    judge(town, handed)
