"""Which site a command works on, and who works: `--site` or EXCHANGE_SITE, `--token` or EXCHANGE_TOKEN."""

import argparse
import gc
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exchange.cli.terminal import Terminal
from exchange.errors import Invalid, Refused

if TYPE_CHECKING:
    from exchange.control.model import Principal
    from exchange.wiring import Exchange


def site_of(terminal: Terminal, parsed: argparse.Namespace) -> Path:
    """The site's folder: the option, else the variable, else the current folder."""
    return Path(getattr(parsed, "site", None) or terminal.environment.get("EXCHANGE_SITE") or ".")


@contextmanager
def opened(terminal: Terminal, parsed: argparse.Namespace) -> "Iterator[Exchange]":
    """The site's exchange, owned by this process until the end of the block."""
    with _imports_uncollected():
        from exchange.wiring import open_exchange
    command = f"exchange {parsed.command}"
    root = site_of(terminal, parsed)
    with open_exchange(root, command, terminal.environment, terminal.now_ns, secrets.token_bytes) as exchange:
        yield exchange


@contextmanager
def _imports_uncollected() -> Iterator[None]:
    """What imports make stays until the process ends: the collector need not look at it again and again, which is a
    quarter of what a short command costs.
    """
    if "exchange.wiring" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def actor_of(exchange: "Exchange", terminal: Terminal, parsed: argparse.Namespace) -> "Principal":
    """Whose token was given.

    Raises:
        Invalid: `token_missing`, `secret_in_plain`, `secret_unreadable`.
        Refused: the token is unknown, expired or revoked, or its account suspended; the refusal is audited.
    """
    reference = getattr(parsed, "token", None) or terminal.environment.get("EXCHANGE_TOKEN")
    if not reference:
        raise Invalid("token_missing")
    from exchange.settings import secret

    # A token's path is the caller's, not the site's.
    text = secret(reference, Path.cwd(), terminal.environment)
    try:
        return exchange.control.model().principal_for(text, terminal.now_ns())
    except Refused as refusal:
        exchange.refuse(None, parsed.command, refusal)


def auditor_of(exchange: "Exchange", terminal: Terminal, parsed: argparse.Namespace) -> "Principal":
    """The actor, who must be an auditor."""
    actor = actor_of(exchange, terminal, parsed)
    if "auditor" not in actor.roles:
        exchange.refuse(actor, parsed.command, Refused("auditor_required"))
    return actor
