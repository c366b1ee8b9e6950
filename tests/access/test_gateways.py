"""Several gateways at once, with rights that end under them: the order of the log is the only one there is."""

import threading
from collections.abc import Callable

from exchange.access import Release
from exchange.errors import Refused
from tests.access.oracle import judge
from tests.access.town import LOOKUP, MEMBERS, READ, Town


def test_two_gateways_while_agreements_come_and_go(town: Town) -> None:
    """No release of either stands behind the end of its agreement; each numbers its own without gap."""
    handed: list[Release] = []
    done = threading.Event()
    faults: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
                faults.append(error)
                done.set()

        return run

    def consume() -> None:
        gateway = town.gateway()
        while not done.is_set():
            try:
                handed.extend(gateway.read(town.reader, READ, {}, "jsonl"))
                handed.append(gateway.lookup(town.reader, LOOKUP, MEMBERS[:3], "jsonl"))
            except Refused as refusal:
                if refusal.code != "question_refused":
                    raise

    def govern() -> None:
        name = "agr-1"
        for _ in range(5):
            town.revoke(name)
            name = town.agree()
        done.set()

    threads = [threading.Thread(target=guarded(work)) for work in (consume, consume, govern)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    entries = judge(town, handed)
    assert len({body["run"] for _, kind, body in entries if kind == "release"}) == 2
    assert handed


def test_each_gateway_has_its_own_line_of_runs(town: Town) -> None:
    """A gateway that begins while another is at work does not take it for its predecessor."""
    one, other = town.gateway(), town.gateway()
    handed = [*town.read(one), *town.read(other), *town.read(one)]
    opened = town.bodies("gateway_run")
    assert [body["previous"] for body in opened] == [None, None]
    judge(town, handed)
