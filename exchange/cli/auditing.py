"""`audit …`: who saw a subject, the entries and their proofs, and the offline verification."""

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from exchange.cli import searching
from exchange.cli.evidence import bundle as _bundle
from exchange.cli.evidence import is_bundle, key_of, verify_bundle
from exchange.cli.evidence import trust_sheet as _trust_sheet
from exchange.cli.opening import desk_of, site_of
from exchange.cli.options import Commands, Group
from exchange.cli.searching import moment
from exchange.cli.terminal import Terminal, read_bytes, read_text, write_bytes
from exchange.errors import Invalid, Tampered
from exchange.messages import Language, text


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `audit`."""
    group = Group(commands, "audit", common, language)
    who = group.command("who-saw", _who_saw)
    who.add_argument("--subject-type", default="person")
    who.add_argument("--ids-file", metavar="FILE")
    who.add_argument("--as-written", action="store_true")
    who.add_argument("--from", dest="begin", metavar="TIME")
    who.add_argument("--until", metavar="TIME")
    searching.mount(group)
    group.command("seal", _seal)
    checkpoint = group.command("checkpoint", _checkpoint)
    checkpoint.add_argument("--out", type=Path, metavar="FILE")
    group.command("entry", _entry).add_argument("index", type=int)
    group.command("detail", _detail).add_argument("index", type=int)
    group.command("expire", _expire)
    proof = group.command("proof", _proof)
    proof.add_argument("index", type=int)
    group.command("export", _export).add_argument("folder", type=Path, metavar="FOLDER")
    bundle = group.command("bundle", _bundle)
    bundle.add_argument("out", type=Path, metavar="FILE")
    bundle.add_argument("--subject-type", default="person")
    bundle.add_argument("--ids-file", metavar="FILE")
    bundle.add_argument("--as-written", action="store_true")
    bundle.add_argument("--checkpoint", action="append", type=Path, default=[], metavar="FILE")
    bundle.add_argument("--state", type=Path, metavar="FILE")
    group.command("lesson", _lesson).add_argument("folder", type=Path, metavar="FOLDER")
    sheet = group.command("trust-sheet", _trust_sheet)
    sheet.add_argument("--key", metavar="VKEY|FILE")
    sheet.add_argument("--html", type=Path, metavar="FILE")
    verify = group.command("verify", _verify)
    verify.add_argument("log", nargs="?", metavar="FOLDER|URL|BUNDLE")
    verify.add_argument("--report", type=Path, metavar="FILE")
    verify.add_argument("--table", type=Path, metavar="FILE.csv")
    verify.add_argument("--key", metavar="VKEY|FILE")
    verify.add_argument("--checkpoint", action="append", type=Path, default=[], metavar="FILE")
    verify.add_argument("--witness", action="append", default=[], metavar="VKEY|FILE")
    verify.add_argument("--state", type=Path, metavar="FILE")
    verify.add_argument("--jobs", type=int, default=0, metavar="N")
    verify.add_argument("--structure", action="store_true")


def _who_saw(terminal: Terminal, parsed: argparse.Namespace) -> None:
    ids = terminal.ids(parsed.ids_file)
    with desk_of(terminal, parsed) as desk:
        zone = desk.zone
        begin = moment(parsed.begin, zone, "--from") or 0
        until = moment(parsed.until, zone, "--until", after=True)
        if until is not None and until <= begin:
            raise Invalid("search_range", where="--until", found=parsed.until, needed=f"> {parsed.begin}")
        found = desk.who_saw(parsed.subject_type, ids, as_written=parsed.as_written)
    rows = [row for row in found if begin <= row["time_ns"] and (until is None or row["time_ns"] < until)]
    terminal.show(rows, (line for row in rows for line in _told(terminal, row, zone)))


def _told(terminal: Terminal, row: Mapping[str, Any], zone: ZoneInfo) -> Iterator[str]:
    """One entry that concerns a subject: what happened, what was shown or why it was not, and whether it is proved."""
    facts = {name: row[name] or "-" for name in ("dataset", "recipient", "purpose", "case", "agreement", "action")}
    kind = text(f"seen_{row['kind']}", terminal.language)
    where = text("seen_where", terminal.language, **facts)
    yield f"{row['index']}  {terminal.time(row['time_ns'], zone)}  {kind}  {where}"
    shown = [f"{one['path']} ({one['mask']['kind']})" for one in row["fields"] or ()]
    if shown:
        yield "    " + text("seen_fields", terminal.language, fields=", ".join(shown))
    if row["reasons"]:
        reasons = ", ".join(row["reasons"])
        yield "    " + text("seen_reasons", terminal.language, reasons=reasons)
    proof = text("seen_proved" if row["proved"] else "seen_not_proved", terminal.language)
    yield "    " + text("seen_policy", terminal.language, revision=row["policy_revision"] or "-", proof=proof)


def _seal(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        made = desk.seal_index()
    terminal.show({"segments": made}, [text("index_sealed", terminal.language, count=made)])


def _checkpoint(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        note = desk.checkpoint()
        if parsed.out is not None:
            write_bytes(parsed.out, note)
        else:
            terminal.stdout.write(note.decode())


def _entry(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        document = desk.entry(parsed.index)
        terminal.show(document, [f"{name}: {value}" for name, value in document.items()])


def _detail(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        found, zone = desk.detail(parsed.index), desk.zone
    told = {"class": found["class"], "until": terminal.time(found["until_ns"], zone)}
    lines = [text("detail_deleted" if found["deleted"] else "detail_kept", terminal.language, **told)]
    lines += [f"{name}: {json.dumps(one, ensure_ascii=False)}" for name, one in found["content"].items()]
    terminal.show(found, lines)


def _expire(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        done = desk.expire_details()
    counts = ", ".join(f"{name} {count}" for name, count in done.items())
    terminal.show(dict(done), [text("details_expired", terminal.language, counts=counts)])


def _proof(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """The proof in the text form of C2SP tlog-proof, to be checked against its own checkpoint."""
    with desk_of(terminal, parsed) as desk:
        terminal.stdout.write(desk.evidence(parsed.index).decode())


def _export(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """Needs the site's settings, and no lock: it may run beside `exchange serve`."""
    from exchange.wiring.exporting import export_log

    with terminal.progress(None, "entries") as bar:
        checkpoint = export_log(site_of(terminal, parsed), terminal.environment, parsed.folder, bar.to)
    document = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}
    terminal.show(document, [text("audit_exported", terminal.language, size=checkpoint.size, folder=parsed.folder)])


