"""`exchange view`: a plan document applied to an Avro container file, offline, exactly as a release would (plan.md).

For stewards who draft, for tests, for anyone's independent check: no site, no token, no network. A plan's `expires_ns`
is not looked at, so that a release of the past can be checked; its `schema` may be empty.

Memory is one batch; the result appears whole or not at all, also on standard output: it is put together in a file
beside OUT (for a stream: one without a name) that is its owner's alone.
"""

import argparse
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from exchange.cli.options import Commands, command
from exchange.cli.terminal import Terminal, replaced
from exchange.errors import Invalid, Unavailable
from exchange.messages import Language, text

if TYPE_CHECKING:
    from exchange.view.compiled import Applied

STREAM: Final = "-"
_BATCH: Final = 1_000
_LARGEST: Final = 64 << 20
_FORMATS: Final = ("avro", "jsonl", "csv", "arrow")
_INPUTS: Final = ("schema", "plan", "source", "keys", "sets")


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `view`."""
    add_arguments(command(commands, "view", run, common, language), language)


def add_arguments(parser: argparse.ArgumentParser, language: Language) -> None:
    """The options of `view`."""
    for name, metavar in (("schema", "S.avsc"), ("plan", "P.json"), ("in", "IN"), ("out", "OUT")):
        target = "source" if name == "in" else name
        parser.add_argument(
            f"--{name}", dest=target, metavar=metavar, required=True, help=text(f"view_{name}", language)
        )
    for name, metavar in (("keys", "K.json"), ("sets", "SETS.json")):
        parser.add_argument(f"--{name}", metavar=metavar, help=text(f"view_{name}", language))
    parser.add_argument("--format", choices=_FORMATS, default="avro", help=text("view_format", language))


@dataclass
class Counts:
    """What became of the records so far."""

    records: int = 0
    released: int = 0
    excluded: int = 0
    withheld: int = 0

    def add(self, applied: "Applied") -> None:
        """One batch more."""
        self.released += len(applied.kept)
        self.excluded += len(applied.excluded)
        self.withheld += len(applied.withheld)
        self.records = self.released + self.excluded + self.withheld


def run(terminal: Terminal, arguments: argparse.Namespace) -> int:
    """Runs the command; 0 when the view is written.

    Raises:
        Refused: `view_denied`: the plan is a refusal.
        Invalid: anything wrong with an input, before the first record where it can be known then; no output is left.
        Unavailable: `view_output_failed`.
    """
    from exchange.view import formats, offline

    given = {name: getattr(arguments, name) for name in _INPUTS}
    if list(given.values()).count(STREAM) > 1:
        raise Invalid("view_stdin_twice", where=STREAM)
    names = {name: str(path) for name, path in given.items()}
    plan = offline.read_plan(_small(terminal, given["plan"]) or b"", names["plan"])
    small = {name: _small(terminal, given[name]) for name in ("schema", "keys", "sets")}
    documents = offline.Documents(small["schema"] or b"", small["keys"], small["sets"], names)
    counts = Counts()
    with ExitStack() as stack:
        source, size = stack.enter_context(_opened(terminal, given["source"]))
        job = offline.prepare(plan, documents, source)
        for place in job.view.unlike:
            terminal.say("view_never_true", where=place)
        head = formats.header(job.view, arguments.format)
        out = stack.enter_context(_whole(terminal, arguments.out))
        bar = stack.enter_context(terminal.progress(size, "B"))
        out.write(head)
        while batch := list(islice(job.records, _BATCH)):
            applied = job.apply(batch)
            out.write(formats.body(job.view, applied.values, arguments.format))
            counts.add(applied)
            bar.to(source.tell() if size is not None else counts.records)
    _sum_up(terminal, counts)
    return 0


def _sum_up(terminal: Terminal, counts: Counts) -> None:
    if terminal.json:
        terminal.stderr.write(json.dumps(asdict(counts)) + "\n")
    else:
        terminal.say("view_done", **asdict(counts))


def _small(terminal: Terminal, path: str | None) -> bytes | None:
    """A document, whole."""
    if path is None:
        return None
    with _opened(terminal, path) as (stream, _):
        found = _readable(stream, path)
    if len(found) > _LARGEST:
        raise Invalid("view_file_unreadable", where=path, detail=f"> {_LARGEST >> 20} MiB")
    return found


def _readable(stream: BinaryIO, path: str) -> bytes:
    try:
        return stream.read(_LARGEST + 1)
    except OSError as error:
        raise Invalid("view_file_unreadable", where=path, detail=error.strerror) from None


@contextmanager
def _opened(terminal: Terminal, path: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """A file or standard input, and its size where it has one."""
    if path == STREAM:
        yield terminal.stdin.buffer, None
        return
    try:
        stream = Path(path).open("rb")  # noqa: SIM115  closed by the `with` below
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise Invalid("view_file_unreadable", where=path, detail=detail) from None
    with stream:
        status = os.fstat(stream.fileno())
        yield stream, status.st_size if stat.S_ISREG(status.st_mode) else None


@contextmanager
def _whole(terminal: Terminal, out: str) -> Iterator[BinaryIO]:
    """Where the result is put together; it goes to OUT when the block ends well, and nowhere otherwise."""
    path = Path(os.path.realpath(out))
    stream = out == STREAM or (path.exists() and not path.is_file())  # a pipe or device is written to, not replaced
    try:
        with _spooled(terminal, out) if stream else replaced(path) as spool:
            yield spool
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise Unavailable("view_output_failed", where=out, detail=error.strerror) from None


@contextmanager
def _spooled(terminal: Terminal, out: str) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as spool:
        yield spool
        spool.seek(0)
        if out == STREAM:
            shutil.copyfileobj(spool, terminal.binary_out())
            terminal.binary_out().flush()
        else:
            with Path(out).open("wb") as device:
                shutil.copyfileobj(spool, device)
