"""How commands are put on the command line: a name, its help from the catalogue, the function that runs it."""

import argparse
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeAlias

from exchange.cli.terminal import Terminal
from exchange.errors import Invalid
from exchange.messages import Language, text

_HEADINGS: Final = {  # argparse's own words, where a line begins with one
    "usage:": "用法：",
    "positional arguments:": "参数：",
    "options:": "选项：",
}
_OWN_HELP: Final = "show this help message and exit"

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # argparse gives it no public name
Run = Callable[[Terminal, argparse.Namespace], int | None]


class Parser(argparse.ArgumentParser):
    """Wrong words are an error like any other, not a printed usage and an exit; an option is written out."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # argparse's own
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """Raises `Invalid("command_line")`."""
        raise Invalid("command_line", where=self.prog, detail=message)


class ChineseParser(Parser):
    """The same, with argparse's own words in Chinese."""

    def format_help(self) -> str:
        """The help text."""
        help_text = super().format_help().replace(_OWN_HELP, "显示本帮助后退出")
        for english, chinese in _HEADINGS.items():
            help_text = re.sub(f"^{english}", chinese, help_text, count=1, flags=re.MULTILINE)
        return help_text


def explain(parser: argparse.ArgumentParser, language: Language, path: tuple[str, ...] = ()) -> None:
    """Gives every argument that has no help yet its own from the catalogue; argparse keeps them in `_actions`."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                explain(one, language, (*path, name))
        elif action.help is None:
            word = action.option_strings[0].strip("-") if action.option_strings else action.dest
            action.help = _option_help((*path, word), language)


def _option_help(path: tuple[str, ...], language: Language) -> str:
    """`option_token_issue_days`, else `option_token_days`, else `option_days`."""
    *commands, word = path
    for depth in range(len(commands), 0, -1):
        with suppress(KeyError):
            return text("_".join(["option", *commands[:depth], word]).replace("-", "_"), language)
    return text(f"option_{word}".replace("-", "_"), language)


def command(
    commands: Commands, name: str, run: Run, common: argparse.ArgumentParser, language: Language, key: str = ""
) -> argparse.ArgumentParser:
    """One command; its help is the catalogue's `help_<name>`."""
    sentence = text("help_" + (key or name).replace("-", "_").replace(" ", "_"), language)
    parser = commands.add_parser(
        name, help=sentence, description=sentence, epilog=text("help_common", language), parents=[common]
    )
    parser.set_defaults(run=run)
    return parser


def given_settings(pairs: Sequence[str]) -> dict[str, str]:
    """The settings of `--set NAME=VALUE`."""
    split = [pair.partition("=") for pair in pairs]
    wrong = [pair for pair, (_, sign, _) in zip(pairs, split, strict=True) if not sign]
    if wrong:
        raise Invalid("command_line", where="--set", detail=wrong[0])
    return {name: value for name, _, value in split}


class Group:
    """Commands of two words: `exchange case open`."""

    def __init__(self, commands: Commands, name: str, common: argparse.ArgumentParser, language: Language) -> None:
        self._name, self._common, self._language = name, common, language
        sentence = text("help_" + {"token": "tokens"}.get(name, name), language)
        parser = commands.add_parser(
            name, help=sentence, description=sentence, epilog=text("help_common", language), parents=[common]
        )
        self._commands = parser.add_subparsers(metavar="ACTION", required=True, dest="action")

    def command(self, name: str, run: Run) -> argparse.ArgumentParser:
        """One command of the group; its help is the catalogue's `help_<group>_<name>`."""
        return command(self._commands, name, run, self._common, self._language, f"{self._name} {name}")
