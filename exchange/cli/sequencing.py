"""`sequence`: the audit log's sequencer as a process of its own, until it is stopped."""

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from exchange.cli.opening import site_of
from exchange.cli.options import Commands, command
from exchange.cli.terminal import Terminal
from exchange.messages import Language

_LOOK_S: Final = 0.1


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `sequence`."""
    command(commands, "sequence", _sequence, common, language)


def _sequence(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """Says whether it leads or stands by, again whenever that changes; ends in order on SIGTERM and SIGINT."""
    from exchange.wiring.sequencing import open_sequencer

    with (
        _until_stopped() as stopped,
        open_sequencer(site_of(terminal, parsed), terminal.environment, terminal.now_ns) as audit,
    ):
        said = ""
        while True:
            now = "sequencer_leads" if audit.leads else "sequencer_stands_by"
            if now != said:
                terminal.say(now, origin=audit.origin)
                said = now
            if stopped.wait(_LOOK_S):
                break
            audit.check_running()  # what has stopped it for good ends it: whoever watches over it starts it anew
    terminal.say("sequencer_stopped")


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """Set by SIGTERM or SIGINT, which do nothing else meanwhile."""
    stopped = threading.Event()
    former = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
