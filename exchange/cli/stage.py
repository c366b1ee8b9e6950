"""The stage that the demo plays on: each step is a process of its own with its own token, and says what it runs."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from exchange.messages import Language, text

_WIDTH: Final = 160


class Failed(Exception):  # it is what happened to the play
    """A step did not end as the play says."""


@dataclass
class Stage:
    """A site, the tokens of its people, and what has been played so far.

    `log` is the folder into which the auditor exports the audit log. `checks` are what was compared with the
    generator's truth or the play's text, and what was found; a difference ends the play. `views` has of each read that
    was allowed, in order, who asked what and the SHA-256 of the bytes that were released.
    """

    root: Path
    tokens: Path
    log: Path
    language: Language
    steps: int
    done: int = 0
    checks: list[tuple[str, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    processes: int = 0
    views: list[tuple[str, str]] = field(default_factory=list)

    def scene(self, key: str, **facts: object) -> None:
        """The next part of the play, with how far it is."""
        self.done += 1
        bar = "█" * self.done + "░" * (self.steps - self.done)
        print(f"\n{bar} {self.done}/{self.steps}  {text(key, self.language, **facts)}", flush=True)

    def note(self, key: str, **facts: object) -> None:
        """A sentence about what was just seen."""
        print(f"  {text(key, self.language, **facts)}", flush=True)

    def run(
        self,
        who: str | None,
        *words: str,
        stdin: str | None = None,
        ends: int = 0,
        quiet: bool = False,
        site: bool = True,
        lines: int = 6,
    ) -> "Played":
        """Runs `exchange WORDS` as a process with the token of `who`; it must end with the exit code `ends`.

        The last `lines` of what it wrote are shown, unless `quiet`; a refusal is always shown.
        """
        shown = " ".join(shlex.quote(_relative(word)) for word in words)
        print(f"  {who or '-'} $ exchange {shown}", flush=True)
        done = subprocess.run(
            [sys.executable, "-P", "-m", "exchange", *words],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            env=self.environment(who, site=site),
            check=False,
        )
        self.processes += 1
        if not quiet or done.returncode:
            for line in [*done.stdout.splitlines()[-lines:], *done.stderr.splitlines()[-lines:]]:
                print(f"    {line[:_WIDTH]}", flush=True)
        if done.returncode != ends:
            raise Failed(f"exchange {shown}: ended with {done.returncode}, not {ends}")
        if words[0] == "read" and not ends:
            released = Path(words[-1]).read_bytes() if words[-2] == "--out" else done.stdout.encode()
            self.views.append((f"{who} {shown}", hashlib.sha256(released).hexdigest()))
        return Played(done.stdout, done.stderr)

    def environment(self, who: str | None, *, site: bool = True) -> dict[str, str]:
        """The variables of a step: of our own only the site and the token of `who`."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("EXCHANGE_")}
        # Sixty processes that each compile the exchange anew would cost more than all that they do.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["LANG"] = environment["LC_ALL"] = "zh_CN.UTF-8" if self.language == "zh" else "C.UTF-8"
        if site:
            environment["EXCHANGE_SITE"] = str(self.root)
        if who is not None:
            environment["EXCHANGE_TOKEN"] = f"file:{self.tokens / who}.token"
        return environment

    def check(self, what: str, found: object, expected: object) -> None:
        """Compares a figure that the exchange gave with the one it must be."""
        if found != expected:
            raise Failed(f"{what}: {found!r}, expected {expected!r}")
        items = [_plain(one) for one in found] if isinstance(found, list) else [str(found)]
        shown = ", ".join(items) or text("demo_none", self.language)
        self.checks.append((what, shown))
        print(f"  ✓ {what}: {shown}", flush=True)


@dataclass(frozen=True)
class Played:
    """What a process wrote."""

    stdout: str
    stderr: str

    @property
    def json(self) -> Any:  # noqa: ANN401  # whatever the command answers
        """Its answer, when it ran with `--json`."""
        return json.loads(self.stdout)

    @property
    def reasons(self) -> list[str]:
        """The reason codes of a refusal, as it told them to a person."""
        told = [line for line in self.stderr.splitlines() if line.startswith("  ") and "→" not in line]
        return [line.partition(":")[0].strip() for line in told]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records it wrote as JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]


def _plain(item: object) -> str:
    return " × ".join(map(str, reversed(item))) if isinstance(item, tuple) else str(item)


def _relative(word: str) -> str:
    path = Path(word)
    if path.is_absolute():
        try:
            return str(path.relative_to(Path.cwd()))
        except ValueError:
            return word
    return word
