"""What must hold after any kill, judged from what was told and from what lies on disk.

`check_disk` looks at the audit folder as the kill left it, before anything recovers: it imports nothing of the writer
(`exchange.audit.verify` shares no code with it, `leaves` is ours). `check_open` looks at a recovered site as a consumer
and the control plane see it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from exchange.audit.verify import verify
from exchange.errors import ExchangeError
from exchange.wiring import Exchange
from tests.torture import site
from tests.torture.judge import need
from tests.torture.leaves import decoded, leaves_of, size_of
from tests.torture.told import Ledger
from tests.torture.work import amount, amounts, is_good

Entries = list[tuple[str, Mapping[str, Any]]]


# What a look at a broken log or site may end in, besides `Broken`.
UNREADABLE: Final = (ExchangeError, OSError, ValueError, LookupError, EOFError, AssertionError)


def check_disk(root: Path, ledger: Ledger) -> None:
    """The log on disk verifies, is a continuation of all that was seen of it, and holds all that was told."""
    folder = root / "data" / "audit"
    kept = [note for note in ledger.checkpoints if note not in ledger.proved]
    verdict = verify(folder, ledger.key, [note.encode() for note in [*ledger.proved[:3], *kept]])
    need(verdict.ok, f"the log does not verify: {verdict.findings[:3]}")
    ledger.proved += kept
    leaves = leaves_of(folder)
    need(leaves[: len(ledger.leaves)] == ledger.leaves, "the old prefix has changed")
    entries = decoded(leaves, ledger.entries)
    ledger.leaves, ledger.entries = leaves, entries
    note = (folder / "checkpoint").read_text()
    ledger.checkpoints.setdefault(note, -1)
    _notes(ledger)
    _releases(ledger, entries)
    _controls(ledger, entries)
    _commits(ledger, entries)
    _rights(entries)


def _notes(ledger: Ledger) -> None:
    for note, index in ledger.checkpoints.items():
        need(size_of(note) > index, f"a checkpoint of {size_of(note)} entries was given as proof of entry {index}")


def _releases(ledger: Ledger, entries: Entries) -> None:
    """Released ⊆ audited: what a consumer holds stands in the entry that it was told of."""
    of_payload = {body["payload_digest"]: index for index, (kind, body) in enumerate(entries) if kind == "release"}
    for told in ledger.releases:
        # A consumer that was told no index (only a mutant does that) may look for its payload.
        index = told["index"] if told["index"] >= 0 else of_payload.get(told["digest"], -1)
        kind, body = entries[index] if 0 <= index < len(entries) else ("nothing", {})
        need(kind == "release", f"released, and entry {index} is {kind}")
        need(body["payload_digest"] == told["digest"], f"other bytes were released than entry {index} says")
        found = {name: body[name] for name in ("released", "partition", "hi")}
        need(found == {name: told[name] for name in found}, f"entry {index} says {found}, the consumer got {told}")


def _controls(ledger: Ledger, entries: Entries) -> None:
    for told in ledger.controls:
        index = told["index"]
        kind, body = entries[index] if index < len(entries) else ("nothing", {})
        need(kind == "control", f"a command was done, and entry {index} is {kind}")
        found = (body["type"], body["version"], body["aggregate"].partition("/")[0])
        expected = (told["type"], told["version"], told["aggregate"].partition("/")[0])
        need(found == expected, f"entry {index} says {found} of a command that did {expected}")


def _commits(ledger: Ledger, entries: Entries) -> None:
    """Every acknowledged record is in one committed range, and the ranges of a partition leave no gap."""
    ends: dict[tuple[str, int], int] = {}
    counts: Counter[str] = Counter()
    for kind, body in entries:
        if kind != "record_commit":
            continue
        place = (body["topic"], body["partition"])
        need(body["lo"] == ends.get(place, 0), f"a gap or overlap at {body['lo']} of {place}")
        ends[place] = body["hi"]
        if body["last_sequence"] <= ledger.acknowledged.get(body["source"], 0):
            counts[body["source"]] += body["count"]
    for source, last in ledger.acknowledged.items():
        need(counts[source] == last, f"{last} records of {source} were acknowledged, {counts[source]} are committed")


def _rights(entries: Entries) -> None:
    """No release after the entry that ended its right: by the epochs, and plainly by the revoked agreements."""
    epochs: dict[str, int] = {}
    revoked: set[str] = set()
    for index, (kind, body) in enumerate(entries):
        epochs.update(body.get("raises") or {})
        if kind == "control" and body["type"] == "agreement.revoked/1":
            revoked.add(body["aggregate"].partition("/")[2])
        if kind == "release":
            behind = {name for name, value in body["epochs"].items() if epochs.get(name) != value}
            need(not behind, f"release {index} rests on what had ended: {behind}")
            need(body["agreement"] not in revoked, f"release {index} under a revoked agreement")


def check_open(exchange: Exchange, ledger: Ledger) -> None:
    """Acknowledged ⊆ readable, each record once; and what commands did is so."""
    ids = Counter(_readable(exchange, site.DATASET, site.PARTITIONS))
    ids.update(_readable(exchange, f"dead.{site.DATASET}", 1))
    twice = [one for one, times in ids.items() if times > 1]
    need(not twice, f"readable twice: {twice[:3]}")
    reader = site.who(exchange, f"svc.{site.CHECKING}")
    shown: Counter[int] = Counter()
    for release in exchange.gateway.read(reader, site.STANDING, {}, "jsonl"):
        shown.update(amounts(release.payload))
    need(max(shown.values(), default=1) == 1, "a consumer got a record twice")
    for source in site.SOURCES:
        marked, last = exchange.log.mark(source), ledger.acknowledged.get(source, 0)
        need(marked >= last, f"acknowledged up to {last}, and {source} is marked at {marked}")
        for sequence in range(1, marked + 1):  # what a mark covers is not sent again: it is readable
            record = f"{source}/{sequence}"
            need(record in ids, f"acknowledged or marked, and not readable: {record}")
            if is_good(sequence):
                need(
                    amount(source, sequence) in shown,
                    f"acknowledged or marked, and no consumer gets {source}/{sequence}",
                )
    _model(exchange, ledger)


def _readable(exchange: Exchange, topic: str, partitions: int) -> Iterator[str]:
    """The event ids that a reader of the topic gets."""
    if topic not in exchange.log.topics():
        return
    for partition in range(partitions):
        until = exchange.publish_parts.marks.committed(topic, partition)
        for position in range(until):
            yield exchange.log.headers(topic, partition, position)["id"]


def _model(exchange: Exchange, ledger: Ledger) -> None:
    model = exchange.control.model()
    for told in ledger.controls:
        version = model.versions.get(told["aggregate"], 0)
        need(version >= told["version"], f"{told['aggregate']} is at {version}, {told['version']} was told")
        value = _value(exchange, told["what"], told["about"])
        final = told["value"] == "revoked"
        if final or (version == told["version"] and told["what"] != "token"):
            need(value == told["value"], f"{told['about']} is {value}, {told['value']} was told")
        need(bool(value), f"{told['about']} is not there")


def _value(exchange: Exchange, what: str, about: str) -> str:
    model = exchange.control.model()
    if what == "agreement":
        return model.agreements[about].status if about in model.agreements else ""
    if what == "case":
        return model.cases[about].members if about in model.cases else ""
    token = model.tokens.get(about)
    return "" if token is None else "revoked" if token.revoked else "valid"
