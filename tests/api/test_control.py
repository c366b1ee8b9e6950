"""The control plane over HTTP: every command, its refusals with their exact answers, two people at once."""

import asyncio
from typing import Any, Final

import pytest

from exchange.api.operations import OPERATIONS
from exchange.control import commands as c
from tests.api.calling import Answer, Api
from tests.simulator import (
    AGREEMENT,
    AUDITOR,
    AUTHORITY,
    CASE,
    CHECKER,
    CONSUMER,
    DATASET,
    DAY_NS,
    MEMBERS,
    NEIGHBOUR,
    PROVIDER,
    SYSTEM,
)

_DEEP: Final[Any] = [[]]
for _ in range(300):
    _DEEP[0] = [_DEEP[0]]
_WITHDRAW: Final = "/v1/policies/withdraw"


def _terms(api: Api, **changed: Any) -> dict[str, Any]:
    terms = dict(api.get(f"/v1/agreements/{AGREEMENT}", AUTHORITY).json["terms"])
    del terms["schema"]
    return {**terms, **changed}


def _requested(api: Api) -> str:
    answer = api.post("/v1/agreements", {"terms": _terms(api)}, CONSUMER)
    assert answer.status == 200, answer.body
    return str(answer.json["about"])


def test_every_command_has_its_place() -> None:
    """All of the control plane can be done over HTTP, but for what holds tags or results: those have routes of ours."""
    ours = {c.OpenCase, c.ChangeCaseMembers, c.SubmitPolicy, c.Bootstrap}
    assert {one.command for one in OPERATIONS} | ours == set(c.Command.__args__)
    assert len({(one.method, one.path) for one in OPERATIONS}) == len(OPERATIONS)


def test_an_agreement_from_request_to_end(api: Api) -> None:
    """Three people, three answers, each with its events and the index of the last one's entry."""
    name = _requested(api)
    steps: list[tuple[str, dict[str, Any] | None, str, str]] = [
        ("review", {"verdict": "endorse", "note": "needed"}, PROVIDER, "agreement.endorsed/1"),
        ("approve", None, AUTHORITY, "agreement.approved/1"),
        ("revoke", {"reason": "over"}, PROVIDER, "agreement.revoked/1"),
    ]
    for step, body, who, event in steps:
        answer = api.post(f"/v1/agreements/{name}/{step}", body, who)
        assert answer.json["about"] == name
        assert answer.json["events"] == [event]
        assert api.exchange.audit.entry(answer.json["index"])[0] == "control"
    shown = api.get(f"/v1/agreements/{name}", AUDITOR).json
    people = [shown[key] for key in ("status", "requested_by", "reviewed_by", "approved_by", "ended_by", "reason")]
    assert people == ["revoked", CONSUMER, PROVIDER, AUTHORITY, PROVIDER, "over"]
    answer = api.post(f"/v1/agreements/{_requested(api)}/reject", {"reason": "no basis"}, AUTHORITY)
    assert answer.json["events"] == ["agreement.rejected/1"]
    assert api.post("/v1/agreements/expire", None, AUTHORITY).json == {"about": "", "events": [], "index": None}


