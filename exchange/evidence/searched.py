"""Questions for entries of a kind, by officer, department, dataset, …: each entry is held against the question again.

An entry's facts are what it says itself. Of an agreement's event they are also what its first event says, its request:
whose agreement it is, of which dataset, for what. An `ack` that names a release confirms it.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, NamedTuple, Optional, Set

from .complete import LeftOut
from .spans import Span

# Of each question: the kind of entry, and how the aggregate of its control event begins.
QUERIES = {
    "releases": ("release", ""),
    "unconfirmed": ("release", ""),
    "refusals": ("refusal", ""),
    "grants": ("control", "agreement/"),
    "policy": ("policy_revision", ""),
    "openings": ("control", "case/"),
    "queries": ("audit_query", ""),
    "keys": ("key", ""),
}
FILTERS = {
    **dict.fromkeys(("officer", "department", "dataset", "case", "purpose", "field"), str),
    **dict.fromkeys(("from_ns", "until_ns"), int),
}
_KEYS = {"answer", "asked", "filter", "format", "query", "size"}
_OWN = {"release": "recipient", "key": "owner"}  # where an entry says whom it concerns, when it names no consumer
_TERMS = ("dataset", "consumer", "purpose")


class Found(NamedTuple):
    """The entries of the answer that fit, and what control events among them are about; and of a range: the first and
    the last time in it, and how many entries state an earlier time than the one before them.
    """

    answer: List[int]
    facts: Dict[int, Dict[str, Any]]
    earliest_ns: int
    latest_ns: int
    backwards: int


def in_form(asked: Dict[str, Any]) -> bool:
    """Whether a question (of a query in `QUERIES`) has its one form, and an answer that can be one."""
    size, given, filters = asked.get("size"), asked.get("answer"), asked.get("filter")
    if asked.keys() - {"range"} != _KEYS or not (_number(size) and _number(asked["asked"]) and size <= asked["asked"]):
        return False
    if not isinstance(given, list) or not isinstance(filters, dict) or not all(map(_number, given)):
        return False
    if any(one >= other for one, other in zip(given, [*given[1:], size])):
        return False
    if any(FILTERS.get(name) is not type(value) for name, value in filters.items()):
        return False
    if "range" not in asked:
        return True
    span = asked["range"]
    return isinstance(span, list) and len(span) == 2 and all(map(_number, span)) and 0 <= span[0] < span[1] <= size


def _number(value: Any) -> bool:
    return type(value) is int and value >= 0


def judged(asked: Dict[str, Any], entries: Dict[int, Any], span: Optional[Span], findings: Any) -> Optional[Found]:
    """Holds the proved entries of a bundle against its question; `findings(code, place, detail)` is told what is wrong.
    None where the question names a range that the bundle does not show.
    """
    shown = range(0)
    if "range" in asked:
        lo, hi = asked["range"]
        if span is None or (span.lo, span.hi) != (lo, hi):
            findings("range_cut", "[%d, %d)" % (lo, hi), "[%d, %d)" % (span.lo, span.hi) if span else "-")
            return None
        shown = range(lo, hi)
    facts: Dict[int, Dict[str, Any]] = {}
    fitting: List[int] = []
    requests, acked = _requests(entries), _acked(entries, asked["size"])
    answer = set(asked["answer"])
    for index in sorted({*answer, *shown}):
        entry = entries.get(index)
        if entry is None:
            findings("answer_missing" if index in answer else "entry_left_out", index)
            continue
        try:
            wrong = _unfitting(asked, entry, requests, acked)
        except LeftOut as error:
            findings(*error.args)
            continue
        if index in answer and wrong:
            findings("answer_unfitting", index, wrong)
        elif index in answer:
            fitting.append(index)
            if entry.kind == "control":
                facts[index] = _about(entry.body, requests)
        elif not wrong:
            findings("answer_left_out", index)
    times = [entries[index].body["time_ns"] for index in shown if index in entries]
    if shown and len(times) == len(shown):
        _reaches(asked, shown, times, findings)
    backwards = sum(1 for at in range(1, len(times)) if times[at] < times[at - 1])
    return Found(fitting, facts, min(times, default=0), max(times, default=0), backwards)


def _reaches(asked: Dict[str, Any], shown: range, times: List[int], findings: Any) -> None:
    """The range reaches from the log's first entry, or one before the period, to its last one, or one behind it; the
    acknowledgements of a release can be anywhere behind it.
    """
    begin, end = asked["filter"].get("from_ns"), asked["filter"].get("until_ns")
    if shown.start > 0 and (begin is None or times[0] >= begin):
        findings("range_short", shown.start)
    if shown.stop < asked["size"] and (end is None or times[-1] < end or asked["query"] == "unconfirmed"):
        findings("range_short", shown.stop - 1)


def _requests(entries: Dict[int, Any]) -> Dict[str, Dict[str, Any]]:
    """The terms of agreements, by aggregate, from their first events."""
    found: Dict[str, Dict[str, Any]] = {}
    for entry in entries.values():
        if entry.kind == "control" and entry.body["version"] == 1:
            terms = json.loads(entry.body["data"] or "{}").get("terms") or {}
            found[entry.body["aggregate"]] = {name: terms[name] for name in _TERMS if isinstance(terms.get(name), str)}
    return found


def _acked(entries: Dict[int, Any], size: int) -> Set[int]:
    return {one.body["index"] for one in entries.values() if one.kind == "ack" and one.index < size}


def _unfitting(asked: Dict[str, Any], entry: Any, requests: Dict[str, Dict[str, Any]], acked: Set[int]) -> str:
    """What of the question the entry does not fit; empty when it answers it."""
    kind, aggregate = QUERIES[asked["query"]]
    if entry.kind != kind or (aggregate and not entry.body["aggregate"].startswith(aggregate)):
        return "kind"
    if asked["query"] == "unconfirmed" and entry.index in acked:
        return "ack"
    if asked["query"] == "grants" and entry.body["aggregate"] not in requests:
        raise LeftOut("terms_missing", entry.index, entry.body["aggregate"])
    facts = _facts(entry, requests) if asked["filter"] else {}
    for name, value in sorted(asked["filter"].items()):
        if name == "from_ns":
            fits = entry.body["time_ns"] >= value
        elif name == "until_ns":
            fits = entry.body["time_ns"] < value
        elif name == "field":
            fits = value in [one["path"] for one in json.loads(entry.body.get("fields") or "[]")]
        else:
            fits = facts[name] == value
        if not fits:
            return str(name)
    return ""


def _facts(entry: Any, requests: Dict[str, Dict[str, Any]]) -> Dict[str, Any]:
    """What an entry is about, in the filters' words."""
    body, more = entry.body, {}
    if entry.kind == "control":
        more = _about(body, requests)
    department = more.get("consumer") or body.get("consumer") or body.get(_OWN.get(entry.kind, "department"))
    told = {name: more.get(name, body.get(name)) for name in ("dataset", "case", "purpose")}
    return {**told, "officer": body.get("actor"), "department": department}


def _about(body: Dict[str, Any], requests: Dict[str, Dict[str, Any]]) -> Dict[str, Any]:
    """What a control event is about, beyond what it says itself."""
    about, _, name = body["aggregate"].partition("/")
    if about not in ("agreement", "case"):
        return {}
    return {about: name, **(requests.get(body["aggregate"], {}) if about == "agreement" else {})}