def _lesson(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """Needs no site: the lesson's log is made up."""
    from exchange.cli.lesson import write

    try:
        files = write(parsed.folder)
    except OSError as error:
        raise Invalid("file_unwritable", where=str(parsed.folder), detail=error.strerror) from None
    terminal.show([str(one) for one in files], map(str, files))


def _verify(terminal: Terminal, parsed: argparse.Namespace) -> int:
    """Needs the log and its key, nothing else: no settings, no lock; a network only for a log that is served."""
    from exchange.audit.verify import verify

    if parsed.log is not None and is_bundle(parsed.log):
        return verify_bundle(terminal, parsed)
    if parsed.table is not None:
        raise Invalid("command_line", where="--table", detail="BUNDLE")
    place = parsed.log or site_of(terminal, parsed) / "data" / "audit"
    kept = [read_bytes(file) for file in parsed.checkpoint]
    jobs = parsed.jobs if parsed.jobs > 0 else os.cpu_count() or 1
    with terminal.progress(None, "entries") as bar:
        verdict = verify(
            place,
            key_of(terminal, parsed),
            kept,
            lambda done, _: bar.to(done),
            jobs=jobs,
            state=parsed.state,
            rules=not parsed.structure,
            witnesses=[read_text(Path(one)) if Path(one).is_file() else one for one in parsed.witness],
        )
    lines = [text("verify_ok" if verdict.ok else "verify_bad", terminal.language, size=verdict.size)]
    lines += [f"{one.code}: {one.sentence(terminal.language)}" for one in verdict.findings]
    lines += [text("unchecked_heading", terminal.language)]
    lines += [f"  - {one}" for one in verdict.told_unchecked(terminal.language)]
    terminal.show(verdict.to_document(), lines)
    return 0 if verdict.ok else Tampered.exit_code
