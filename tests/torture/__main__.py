"""`make torture`: kill rounds, randomised faults of the audit log, every system call of three operations, changed
bytes, each in two processes; then revokes through two gateways on Kafka and PostgreSQL; real servers killed and
stopped; mutants if asked.

All of it takes one to two hours on two cores: kills, faults, system calls and bytes about an hour, the revokes 20
minutes, the servers 30. With `--servers` only these, with options of their own: see `tests.torture.servers`.
"""

import argparse
import json
import os
import secrets
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from tests.torture import syscalls
from tests.torture.mutants import MUTANTS
from tests.torture.tasks import ON_SERVER, UNIT

_MUTATIONS = 12_000
_FAULTS, _ON_SERVER = 10_000, 500
_HELP = (
    "Without options: kills, faults, system calls, changed bytes (about an hour), revokes (20 minutes), servers (30 "
    "minutes); on two cores. What needs a server that is not to be had is skipped, by name."
)


def main() -> int:
    """0 when nothing is broken and no mutant survives."""
    if "--servers" in sys.argv[1:]:
        from tests.torture.servers.__main__ import main as servers

        return servers([word for word in sys.argv[1:] if word != "--servers"])
    parser = argparse.ArgumentParser(prog="make torture", description=_HELP)
    parser.add_argument(
        "--servers", action="store_true", help="only the real servers, with options of their own: --servers --help"
    )
    parser.add_argument("--rounds", type=int, default=2_000, help="kills in all")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop each part after this long")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--workers", type=int, default=2, help="processes that do it")
    parser.add_argument("--kills", action="store_true", help="only the kill rounds")
    parser.add_argument("--faults", type=int, default=0, help="only so many randomised fault runs (of all: 10,000)")
    parser.add_argument(
        "--faults-on-server", type=int, default=0, help="only so many of them on PostgreSQL (of all: 500)"
    )
    parser.add_argument("--replay", metavar="RUN", help="one of them again, by the seed that its failure told")
    parser.add_argument("--syscalls", action="store_true", help="only the system calls")
    parser.add_argument("--points", type=int, default=0, help="only so many of them")
    parser.add_argument("--gateways", action="store_true", help="only the revokes through two gateways")
    parser.add_argument("--revokes", type=int, default=1_000, help="so many of them")
    parser.add_argument("--opa", action="store_true", help="those revokes with an OPA server as the policy engine")
    parser.add_argument("--mutations", type=int, default=0, help="only so many changes of one byte (of all: 12,000)")
    parser.add_argument("--mutants", action="store_true", help="only our own mutants")
    parser.add_argument("--cornered", action="store_true", help="the mutants without their random kills")
    chosen = parser.parse_args()
    if chosen.replay:
        return _replay(chosen.replay)
    parts = (
        chosen.kills,
        chosen.faults,
        chosen.faults_on_server,
        chosen.syscalls,
        chosen.gateways,
        chosen.mutants,
        chosen.mutations,
    )
    everything = not any(parts)
    broken = 0
    if everything or chosen.kills:
        sums = _run("rounds", chosen, chosen.rounds, chosen.rounds)
        broken += _say_rounds(sums, chosen.seed)
    if everything or chosen.faults:
        count = chosen.faults or _FAULTS
        broken += _say_faults(_run("faults", chosen, count, count), chosen.seed)
    if everything or chosen.faults_on_server:
        broken += _faults_on_server(chosen)
    if everything or chosen.syscalls:
        broken += _syscalls(chosen)
    if everything or chosen.mutations:
        count = chosen.mutations or _MUTATIONS
        broken += _say_mutations(_run("mutations", chosen, count, count), chosen.seed)
    if everything or chosen.gateways:
        broken += _gateways(chosen)
    if everything:
        broken += _servers(chosen)
    if chosen.mutants:
        sums = _run("mutants", chosen, 0 if chosen.cornered else 1, len(MUTANTS))
        broken += _say_mutants(sums, chosen.seed)
    return 1 if broken else 0


def _run(task: str, chosen: argparse.Namespace, most: int, total: int) -> dict[str, Any]:
    """Runs a task in the workers with a progress bar: the sums of their sums."""
    started, sums = time.monotonic(), dict[str, Any]()
    command = [sys.executable, "-m", "tests.torture.tasks", task, chosen.seed]
    limits = [str(chosen.workers), str(most), str(chosen.seconds)]
    workers = [subprocess.Popen([*command, str(k), *limits], stdout=subprocess.PIPE) for k in range(chosen.workers)]
    with selectors.DefaultSelector() as ready, tqdm(total=total, desc=task) as bar:
        for worker in workers:
            ready.register(worker.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]  # a pipe was asked for
        while ready.get_map():
            for key, _ in ready.select():
                stream: IO[bytes] = key.fileobj  # type: ignore[assignment]  # what was registered
                _take(stream.readline().decode(), stream, ready, bar, sums)
    ended = [worker.wait() for worker in workers]
    if any(ended) and not sums.get("failures"):
        sums["failures"] = [f"a worker ended with {ended}"]
    sums["time"] = f"{time.monotonic() - started:.0f} s"
    return sums


def _take(line: str, stream: IO[bytes], ready: selectors.BaseSelector, bar: "tqdm[Any]", sums: dict[str, Any]) -> None:
    """One line of a worker."""
    if not line:
        ready.unregister(stream)
    elif line.strip() == UNIT:
        bar.update()
    elif "total" in (said := json.loads(line)):
        bar.total = said["total"]
    else:
        for name, value in said.items():
            plus = Counter(value) if isinstance(value, dict) else value
            sums[name] = sums[name] + plus if name in sums else plus


