"""Whose request it is: every token that does not hold, what of it is audited, and the life of a token."""

import time
from collections.abc import Callable

import pytest

from exchange.api.caller import Callers
from exchange.control.tokens import new_token
from exchange.errors import Refused
from tests.api.calling import Answer, Api
from tests.simulator import AUTHORITY, CHECKER, CONSUMER, DAY_NS, PROVIDER

_WRONG = "xt1.0123456789abcdef." + "A" * 43


def _with(api: Api, authorization: str | bytes, target: str = "/v1/me") -> Answer:
    return api.get(target, headers=[("Authorization", authorization)])


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "token_missing"),
        ("", "token_missing"),
        ("Bearer", "token_missing"),
        ("Bearer ", "token_missing"),
        ("Basic dXNlcjpwYXNz", "token_missing"),
        (_WRONG, "token_missing"),
        ("Bearer x", "token_unknown"),
        (f"Bearer {_WRONG}", "token_unknown"),
        (b"Bearer \xff\xfe\x00", "token_unknown"),
        ("Bearer " + "x" * 30_000, "token_unknown"),
        ("bearer 11010519491231002X", "token_unknown"),
    ],
)
def test_no_token_or_none_of_ours(shared: Api, authorization: str | None, code: str) -> None:
    """401 with how to authenticate; an unknown token, a wrong secret and a malformed text are told alike."""
    answer = shared.get("/v1/me") if authorization is None else _with(shared, authorization)
    assert answer.said == (401, code)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert shared.logged[-1]["who"] is None
    assert answer.json["facts"] == {}


def test_a_token_that_ended(api: Api) -> None:
    """Expired, revoked, its account suspended: each is 401 with its own code, and an entry that names nobody."""
    made = api.post("/v1/tokens", {"principal": CHECKER, "days": 1}, AUTHORITY).json
    assert _with(api, f"Bearer {made['token']}").json["id"] == CHECKER
    api.later_ns = 2 * DAY_NS
    assert _with(api, f"Bearer {made['token']}").said == (401, "token_expired")
    api.later_ns = 0
    assert api.post(f"/v1/tokens/{made['id']}/revoke", None, AUTHORITY).status == 200
    assert _with(api, f"Bearer {made['token']}").said == (401, "token_revoked")
    assert api.post(f"/v1/principals/{CHECKER}/suspend", {"reason": "gone"}, AUTHORITY).status == 200
    assert api.get("/v1/me", CHECKER).said == (401, "principal_suspended")
    found = list(api.exchange.audit.entries(0, api.exchange.audit.size))
    refusals = [body for _, kind, body in found if kind == "refusal"]
    assert [body["reasons"] for body in refusals] == [["token_expired"], ["token_revoked"], ["principal_suspended"]]
    assert all((body["action"], body["actor"], body["consumer"]) == ("sign in", None, None) for body in refusals)


def test_somebody_who_tries_tokens_does_not_fill_the_log(api: Api) -> None:
    """At most 60 refused tokens a minute are entries; each is counted, and a minute later there is room again."""
    now = [time.time_ns()]
    callers = Callers(api.exchange, lambda: now[0])
    before = api.exchange.audit.size

    def tried(times: int) -> int:
        for _ in range(times):
            with pytest.raises(Refused):
                callers.desk(_WRONG)
        return api.exchange.audit.size - before

    first = tried(70)
    assert 60 <= first <= 61  # the log's own entry that tells the form of a refusal may come before the first
    assert tried(5) == first
    now[0] += 60_000_000_000
    assert tried(1) == first + 1
    now[0] -= 3_600_000_000_000  # a clock that goes back does not stop the entries
    assert tried(1) == first + 2
    assert _with(api, f"Bearer {_WRONG}").status == 401
    assert 'exchange_problems_total{code="token_unknown"} 1.0' in api.get("/metrics").body.decode()


def test_a_token_is_bound_to_one_account(api: Api) -> None:
    """It is issued for an account, by that account or the authority; no other account may."""
    own = api.post("/v1/tokens", {"principal": CHECKER, "days": 30}, CHECKER)
    assert own.status == 200
    assert set(own.json) == {"id", "token", "principal", "expires_ns", "index"}
    for target in (PROVIDER, AUTHORITY):
        answer = api.post("/v1/tokens", {"principal": target, "days": 30}, CHECKER)
        assert answer.said == (403, "role_missing")
    assert api.post("/v1/tokens", {"principal": "nobody", "days": 1}, AUTHORITY).said == (404, "unknown_principal")
    for days in (0, 3_651, "1", 1.5, None, True):
        assert api.post("/v1/tokens", {"principal": CHECKER, "days": days}, CHECKER).said == (400, "request_malformed")
    listed = api.get("/v1/tokens", CHECKER).json
    assert {one["principal"] for one in listed} == {CHECKER}
    assert own.json["token"] not in str(listed)
    assert {one["principal"] for one in api.get("/v1/tokens", AUTHORITY).json} > {CHECKER, PROVIDER}


