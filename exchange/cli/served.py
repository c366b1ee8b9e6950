"""The demo's site as a running service: `exchange serve`, and the OPA server that pulls its policies from it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from exchange.cli.servers import OPA_FOLDER, start_opa, stop_opa
from exchange.cli.stage import Failed, Stage
from exchange.settings import read_settings
from exchange.site import serving_at
from exchange.wiring.engines import OPA

LOG: Final = "serve.log"
_UP_S: Final = 60
_DOWN_S: Final = 60
_LOOK_S: Final = 0.05


@contextmanager
def serving(stage: Stage, folder: Path, *, keep: bool) -> Iterator[None]:
    """Serves the stage's site until the end of the block: every command goes through that one process. Where the policy
    engine is an OPA server of this machine, it is started beside it; with `keep` it runs on.

    Raises:
        Failed: the site is not served after a minute.
        Invalid, Unavailable: as `servers.start_opa`.
    """
    scheme, place = read_settings(stage.root, {}).engine("policy")
    try:
        if scheme in OPA:
            stage.run(None, "policy", "opa-config", str(folder / OPA_FOLDER), quiet=True)
            stage.note("demo_opa", address=place.removeprefix("//"))
            start_opa(folder, place.removeprefix("//"))
        with _served(stage, folder / LOG):
            yield
    finally:
        if not keep:
            stop_opa(folder)


@contextmanager
def _served(stage: Stage, log: Path) -> Iterator[None]:
    print("  - $ exchange serve &", flush=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "exchange", "serve"],
            env=stage.environment(None),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    stage.processes += 1
    try:
        until = time.monotonic() + _UP_S
        while not serving_at(stage.root):
            if process.poll() is not None or time.monotonic() > until:
                raise Failed(f"exchange serve: {' '.join(log.read_text('utf-8', 'replace').splitlines()[-3:])}")
            time.sleep(_LOOK_S)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_DOWN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
