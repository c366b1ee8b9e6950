"""What must hold of an exchange with several gateways whose agreements are revoked under load.

Judged from the exported log and from what clients were told: nothing of ours is imported, no database is read.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.torture.leaves import decoded, leaves_of


@dataclass
class Granted:
    """One agreement as who made and revoked it saw it; times of one clock, 0: not yet."""

    consumer: str
    agreement: str
    approving: float  # the request that approves it is sent
    approved: float = 0.0
    revoking: float = 0.0
    revoked: float = 0.0
    index: int = -1  # of the revoke's entry, by its answer
    through: int = 0  # the gateway that revoked it


@dataclass(frozen=True, slots=True)
class Got:
    """One answer of records or its refusal."""

    consumer: str
    gateway: int
    sent: float
    answered: float
    status: int
    code: str
    index: int = -1
    digest: str = ""
    records: int = 0


@dataclass
class Told:
    """All that clients were told; `published` is the last acknowledged sequence by source."""

    granted: list[Granted] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)
    published: dict[str, int] = field(default_factory=dict)


# On a machine that cannot keep up, nothing is told and nothing released: the log's 5 s were over.
_ENDED: Final = frozenset({(403, "question_refused"), (503, "audit_unavailable")})
Entries = list[tuple[str, Mapping[str, Any]]]


def judge(folder: Path, told: Told) -> dict[str, Any]:
    """The figures of a run in which all held; AssertionError with what does not."""
    entries = decoded(leaves_of(folder), [])
    ends = _ends(entries, told)
    _no_release_after(entries, ends)
    _received_is_audited(entries, told)
    _answers_fit(entries, told)
    _commits(entries, told)
    return _figures(entries, told, ends)


def _ends(entries: Entries, told: Told) -> dict[str, int]:
    """The index of each revoke by agreement: from the log, and the same that the revoke's answer told."""
    ends = {
        body["aggregate"].partition("/")[2]: index
        for index, (kind, body) in enumerate(entries)
        if kind == "control" and body["type"] == "agreement.revoked/1"
    }
    for one in told.granted:
        if one.index >= 0:  # an answer of 503 tells none
            assert ends.get(one.agreement) == one.index, f"{one.agreement} was revoked at {one.index}, as it was told"
    return ends


def _no_release_after(entries: Entries, ends: Mapping[str, int]) -> None:
    """The guarantee itself; and the same by every epoch that a release names."""
    epochs: dict[str, int] = {}
    for index, (kind, body) in enumerate(entries):
        epochs.update(body.get("raises") or {})
        if kind == "release":
            end = ends.get(body["agreement"], len(entries))
            assert index < end, f"release {index} under {body['agreement']}, which ended at {end}"
            behind = {name for name, value in body["epochs"].items() if epochs.get(name) != value}
            assert not behind, f"release {index} rests on what had ended: {behind}"


def _received_is_audited(entries: Entries, told: Told) -> None:
    """Each index was told once, and its entry is of these bytes."""
    seen: set[int] = set()
    for one in told.got:
        if one.status == 200:
            kind, body = entries[one.index]
            assert kind == "release", f"data came under entry {one.index}, a {kind}"
            assert body["payload_digest"] == one.digest, f"other bytes came than entry {one.index} says"
            assert (body["recipient"], body["released"]) == (one.consumer, one.records), f"entry {one.index}"
            assert one.index not in seen, f"entry {one.index} was told twice"
            seen.add(one.index)


def _answers_fit(entries: Entries, told: Told) -> None:
    """Once a revoke has returned, every later request through any gateway is refused, and none before is late news:
    between the approval's answer and the revoke's sending every request is answered with data.
    """
    by_consumer: dict[str, list[Granted]] = defaultdict(list)
    for one in told.granted:
        by_consumer[one.consumer].append(one)
    for got in told.got:
        known = by_consumer[got.consumer]
        if got.status == 200:
            agreement = entries[got.index][1]["agreement"]
            late = [one for one in known if one.agreement == agreement and one.revoked and got.sent > one.revoked]
            assert not late, f"data under {agreement}, asked for after its revoke had returned: entry {got.index}"
        now = _state(known, got)
        if now == "ended":
            assert (got.status, got.code) in _ENDED, f"after a revoke: {got}"
        if now == "in force":
            assert got.status in {200, 503}, f"between approval and revoke: {got}"


def _state(known: Sequence[Granted], got: Got) -> str:
    """What the consumer's agreements were during the whole of a request: `in force`, `ended`, or neither."""
    for number, one in enumerate(known):
        until = known[number + 1].approving if number + 1 < len(known) else float("inf")
        if one.approved and got.sent > one.approved and (not one.revoking or got.answered < one.revoking):
            return "in force"
        if one.revoked and got.sent > one.revoked and got.answered < until:
            return "ended"
    return ""


def _commits(entries: Entries, told: Told) -> None:
    """No record lost, none twice: a partition's ranges follow one another, a source's sequences too."""
    ends: dict[tuple[str, int], int] = {}
    taken: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for kind, body in entries:
        if kind == "record_commit":
            place = (body["topic"], body["partition"])
            assert body["lo"] == ends.get(place, 0), f"a gap or overlap at {body['lo']} of {place}"
            ends[place] = body["hi"]
            taken[body["source"]].append((body["first_sequence"], body["last_sequence"], body["count"]))
    for source, last in told.published.items():
        assert sum(count for _, _, count in taken[source]) == last, f"{source}: {last} acknowledged, {taken[source]}"


def _figures(entries: Entries, told: Told, ends: Mapping[str, int]) -> dict[str, Any]:
    """How much load there was: releases by gateway, how they stood between one another and between revokes."""
    gateway_of = {body["run"]: body["gateway"].split("-")[1] for kind, body in entries if kind == "gateway_run"}
    at = [(index, gateway_of[body["run"]]) for index, (kind, body) in enumerate(entries) if kind == "release"]
    order = sorted(ends.values())
    turns = sum(one[1] != other[1] for one, other in itertools.pairwise(at))
    gaps = sum(any(lo < index < hi for index, _ in at) for lo, hi in itertools.pairwise(order))
    statuses = Counter(f"{one.status} {one.code}".strip() for one in told.got)
    return {
        "revokes": sum(bool(one.revoked) for one in told.granted),
        "revokes_through": dict(Counter(one.through for one in told.granted if one.revoked)),
        "releases_through": dict(Counter(gateway for _, gateway in at)),
        "turns": turns,  # neighbours in the log that are of different gateways
        "revokes_with_releases_before": gaps,
        "answers": dict(statuses),
        "refused_by_epoch": sum(kind == "refusal" and body["reasons"] == ["epoch_behind"] for kind, body in entries),
        "entries": len(entries),
        "published": dict(told.published),
    }
