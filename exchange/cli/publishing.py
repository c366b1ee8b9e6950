"""`publish` sends files through an adapter, `dead-letters` shows what could not be published and why."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from exchange.cli.opening import desk_of, ledgers_of
from exchange.cli.options import Commands, command
from exchange.cli.terminal import Terminal
from exchange.messages import Language

if TYPE_CHECKING:
    from exchange.publish import Published


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `publish` and `dead-letters`."""
    publish = command(commands, "publish", _publish, common, language)
    publish.add_argument("adapter", type=Path, metavar="ADAPTER.toml")
    publish.add_argument("--seal-key", type=Path, metavar="FILE")
    publish.add_argument("files", type=Path, nargs="+", metavar="FILE")
    dead = command(commands, "dead-letters", _dead_letters, common, language)
    dead.add_argument("dataset")


def _publish(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.wiring.sources import files_adapter

    with desk_of(terminal, parsed) as desk:
        adapter, dataset = files_adapter(parsed.adapter, parsed.files, ledgers_of(terminal, parsed), desk)
        with terminal.progress(None, "rec") as bar:

            def on_batch(so_far: "Published") -> None:
                bar.to(so_far.taken + so_far.rejected)

            published = desk.publish(adapter, dataset, on_batch, parsed.seal_key)
        for note in adapter.notes:
            terminal.say("publish_note", note=note)
        document = {
            "dataset": dataset,
            "source": published.source,
            "taken": published.taken,
            "dead_letters": published.rejected,
            "already": published.already,
            "last_sequence": published.last_sequence,
        }
        terminal.show(document, [f"{name}: {value}" for name, value in document.items()])


def _dead_letters(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        terminal.table(desk.dead_letters(parsed.dataset), ["file", "row", "column", "code", "shape"])