def test_rotating(api: Api) -> None:
    """The new token holds, the old one is revoked; it works with the very token that is rotated."""
    old = api.post("/v1/tokens", {"principal": CHECKER, "days": 30}, CHECKER).json
    headers = [("Authorization", f"Bearer {old['token']}")]
    new = api.ask("POST", f"/v1/tokens/{old['id']}/rotate", None, headers, {"days": 7})
    assert new.status == 200
    assert _with(api, f"Bearer {old['token']}").said == (401, "token_revoked")
    assert _with(api, f"Bearer {new.json['token']}").json["id"] == CHECKER
    assert 0 < new.json["expires_ns"] - time.time_ns() <= 7 * DAY_NS


def test_someone_elses_token_is_neither_rotated_nor_revoked(api: Api) -> None:
    """403, and both the token and the number of tokens are as before; one revoked already makes no new one."""
    theirs = next(one["id"] for one in api.get("/v1/tokens", AUTHORITY).json if one["principal"] == PROVIDER)
    before = api.get("/v1/tokens", AUTHORITY).json
    assert api.post(f"/v1/tokens/{theirs}/rotate", {"days": 7}, CONSUMER).said == (403, "role_missing")
    assert api.post(f"/v1/tokens/{theirs}/revoke", None, CONSUMER).said == (403, "role_missing")
    assert api.post("/v1/tokens/" + "0" * 16 + "/rotate", {"days": 7}, AUTHORITY).said == (404, "unknown_token")
    assert api.post("/v1/tokens/" + "0" * 16 + "/revoke", None, AUTHORITY).said == (404, "unknown_token")
    assert api.get("/v1/tokens", AUTHORITY).json == before
    assert api.get("/v1/me", PROVIDER).status == 200
    assert api.post(f"/v1/tokens/{theirs}/revoke", None, AUTHORITY).status == 200
    assert api.post(f"/v1/tokens/{theirs}/rotate", {"days": 7}, AUTHORITY).said == (403, "wrong_state")
    assert len(api.get("/v1/tokens", AUTHORITY).json) == len(before)


def test_who_makes_a_token_himself_sends_only_its_digest(api: Api) -> None:
    """`PUT /tokens/{id}` with the digest: the token holds, and its text was never on this side."""
    text, identity, digest = new_token(lambda count: b"\x07" * count)
    body = {"principal": CHECKER, "digest": digest, "expires_ns": time.time_ns() + DAY_NS}
    assert api.put(f"/v1/tokens/{identity}", body, CHECKER).status == 200
    assert _with(api, f"Bearer {text}").json["id"] == CHECKER
    assert api.put(f"/v1/tokens/{identity}", body, CHECKER).said == (409, "already_exists")
    assert api.put("/v1/tokens/" + "8" * 16, {**body, "expires_ns": 1}, CHECKER).said == (400, "period_malformed")


@pytest.mark.parametrize(
    "ask",
    [
        lambda api: api.post("/v1/datasets/x/lookup", b"{" * 100_000),
        lambda api: api.post("/v1/agreements", b"\xff"),
        lambda api: api.post("/v1/audit/who-saw", {"ids": ["11010519491231002X"]}),
        lambda api: api.get("/v1/status"),
    ],
)
def test_nothing_is_read_of_a_body_before_it_is_known_whose_it_is(shared: Api, ask: Callable[[Api], Answer]) -> None:
    """Without a token every operation says 401, whatever stands in the body, and none of the body was read."""
    assert ask(shared).said == (401, "token_missing")
    assert shared.logged[-1]["in"] == 0


def test_every_operation_asks_whose_request_it_is(shared: Api) -> None:
    """There is no operation under /v1 that does anything for nobody."""
    for path, operations in shared.get("/openapi.json").json["paths"].items():
        if path.startswith("/v1/"):
            for method in operations:
                answer = shared.ask(method.upper(), path.replace("{", "").replace("}", "").replace("index", "0"))
                assert answer.said == (401, "token_missing"), (method, path)
