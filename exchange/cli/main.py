"""The entry point: the parser, the four exit codes, and the one frame that turns errors into sentences."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from exchange import __version__
from exchange.cli import (
    agreements,
    auditing,
    backup,
    database,
    demo,
    docs,
    doctor,
    intake,
    moving,
    policies,
    publishing,
    reading,
    reference,
    register,
    sequencing,
    serving,
    sites,
    trying,
    view,
)
from exchange.cli.options import ChineseParser, Parser, explain
from exchange.cli.terminal import Terminal
from exchange.errors import ExchangeError, Unavailable
from exchange.messages import Language, language_of, text

_INTERRUPTED = 130
_COMMON = ("site", "token", "lang", "json")
_ROOMS = {
    sites: {"init", "status"},
    serving: {"serve"},
    sequencing: {"sequence"},
    docs: {"docs"},
    trying: {"try"},
    register: {"register", "department", "principal", "token", "dataset", "case"},
    publishing: {"publish", "dead-letters"},
    intake: {"intake"},
    policies: {"policy"},
    agreements: {"agreement"},
    reading: {"read", "lookup", "ack", "explain"},
    view: {"view"},
    auditing: {"audit"},
    demo: {"demo"},
    backup: {"backup", "restore"},
    moving: {"export", "import"},
    database: {"db"},
    doctor: {"doctor"},
    reference: {"config", "errors", "completion"},
}


def main(arguments: Sequence[str] | None = None, now_ns: Callable[[], int] = time.time_ns) -> int:
    """Runs one command.

    Returns:
        0 done, 1 refused, 2 invalid input, 3 unavailable, 4 tampered, 130 interrupted.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        # Names of people may hold characters that the terminal's encoding lacks; a failed print loses more.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]  # both are text over bytes here
    terminal = Terminal(_language(words), "--json" in words, os.environ, now_ns=now_ns)
    try:
        return _run(terminal, words)
    except ExchangeError as error:
        terminal.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        terminal.say("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away; what was released is in the audit log.
        _let_go_of_output()
        return Unavailable.exit_code
    except OSError as error:
        terminal.error(
            Unavailable("system", where=_base(error.filename), detail=error.strerror or type(error).__name__)
        )
        _let_go_of_output()
        return Unavailable.exit_code


def _run(terminal: Terminal, words: Sequence[str]) -> int:
    parsed = parser(terminal.language, words[0] if words else "").parse_args(words)
    code = int(parsed.run(terminal, parsed) or 0)
    # What could not be written is found out here, not when the interpreter ends.
    terminal.stdout.flush()
    return code


def _let_go_of_output() -> None:
    """What still waits in standard output's buffer, and cannot be written, fails no second time at the very end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _base(name: object) -> str:
    """The last part of a file's name; an open file's number says nothing."""
    return Path(os.fsdecode(name)).name if isinstance(name, str | bytes | os.PathLike) else ""


def parser(language: Language, asked: str = "") -> argparse.ArgumentParser:
    """The whole command line, its help in one language; of it only the room of the command that is asked for."""
    kind = ChineseParser if language == "zh" else Parser
    top = kind(prog="exchange", description=text("help_exchange", language), parents=[_common(language)])
    top.add_argument(
        "--version", action="version", version=f"exchange {__version__}", help=text("help_version", language)
    )
    commands = top.add_subparsers(
        title=text("help_commands", language), metavar="COMMAND", required=True, dest="command"
    )
    for room in [room for room, names in _ROOMS.items() if asked in names] or _ROOMS:
        room.mount(commands, _common(language, shown=False), language)
    explain(top, language)
    return top


def _common(language: Language, *, shown: bool = True) -> argparse.ArgumentParser:
    """Options that every command takes, before or after its name; shown in the help of `exchange` itself."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    said = {name: text(f"help_{name}", language) if shown else argparse.SUPPRESS for name in _COMMON}
    common.add_argument("--site", metavar="DIR", help=said["site"])
    common.add_argument("--token", metavar="file:PATH|env:NAME", help=said["token"])
    common.add_argument("--lang", choices=["zh", "en"], help=said["lang"])
    common.add_argument("--json", action="store_true", help=said["json"])
    return common


def _language(words: Sequence[str]) -> Language:
    """The language must be known before the parser, which speaks it, is made."""
    for index, word in enumerate(words):
        value = word.removeprefix("--lang=") if word.startswith("--lang=") else None
        if word == "--lang" and index + 1 < len(words):
            value = words[index + 1]
        if value == "zh":
            return "zh"
        if value == "en":
            return "en"
    return language_of({**os.environ, "LC_ALL": os.environ.get("EXCHANGE_LANG") or os.environ.get("LC_ALL", "")})
