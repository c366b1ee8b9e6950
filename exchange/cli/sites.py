"""`init` makes a site, `status` tells its figures, each queried from log, state and audit log."""

import argparse
import secrets
from pathlib import Path
from typing import Final

from exchange.cli.opening import desk_of
from exchange.cli.options import Commands, command, given_settings
from exchange.cli.terminal import Terminal, new_file
from exchange.errors import Invalid
from exchange.messages import Language


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `init` and `status`."""
    init = command(commands, "init", _init, common, language)
    init.add_argument("dir", type=Path)
    init.add_argument("--name")
    init.add_argument("--origin")
    init.add_argument("--department")
    init.add_argument("--principal")
    init.add_argument("--token-out", metavar="FILE", type=Path)
    init.add_argument("--set", metavar="NAME=VALUE", action="append")
    init.add_argument("--sample", action="store_true")
    init.add_argument("--gateway-of", metavar="SITE", type=Path)
    init.add_argument("--standby", action="store_true")
    command(commands, "status", _status, common, language)


def _init(terminal: Terminal, parsed: argparse.Namespace) -> None:
    if parsed.gateway_of is not None:
        _init_gateway(terminal, parsed)
        return
    if parsed.standby:
        raise Invalid("command_line", where="--standby", detail="--gateway-of")
    if parsed.sample:
        _init_sample(terminal, parsed)
        return
    from exchange.wiring import make_site

    principal = parsed.principal or "authority.first"
    with new_file(parsed.token_out) as stream:
        made = make_site(
            parsed.dir,
            name=parsed.name or "",
            origin=parsed.origin,
            department=parsed.department or "authority",
            principal=principal,
            now_ns=terminal.now_ns,
            random_bytes=secrets.token_bytes,
            given=given_settings(parsed.set or []),
        )
        if stream is not None:
            stream.write(made.token + "\n")
    document = {"site": str(made.root), "principal": principal, "origin": made.origin, "log_key": made.log_key}
    if parsed.token_out is None:
        document["token"] = made.token
    terminal.show(document, [f"{name}: {value}" for name, value in document.items()])
    terminal.say("init_done", principal=principal)


def _init_gateway(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """Another gateway of an exchange that is there: it has its people, its log and its name already."""
    from exchange.wiring.joining import make_gateway

    odd = [name for name in _OF_A_REAL_SITE if name != "set" and getattr(parsed, name) is not None]
    if odd or parsed.sample:
        wrong = ", ".join(f"--{one.replace('_', '-')}" for one in [*odd, *(["sample"] if parsed.sample else [])])
        raise Invalid("command_line", where="--gateway-of", detail=wrong)
    own = given_settings(parsed.set or [])
    made = make_gateway(parsed.dir, parsed.gateway_of, terminal.environment, standby=parsed.standby, given=own)
    document = {"site": str(made.root), "origin": made.origin, "standby": made.standby}
    terminal.show(document, [f"{name}: {value}" for name, value in document.items()])
    terminal.say("gateway_done_standby" if made.standby else "gateway_done")


def _init_sample(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """A sample is what it is: none of the options that describe a real site goes with it."""
    odd = [name for name in _OF_A_REAL_SITE if getattr(parsed, name) is not None]
    if odd:
        raise Invalid("command_line", where="--sample", detail=", ".join(f"--{one.replace('_', '-')}" for one in odd))
    from exchange.cli.sample import make_sample

    made = make_sample(parsed.dir, terminal)
    tokens = made.root / "tokens"
    document = {"site": str(made.root), "sample": True, "origin": made.origin, "log_key": made.log_key}
    document["tokens"] = str(tokens)
    terminal.show(document, [f"{name}: {value}" for name, value in document.items()])
    terminal.say("sample_done", count=len(list(tokens.iterdir())))


_OF_A_REAL_SITE: Final = ("name", "origin", "department", "principal", "token_out", "set")


def _status(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        rows = desk.status()
    terminal.table(rows, ["what", "name", "count"])
    if rows and rows[0]["what"] == "sample":
        terminal.say("sample_site")
