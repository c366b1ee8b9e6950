"""Evidence of a search over HTTP: made, judged, refused; what it is given wrong has its exact answer."""

from typing import Any, Final

import pytest

from exchange.evidence.check import check
from exchange.site import VKEY
from tests.api.calling import Api
from tests.simulator import AUDITOR, CHECKER, DATASET, PROVIDER

_BUNDLE: Final = "/v1/audit/releases/bundle"


@pytest.mark.parametrize("complete", [False, True])
def test_what_is_found_with_its_proofs(shared: Api, complete: bool) -> None:
    """The same entries as the search gives; the judge finds nothing wrong; the question is an entry of the log."""
    key = (shared.site.root / VKEY).read_text("utf-8").strip()
    kept = shared.get("/v1/audit/checkpoint", AUDITOR).body
    rows = shared.get("/v1/audit/grants", AUDITOR, dataset=DATASET).json
    asked = {"dataset": DATASET, "complete": complete, "kept": [kept.decode()]}
    answer = shared.post("/v1/audit/grants/bundle", asked, AUDITOR)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip")
    assert int(answer.headers["content-length"]) == len(answer.body)
    result = check(answer.body, key, [kept])
    assert result.findings == []
    assert [one.index for one in result.answer] == [one["index"] for one in rows]
    assert (result.proved["history"], "range" in result.proved) == (1, complete)
    assert shared.exchange.audit.entry(result.question["asked"])[1]["query"] == "grants"


@pytest.mark.parametrize("who", [CHECKER, PROVIDER])
def test_nobody_else_gets_one(shared: Api, who: str) -> None:
    """403, and an entry; not even of one's own unconfirmed releases."""
    before = shared.exchange.audit.size
    answer = shared.post("/v1/audit/unconfirmed/bundle", {"department": "ny.minzheng"}, who)
    assert answer.said == (403, "auditor_required")
    found = [body["action"] for _, kind, body in shared.exchange.audit.entries(before, 1 << 60) if kind == "refusal"]
    assert found == ["audit unconfirmed"]


@pytest.mark.parametrize(
    ("target", "body", "said"),
    [
        (_BUNDLE, {"from_ns": 2, "until_ns": 1}, (400, "search_range")),
        (_BUNDLE, {"from_ns": 2, "until_ns": 2}, (400, "search_range")),
        (_BUNDLE, {"from_ns": -1}, (400, "request_malformed")),
        (_BUNDLE, {"until_ns": 1 << 63}, (400, "request_malformed")),
        (_BUNDLE, {"from_ns": "1"}, (400, "request_malformed")),
        (_BUNDLE, {"colour": "red"}, (400, "request_malformed")),
        (_BUNDLE, {"complete": "yes"}, (400, "request_malformed")),
        (_BUNDLE, {"dataset": "x" * 301}, (400, "request_malformed")),
        (_BUNDLE, {"kept": ["x"] * 101}, (400, "request_malformed")),
        (_BUNDLE, [], (400, "request_malformed")),
        (_BUNDLE, {"kept": ["x"]}, (500, "audit_note_invalid")),
        (_BUNDLE, {"kept": ["a\n1\nb\n"]}, (500, "audit_note_invalid")),
        (_BUNDLE, {"kept": ["\ud800"]}, (500, "audit_note_invalid")),
        ("/v1/audit/bundle", {"ids": ["11010519491231002X"], "kept": ["\ud800"]}, (500, "audit_note_invalid")),
        (_BUNDLE, {"dataset": "\ud800"}, (400, "request_malformed")),
        ("/v1/audit/secrets/bundle", {}, (400, "request_malformed")),
    ],
)
def test_what_cannot_be_asked(shared: Api, target: str, body: Any, said: tuple[int, str]) -> None:
    """Each with its exact answer; nothing of it is an entry."""
    before = shared.exchange.audit.size
    assert shared.post(target, body, AUDITOR).said == said
    assert shared.exchange.audit.size == before