def test_nobody_approves_his_own_request(api: Api) -> None:
    """Neither as its reviewer nor, with another role meanwhile, as its approver: 403 `same_person`, audited."""
    body = {"id": "two.ny.minzheng", "department": "ny.minzheng", "roles": ["steward"]}
    assert api.post("/v1/principals", body, AUTHORITY).status == 200
    token = api.post("/v1/tokens", {"principal": body["id"], "days": 1}, AUTHORITY).json["token"]
    (api.site.folder / "tokens" / f"{body['id']}.token").write_text(token)
    name = api.post("/v1/agreements", {"terms": _terms(api)}, str(body["id"])).json["about"]
    review = {"verdict": "endorse", "note": "x"}
    assert api.post(f"/v1/agreements/{name}/review", review, str(body["id"])).said == (403, "other_department")
    assert api.post(f"/v1/agreements/{name}/approve", None, str(body["id"])).said == (403, "role_missing")
    assert api.post(f"/v1/agreements/{name}/approve", None, AUTHORITY).said == (403, "wrong_state")
    assert api.post(f"/v1/agreements/{name}/review", review, PROVIDER).status == 200
    roles = {"roles": ["sharing_authority"]}
    assert api.put(f"/v1/principals/{body['id']}/roles", roles, AUTHORITY).status == 200
    before = api.exchange.audit.size
    answer = api.post(f"/v1/agreements/{name}/approve", None, str(body["id"]))
    assert answer.said == (403, "same_person")
    assert answer.json["facts"] == {"first": "request", "second": "approve"}
    found = [one[2] for one in api.exchange.audit.entries(before, 1 << 60) if one[1] == "refusal"]
    assert [one["reasons"] for one in found] == [["same_person"]]
    assert api.put(f"/v1/principals/{AUTHORITY}/roles", roles, AUTHORITY).said == (403, "own_account")


def _at_once(api: Api, *asks: tuple[str, str, dict[str, Any] | None, str]) -> list[Answer]:
    async def both() -> list[Answer]:
        return list(
            await asyncio.gather(*(api.asked(method, target, who, (), body) for method, target, body, who in asks))
        )

    return api.runner.run(both())


def test_of_two_approvals_at_once_one_wins(api: Api) -> None:
    """By two people, in two threads: one has approved; the other gets 403 `wrong_state`, never half of anything."""
    second = {"id": "second.ny.shuju", "department": "ny.shuju", "roles": ["sharing_authority"]}
    assert api.post("/v1/principals", second, AUTHORITY).status == 200
    token = api.post("/v1/tokens", {"principal": second["id"], "days": 1}, AUTHORITY).json["token"]
    (api.site.folder / "tokens" / f"{second['id']}.token").write_text(token)
    for _ in range(3):
        name = _requested(api)
        review = {"verdict": "endorse", "note": "x"}
        assert api.post(f"/v1/agreements/{name}/review", review, PROVIDER).status == 200
        target = f"/v1/agreements/{name}/approve"
        answers = _at_once(api, ("POST", target, None, AUTHORITY), ("POST", target, None, str(second["id"])))
        assert sorted(one.said for one in answers) == [(200, ""), (403, "wrong_state")]
        winner = (AUTHORITY, second["id"])[[one.status for one in answers].index(200)]
        shown = api.get(f"/v1/agreements/{name}", AUTHORITY).json
        assert (shown["status"], shown["approved_by"]) == ("active", winner)


def test_of_two_that_make_the_same_one_wins(api: Api) -> None:
    """Two departments of one name, two cases, two revocations: one of each, and an exact answer for the other."""
    department = {"id": "ny.yibao", "title_zh": "医保", "title_en": "Insurance", "region": "431126"}
    answers = _at_once(api, *[("POST", "/v1/departments", department, AUTHORITY)] * 2)
    assert sorted(one.said for one in answers) == [(200, ""), (409, "already_exists")]
    case = {"id": "case-2", "title": "t", "ids": [NEIGHBOUR]}
    answers = _at_once(api, *[("POST", "/v1/cases", case, CHECKER)] * 2)
    assert sorted(one.said for one in answers) == [(200, ""), (409, "already_exists")]
    own = api.post("/v1/tokens", {"principal": CHECKER, "days": 1}, CHECKER).json["id"]
    answers = _at_once(api, *[("POST", f"/v1/tokens/{own}/revoke", None, CHECKER)] * 2)
    assert sorted(one.said for one in answers) == [(200, ""), (403, "wrong_state")]


