"""`doctor`: what is wrong with a site, line by line, each with its fix."""

import argparse
import time
from collections.abc import Mapping
from typing import Final

from exchange.cli.opening import site_of
from exchange.cli.options import Commands, command
from exchange.cli.terminal import Terminal
from exchange.errors import Invalid
from exchange.messages import Language, describe, text

_PATIENCE_S: Final = 10.0  # for the pages of all databases together


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `doctor`."""
    command(commands, "doctor", _doctor, common, language)


def _doctor(terminal: Terminal, parsed: argparse.Namespace) -> int:
    """0 when nothing is wrong, else 2. Needs no token and no lock, and changes nothing."""
    from exchange.wiring.examining_stores import examine_site

    until = time.monotonic() + _PATIENCE_S
    rows: list[dict[str, str]] = []
    for one in examine_site(
        site_of(terminal, parsed), terminal.environment, terminal.now_ns, lambda: time.monotonic() < until
    ):
        row = {"check": one.check, "about": one.about, "state": one.state}
        if one.error is not None:
            what, todo = describe(one.error, terminal.language)
            row |= {"what": what, "do": todo, "code": one.error.code}
        else:
            row |= {"what": text(f"doctor_{one.said}", terminal.language, **_titled(terminal, one.facts))}
        rows.append(row)
        if not terminal.json:
            _tell(terminal, row)
    if terminal.json:
        terminal.show(rows, ())
    faults = sum(1 for row in rows if row["state"] == "wrong")
    terminal.say("doctor_wrong_in_all" if faults else "doctor_all_well", count=faults)
    return Invalid.exit_code if faults else 0


def _titled(terminal: Terminal, facts: Mapping[str, object]) -> dict[str, object]:
    """The facts, another check named by its title."""
    return {name: _title(terminal, str(value)) if name == "other" else value for name, value in facts.items()}


def _title(terminal: Terminal, check: str) -> str:
    return text("doctor_title_" + check.replace(".", "_"), terminal.language)


def _tell(terminal: Terminal, row: dict[str, str]) -> None:
    """One line as soon as it is known; what to do below it."""
    word = text(f"doctor_state_{row['state']}", terminal.language)
    title = " ".join(filter(None, (_title(terminal, row["check"]), row["about"])))
    lines = [
        f"{word}  {title}{'：' if terminal.language == 'zh' else ': '}{row['what']}",
        *([f"  → {row['do']}"] if "do" in row else []),
    ]
    terminal.show(row, lines)
