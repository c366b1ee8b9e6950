"""`backup` and `restore`: a site in one file, and a site from it."""

import argparse
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from exchange.cli.opening import site_of
from exchange.cli.options import Commands, command
from exchange.cli.terminal import Terminal, read_bytes, replaced
from exchange.errors import Invalid, Refused, Unavailable
from exchange.messages import Language

if TYPE_CHECKING:
    from exchange.control.model import Principal
    from exchange.wiring import Exchange

_PACKED = (".gz", ".tgz")


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `backup` and `restore`."""
    backup = command(commands, "backup", _backup, common, language)
    backup.add_argument("file", type=Path, metavar="FILE")
    backup.add_argument("--without-keys", action="store_true")
    restore = command(commands, "restore", _restore, common, language)
    restore.add_argument("file", type=Path, metavar="FILE")
    restore.add_argument("dir", type=Path, metavar="DIR")
    restore.add_argument("--keys", type=Path, metavar="DIR")
    restore.add_argument("--checkpoint", action="append", type=Path, default=[], metavar="FILE")
    restore.add_argument("--force", metavar="REASON")


def _backup(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.wiring.backup import take

    file: Path = parsed.file.absolute()
    with terminal.progress(None, "B") as bar:
        try:
            with replaced(file) as out:
                taken = take(
                    site_of(terminal, parsed),
                    out,
                    file.parent,
                    terminal.environment,
                    terminal.now_ns(),
                    keys=not parsed.without_keys,
                    compress=file.name.endswith(_PACKED),
                    progress=bar.to,
                )
        except OSError as error:
            raise Unavailable("system", where=file.name, detail=error.strerror or type(error).__name__) from None
    document = {
        "file": str(file),
        "origin": taken.origin,
        "size": taken.size,
        "root": taken.root,
        "revision": taken.revision,
        "files": taken.files,
        "bytes": taken.bytes,
        "keys": taken.keys,
        "left_out": list(taken.left_out),
    }
    terminal.show(document, [f"{name}: {value}" for name, value in document.items() if name != "left_out"])
    terminal.say("backup_holds_keys" if taken.keys else "backup_without_keys")
    if taken.left_out:
        terminal.say("backup_left_out", names=", ".join(taken.left_out))


def _restore(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.wiring.restoring import Force, restore

    if parsed.force is not None and not parsed.force.strip():
        raise Invalid("command_line", where="--force", detail="REASON")

    def who(exchange: "Exchange") -> "Principal | None":
        given = getattr(parsed, "token", None) or terminal.environment.get("EXCHANGE_TOKEN")
        return _whose(exchange, given, terminal) if given else None

    kept = [read_bytes(file) for file in parsed.checkpoint]
    with terminal.progress(None, "B") as bar:
        try:
            with parsed.file.open("rb") as stream:
                restored = restore(
                    stream,
                    parsed.dir,
                    kept=kept,
                    keys=parsed.keys,
                    force=None if parsed.force is None else Force(parsed.force, who),
                    environment=terminal.environment,
                    now_ns=terminal.now_ns,
                    random_bytes=secrets.token_bytes,
                    progress=bar.to,
                )
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise Invalid("file_unreadable", where=parsed.file.name, detail=error.strerror) from None
    document = {
        "site": str(restored.folder),
        "origin": restored.origin,
        "size": restored.size,
        "root": restored.root,
        "size_now": restored.now_size,
        "forced": restored.forced,
    }
    terminal.show(document, [f"{name}: {value}" for name, value in document.items()])
    terminal.say("restore_forced" if restored.forced else "restore_done", size=restored.size)
    if not kept:
        terminal.say("restore_no_checkpoint")
    if restored.absent:
        terminal.say("backup_left_out", names=", ".join(restored.absent))


def _whose(exchange: "Exchange", token: str, terminal: Terminal) -> "Principal":
    """Whose token of the restored site it is."""
    from exchange.settings import secret

    text = secret(token, Path.cwd(), terminal.environment)
    try:
        return exchange.control.model().principal_for(text, exchange.now_ns())
    except Refused as refusal:
        exchange.refuse(None, "restore", refusal)
