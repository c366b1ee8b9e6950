"""The parts of README.md that follow from the code: the settings table and every command's help.

`python -m tests.readme.blocks` writes them anew; a test compares.
"""

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest import mock

from exchange.cli.main import parser
from exchange.settings import SETTINGS, Setting

README: Final = Path(__file__).resolve().parents[2] / "README.md"
_PART: Final = re.compile(r"(<!-- (settings|commands): [^>]*-->\n)(.*?)(<!-- end -->)", re.DOTALL)


def parts(text: str) -> dict[str, str]:
    """What stands between the marks."""
    return {found[2]: found[3] for found in _PART.finditer(text)}


def settings() -> str:
    """A row for each setting."""
    rows = [f"| `{one.name}` | {_default(one)} | {one.help} | `{one.variable}` |" for one in SETTINGS]
    return "\n".join(["| key | default | what it is | variable |", "|---|---|---|---|", *rows, ""])


def _default(one: Setting) -> str:
    if one.default is None:
        return "written by `exchange init`"
    return f"`{one.default}`" if one.default != "" else "none"


def commands() -> str:
    """The help of `exchange`, then of every command, folded away."""
    with mock.patch.dict(os.environ, {"COLUMNS": "110", "NO_COLOR": "1"}):
        first, *rest = (f"```text\n{text.rstrip()}\n```\n" for text in helps(parser("en")))
    return "\n".join([first, "<details><summary>The help of each</summary>\n", *rest, "</details>\n"])


def helps(above: argparse.ArgumentParser) -> Iterator[str]:
    """The help texts of a parser and of all commands below it."""
    yield above.format_help()
    for action in above._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from helps(one)


def main() -> None:
    """Writes both parts into README.md."""
    made = {"settings": settings, "commands": commands}
    text = README.read_text("utf-8")
    README.write_text(_PART.sub(lambda found: found[1] + made[found[2]]() + found[4], text), "utf-8")


if __name__ == "__main__":
    main()
