"""The auditor over HTTP: questions that are themselves audited, entries, proofs that the offline verifier accepts."""

from typing import Any, Final

import pytest

from exchange.audit.note import open_checkpoint
from exchange.site import VKEY
from tests.api.calling import Api
from tests.simulator import AUDITOR, AUTHORITY, CASE, CHECKER, DATASET, MEMBERS, NEIGHBOUR, PURPOSE, SYSTEM, Site

_WHO_SAW: Final = "/v1/audit/who-saw"


def test_who_saw_somebody(shared: Api) -> None:
    """Every release and refusal of the subject, each proved; the question is an entry; the answer holds no id."""
    ids = [MEMBERS[0]]
    asked = {"purpose": PURPOSE, "case": CASE, "ids": ids}
    release = shared.post(f"/v1/datasets/{DATASET}/lookup", asked, CHECKER)
    before = shared.exchange.audit.size
    answer = shared.post(_WHO_SAW, {"ids": ids}, AUDITOR)
    assert answer.status == 200
    assert int(release.headers["exchange-index"]) in [one["index"] for one in answer.json]
    assert all(one["proved"] for one in answer.json)
    entries = list(shared.exchange.audit.entries(before, 1 << 60))
    assert [kind for _, kind, _ in entries if kind != "schema"] == ["audit_query"]
    assert MEMBERS[0] not in answer.body.decode()


@pytest.mark.parametrize("who", [CHECKER, SYSTEM, AUTHORITY])
def test_nobody_else_is_told(shared: Api, who: str) -> None:
    """403 `auditor_required` for each question of an auditor, and an entry for each."""
    before = shared.exchange.audit.size
    answers = [
        shared.post(_WHO_SAW, {"ids": [NEIGHBOUR]}, who),
        shared.get("/v1/audit/entries/0", who),
        shared.get("/v1/audit/entries/0/proof", who),
        shared.get("/v1/audit/checkpoint", who),
    ]
    assert [one.said for one in answers] == [(403, "auditor_required")] * 4
    found = list(shared.exchange.audit.entries(before, 1 << 60))
    assert [body["action"] for _, kind, body in found if kind == "refusal"] == [
        "audit who-saw", "audit entry", "audit proof", "audit checkpoint"
    ]  # fmt: skip


def test_a_proof_convinces_the_verifier(shared: Api, made: Site) -> None:
    """The checkpoint is signed; the proof of an entry is accepted offline, with nothing but the site's public key."""
    vkey = (shared.site.root / VKEY).read_text("utf-8").strip()
    answer = shared.get("/v1/audit/checkpoint", AUDITOR)
    assert answer.headers["content-type"].startswith("text/plain")
    assert open_checkpoint(answer.body, vkey).size == shared.exchange.audit.size
    proof = shared.get("/v1/audit/entries/3/proof", AUDITOR)
    assert proof.body.startswith(b"c2sp.org/tlog-proof@v1")
    for index in range(4):
        entry = shared.get(f"/v1/audit/entries/{index}", AUDITOR).json
        assert (entry["index"], entry["kind"]) == (index, shared.exchange.audit.entry(index)[0])
    assert made.root.exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/v1/audit/entries/999999", (404, "audit_entry_unknown")),
        ("/v1/audit/entries/999999/proof", (404, "audit_entry_unknown")),
        (f"/v1/audit/entries/{1 << 62}", (404, "audit_entry_unknown")),
        (f"/v1/audit/entries/{(1 << 62) + 1}", (400, "request_malformed")),
        ("/v1/audit/entries/-1", (400, "request_malformed")),
        ("/v1/audit/entries/x", (400, "request_malformed")),
        ("/v1/audit/entries/1.0e1", (400, "request_malformed")),
        ("/v1/audit/entries/", (404, "page_unknown")),
    ],
)
def test_entries_that_there_are_not(shared: Api, target: str, said: tuple[int, str]) -> None:
    """Each with its exact answer."""
    assert shared.get(target, AUDITOR).said == said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"ids": []}, (400, "request_malformed")),
        ({"ids": ["\ud800"]}, (400, "subject_id_unusable")),
        ({"ids": [NEIGHBOUR], "subject_type": ""}, (400, "name_malformed")),
        ({"ids": [NEIGHBOUR] * 1_001}, (400, "request_malformed")),
        ({}, (400, "request_malformed")),
    ],
)
def test_questions_about_nobody(shared: Api, body: dict[str, Any], said: tuple[int, str]) -> None:
    """A malformed question is told without repeating what stands in it, and is no entry."""
    before = shared.exchange.audit.size
    answer = shared.post(_WHO_SAW, body, AUDITOR)
    assert answer.said == said
    assert NEIGHBOUR not in answer.body.decode()
    assert shared.exchange.audit.size == before


def test_figures_and_me(shared: Api) -> None:
    """Figures are counted in the logs; `me` says whose token it is and the zone of the site."""
    figures = {(one["what"], one["name"]): one["count"] for one in shared.get("/v1/status", AUDITOR).json}
    assert figures["records", DATASET] == 5
    assert figures["dead letters", DATASET] == 1
    assert shared.get("/v1/me", AUDITOR).json == {
        "id": AUDITOR,
        "department": "ny.shenji",
        "roles": ["auditor"],
        "zone": "Asia/Shanghai",
    }
