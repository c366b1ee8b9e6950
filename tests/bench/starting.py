"""What it takes to run a command that does next to nothing: every command is a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import site
from tests.bench.clock import folder


def measured(rounds: int) -> dict[str, Any]:
    """Seconds of wall clock and CPU: medians, by command."""
    with folder() as place:
        site.make(place / "site")
        (place / "token").write_text(_token(place / "site"), "utf-8")
        log, key = place / "site" / "data" / "audit", place / "site" / "keys" / "audit.vkey"
        commands = {
            "python, nothing (baseline)": ["-c", "pass"],
            "python, import sqlalchemy": ["-c", "import sqlalchemy"],
            "exchange --help": ["-m", "exchange", "--help"],
            "exchange view --help": ["-m", "exchange", "view", "--help"],
            "exchange audit verify": ["-m", "exchange", "audit", "verify", str(log), "--key", str(key)],
            "exchange status": ["-m", "exchange", "status"],
        }
        given = {"EXCHANGE_SITE": str(place / "site"), "EXCHANGE_TOKEN": f"file:{place / 'token'}"}
        # Bytecode is kept as it is wherever a program is installed; the first run of each makes it.
        environment = {**os.environ, **given, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(place / "pyc")}
        for words in commands.values():
            _run(words, environment)
        return {name: _costs(words, environment, rounds) for name, words in commands.items()}


def _costs(words: list[str], environment: dict[str, str], rounds: int) -> dict[str, float]:
    runs = [_run(words, environment) for _ in range(rounds)]
    return {"wall": round(median(wall for wall, _ in runs), 3), "cpu": round(median(cpu for _, cpu in runs), 3)}


def _run(words: list[str], environment: dict[str, str]) -> tuple[float, float]:
    before, begun = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=environment)
    wall, after = time.perf_counter() - begun, os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return wall, cpu


def _token(root: Path) -> str:
    """A token of the consumer's system."""
    import secrets

    from exchange.control import commands as c
    from exchange.control.tokens import new_token

    text, identity, digest = new_token(secrets.token_bytes)
    with site.opened(root) as exchange:
        system = f"svc.{site.CONSUMER}"
        expires = time.time_ns() + 3_600 * 1_000_000_000
        exchange.control.execute(site.who(exchange, system), c.IssueToken(system, identity, digest, expires))
    return text
