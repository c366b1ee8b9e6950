"""`init` makes a site, `status` tells its figures, each queried from log, state and audit log."""

import argparse
import secrets
from pathlib import Path

from exchange.cli.opening import desk_of
from exchange.cli.options import Commands, command
from exchange.cli.terminal import Terminal, new_file
from exchange.messages import Language


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `init` and `status`."""
    init = command(commands, "init", _init, common, language)
    init.add_argument("dir", type=Path)
    init.add_argument("--name", default="")
    init.add_argument("--origin")
    init.add_argument("--department", default="authority")
    init.add_argument("--principal", default="authority.first")
    init.add_argument("--token-out", metavar="FILE", type=Path)
    command(commands, "status", _status, common, language)


def _init(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.wiring import make_site

    with new_file(parsed.token_out) as stream:
        made = make_site(
            parsed.dir,
            name=parsed.name,
            origin=parsed.origin,
            department=parsed.department,
            principal=parsed.principal,
            now_ns=terminal.now_ns,
            random_bytes=secrets.token_bytes,
        )
        if stream is not None:
            stream.write(made.token + "\n")
    document = {"site": str(made.root), "principal": parsed.principal, "origin": made.origin, "log_key": made.log_key}
    if parsed.token_out is None:
        document["token"] = made.token
    terminal.show(document, [f"{name}: {value}" for name, value in document.items()])
    terminal.say("init_done", principal=parsed.principal)


def _status(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        terminal.table(desk.status(), ["what", "name", "count"])
