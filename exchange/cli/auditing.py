"""`audit …`: who saw a subject, the entries and their proofs, and the offline verification."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exchange.cli.opening import auditor_of, opened, site_of
from exchange.cli.options import Commands, Group
from exchange.cli.terminal import Terminal, read_bytes, read_text, write_bytes
from exchange.errors import Tampered
from exchange.messages import Language, text


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `audit`."""
    group = Group(commands, "audit", common, language)
    who = group.command("who-saw", _who_saw)
    who.add_argument("--subject-type", default="person")
    who.add_argument("--ids-file", metavar="FILE")
    checkpoint = group.command("checkpoint", _checkpoint)
    checkpoint.add_argument("--out", type=Path, metavar="FILE")
    group.command("entry", _entry).add_argument("index", type=int)
    proof = group.command("proof", _proof)
    proof.add_argument("index", type=int)
    verify = group.command("verify", _verify)
    verify.add_argument("log", type=Path, nargs="?", metavar="FOLDER")
    verify.add_argument("--key", metavar="VKEY|FILE")
    verify.add_argument("--checkpoint", action="append", type=Path, default=[], metavar="FILE")


def _who_saw(terminal: Terminal, parsed: argparse.Namespace) -> None:
    ids = terminal.ids(parsed.ids_file)
    with opened(terminal, parsed) as exchange:
        actor = auditor_of(exchange, terminal, parsed)
        tags = [bytes.fromhex(tag) for tag in exchange.tags(parsed.subject_type, ids)]
        rows: list[dict[str, Any]] = []
        for tag in tags:
            for sighting, proved in exchange.who_saw(actor, tag):
                rows.append({"subject": tag.hex(), **asdict(sighting), "proved": proved})
        shown = [{**row, "time": terminal.time(row["time_ns"], exchange.settings.zone)} for row in rows]
        columns = [
            "index",
            "time",
            "kind",
            "dataset",
            "recipient",
            "purpose",
            "case",
            "fields",
            "reasons",
            "policy_revision",
            "proved",
        ]
        if terminal.json:
            terminal.show(rows, ())
        else:
            terminal.table([_short(row) for row in shown], columns)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    revision = str(row.get("policy_revision") or "-")
    return {**row, "policy_revision": revision[:19], "fields": ",".join(one["path"] for one in row["fields"] or ())}


def _checkpoint(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with opened(terminal, parsed) as exchange:
        auditor_of(exchange, terminal, parsed)
        note = exchange.audit.checkpoint()
        if parsed.out is not None:
            write_bytes(parsed.out, note)
        else:
            terminal.stdout.write(note.decode())


def _entry(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with opened(terminal, parsed) as exchange:
        auditor_of(exchange, terminal, parsed)
        kind, body = exchange.audit.entry(parsed.index)
        document = {"index": parsed.index, "kind": kind, **{name: _plain(value) for name, value in body.items()}}
        terminal.show(document, [f"{name}: {value}" for name, value in document.items()])


def _plain(value: Any) -> Any:  # noqa: ANN401  # an Avro value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def _proof(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """The proof in the text form of C2SP tlog-proof, to be checked against its own checkpoint."""
    with opened(terminal, parsed) as exchange:
        auditor_of(exchange, terminal, parsed)
        terminal.stdout.write(exchange.audit.evidence(parsed.index).decode())


def _verify(terminal: Terminal, parsed: argparse.Namespace) -> int:
    """Needs the log's folder and its key, nothing else: no settings, no lock, no network."""
    from exchange.audit.verify import verify

    folder = parsed.log or site_of(terminal, parsed) / "data" / "audit"
    key = parsed.key or str(site_of(terminal, parsed) / "keys" / "audit.vkey")
    # Without --key the site's own is meant, and must be there; a key given may be the text itself.
    vkey = read_text(Path(key)).strip() if parsed.key is None or Path(key).is_file() else key
    kept = [read_bytes(file) for file in parsed.checkpoint]
    with terminal.progress(None, "entries") as bar:
        verdict = verify(folder, vkey, kept, lambda done, _: bar.to(done))
    document = verdict.to_document()
    lines = [text("verify_ok" if verdict.ok else "verify_bad", terminal.language, size=verdict.size)]
    lines += [text("verify_finding", terminal.language, **_finding(one)) for one in document["findings"]]
    if not parsed.checkpoint:
        lines.append(text("verify_no_checkpoint", terminal.language))
    terminal.show(document, lines)
    return 0 if verdict.ok else Tampered.exit_code


def _finding(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "code": one.get("code"),
        "place": one.get("index") if one.get("index") is not None else one.get("file"),
        "detail": one.get("detail"),
    }
