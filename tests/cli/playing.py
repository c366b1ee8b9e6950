"""The demo at a small scale, each command in this process instead of one of its own, so that it takes seconds."""

import io
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exchange.cli import play as plays
from exchange.cli.demo import claimed
from tests import simulator

SCALE = 0.01
SEED = 2026
RELEASING = {"read", "lookup"}


@dataclass
class Play:
    """What was given to the commands of the demo, and what they wrote."""

    folder: Path
    printed: str = ""
    given: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)


def played_in(folder: Path, settings: Mapping[str, str] | None = None, *, served: bool = False) -> Play:
    """Plays it in a new folder, on the engines of these settings; `served` by a process that is a real one."""
    played = Play(folder)

    started = subprocess.run

    def run(command: Sequence[str], *, input: str | None = None, env: Mapping[str, str], **more: Any) -> Any:  # noqa: A002  # its name
        if "exchange" not in command:  # a script that starts a server
            return started(command, input=input, env=env, **more)
        words = list(command)[list(command).index("exchange") + 1 :]
        ran = simulator.run(words, env, input or "")
        played.given += [*words, *(f"{name}={value}" for name, value in env.items())]
        (played.released if words[0] in RELEASING else played.said).append(ran.stdout)
        played.said.append(ran.stderr)
        return subprocess.CompletedProcess(command, ran.code, ran.stdout, ran.stderr)

    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(subprocess, "run", run)  # as `exchange.cli.stage` calls it
        patch.setattr(plays, "generate", _generate)
        code = plays.play(claimed(played.folder), "en", SEED, SCALE, settings or {}, served=served)
    played.printed = printed.getvalue()
    assert code == 0, played.printed[-2_000:]
    return played


def _generate(folder: Path, seed: int, scale: float) -> None:
    from adapters.sample.county import county
    from adapters.sample.writing import write

    write(county(seed, scale), folder)
