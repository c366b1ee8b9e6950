"""`make torture ARGS='--servers …'`, or `python -m tests.torture.servers`: real servers, struck one after another.

| part | is |
|---|---|
| strikes | SIGKILL and SIGSTOP of each victim in turn, `--faults` of them, the witness asked after every tenth |
| town | the same of two gateways, two sequencers, an OPA server and an intake worker; takeover; without OPA |
| clock | the site's clock set back |
| brokers | three brokers: the leader killed, then a second one |
| disks | a full disk on the broker, then on PostgreSQL |
| mutants | each mutant of ours must be caught |
"""

import argparse
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

from tqdm import tqdm

from tests.torture.servers.drill import Struck, begin, down, finish, planned, strike, three_brokers
from tests.torture.servers.mutants import MUTANTS
from tests.torture.servers.stack import Stack, stack
from tests.torture.servers.states import clock_file, clock_set_back, full_disk
from tests.torture.servers.town import opa_outage, takeover, town
from tests.torture.servers.victims import Program
from tests.torture.servers.witness import Broken, Witness

PARTS: Final = ("strikes", "town", "clock", "brokers", "disks")
_LOOK_EVERY: Final = 10
_LONGEST_S: Final = 15.0
_MOST_KILLS: Final = 10  # a mutant that lives longer has survived
_DISKS_MIB: Final = {"broker": 200, "postgres": 300}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when nothing is broken and no mutant that was asked for survives."""
    parser = argparse.ArgumentParser(prog="make torture ARGS=--servers")
    parser.add_argument("--faults", type=int, default=60, help="strikes in each of the first two parts")
    parser.add_argument("--seconds", type=float, default=0.0, help="no strike is begun after so long")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--scheme", default="kafka", choices=["kafka", "kafka+librdkafka"])
    parser.add_argument("--parts", default=",".join(PARTS), help="of strikes,town,clock,brokers,disks,mutants")
    chosen = parser.parse_args(arguments)
    broken: list[str] = []
    parts = {"strikes": _strikes, "town": _town, "clock": _clock}
    parts |= {"brokers": _brokers, "disks": _disks, "mutants": _mutants}
    for part in chosen.parts.split(","):
        try:
            parts[part](chosen)
        except (Broken, TimeoutError, PermissionError) as error:
            broken.append(f"{part}: {error}")
    if broken:
        print("\n".join([f"BROKEN (--seed {chosen.seed} --scheme {chosen.scheme}):", *broken]))
    return 1 if broken else 0


@contextmanager
def worked(made: Stack, program: str = "") -> Iterator[tuple[Stack, Witness]]:
    """Steady work on the stack, judged when the block ends well; `program` is a mutant's name."""
    witness = Witness(made)
    if program:
        gateway = made.victims["gateway"]
        assert isinstance(gateway, Program)
        gateway.end()
        gateway.module, gateway.words = "tests.torture.servers.mutants", (program, *gateway.words)
        gateway.start()
    begin(made)
    yield made, witness
    finish(made, witness)


def _strikes(chosen: argparse.Namespace) -> None:
    with stack(scheme=chosen.scheme) as made, worked(made) as (_, witness):
        done = _struck(made, witness, chosen, "strikes")
    _say(done, witness)


def _town(chosen: argparse.Namespace) -> None:
    with town(chosen.scheme) as made, worked(made) as (_, witness):
        print("\n".join(map(str, [*takeover(made), opa_outage(made)])), flush=True)
        witness.look()
        done = _struck(made, witness, chosen, "town")
    _say(done, witness)


def _struck(made: Stack, witness: Witness, chosen: argparse.Namespace, part: str) -> list[Struck]:
    """The strikes of a part, told one by one on a terminal's other stream."""
    random, done = Random(f"{chosen.seed} {part}"), list[Struck]()
    until = time.monotonic() + chosen.seconds if chosen.seconds else float("inf")
    for name, fault in tqdm(planned(list(made.victims), random, chosen.faults), desc=part):
        if time.monotonic() > until:
            break
        done.append(strike(made, name, fault, down(fault, random, _LONGEST_S)))
        tqdm.write(str(done[-1]), file=sys.stderr)
        if len(done) % _LOOK_EVERY == 0:
            witness.look()
    return done


def _clock(chosen: argparse.Namespace) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        clock_file(Path(folder) / "clock") as clock,
        stack(scheme=chosen.scheme, clock_file=str(clock.file)) as made,
        worked(made) as (_, witness),
    ):
        print(clock_set_back(made, clock, witness))


def _brokers(chosen: argparse.Namespace) -> None:
    with stack(brokers=3, scheme=chosen.scheme) as made, worked(made):
        print("\n".join(map(str, three_brokers(made))))


def _disks(chosen: argparse.Namespace) -> None:
    for name, size in _DISKS_MIB.items():
        with stack(scheme=chosen.scheme, disks={name: size}) as made, worked(made):
            print(full_disk(made, name))


def _mutants(chosen: argparse.Namespace) -> None:
    """Each is caught by the fault that shows it; the client is kafka-python, which they are mutants of."""
    for name in MUTANTS:
        try:
            _hunted(name, Random(f"{chosen.seed} {name}"))
        except Broken as caught:
            print(f"{name}: caught: {str(caught)[:160]}")
        else:
            raise Broken(f"the mutant {name} survives")


def _hunted(name: str, random: Random) -> None:
    with stack() as made, worked(made, name) as (_, witness):
        for _ in range(_MOST_KILLS):
            witness.look()
            strike(made, "gateway", "kill", down("kill", random, 0))


def _say(done: Sequence[Struck], witness: Witness) -> None:
    """How long the service took to come back, by victim and fault."""
    print(f"{'victim':11} {'fault':5} {'times':>5}   seconds to the first record: median, worst; read; taken in")
    for victim, fault in sorted({(one.victim, one.fault) for one in done}):
        those = [one for one in done if (one.victim, one.fault) == (victim, fault)]
        columns = [sorted(getattr(one, name) for one in those) for name in ("published_s", "read_s", "taken_s")]
        told = "   ".join(f"{statistics.median(column):6.2f} {column[-1]:6.2f}" for column in columns)
        print(f"{victim:11} {fault:5} {len(those):5}   {told}")
    records = sum(witness.published.values())
    print(f"{records} records, {witness.releases} releases, {len(witness.leaves)} entries judged", flush=True)


if __name__ == "__main__":
    sys.exit(main())