def _syscalls(chosen: argparse.Namespace) -> int:
    why_not = syscalls.missing()
    if why_not and "ptrace" in os.environ.get("REQUIRE", "").split(","):
        return _say_broken([f"REQUIRE asks for ptrace: {why_not}"], chosen.seed)
    if why_not:
        print(f"system calls: skipped, {why_not}")
        return 0
    sums = _run("syscalls", chosen, chosen.points, 0)
    print(
        f"{sums.get('struck')} points (a system call of a release, a commit or a command; killed, EIO, ENOSPC), "
        f"{sums.get('met')} met, in {sums['time']}"
    )
    return _say_broken(sums["failures"], chosen.seed)


def _faults_on_server(chosen: argparse.Namespace) -> int:
    """Randomised fault runs on PostgreSQL; skipped by name where there is none."""
    import pytest

    from tests import services, services_postgres

    end, count = services.begin_run(), chosen.faults_on_server or _ON_SERVER
    try:
        server = services_postgres.the_server()
        with ExitStack() as stack:
            databases = [stack.enter_context(server.database(server.template())) for _ in range(chosen.workers)]
            os.environ[ON_SERVER] = " ".join(databases)
            return _say_faults(_run("faults_on_server", chosen, count, count), chosen.seed)
    except pytest.skip.Exception as skipped:
        print(f"fault runs on PostgreSQL: skipped, {skipped}")
        return 0
    finally:
        end()


def _gateways(chosen: argparse.Namespace) -> int:
    """Revokes under load through two gateways; skipped by name where a server is not to be had."""
    import pytest  # whose outcomes say that a server is missing

    from tests import services, services_postgres
    from tests.torture.gateways import on_servers, play

    end, folder = services.begin_run(), Path(tempfile.mkdtemp(prefix="torture-"))
    try:
        with tqdm(total=chosen.revokes, desc="revokes") as bar, services_postgres.the_server().database() as url:
            figures = play(
                folder, on_servers(url, folder), chosen.revokes, chosen.seed, bar.update, chosen.seconds, chosen.opa
            )
    except pytest.skip.Exception as skipped:
        print(f"revokes through two gateways: skipped, {skipped}")
        return 0
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - whatever it is, it is told with the seed
        return _say_broken([f"{type(error).__name__}: {error} ({folder})"], chosen.seed)
    finally:
        end()
    shutil.rmtree(folder)
    print(
        f"{figures['revokes']} revokes through two gateways, {figures['revokes_through']}, in {figures['seconds']} s; "
        f"releases through each {figures['releases_through']}, {figures['turns']} times one after the other's; "
        f"{figures['revokes_with_releases_before']} revokes with a release since the last; "
        f"{figures['refused_by_epoch']} releases refused by the sequencer; answers {figures['answers']}"
    )
    print(f"0 of {figures['revokes']} had a release behind it; --seed {chosen.seed}")
    return 0


def _servers(chosen: argparse.Namespace) -> int:
    """The real servers; skipped by name where one is not to be had."""
    import pytest

    from tests.torture.servers.__main__ import main as servers

    seconds = ["--seconds", str(chosen.seconds)] if chosen.seconds else []
    try:
        return servers(["--seed", chosen.seed, *seconds])
    except pytest.skip.Exception as skipped:
        print(f"real servers: skipped, {skipped}")
        return 0


def _say_rounds(sums: dict[str, Any], seed: str) -> int:
    count = sums.get("rounds", 0)
    by_kind = Counter[str](sums.get("doing", {}))
    doing = ", ".join(f"{times} in {what}" for what, times in by_kind.most_common())
    print(f"{count} kills in {sums['time']}: {doing}; {sums.get('in_commit')} of all in a commit of the audit log")
    print(
        f"told before: {sums.get('released')} releases, {sums.get('batches')} batches acknowledged, "
        f"{sums.get('controls')} commands done"
    )
    if not sums["failures"]:
        print(f"0 of {count} broke anything: less than {3 / max(count, 1):.2%} of kills do, at 95 %; --seed {seed}")
    return _say_broken(sums["failures"], seed)


def _say_faults(sums: dict[str, Any], seed: str) -> int:
    count = sums.get("runs", 0)
    met = ", ".join(f"{times} {what}" for what, times in Counter[str](sums.get("met", {})).most_common())
    print(f"{count} fault runs in {sums['time']}: {met}")
    if not sums["failures"]:
        print(f"{count} runs: 0 broke anything: less than {3 / max(count, 1):.3%} do, at 95 %; --seed {seed}")
    return _say_broken(sums["failures"][:20], seed)


def _replay(run: str) -> int:
    """One fault run alone."""
    from tests.torture.faults import main_alone

    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        met, broken = main_alone(Path(folder), run)
    print(f"{run}: {', '.join(met)}: {broken or 'nothing is broken'}")
    return 1 if broken else 0


def _say_mutations(sums: dict[str, Any], seed: str) -> int:
    places = ", ".join(f"{count} in a {place}" for place, count in sums.get("mutations", {}).items())
    count = sum(sums.get("mutations", {}).values())
    missed = len(sums["failures"])
    print(f"{count} changes, nearly all of one byte, in {sums['time']}: {places}; {missed} not found or not named")
    return _say_broken(sums["failures"][:20], seed)


def _say_mutants(sums: dict[str, Any], seed: str) -> int:
    caught = ", ".join(f"{name} by kill {count}" for name, count in sums.get("caught", {}).items())
    print(f"{len(MUTANTS)} mutants in {sums['time']}, each killed in its gap; by random kills: {caught or 'not asked'}")
    return _say_broken(sums["failures"], seed)


def _say_broken(failures: list[str], seed: str) -> int:
    if failures:
        print("\n".join([f"BROKEN (--seed {seed}):", *failures]))
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
