"""`audit bundle`, `audit trust-sheet`, `audit verify` of a bundle: what an auditor carries away and shows others."""

import argparse
import html
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exchange.cli.opening import desk_of, site_of
from exchange.cli.terminal import Terminal, read_bytes, read_text, write_bytes
from exchange.errors import Invalid, Tampered
from exchange.messages import Language, text

if TYPE_CHECKING:
    from exchange.audit.note import Checkpoint

_LANGUAGES: Final[tuple[Language, ...]] = ("zh", "en")
_LEAST: Final = ("question.json", "checkpoint")
_BROKEN: Final = ("bundle_unreadable", "archive_changed", "file_changed", "file_missing")


def bundle(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """Who saw somebody, with every proof, in one file; with the digits that whoever is handed it will ask for."""
    ids, kept = terminal.ids(parsed.ids_file), kept_of(parsed)
    with desk_of(terminal, parsed) as desk:
        made = desk.evidence_bundle(parsed.subject_type, ids, kept, as_written=parsed.as_written)
    hand_over(terminal, parsed.out, made)


def kept_of(parsed: argparse.Namespace) -> list[bytes]:
    """What the auditor kept of the log: checkpoints, and the one that his last verification ended with."""
    from exchange.audit.verify_state import kept_of as kept_of_state

    states = [] if parsed.state is None else [kept_of_state(parsed.state)]
    return [*map(read_bytes, parsed.checkpoint), *states]


def hand_over(terminal: Terminal, file: Path, made: bytes) -> None:
    """Writes a bundle, and shows what whoever is handed it will compare, and what is found wrong in it. It is judged
    first: what is not whole (an answer cut off on the way) is not written.

    Raises:
        Tampered: `bundle_unsound`.
    """
    from exchange.evidence.check import check
    from exchange.evidence.report import findings

    result = check(made)
    broken = next((one for one in result.findings if one.code in _BROKEN), None)
    if broken is not None:
        raise Tampered("bundle_unsound", where=str(file), detail=f"{broken.code} {broken.place}".strip())
    write_bytes(file, made)
    digits = {name: getattr(result, name) for name in ("key_fingerprint", "checkpoint_fingerprint")}
    shown = [text("bundle_made", terminal.language, file=file)]
    shown += [f"{text(f'sheet_{name}', terminal.language)}: {value}" for name, value in digits.items()]
    told = {"file": str(file), "bytes": len(made), "answer": len(result.answer), **digits}
    wrong = [one.code for one in result.findings]
    terminal.show({**told, "findings": wrong}, [*shown, *findings(result, terminal.language)])


def is_bundle(place: str) -> bool:
    """Whether this is an evidence bundle, packed or unpacked, and not a log."""
    path = Path(place)
    return path.is_file() or (path / _LEAST[0]).is_file()


def verify_bundle(terminal: Terminal, parsed: argparse.Namespace) -> int:
    """By the same judge as `exchange-verify.pyz`; the key of a site is taken only where it is asked for."""
    from exchange.evidence.check import check
    from exchange.evidence.report import lines, page

    key = key_of(terminal, parsed) if parsed.key is not None else None
    states = [] if parsed.state is None else [_whole(parsed.state)]
    kept, table = [read_bytes(file) for file in parsed.checkpoint], parsed.table and _whole(parsed.table)
    result = check(parsed.log, key, kept, states, table=table, now_ns=terminal.now_ns())
    if parsed.report is not None:
        from exchange.evidence.__main__ import digest_of

        now = datetime.fromtimestamp(terminal.now_ns() // 1_000_000_000, UTC)
        write_bytes(parsed.report, page(result, Path(parsed.log).name, digest_of(parsed.log), now).encode())
    terminal.show(result.document(), lines(result, terminal.language))
    return 0 if result.ok else Tampered.exit_code


def _whole(file: Path) -> bytes:
    """A file of whatever size a bundle may have."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise Invalid("file_unreadable", where=file.name, detail=error.strerror) from None


def key_of(terminal: Terminal, parsed: argparse.Namespace) -> str:
    """Without --key the site's own is meant, and must be there; a key given may be the text itself."""
    key = parsed.key or str(site_of(terminal, parsed) / "keys" / "audit.vkey")
    return read_text(Path(key)).strip() if parsed.key is None or Path(key).is_file() else key


def trust_sheet(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """What is printed, signed and kept in a safe: the log's key and its checkpoint of now, with their fingerprints."""
    from exchange.audit.note import open_checkpoint

    vkey = key_of(terminal, parsed)
    with desk_of(terminal, parsed) as desk:
        note = desk.checkpoint()
        zone = desk.zone
    at = terminal.time(terminal.now_ns(), zone)
    rows = list(_rows(open_checkpoint(note, vkey), vkey, at))
    if parsed.html is not None:
        write_bytes(parsed.html, _sheet(rows, note).encode())
    shown = [text("sheet_title", one) for one in _LANGUAGES]
    shown += [f"{_both(name)}\n    {value}" for name, value in rows]
    shown += ["", note.decode().rstrip(), "", *(_both(f"sheet_{name}") + " ______________" for name in ("by", "seen"))]
    terminal.show({**dict(rows), "note": note.decode()}, shown)


def _rows(signed: "Checkpoint", vkey: str, at: str) -> Iterator[tuple[str, str]]:
    from exchange.evidence.forms import fingerprint

    yield "sheet_origin", signed.origin
    yield "sheet_key", vkey
    yield "sheet_key_fingerprint", fingerprint(vkey.encode())
    yield "sheet_size", str(signed.size)
    yield "sheet_root", signed.root.hex()
    yield "sheet_checkpoint_fingerprint", fingerprint(signed.text().encode())
    yield "sheet_at", at


def _both(key: str) -> str:
    return " / ".join(text(key, language) for language in _LANGUAGES)


_STYLE: Final = """@page { size: A4; margin: 20mm } body { font: 11pt/1.6 sans-serif; max-width: 48rem;
margin: 1rem auto }
dt { font-weight: 600; margin-top: .6rem } dd { margin: 0; font-family: monospace;
font-size: 12pt; overflow-wrap: anywhere }
pre { border: 1px solid; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere }
.line { margin-top: 3rem; border-top: 1px solid; max-width: 26rem }"""


def _sheet(rows: list[tuple[str, str]], note: bytes) -> str:
    facts = "".join(f"<dt>{_both(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in rows)
    signed = "".join(f'<p class="line">{_both(f"sheet_{name}")}</p>' for name in ("by", "seen"))
    head = f'<meta charset="utf-8"><title>{_both("sheet_title")}</title><style>{_STYLE}</style>'
    about = "".join(f'<p lang="{one}">{text("sheet_about", one)}</p>' for one in _LANGUAGES)
    body = f"<h1>{_both('sheet_title')}</h1>{about}<dl>{facts}</dl><pre>{html.escape(note.decode())}</pre>{signed}"
    return f'<!doctype html>\n<html lang="zh"><head>{head}</head><body>{body}</body></html>\n'
