"""`make torture`: kill rounds in two processes, then every system call, then (asked for) our own mutants."""

import argparse
import json
import secrets
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any, Final

from tqdm import tqdm

from tests.torture.rounds import Rounds, Tally, prepared

_WORKERS: Final = 2


def main() -> int:
    """0 when nothing is broken."""
    parser = argparse.ArgumentParser(prog="make torture")
    parser.add_argument("--rounds", type=int, default=2_000, help="kills in all")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop the rounds after this long")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        return _work(chosen.worker, chosen.rounds, chosen.seconds)
    return _all(chosen.seed, chosen.rounds, chosen.seconds)


def _work(seed: str, rounds: int, seconds: float) -> int:
    """One worker: a line of JSON for each round, the tally last."""
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    running = Rounds(prepared(folder, seed), seed)
    until = time.monotonic() + seconds if seconds else float("inf")
    while running.tally.rounds < rounds and time.monotonic() < until and running.run():
        print("{}", flush=True)
    running.close()
    print(json.dumps(vars(running.tally)), flush=True)
    return 1 if running.tally.failures else 0


def _all(seed: str, rounds: int, seconds: float) -> int:
    started, total = time.monotonic(), Tally()
    shares = [rounds // _WORKERS + (1 if k < rounds % _WORKERS else 0) for k in range(_WORKERS)]
    command = [sys.executable, "-m", "tests.torture", "--seconds", str(seconds)]
    workers = [
        subprocess.Popen([*command, "--rounds", str(share), "--worker", f"{seed}.{k}"], stdout=subprocess.PIPE)
        for k, share in enumerate(shares)
    ]
    with selectors.DefaultSelector() as ready, tqdm(total=rounds, unit="kill", desc="kills") as bar:
        for worker in workers:
            ready.register(worker.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]  # a pipe was asked for
        while ready.get_map():
            for key, _ in ready.select():
                stream: IO[bytes] = key.fileobj  # type: ignore[assignment]  # what was registered
                line = stream.readline()
                if not line:
                    ready.unregister(stream)
                elif line == b"{}\n":
                    bar.update()
                else:
                    _add(total, json.loads(line))
    broken = [worker.wait() for worker in workers]
    _say(total, seed, time.monotonic() - started)
    return max(broken, key=abs)


def _add(total: Tally, one: dict[str, Any]) -> None:
    total.rounds += one["rounds"]
    total.doing += Counter(one["doing"])
    for name in ("in_commit", "released", "acknowledged", "controls", "failures"):
        setattr(total, name, getattr(total, name) + one[name])


def _say(total: Tally, seed: str, seconds: float) -> None:
    doing = ", ".join(f"{count} in {what}" for what, count in total.doing.most_common())
    print(f"{total.rounds} kills in {seconds:.0f} s: {doing}; {total.in_commit} of them in a commit of the audit log")
    print(
        f"told before: {total.released} releases, {total.acknowledged} records acknowledged, "
        f"{total.controls} commands done"
    )
    if total.failures:
        print("\n".join(["BROKEN", *total.failures]))
    else:
        bound = 3 / max(total.rounds, 1)
        print(f"broken: 0 of {total.rounds}, so less than {bound:.2%} of kills at 95 %; to repeat: --seed {seed}")


if __name__ == "__main__":
    sys.exit(main())
