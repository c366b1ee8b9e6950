"""What the releases of an answer rest on, as far as it is in the bundle: decisions, agreements, the policy."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List

_SAME = (
    *("agreement", "dataset", "purpose", "policy_revision", "expires_ns"),
    *("schema", "action", "case", "zone", "actor"),
)


def judged(releases: List[Any], entries: Dict[int, Any], find: Any) -> int:
    """How many of these releases have their decision in the bundle; `find(code, place, detail)` is told what is
    wrong.
    """
    decisions = {one.body["id"]: one for one in entries.values() if one.kind == "decision"}
    count = 0
    for one in releases:
        decision = decisions.get(one.body["decision"])
        if decision is None or decision.index > one.index:
            find("decision_missing", one.index)
        elif decision.body["effect"] != "allow" or decision.body["consumer"] != one.body["recipient"]:
            find("decision_differs", one.index, "effect, recipient")
        else:
            differing = [name for name in _SAME if decision.body[name] != one.body[name]]
            if differing:
                find("decision_differs", one.index, ", ".join(differing))
            count += 1
        if one.body["time_ns"] >= one.body["expires_ns"]:
            find("release_expired", one.index)
        _agreement(one, entries, find)
        _policy(one, entries, find)
    return count


def _agreement(one: Any, entries: Dict[int, Any], find: Any) -> None:
    name = one.body["agreement"]
    if name is None:
        return
    state = ""
    for event in _before(one.index, "control", entries):
        if event.body["aggregate"] == "agreement/%s" % name:
            state = str(event.body["type"])
    if state != "agreement.approved/1":
        find("agreement_not_in_force", one.index, "%s: %s" % (name, state or "-"))


def _policy(one: Any, entries: Dict[int, Any], find: Any) -> None:
    active = None
    for event in _before(one.index, "policy_revision", entries):
        if event.body["event"] in ("activated", "withdrawn"):
            active = event.body["revision"] if event.body["event"] == "activated" else None
    if active != one.body["policy_revision"]:
        find("policy_not_active", one.index, active or "-")


def _before(index: int, kind: str, entries: Dict[int, Any]) -> Iterator[Any]:
    return (entries[at] for at in sorted(entries) if at < index and entries[at].kind == kind)
