"""`audit releases`, `audit refusals` …: which entries concern an officer, a department, a dataset, a case."""

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from zoneinfo import ZoneInfo

from exchange.cli.opening import desk_of
from exchange.cli.options import Group
from exchange.cli.terminal import Terminal
from exchange.errors import Invalid
from exchange.messages import text

if TYPE_CHECKING:
    from exchange.wiring.desk import Desk
    from exchange.wiring.searching import Sought, What

# As `exchange.wiring.searching` has them, which starts slowly.
WHATS: Final = ("releases", "unconfirmed", "refusals", "grants", "policy", "openings", "queries", "keys")
_PAGE: Final = 1_000
_FIRST: Final = -1  # behind no index
_SHOWN: Final = 100  # of them on a terminal, when nobody says how many


def mount(group: Group) -> None:
    """Adds one command for each."""
    for what in WHATS:
        parser = group.command(what, partial(_search, what))
        for word in ("officer", "department", "dataset", "case", "purpose", "field"):
            parser.add_argument(f"--{word}")
        parser.add_argument("--from", dest="begin", metavar="TIME")
        parser.add_argument("--until", metavar="TIME")
        parser.add_argument("--after", type=int, default=_FIRST, metavar="INDEX")
        parser.add_argument("--limit", type=int, metavar="N")
        parser.add_argument("--out", type=Path, metavar="FILE")
        parser.add_argument("--bundle", type=Path, metavar="FILE")
        parser.add_argument("--complete", action="store_true")
        parser.add_argument("--checkpoint", action="append", type=Path, default=[], metavar="FILE")
        parser.add_argument("--state", type=Path, metavar="FILE")


def _search(what: str, terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.cli.sheets import sheet
    from exchange.wiring.searching import columns
    from exchange.wiring.sheets import cells

    if parsed.bundle is not None:
        _bundle(what, terminal, parsed)
        return
    if parsed.complete or parsed.checkpoint or parsed.state is not None:
        raise Invalid("command_line", where="--complete, --checkpoint, --state", detail="--bundle FILE")
    told = columns(cast("What", what))
    with desk_of(terminal, parsed) as desk:
        zone = desk.zone
        rows = _rows(desk, cast("What", what), _sought(parsed, zone), parsed)
        if parsed.out is None:
            found = list(rows)
            lines = [{**_plain(row), "time_ns": terminal.time(row["time_ns"], zone)} for row in found]
            terminal.table(found if terminal.json else lines, told)
            return
        count, last = 0, parsed.after
        headers = [text(f"column_{name}", terminal.language) for name in told]
        with (
            sheet(parsed.out, headers, text(f"sheet_{what}", terminal.language)) as write,
            terminal.progress(None, "rows") as bar,
        ):
            for row in rows:
                write(cells(row, told, partial(terminal.time, zone=zone)))
                count, last = count + 1, row["index"]
                bar.to(count)
        document = {"rows": count, "last": last, "file": str(parsed.out)}
        terminal.show(document, [text("sheet_written", terminal.language, count=count, file=parsed.out, last=last)])


def _bundle(what: str, terminal: Terminal, parsed: argparse.Namespace) -> None:
    """All that is found, with its proofs, in one file."""
    from exchange.cli.evidence import hand_over, kept_of

    if parsed.out is not None or parsed.limit is not None or parsed.after != _FIRST:
        raise Invalid("command_line", where="--bundle", detail="--out, --limit, --after")
    kept = kept_of(parsed)
    with desk_of(terminal, parsed) as desk, terminal.progress(None, "entries") as bar:
        sought = _sought(parsed, desk.zone)
        made = desk.search_bundle(cast("What", what), sought, kept, complete=parsed.complete, on_entries=bar.to)
    hand_over(terminal, parsed.bundle, made)


def _rows(desk: "Desk", what: "What", sought: "Sought", parsed: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Page by page; on a terminal a hundred, into a file all of them, unless it is said how many."""
    after, left = parsed.after, parsed.limit if parsed.limit is not None else (_SHOWN if parsed.out is None else None)
    while left is None or left > 0:
        most = _PAGE if left is None else min(left, _PAGE)
        page = desk.search(what, sought, after, most)
        yield from page
        if len(page) < most:
            return
        after, left = page[-1]["index"], None if left is None else left - most


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Fields as their paths: what a person looks for in a table."""
    fields = row.get("fields")
    paths = [f"{one['path']} ({one['mask']['kind']})" for one in json.loads(fields)] if fields else None
    return {**row, "fields": paths} if "fields" in row else row


def _sought(parsed: argparse.Namespace, zone: ZoneInfo) -> "Sought":
    from exchange.wiring.searching import Sought

    words = {name: getattr(parsed, name) for name in ("officer", "department", "dataset", "case", "purpose", "field")}
    begin, until = moment(parsed.begin, zone, "--from"), moment(parsed.until, zone, "--until", after=True)
    if begin is not None and until is not None and until <= begin:
        raise Invalid("search_range", where="--until", found=parsed.until, needed=f"> {parsed.begin}")
    return Sought(**words, from_ns=begin, until_ns=until)


def moment(given: str | None, zone: ZoneInfo, where: str, *, after: bool = False) -> int | None:
    """A day or a time of day as people write them, in nanoseconds; without an offset it is the site's. A day given as
    the end (`after`) is within the period.

    Raises:
        Invalid: `command_line` for what is neither.
    """
    from exchange.wiring.searching import moment as moment_of

    try:
        return None if given is None else moment_of(given, zone, after=after)
    except ValueError:
        raise Invalid("command_line", where=where, detail="YYYY-MM-DD, YYYY-MM-DDTHH:MM:SS") from None
