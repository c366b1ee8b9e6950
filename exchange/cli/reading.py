"""`read`, `lookup`, `ack` and `explain`: what a consumer may have, has got, and why."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from exchange.cli.opening import desk_of
from exchange.cli.options import Commands, command
from exchange.cli.terminal import Terminal, replaced
from exchange.errors import Invalid
from exchange.messages import Language, text

if TYPE_CHECKING:
    from exchange.access import Release
    from exchange.access.acks import Ack
    from exchange.control.questions import Request
    from exchange.wiring.desk import Desk


OUTCOMES: Final = ("received", "discarded", "purged")  # as `exchange.access.acks` has them, which starts slowly
_LONGEST: Final = 40  # of PARTITION:POSITION, so that no number grows without bound


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `read`, `lookup`, `ack` and `explain`."""
    read = command(commands, "read", _read, common, language)
    lookup = command(commands, "lookup", _lookup, common, language)
    explain = command(commands, "explain", _explain, common, language)
    for parser in (read, lookup, explain):
        parser.add_argument("dataset")
        parser.add_argument("--purpose", required=True)
        parser.add_argument("--case")
        parser.add_argument("--field", action="append")
    explain.add_argument("--action", default="read", choices=["read", "lookup"])
    for parser in (read, lookup):
        parser.add_argument("--format", choices=["avro", "jsonl", "csv"], default="jsonl")
        parser.add_argument("--out", type=Path, metavar="FILE")
        parser.add_argument("--ack", action="store_true")
    read.add_argument("--from", dest="start", metavar="PARTITION:POSITION", action="append", default=[])
    lookup.add_argument("--ids-file", metavar="FILE")
    ack = command(commands, "ack", _ack, common, language)
    ack.add_argument("index", type=int, nargs="+")
    ack.add_argument("--outcome", choices=OUTCOMES, default="received")


def _read(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.access import following

    with desk_of(terminal, parsed) as desk:
        start = _positions(parsed.start)
        releases: list[dict[str, Any]] = []
        acks: list[Ack] = []
        former: Release | None = None
        with _output(terminal, parsed.out) as out, terminal.progress(None, "rec") as bar:
            for release in desk.read(_request(parsed, "read"), start, parsed.format):
                out.write(following(former, release))
                former = release
                releases.append(_told(release))
                acks.append(_received(release))
                bar.to(sum(one["released"] for one in releases))
        # A crash here: the records are where they were wanted and not confirmed; the same reading again confirms them.
        if parsed.ack:
            _confirm(desk, acks)
        _sum_up(terminal, releases)


def _lookup(terminal: Terminal, parsed: argparse.Namespace) -> None:
    ids = terminal.ids(parsed.ids_file)
    with desk_of(terminal, parsed) as desk:
        with _output(terminal, parsed.out) as out:
            release = desk.lookup(_request(parsed, "lookup"), ids, parsed.format)
            out.write(release.head + release.payload)
        if parsed.ack:
            _confirm(desk, [_received(release)])
        _sum_up(terminal, [_told(release)])


def _ack(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.access.acks import Ack

    with desk_of(terminal, parsed) as desk:
        indexes = desk.acknowledge([Ack(index, parsed.outcome) for index in parsed.index])
    told = text("acknowledged", terminal.language, count=len(indexes), index=max(indexes))
    terminal.show({"indexes": indexes}, [told])


def _received(release: "Release") -> "Ack":
    from exchange.access.acks import Ack
    from exchange.names import digest_bytes

    return Ack(release.index, "received", digest_bytes(release.payload), release.released)


def _confirm(desk: "Desk", acks: "Sequence[Ack]") -> None:
    """As many at once as may be."""
    from exchange.access.acks import MOST_ACKS

    for first in range(0, len(acks), MOST_ACKS):
        desk.acknowledge(acks[first : first + MOST_ACKS])


def _explain(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        plan, sentences = desk.explain(_request(parsed, parsed.action), terminal.language)
        terminal.show(plan, sentences)


def _request(parsed: argparse.Namespace, action: str) -> "Request":
    from exchange.control.questions import Request

    fields = tuple(parsed.field) if parsed.field else None
    return Request(action, parsed.dataset, parsed.purpose, parsed.case, fields)


def _positions(words: Sequence[str]) -> dict[int, int]:
    positions: dict[int, int] = {}
    for word in words:
        partition, _, position = word.partition(":")
        if not (partition.isdecimal() and position.isdecimal() and len(word) <= _LONGEST):
            raise Invalid("command_line", where="--from", detail="PARTITION:POSITION")
        if int(partition) in positions:
            raise Invalid("command_line", where="--from", detail=f"{int(partition)}:…, {int(partition)}:…")
        positions[int(partition)] = int(position)
    return positions


def _told(release: "Release") -> dict[str, Any]:
    return {
        "index": release.index,
        "partition": release.partition,
        "next_position": release.next_position,
        "released": release.released,
        "excluded": release.excluded,
        "withheld": release.withheld,
    }


def _sum_up(terminal: Terminal, releases: list[dict[str, Any]]) -> None:
    """What was handed over, on stderr: stdout holds the records."""
    import json

    count = sum(one["released"] for one in releases)
    if terminal.json:
        terminal.stderr.write(json.dumps({"released": count, "releases": releases}) + "\n")
        return
    last = releases[-1]["index"] if releases else "-"
    terminal.say("released", count=count, releases=len(releases), index=last)
    withheld = sum(one["withheld"] for one in releases)
    if withheld:
        terminal.say("withheld", count=withheld)


@contextmanager
def _output(terminal: Terminal, file: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears whole, when all of it is there, and is its owner's alone."""
    if file is None:
        yield terminal.binary_out()
        terminal.binary_out().flush()
        return
    with ExitStack() as stack:
        try:
            out = stack.enter_context(replaced(file))
        except OSError as error:
            raise Invalid("file_unwritable", where=str(file), detail=error.strerror) from None
        yield out
