"""What must be so in the audit log after anything at all; written from the rules, not from the code that keeps them."""

from collections.abc import Iterable, Sequence
from typing import Any

from exchange.access import Release
from exchange.audit.entries import counters_digest
from exchange.audit.verify import verify
from exchange.names import digest_bytes
from tests.access.town import Town

Entries = Sequence[tuple[int, str, dict[str, Any]]]
ENDS = {
    "agreement.revoked/1": "agreement",
    "principal.suspended/1": "principal",
    "principal.roles_changed/1": "principal",
    "token.revoked/1": "principal",
    "case.closed/1": "case",
    "policy.withdrawn/1": "policy",
}


def judge(town: Town, handed: Iterable[Release]) -> Entries:
    """Checks every rule on the whole log; gives its entries."""
    entries = town.entries()
    _verified(town)
    _handed_over(entries, handed)
    _ended_rights(entries)
    _numbers(entries)
    _runs(entries)
    return entries


def _verified(town: Town) -> None:
    """The offline verifier finds nothing."""
    settings = town.exchange.settings
    verdict = verify(settings.path("data/audit"), settings.path("keys/audit.vkey").read_text().strip())
    assert verdict.findings == ()


def _handed_over(entries: Entries, handed: Iterable[Release]) -> None:
    """The bytes of each release that anybody got are those of the release entry at the index told, each its own."""
    known = {index: (kind, body) for index, kind, body in entries}
    told = list(handed)
    assert len({one.index for one in told}) == len(told)
    for one in told:
        kind, body = known[one.index]
        assert kind == "release"
        assert body["payload_digest"] == digest_bytes(one.payload)
        assert (body["partition"], body["hi"], body["released"]) == (one.partition, one.next_position, one.released)


def _ended_rights(entries: Entries) -> None:
    """After the entry that ended a right no release rests on the epoch before it."""
    ended: dict[str, int] = {}
    for index, kind, body in entries:
        if kind == "control" and body["type"] in ENDS:
            ended |= body["raises"]
            assert body["raises"], body["type"]
        if kind == "release":
            assert body["epochs"]
            behind = {name: epoch for name, epoch in body["epochs"].items() if epoch < ended.get(name, epoch)}
            assert not behind, (index, behind)
            assert body["time_ns"] < body["expires_ns"]


def _numbers(entries: Entries) -> None:
    """Of each run and agreement the numbers of releases and refused releases are 1, 2, 3 … without gap or double."""
    numbers: dict[tuple[bytes, str], list[int]] = {}
    for _, kind, body in entries:
        if kind in {"release", "refusal"} and body["counter"] is not None:
            numbers.setdefault((body["run"], body["agreement"] or body["dataset"]), []).append(body["counter"])
    for used in numbers.values():
        assert sorted(used) == list(range(1, len(used) + 1))


def _runs(entries: Entries) -> None:
    """Each run opens before its first release and names the end of its gateway's run before."""
    last: dict[str, bytes] = {}
    counters: dict[bytes, dict[str, int]] = {}
    for _, kind, body in entries:
        if kind == "gateway_run":
            before = last.get(body["gateway"])
            assert body["previous"] == before
            expected = None if before is None else counters_digest(counters[before])
            assert body["previous_counters_digest"] == expected
            last[body["gateway"]], counters[body["run"]] = body["run"], {}
        elif kind in {"release", "refusal"} and body["counter"] is not None:
            used, what = counters[body["run"]], body["agreement"] or body["dataset"]
            used[what] = max(body["counter"], used.get(what, 0))
