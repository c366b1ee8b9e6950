"""`config show`, `errors`, `completion`: what the program says about itself and about a site's settings."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from exchange.cli.opening import site_of
from exchange.cli.options import Commands, Group, command
from exchange.cli.terminal import Terminal
from exchange.errors import ExchangeError, Invalid
from exchange.messages import Language, error_codes
from exchange.names import nearest

_EXIT_CODES: Final = {family.family: family.exit_code for family in ExchangeError.__subclasses__()}
_FOLDERS: Final = frozenset({"DIR", "FOLDER"})
_LONGEST_CODE: Final = 100


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `config`, `errors` and `completion`."""
    show = Group(commands, "config", common, language).command("show", _config)
    show.add_argument("--origin", action="store_true")
    errors = command(commands, "errors", _errors, common, language)
    errors.add_argument("code", nargs="?", metavar="CODE")
    completion = command(commands, "completion", _completion, common, language)
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"])


def _config(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """A secret's value is where it lies, as in the file: the secret itself is not looked at."""
    from exchange.settings import SETTINGS, read_settings

    settings = read_settings(site_of(terminal, parsed), terminal.environment)
    rows = [
        {"setting": one.name, "value": settings.values[one.name], "origin": settings.origins[one.name]}
        for one in SETTINGS
    ]
    terminal.table(rows, ["setting", "value", *(["origin"] if parsed.origin else [])])


def _errors(terminal: Terminal, parsed: argparse.Namespace) -> None:
    codes = error_codes()
    if parsed.code is not None and parsed.code not in codes:
        raise Invalid("error_unknown", where=parsed.code[:_LONGEST_CODE], nearest=nearest(parsed.code, codes))
    asked = [parsed.code] if parsed.code else sorted(codes)
    rows = [_described(code, codes[code]) for code in asked]
    terminal.show(rows, (line for row in rows for line in _lines(row, terminal.language)))


def _described(code: str, entry: Mapping[str, str]) -> dict[str, Any]:
    return {"code": code, "exit_code": _EXIT_CODES[entry["family"]], **entry}


def _lines(row: Mapping[str, Any], language: Language) -> Iterator[str]:
    """As an error itself is shown; its places stand in braces."""
    yield f"{row['code']}  {row['family']}  {row['exit_code']}"
    yield f"  {row[language]}"
    yield f"  → {row[f'do_{language}']}"


def _completion(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """The script for the shell, with the help in the terminal's language; it goes where that shell looks for it."""
    import shtab

    from exchange.cli.main import parser

    whole = parser(terminal.language)
    _complete_paths(whole, shtab.FILE, shtab.DIRECTORY)
    terminal.stdout.write(shtab.complete(whole, shell=parsed.shell) + "\n")


def _complete_paths(above: argparse.ArgumentParser, file: Mapping[str, Any], folder: Mapping[str, Any]) -> None:
    """Says of each argument that is a path whether files or folders are offered; shtab reads it from `complete`."""
    for action in above._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                _complete_paths(one, file, folder)
        elif action.type is Path or action.metavar in {"FILE", *_FOLDERS}:
            is_folder = action.metavar in _FOLDERS or action.dest in {"dir", "folder"}
            action.complete = folder if is_folder else file  # type: ignore[attr-defined]  # shtab's own
