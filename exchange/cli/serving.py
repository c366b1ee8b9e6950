"""`serve`: the site over HTTP, until it is stopped."""

import argparse
from typing import TYPE_CHECKING

from exchange.cli.opening import opened
from exchange.cli.options import Commands, command
from exchange.cli.terminal import Terminal
from exchange.messages import Language

if TYPE_CHECKING:
    from exchange.settings import Settings


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `serve`."""
    serve = command(commands, "serve", _serve, common, language)
    serve.add_argument("--host")
    serve.add_argument("--port", type=int)
    serve.add_argument("--certificate", metavar="FILE")
    serve.add_argument("--certificate-key", metavar="FILE")
    serve.add_argument("--behind-proxy", action="store_true")


def _serve(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.api.server import Address, serve
    from exchange.console import mount as pages

    with opened(terminal, parsed) as exchange:
        settings = exchange.settings
        address = Address(
            host=parsed.host or settings.text("http.host"),
            port=settings.number("http.port") if parsed.port is None else parsed.port,
            certificate=parsed.certificate or _of_site(settings, "http.certificate"),
            key=parsed.certificate_key or _of_site(settings, "http.certificate_key"),
            behind_proxy=parsed.behind_proxy,
        )

        def write(line: str) -> None:
            terminal.stdout.write(line + "\n")
            terminal.stdout.flush()

        serve(exchange, address, exchange.now_ns, write, lambda url: terminal.say("serving", url=url), pages)
    terminal.say("served")


def _of_site(settings: "Settings", name: str) -> str:
    """A file named in the settings, which is one of the site; empty where none is."""
    return str(settings.path(settings.text(name))) if settings.text(name) else ""