def test_cases(api: Api) -> None:
    """Opened with ids that go no further, changed, closed for good; members are told as a number."""
    case = {"id": "case-2", "title": "低保", "ids": [NEIGHBOUR, NEIGHBOUR], "departments": ["ny.renshe"]}
    assert api.post("/v1/cases", case, CHECKER).json["events"] == ["case.opened/1"]
    assert api.put("/v1/cases/case-2/members", {"ids": list(MEMBERS)}, CHECKER).status == 200
    listed = api.get("/v1/cases", PROVIDER).json
    assert [(one["id"], one["member_count"]) for one in listed] == [("case-2", 2)]
    assert api.post("/v1/cases/case-2/close", {"reason": "x"}, PROVIDER).said == (403, "other_department")
    assert api.post("/v1/cases/case-2/close", {"reason": "decided"}, CHECKER).status == 200
    assert api.post("/v1/cases/case-2/close", {"reason": "decided"}, CHECKER).said == (403, "wrong_state")
    assert api.post("/v1/cases", case, CHECKER).said == (409, "already_exists")
    assert api.post("/v1/cases", {**case, "id": "case-3", "title": NEIGHBOUR}, CHECKER).said == (400, "text_holds_id")
    for body, said in (
        ({**case, "id": NEIGHBOUR + "x" * 100}, (400, "name_malformed")),
        ({**case, "ids": []}, (400, "request_malformed")),
        ({**case, "ids": [NEIGHBOUR] * 10_001}, (400, "request_malformed")),
        ({**case, "id": "case-3", "departments": ["none"]}, (404, "unknown_department")),
        ({**case, "id": "case-3", "subject_type": "\ud800"}, (400, "name_malformed")),
        ({**case, "id": "case-3", "title": "\ud800"}, (400, "command_malformed")),
    ):
        answer = api.post("/v1/cases", body, CHECKER)
        assert answer.said == said
        assert NEIGHBOUR not in answer.body.decode()


def test_policies(api: Api) -> None:
    """Tested, submitted, approved by another person, withdrawn: then every question is refused and /readyz says why."""
    revision = api.get("/v1/policies", AUTHORITY).json[0]["revision"]
    body = {"modules": api.exchange.control.document(revision)["modules"], "codes": {"purposes": {}}}
    bundle = {**body, "codes": api.exchange.control.document(revision)["codes"]}
    results = api.post("/v1/policies/test", bundle, PROVIDER)
    assert results.status == 200
    assert set(results.json.values()) == {True}
    bundle["codes"] = {**bundle["codes"], "more": {}}
    made = api.post("/v1/policies", bundle, PROVIDER)
    assert made.status == 200, made.body
    name = made.json["about"]
    assert api.post(f"/v1/policies/{name}/approve", None, PROVIDER).said == (403, "same_person")
    assert api.post(f"/v1/policies/{name}/approve", None, AUTHORITY).status == 200
    assert api.post("/v1/policies/sha256:" + "0" * 64 + "/approve", None, AUTHORITY).said == (404, "unknown_policy")
    assert api.get("/readyz").json == {"ready": True, "missing": []}
    assert api.post(_WITHDRAW, {"reason": "wrong"}, AUTHORITY).status == 200
    answer = api.get("/readyz", headers=[("Accept-Language", "zh")])
    assert (answer.status, answer.json["ready"]) == (503, False)
    assert [(one["what"], one["code"]) for one in answer.json["missing"]] == [("policy", "policy_not_ready")]
    assert api.post(_WITHDRAW, {"reason": "wrong"}, AUTHORITY).status == 403


