"""Strikes one process under steady work, and measures how long the service takes to come back by itself."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from confluent_kafka.admin import AdminClient

from tests.simulator import DATASET
from tests.torture.servers.stack import Stack
from tests.torture.servers.victims import admin_of
from tests.torture.servers.witness import Broken, Witness, need

BACK_S: Final = 10.0  # issue 5: a requirement on the service, by the harness's own clock
_GIVE_UP_S: Final = 45.0
_POLL_S: Final = 0.02
FAULTS: Final = ("kill", "stop")


@dataclass(frozen=True)
class Struck:
    """One fault: how long the victim was gone, and how long after its return a record was acknowledged, released."""

    victim: str
    fault: str
    down_s: float
    published_s: float
    read_s: float
    taken_s: float = 0.0  # of the intake, where there is one

    def __str__(self) -> str:
        back = f"published after {self.published_s:.2f} s, read after {self.read_s:.2f} s"
        back += f", taken in after {self.taken_s:.2f} s" if self.taken_s else ""
        return f"{self.fault} {self.victim} for {self.down_s:.1f} s: {back}"


def begin(stack: Stack) -> None:
    """The steady work, under way."""
    stack.begin("publisher", "publish")
    stack.begin("reader", "read")
    wait(stack, time.monotonic(), "at the beginning")


def strike(stack: Stack, name: str, fault: str, down_s: float) -> Struck:
    """One fault on one victim; `Broken` where the service is not back in time, or a process of ours has ended."""
    victim = stack.victims[name]
    if fault == "kill":
        victim.kill()
        time.sleep(down_s)
        returned = victim.start()
    else:
        victim.pause()
        time.sleep(down_s)
        returned = victim.proceed()
    when = f"after {fault} of {name}"
    published, read = wait(stack, returned, when, via=stack.served.get(name, 0))
    taken = _taken(stack, returned, when) if "intake" in stack.ledgers else returned
    done = Struck(name, fault, down_s, published - returned, read - returned, taken - returned)
    need(max(done.published_s, done.read_s, done.taken_s) <= BACK_S, f"not back within {BACK_S:.0f} s: {done}")
    return done


def finish(stack: Stack, witness: Witness) -> None:
    """Ends the publisher, lets the reader read all there is, and asks the witness."""
    stack.end("publisher")
    if "producer" in stack.clients:
        stack.end("producer")
        deadline = time.monotonic() + _GIVE_UP_S
        while (missing := witness.not_taken_in()) and time.monotonic() < deadline:
            time.sleep(0.5)
        need(not missing, f"acknowledged by the brokers and never taken in: {len(missing)}, {sorted(missing)[:3]}")
    reader, since = stack.ledgers["reader"], time.monotonic()
    empty: set[int] = set()
    deadline = since + _GIVE_UP_S
    while len(empty) < 2:
        empty |= {line["empty"] for line in reader.news() if line["began"] > since and "empty" in line}
        need(time.monotonic() < deadline, "the reader does not come to the end")
        time.sleep(_POLL_S)
    stack.end("reader")
    witness.look()
    witness.complete()


def planned(names: Sequence[str], random: Random, count: int) -> list[tuple[str, str]]:
    """So many faults: each victim killed and stopped before any is again, in an order of chance."""
    plan: list[tuple[str, str]] = []
    while len(plan) < count:
        every = [(name, fault) for name in names for fault in FAULTS]
        random.shuffle(every)
        plan += every
    return plan[:count]


def down(fault: str, random: Random, longest_s: float) -> float:
    """How long a victim is gone: nearly always a moment, sometimes longer than what is begun may take."""
    return random.uniform(0.2, 2.0) if random.random() < 0.8 or fault == "kill" else random.uniform(2.0, longest_s)


def three_brokers(stack: Stack) -> list[Struck]:
    """Of three brokers, of which two must have each record: the leader is killed and the service goes on; a second one,
    and publishing is refused; both come back, and so does the service. Nothing is lost.
    """
    first, at = leader(stack), time.monotonic()
    stack.victims[first].kill()
    published, read = wait(stack, at, f"with two of three brokers ({first} was killed)")
    done = [Struck(first, "one of three killed", 0, published - at, read - at)]
    told = [line for line in stack.ledgers["publisher"].lines if line["began"] > at - BACK_S and line["at"] > at][:5]
    need(max(published, read) - at <= BACK_S, f"not back within {BACK_S:.0f} s: {done[0]}: at {at}: {told}")
    second, at = leader(stack, but=first), time.monotonic()
    stack.victims[second].kill()
    refused = _refused(stack, time.monotonic())
    need("log_unavailable" in refused, f"with one of three brokers a publisher is told {refused}")
    returned = max(stack.victims[name].start() for name in (first, second))
    published, read = wait(stack, returned, "with all brokers back")
    both = f"{first}, {second}"
    done.append(Struck(both, "two of three killed", returned - at, published - returned, read - returned))
    need(max(published, read) - returned <= BACK_S, f"not back within {BACK_S:.0f} s: {done[1]}")
    return done


def leader(stack: Stack, but: str = "") -> str:
    """The broker that leads the first partition of the dataset; another one than `but`, once there is one."""
    topic = f"{stack.prefix}.log.{DATASET}"
    admin, deadline = AdminClient(admin_of(stack.kafka)), time.monotonic() + _GIVE_UP_S
    while True:
        number = admin.list_topics(topic, timeout=20).topics[topic].partitions[0].leader
        name = "broker" if number == 1 else f"broker-{number}"
        if number > 0 and name != but:
            return name
        need(time.monotonic() < deadline, "no broker leads the dataset")
        time.sleep(_POLL_S)


def _refused(stack: Stack, since: float) -> set[str]:
    """What a publisher is told from this moment on, once it was told by the exchange that the log is not there."""
    told: set[str] = set()
    deadline = time.monotonic() + 2 * _GIVE_UP_S
    while "log_unavailable" not in told and time.monotonic() < deadline:
        for line in stack.ledgers["publisher"].news():
            if line["began"] > since:
                need("acknowledged" not in line, "acknowledged, with too few brokers to keep it")
                told.add(str(line.get("code", "")))
        time.sleep(_POLL_S)
    return told


def _taken(stack: Stack, since: float, when: str) -> float:
    """When, at or after this moment, the intake worker first said that a batch is readable."""
    deadline, apart = time.monotonic() + _GIVE_UP_S, time.time() - time.monotonic()
    while True:
        stack.ledgers["intake"].news()
        for line in stack.ledgers["intake"].lines[-20:]:
            if line["time_ns"] / 1e9 - apart >= since:
                return float(line["time_ns"] / 1e9 - apart)
        need(time.monotonic() < deadline, f"{when} nothing is taken in within {_GIVE_UP_S:.0f} s: {_last(stack)}")
        time.sleep(_POLL_S)


def wait(stack: Stack, since: float, when: str, *, via: int = 0, down: Sequence[str] = ()) -> tuple[float, float]:
    """When, at or after this moment, the first record was acknowledged and the first one released: by the gateway at
    this port, or by any. Those that are `down` need not live.
    """
    found: dict[str, float] = {}
    deadline = time.monotonic() + _GIVE_UP_S
    for ledger, what in (("publisher", "acknowledged"), ("reader", "index")):
        while ledger not in found:
            for line in stack.ledgers[ledger].news():
                if what in line and line["at"] >= since and via in {0, line["via"]}:
                    found.setdefault(ledger, line["at"])
            ended = [one.name for one in stack.programs if not one.lives and one.name not in down]
            need(not ended, f"{when} these have ended: {ended}: {_last(stack)}")
            if ledger not in found and time.monotonic() > deadline:
                raise Broken(f"{when} no {what} within {_GIVE_UP_S:.0f} s: {_said(stack)}")
            time.sleep(_POLL_S)
    return found["publisher"], found["reader"]


def _said(stack: Stack) -> str:
    """What the clients were told last."""
    return "; ".join(f"{name}: {ledger.lines[-1:]}" for name, ledger in stack.ledgers.items())


def _last(stack: Stack) -> str:
    """The last words of the site's processes."""
    return "; ".join(one.log.read_text("utf-8", "replace")[-600:] for one in stack.programs)
