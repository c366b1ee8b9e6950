"""Everything derived is rebuilt from the record log, the events and the audit log, and is equal."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from exchange.control import commands as c
from exchange.errors import Refused
from tests.access.town import (
    AUTHORITY,
    CASE,
    DATASET,
    LOOKUP,
    MEMBERS,
    OFFICE,
    PERSONS,
    READ,
    READER,
    START_NS,
    Clock,
    KeptEngine,
    Town,
    copied,
    opened,
)

DAY = 86_400 * 10**9
AUDITOR = "auditor.shuju"


def lived(town: Town) -> None:
    """Some life: reads, look-ups, refusals, changes of every kind."""
    town.do(AUTHORITY, c.AddPrincipal(AUDITOR, OFFICE, ("auditor",)))
    gateway = town.exchange.gateway
    list(gateway.read(town.reader, READ, {}, "jsonl"))
    gateway.lookup(town.reader, LOOKUP, MEMBERS[:3], "jsonl")
    with pytest.raises(Refused):
        gateway.lookup(town.reader, LOOKUP, PERSONS[-1:], "jsonl")
    town.publish(25, 6)
    town.do(READER, c.ChangeCaseMembers(CASE, town.exchange.tags("person", MEMBERS[:5])))
    other = town.agree(fields=[{"path": "person_id", "mask": {"kind": "redact"}}])
    town.revoke(other)
    town.change_policy(added={})
    list(gateway.read(town.reader, READ, {0: 4}, "jsonl"))


def answers(town: Town, size: int) -> dict[str, Any]:
    """All that is answered from what is derived: the model, the latest records, who saw whom before entry `size`."""
    exchange = town.exchange
    tags = exchange.tagger.tags("person", PERSONS)
    found = exchange.gateway.lookup(town.reader, LOOKUP, MEMBERS[:5], "jsonl")
    watched = exchange.tagger.tags("person", (MEMBERS[0], MEMBERS[2], MEMBERS[7], PERSONS[-1]))
    seen = {
        tag.hex(): [
            (asdict(sighting), proved)
            for sighting, proved in exchange.who_saw(town.who(AUDITOR), tag)
            if sighting.index < size
        ]
        for tag in watched
    }
    return {
        "model": exchange.control.model(),
        "lookup": found.payload,
        "latest": exchange.state.get(DATASET, tags),
        "seen": seen,
        "epochs": exchange.audit.epochs(),
    }


def test_what_is_derived_is_rebuilt(made_town: Path, folder: Path, engine: KeptEngine) -> None:
    """State and subject index are deleted, the model is folded anew: every answer is as before."""
    root = copied(made_town, folder / "site")
    with opened(root, engine) as town:
        lived(town)
        size = town.exchange.audit.size
        before = answers(town, size)
    for gone in ("state.db", "subjects.db"):
        files = list((root / "data").glob(f"{gone}*"))
        assert files
        for file in files:
            file.unlink()
    with opened(root, engine, Clock(START_NS + 2 * DAY)) as town:
        after = answers(town, size)
    assert after == before
    assert all(before.values())
    assert {one["kind"] for rows in before["seen"].values() for one, _ in rows} == {"release", "refusal"}
    assert all(proved for rows in before["seen"].values() for _, proved in rows)


def test_who_saw_is_for_auditors(made_town: Path, folder: Path, engine: KeptEngine) -> None:
    """Anybody else is refused before anything is looked up, and that stands in the log."""
    with opened(copied(made_town, folder / "site"), engine) as town:
        with pytest.raises(Refused) as caught:
            town.exchange.who_saw(town.reader, town.exchange.tagger.tag("person", PERSONS[0]))
        assert caught.value.code == "auditor_required"
        assert [body["reasons"] for body in town.bodies("refusal", "audit_query")] == [["auditor_required"]]


def test_the_model_agrees_with_the_audit_log(made_town: Path, folder: Path, engine: KeptEngine) -> None:
    """Every epoch that the model has stands in the log with the same value, people by pseudonym."""
    with opened(copied(made_town, folder / "site"), engine) as town:
        lived(town)
        exchange = town.exchange
        assert exchange.actors.epochs(exchange.control.model().epochs) == exchange.audit.epochs()
