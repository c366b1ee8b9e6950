"""Which site a command works on, and who works: `--site` or EXCHANGE_SITE, `--token` or EXCHANGE_TOKEN."""

import argparse
import gc
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exchange.cli.terminal import Terminal
from exchange.errors import Invalid, Refused, Unavailable
from exchange.site import LEDGERS, serving_at

if TYPE_CHECKING:
    from exchange.control.model import Principal
    from exchange.wiring import Exchange
    from exchange.wiring.desk import Desk

_WEB: Final = ("http://", "https://")


def site_of(terminal: Terminal, parsed: argparse.Namespace) -> Path:
    """The site's folder: the option, else the variable, else the current folder."""
    return Path(_place(terminal, parsed))


def ledgers_of(terminal: Terminal, parsed: argparse.Namespace) -> Path:
    """Where adapters keep what they have sent: EXCHANGE_LEDGERS; else with the site; for one that is elsewhere, with
    its user's own state (XDG base directories).
    """
    own = terminal.environment.get("EXCHANGE_LEDGERS")
    if own:
        return Path(own)
    place = _place(terminal, parsed)
    if not place.startswith(_WEB):
        return Path(place) / LEDGERS
    state = terminal.environment.get("XDG_STATE_HOME", "")
    return (Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state") / "exchange" / "ledgers"


def _place(terminal: Terminal, parsed: argparse.Namespace) -> str:
    return getattr(parsed, "site", None) or terminal.environment.get("EXCHANGE_SITE") or "."


@contextmanager
def desk_of(terminal: Terminal, parsed: argparse.Namespace) -> "Iterator[Desk]":
    """The desk of whoever's token was given, until the end of the block: on the site itself; through the Unix socket of
    `exchange serve` while that holds the site; over the network where `--site` is an address.

    Raises:
        Invalid: `token_missing`, `secret_in_plain`, `secret_unreadable`.
        Refused: the token is unknown, expired or revoked, or its account suspended; the refusal is audited.
        Unavailable: `site_in_use` by a process that does not serve it; `server_unreachable`.
    """
    place = _place(terminal, parsed)
    if place.startswith(_WEB):
        with _remote(place, terminal, parsed) as desk:
            yield desk
        return
    socket = serving_at(Path(place))  # then none of the engines is loaded, which is most of a short command's time
    if socket:
        with _remote(f"unix:{socket}", terminal, parsed) as desk:
            yield desk
        return
    with ExitStack() as stack:
        try:
            exchange = stack.enter_context(opened(terminal, parsed))
        except Unavailable as error:
            if error.code != "site_in_use" or not error.facts["socket"]:
                raise
            socket = str(error.facts["socket"])
        else:
            from exchange.wiring.desk import LocalDesk

            yield LocalDesk(exchange, _actor(exchange, terminal, parsed))
            return
    with _remote(f"unix:{socket}", terminal, parsed) as desk:
        yield desk


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


@contextmanager
def _remote(place: str, terminal: Terminal, parsed: argparse.Namespace) -> "Iterator[Desk]":
    from exchange.cli.remote import RemoteDesk
    from exchange.cli.wire import Wire

    with closing(Wire(place, _token(terminal, parsed), terminal.language)) as wire:
        yield RemoteDesk(wire)


def _token(terminal: Terminal, parsed: argparse.Namespace) -> str:
    reference = getattr(parsed, "token", None) or terminal.environment.get("EXCHANGE_TOKEN")
    if not reference:
        raise Invalid("token_missing")
    from exchange.settings import secret

    # A token's path is the caller's, not the site's.
    return secret(reference, Path.cwd(), terminal.environment)


def _actor(exchange: "Exchange", terminal: Terminal, parsed: argparse.Namespace) -> "Principal":
    text = _token(terminal, parsed)
    try:
        return exchange.control.model().principal_for(text, exchange.now_ns())
    except Refused as refusal:
        exchange.refuse(None, parsed.command, refusal)
