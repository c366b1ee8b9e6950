"""`export` and `import`: a site in a file that does not depend on engines, and a site from it on the engines named."""

import argparse
import secrets
from pathlib import Path

from exchange.cli.opening import site_of
from exchange.cli.options import Commands, command, given_settings
from exchange.cli.terminal import Terminal, replaced
from exchange.errors import Invalid, Unavailable
from exchange.messages import Language


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `export` and `import`."""
    out = command(commands, "export", _export, common, language)
    out.add_argument("file", type=Path, metavar="FILE")
    out.add_argument("--without-keys", action="store_true")
    into = command(commands, "import", _import, common, language)
    into.add_argument("file", type=Path, metavar="FILE")
    into.add_argument("dir", type=Path, metavar="DIR")
    into.add_argument("--set", metavar="NAME=VALUE", action="append")
    into.add_argument("--keys", type=Path, metavar="DIR")


def _export(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.wiring.moving_out import take_out

    file: Path = parsed.file.absolute()
    with terminal.progress(None, "B") as bar:
        try:
            with replaced(file) as out:
                taken = take_out(
                    site_of(terminal, parsed),
                    out,
                    file.parent,
                    terminal.environment,
                    terminal.now_ns,
                    secrets.token_bytes,
                    keys=not parsed.without_keys,
                    progress=bar.to,
                )
        except OSError as error:
            raise Unavailable("system", where=file.name, detail=error.strerror or type(error).__name__) from None
    document = {
        "file": str(file),
        "origin": taken.origin,
        "size": taken.size,
        "root": taken.root,
        "records": taken.records,
        "files": taken.files,
        "bytes": taken.bytes,
        "keys": taken.keys,
        "left_out": list(taken.left_out),
    }
    terminal.show(document, [f"{name}: {value}" for name, value in document.items() if name != "left_out"])
    terminal.say("backup_holds_keys" if taken.keys else "backup_without_keys")
    if taken.left_out:
        terminal.say("backup_left_out", names=", ".join(taken.left_out))


def _import(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.wiring.moving_in import bring_in

    with terminal.progress(None, "B") as bar:
        try:
            brought = bring_in(
                parsed.file,
                parsed.dir,
                given=given_settings(parsed.set or []),
                keys=parsed.keys,
                now_ns=terminal.now_ns,
                random_bytes=secrets.token_bytes,
                progress=bar.to,
            )
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise Invalid("file_unreadable", where=parsed.file.name, detail=error.strerror) from None
    document = {
        "site": str(brought.folder),
        "origin": brought.origin,
        "size": brought.size,
        "root": brought.root,
        "records": brought.records,
    }
    terminal.show(document, [f"{name}: {value}" for name, value in document.items()])
    terminal.say("import_done", size=brought.size)
    if brought.absent:
        terminal.say("backup_left_out", names=", ".join(brought.absent))
