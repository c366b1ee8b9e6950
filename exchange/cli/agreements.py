"""Agreements: requested by the consumer, reviewed by the provider, approved by the sharing authority, ended."""

import argparse
from collections.abc import Callable
from datetime import datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from exchange.cli.opening import desk_of
from exchange.cli.options import Commands, Group
from exchange.cli.register import done
from exchange.cli.terminal import Terminal, read_json
from exchange.control import commands as c
from exchange.errors import Invalid
from exchange.messages import Language


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `agreement`."""
    group = Group(commands, "agreement", common, language)
    group.command("request", _request).add_argument("terms", type=Path, nargs="+", metavar="TERMS.json")
    review = _by_id(
        group, "review", lambda one, p: c.ReviewAgreement(one, "endorse" if p.endorse else "return", p.note)
    )
    verdict = review.add_mutually_exclusive_group(required=True)
    verdict.add_argument("--endorse", action="store_true")
    verdict.add_argument("--return", dest="endorse", action="store_false")
    review.add_argument("--note", required=True)
    _by_id(group, "approve", lambda one, _: c.ApproveAgreement(one))
    _by_id(group, "reject", lambda one, p: c.RejectAgreement(one, p.reason)).add_argument("--reason", required=True)
    _by_id(group, "revoke", lambda one, p: c.RevokeAgreement(one, p.reason)).add_argument("--reason", required=True)
    group.command("expire", _expire)
    group.command("list", _list)
    group.command("show", _show).add_argument("id")


def _by_id(group: Group, name: str, make: Callable[[str, argparse.Namespace], c.Command]) -> argparse.ArgumentParser:
    """A command over one or more agreements, done in their order until one is refused."""

    def run(terminal: Terminal, parsed: argparse.Namespace) -> None:
        with desk_of(terminal, parsed) as desk:
            done(terminal, *[desk.execute(make(one, parsed)) for one in parsed.id])

    parser = group.command(name, run)
    parser.add_argument("id", nargs="+")
    return parser


def _expire(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        done(terminal, desk.execute(c.ExpireAgreements()))


def _request(terminal: Terminal, parsed: argparse.Namespace) -> None:
    documents = [(file.name, read_json(file)) for file in parsed.terms]
    for name, document in documents:
        if not isinstance(document, dict):
            raise Invalid("file_unparsable", where=name, detail="no JSON object")
    with desk_of(terminal, parsed) as desk:
        asked = [with_times(document, desk.zone, name) for name, document in documents]
        done(terminal, *[desk.execute(c.RequestAgreement(terms)) for terms in asked])


def with_times(document: dict[str, Any], zone: ZoneInfo, where: str) -> dict[str, Any]:
    """People write `from` and `until` (both days included) as dates in the site's zone; terms hold nanoseconds."""
    terms = dict(document)
    for word, key, at in (("from", "not_before_ns", time.min), ("until", "expires_ns", time.max)):
        if word in terms:
            if key in terms:
                raise Invalid("file_unparsable", where=where, detail=f"{word}, {key}")
            try:
                day = datetime.combine(datetime.fromisoformat(str(terms.pop(word))).date(), at, zone)
            except ValueError:
                raise Invalid("file_unparsable", where=where, detail=f"{word}: YYYY-MM-DD") from None
            terms[key] = int(day.timestamp()) * 1_000_000_000
    return terms


def _list(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        terminal.table(desk.listing("agreements"), ["id", "status", "consumer", "dataset", "purpose", "epoch"])


def _show(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        document = desk.agreement(parsed.id)
        flat = {**{k: v for k, v in document.items() if k != "terms"}, **document["terms"]}
        terminal.show(document, [f"{name}: {value}" for name, value in flat.items()])
