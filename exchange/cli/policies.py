"""Policy revisions: tested, submitted by one person, approved by another, withdrawn."""

import argparse
from pathlib import Path

from exchange.cli.opening import desk_of, site_of
from exchange.cli.options import Commands, Group
from exchange.cli.register import done
from exchange.cli.terminal import Terminal
from exchange.control import commands as c
from exchange.messages import Language, text


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `policy`."""
    group = Group(commands, "policy", common, language)
    for name, run in (("test", _test), ("submit", _submit)):
        group.command(name, run).add_argument("folder", type=Path, nargs="?")
    group.command("approve", _approve).add_argument("revision")
    group.command("withdraw", _withdraw).add_argument("--reason", required=True)
    group.command("list", _list)
    config = group.command("opa-config", _opa_config)
    config.add_argument("opa_folder", metavar="folder", type=Path)
    config.add_argument("--url")
    config.add_argument("--ca", type=Path)


def _folder(terminal: Terminal, parsed: argparse.Namespace) -> Path:
    return parsed.folder or site_of(terminal, parsed) / "policies"


def _opa_config(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.settings import read_settings
    from exchange.wiring.opa_folder import write_opa_folder

    settings = read_settings(site_of(terminal, parsed), terminal.environment)
    url = parsed.url or f"http://127.0.0.1:{settings.number('http.port')}"
    command = write_opa_folder(settings, parsed.opa_folder, url, parsed.ca)
    sentence = text("opa_config_written", terminal.language, folder=parsed.opa_folder)
    terminal.show({"folder": str(parsed.opa_folder), "command": command}, [sentence, command])


def _test(terminal: Terminal, parsed: argparse.Namespace) -> int:
    from exchange.policy.bundle import load_bundle

    with desk_of(terminal, parsed) as desk:
        results = desk.test_policy(load_bundle(_folder(terminal, parsed)))
    terminal.table([{"test": name, "held": held} for name, held in sorted(results.items())], ["test", "held"])
    return 0 if results and all(results.values()) else 1


def _submit(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.policy.bundle import load_bundle

    with desk_of(terminal, parsed) as desk:
        bundle = load_bundle(_folder(terminal, parsed))
        done(terminal, desk.submit_policy(bundle))
        tests = next(one["tests"] for one in desk.listing("policies") if one["revision"] == bundle.revision)
        terminal.say("policy_submitted", revision=bundle.revision, tests=tests)


def _approve(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        done(terminal, desk.execute(c.ApprovePolicy(parsed.revision)))


def _withdraw(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        done(terminal, desk.execute(c.WithdrawPolicy(parsed.reason)))


def _list(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        terminal.table(desk.listing("policies"), ["revision", "status", "submitted_by", "approved_by", "tests"])