@pytest.mark.parametrize("who", [CHECKER, SYSTEM, AUDITOR])
@pytest.mark.parametrize("target", ["/v1/policies", "/v1/policies/test"])
def test_whoever_may_not_submit_runs_no_program_here(shared: Api, who: str, target: str) -> None:
    """403 before anything of it is run, and an entry."""
    before = shared.exchange.audit.size
    answer = shared.post(target, {"modules": {"a.rego": "package exchange\n"}, "codes": {}}, who)
    assert answer.said == (403, "role_missing")
    found = [kind for _, kind, _ in shared.exchange.audit.entries(before, 1 << 60) if kind != "schema"]
    assert found == ["refusal"]


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        ({"modules": {"a.rego": "package exchange\nx := ["}, "codes": {}}, (400, "policy_unparsable")),
        ({"modules": {"a.rego": "package x\n\ud800"}, "codes": {}}, None),
        ({"modules": {"../a.rego": "package exchange\n"}, "codes": {}}, None),
        ({"modules": {"a.rego": "package other\n"}, "codes": {}}, None),
        ({"modules": {"a.rego": "package exchange\n"}, "codes": {"a": _DEEP}}, None),
        ({"modules": {"a.rego": "package exchange\n"}, "codes": {"a": 1.5}}, None),
        ({"modules": {"a.rego": "package exchange\n"}, "codes": {"\ud800": 1}}, None),
        ({"modules": {"a.rego": "package exchange\n" * 100_000}, "codes": {}}, None),
        ({"modules": {}, "codes": {}}, (400, "request_malformed")),
        ({"modules": {"a.rego": 1}, "codes": {}}, (400, "request_malformed")),
        ({"modules": []}, (400, "request_malformed")),
    ],
)
def test_policies_that_are_none(shared: Api, bundle: dict[str, Any], said: tuple[int, str] | None) -> None:
    """400 with a code of the policy room, whatever the text is."""
    answer = shared.post("/v1/policies/test", bundle, PROVIDER)
    assert answer.status == 400, answer.body
    assert answer.said == said or (said is None and answer.code not in {"", "server_fault"})


@pytest.mark.parametrize(
    "wrong",
    [_DEEP, {"a": _DEEP}, 1.5, "\ud800", {"\ud800": 1}, None, [], {}, -1, 1 << 200, "x" * 100_000, NEIGHBOUR],
    ids=lambda one: str(type(one).__name__),
)
def test_documents_with_anything_in_them(shared: Api, wrong: Any) -> None:
    """Whatever stands in the place of terms, a contract, or a part of one: 400 with a code, and no id told."""
    for key in ("fields", "rows", "legal_basis", "expires_ns", "purge_by", "dataset", "actions", "more"):
        if key == "purge_by" and wrong is None:
            continue
        if key == "legal_basis" and wrong == NEIGHBOUR:
            continue
        answer = shared.post("/v1/agreements", {"terms": _terms(shared, **{key: wrong})}, CONSUMER)
        assert answer.status in {400, 404}, (key, answer.body)
        assert answer.code not in {"", "server_fault"}
        assert NEIGHBOUR not in answer.body.decode() or key == "dataset"
    whole = {"format": "exchange.contract/1", "dataset": DATASET, "department": "ny.renshe", "fields": wrong}
    for contract in (wrong, {}, whole, {**whole, "schemas": [wrong]}, {**whole, "schemas": wrong, "fields": {}}):
        answer = shared.post("/v1/datasets", {"contract": contract}, PROVIDER)
        assert answer.status == 400, answer.body
        assert answer.code not in {"", "server_fault"}


