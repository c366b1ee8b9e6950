"""`db upgrade`: the control database is brought to the revision of this program."""

import argparse

from exchange.cli.opening import site_of
from exchange.cli.options import Commands, Group
from exchange.cli.terminal import Terminal
from exchange.messages import Language, text


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `db`."""
    group = Group(commands, "db", common, language)
    group.command("upgrade", _upgrade).add_argument("--dry-run", action="store_true")


def _upgrade(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.wiring.upgrading import planned_upgrade, upgrade_site

    root = site_of(terminal, parsed)
    plan = planned_upgrade(root, terminal.environment)
    if plan.steps:
        terminal.say("db_backup_first")
    if plan.steps and not parsed.dry_run:
        plan = upgrade_site(root, terminal.environment, terminal.now_ns)
    document = {"found": plan.found, "steps": list(plan.steps), "done": not parsed.dry_run}
    key = ("db_would_run" if parsed.dry_run else "db_ran") if plan.steps else "db_current"
    facts = {"found": plan.found, "steps": ", ".join(plan.steps)}
    terminal.show(document, [text(key, terminal.language, **facts)])
