"""How commands are put on the command line: a name, its help from the catalogue, the function that runs it."""

import argparse
from collections.abc import Callable
from typing import TypeAlias

from exchange.cli.terminal import Terminal
from exchange.messages import Language, text

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # argparse gives it no public name
Run = Callable[[Terminal, argparse.Namespace], int | None]


def command(
    commands: Commands, name: str, run: Run, common: argparse.ArgumentParser, language: Language, key: str = ""
) -> argparse.ArgumentParser:
    """One command; its help is the catalogue's `help_<name>`."""
    sentence = text("help_" + (key or name).replace("-", "_").replace(" ", "_"), language)
    parser = commands.add_parser(name, help=sentence, description=sentence, parents=[common])
    parser.set_defaults(run=run)
    return parser


class Group:
    """Commands of two words: `exchange case open`."""

    def __init__(self, commands: Commands, name: str, common: argparse.ArgumentParser, language: Language) -> None:
        self._name, self._common, self._language = name, common, language
        sentence = text("help_" + {"token": "tokens"}.get(name, name), language)
        parser = commands.add_parser(name, help=sentence, description=sentence, parents=[common])
        self._commands = parser.add_subparsers(metavar="ACTION", required=True, dest="action")

    def command(self, name: str, run: Run) -> argparse.ArgumentParser:
        """One command of the group; its help is the catalogue's `help_<group>_<name>`."""
        return command(self._commands, name, run, self._common, self._language, f"{self._name} {name}")