@pytest.mark.parametrize(
    ("method", "target", "body", "who", "said"),
    [
        ("POST", "/v1/departments", {"id": "x"}, AUTHORITY, (400, "request_malformed")),
        ("POST", "/v1/departments", {"id": "ny.a", "title_zh": "a", "title_en": "a", "region": "431126"}, CHECKER,
         (403, "role_missing")),
        ("POST", "/v1/departments", {"id": "../a", "title_zh": "a", "title_en": "a", "region": "431126"}, AUTHORITY,
         (400, "name_malformed")),
        ("POST", "/v1/principals", {"id": "a.b", "department": "none", "roles": ["steward"]}, AUTHORITY,
         (404, "unknown_department")),
        ("POST", "/v1/principals", {"id": CHECKER, "department": "ny.shuju", "roles": ["steward"]}, AUTHORITY,
         (409, "already_exists")),
        ("POST", "/v1/principals", {"id": "a.b", "department": "ny.shuju", "roles": ["king"]}, AUTHORITY,
         (400, "unknown_word")),
        ("POST", "/v1/principals", {"id": "a.b", "department": "ny.shuju", "roles": []}, AUTHORITY,
         (400, "command_malformed")),
        ("POST", "/v1/principals", {"id": "a.b", "department": "ny.shuju", "roles": ["auditor", "steward"]},
         AUTHORITY, (403, "role_exclusive")),
        ("PUT", "/v1/principals/none/roles", {"roles": ["steward"]}, AUTHORITY, (404, "unknown_principal")),
        ("POST", f"/v1/principals/{AUTHORITY}/suspend", {"reason": "x"}, AUTHORITY, (403, "own_account")),
        ("POST", "/v1/agreements/agr-9/approve", None, AUTHORITY, (404, "unknown_agreement")),
        ("POST", f"/v1/agreements/{AGREEMENT}/approve", None, AUTHORITY, (403, "wrong_state")),
        ("POST", f"/v1/agreements/{AGREEMENT}/revoke", {"reason": "x"}, CONSUMER, (403, "other_department")),
        ("POST", f"/v1/agreements/{AGREEMENT}/revoke", {"reason": ""}, PROVIDER, (400, "command_malformed")),
        ("POST", f"/v1/agreements/{AGREEMENT}/revoke", {"reason": NEIGHBOUR}, PROVIDER, (400, "text_holds_id")),
        ("POST", f"/v1/agreements/{AGREEMENT}/revoke", {"reason": 1}, PROVIDER, (400, "request_malformed")),
        ("POST", f"/v1/agreements/{AGREEMENT}/review", {"verdict": "yes", "note": "x"}, PROVIDER,
         (400, "request_malformed")),
        ("POST", "/v1/agreements/expire", None, CHECKER, (403, "role_missing")),
        ("POST", f"/v1/cases/{CASE}/close", {"reason": "x", "case": "case-9"}, CHECKER, (400, "request_malformed")),
        ("POST", "/v1/cases/case-9/close", {"reason": "x"}, CHECKER, (404, "unknown_case")),
        ("POST", "/v1/policies/withdraw", {"reason": "x"}, CHECKER, (403, "role_missing")),
    ],
)  # fmt: skip
def test_commands_that_are_refused(
    shared: Api, method: str, target: str, body: object, who: str, said: tuple[int, str]
) -> None:
    """Each with its exact status and code; a refusal is an entry, a malformed command is none; no id is told."""
    before = shared.exchange.audit.size
    answer = shared.ask(method, target, who, (), body)
    assert answer.said == said
    found = [kind for _, kind, _ in shared.exchange.audit.entries(before, 1 << 60) if kind != "schema"]
    assert found == (["refusal"] if said[0] == 403 else [])
    assert NEIGHBOUR not in answer.body.decode()


def test_listings_and_the_dataset(shared: Api) -> None:
    """What there is of each kind has its columns; a dataset is told with its fields."""
    for what, one in (
        ("departments", "ny.renshe"),
        ("principals", CHECKER),
        ("datasets", DATASET),
        ("agreements", AGREEMENT),
    ):
        listed = shared.get(f"/v1/{what}", AUTHORITY).json
        assert one in [row.get("id", row.get("name")) for row in listed]
    shown = shared.get(f"/v1/datasets/{DATASET}", CHECKER).json
    assert "monthly_benefit_fen" in [field["path"] for field in shown["fields"]]
    assert shown["record_fields"][0] == "person_id"


def test_a_period_in_the_past_is_told(shared: Api) -> None:
    """An agreement that would be over before it begins is 400 `period_malformed`."""
    answer = shared.post("/v1/agreements", {"terms": _terms(shared, expires_ns=DAY_NS)}, CONSUMER)
    assert answer.said == (400, "period_malformed")
