"""What processes of the exchange were told before they died: they write it to a pipe, the parent keeps it.

Each message is one line of JSON, written in one piece (shorter than PIPE_BUF) after the call that it tells of returned.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from exchange.access import Release
from exchange.control.control import Outcome
from exchange.publish import Published

Tell = Callable[..., None]


def teller(pipe: int) -> Tell:
    """Writes messages to this end of a pipe."""

    def tell(*message: object) -> None:
        line = json.dumps(message).encode() + b"\n"
        os.write(pipe, line)

    return tell


def tell_release(tell: Tell, release: Release) -> None:
    """That a consumer holds these bytes."""
    payload = "sha256:" + sha256(release.payload).hexdigest()
    told = {"index": release.index, "digest": payload, "released": release.released}
    tell("release", {**told, "partition": release.partition, "hi": release.next_position})
    tell("checkpoint", release.checkpoint.decode(), release.index)


def tell_acknowledged(tell: Tell, published: Published) -> None:
    """That a source was told that everything up to there is in."""
    tell("acknowledged", published.source, published.last_sequence)


def tell_outcome(tell: Tell, outcome: Outcome, what: str, value: str) -> None:
    """That a command is done: what it is about now has this value (a status, a digest of members)."""
    event, receipt = outcome.events[-1], outcome.receipt
    assert receipt is not None
    told = {"index": receipt.index, "type": event.name, "aggregate": event.aggregate, "version": event.version}
    tell("control", {**told, "what": what, "about": outcome.about, "value": value})
    tell("checkpoint", receipt.checkpoint.decode(), receipt.index)


@dataclass
class Ledger:
    """All that was told about one site, over all its processes."""

    key: str
    acknowledged: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    releases: list[Mapping[str, Any]] = field(default_factory=list)
    controls: list[Mapping[str, Any]] = field(default_factory=list)
    checkpoints: dict[str, int] = field(default_factory=dict)  # note → an index that it covers, or -1
    proved: list[str] = field(default_factory=list)  # of these: whose entries are the first of `leaves`
    leaves: list[bytes] = field(default_factory=list)  # as they stood when last looked at
    entries: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)  # the same, decoded
    doing: str = "start-up"
    error: str = ""

    def take(self, lines: bytes) -> None:
        """What one process has told."""
        self.doing, self.error = "start-up", ""
        for line in lines.splitlines():
            kind, *facts = json.loads(line)
            getattr(self, f"_{kind}")(*facts)

    def _doing(self, what: str) -> None:
        self.doing = what

    def _error(self, text: str) -> None:
        self.error = text

    def _acknowledged(self, source: str, last: int) -> None:
        self.batches += 1
        self.acknowledged[source] = max(last, self.acknowledged.get(source, 0))

    def _release(self, release: Mapping[str, Any]) -> None:
        self.releases.append(release)

    def _control(self, control: Mapping[str, Any]) -> None:
        self.controls.append(control)

    def _checkpoint(self, note: str, index: int) -> None:
        self.checkpoints[note] = max(index, self.checkpoints.get(note, -1))
