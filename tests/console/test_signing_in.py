"""Signing in: what the cookie is, what ends a session, and what no form of another site does."""

import asyncio
from pathlib import Path

import pytest

from exchange.console.sessions import IDLE_NS, WHOLE_NS, Sessions, Tries
from exchange.control import commands as c
from exchange.errors import Unavailable
from tests.console.browsing import Town, opened, said
from tests.simulator import AUDITOR, AUTHORITY, CHECKER, PROVIDER, Site

SECOND_NS = 1_000_000_000


def test_the_cookie_is_a_random_name_that_scripts_and_other_sites_never_get(looked_at: Town) -> None:
    """HttpOnly, SameSite=Strict, Path=/, no domain; nothing of the token is in it."""
    browser = looked_at.stranger()
    answer = browser.post("/sign-in", {"token": looked_at.token(CHECKER)})
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert {one.lower() for one in attributes} == {"httponly", "samesite=strict", "path=/", f"max-age={8 * 3600}"}
    assert name.startswith("session=")
    assert len(name.removeprefix("session=")) == 64
    assert looked_at.token(CHECKER) not in answer.text + str(answer.headers)
    assert "checker.ny.minzheng" in said(browser.follow(browser.follow(answer)))


def test_over_tls_the_cookie_is_held_to_the_host(furnished: Site, runner: asyncio.Runner, tmp_path: Path) -> None:
    """`__Host-` and Secure."""
    with opened(furnished.copy(tmp_path / "exchange"), runner, secure=True) as town:
        cookie = town.stranger().post("/sign-in", {"token": town.token(CHECKER)}).headers["set-cookie"]
    assert cookie.startswith("__Host-session=")
    assert "Secure" in cookie


def test_a_token_that_is_none_signs_nobody_in(looked_at: Town) -> None:
    """The form again, with the reason; no cookie; a refusal in the audit log, where there was a token at all."""
    for token in ("", "xt1.unknown.secret", "<script>", "x" * 10_000):
        size = looked_at.size
        answer = looked_at.stranger().post("/sign-in", {"token": token})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert "<script>" not in answer.text
        assert [one["reasons"] for one in looked_at.entries("refusal", size)] == [["token_unknown"]] * bool(token)


def test_an_address_that_tries_tokens_is_told_no_more(town: Town) -> None:
    """After ten refused in a minute it is only told to wait; a right token is taken all the same, from there too."""
    browser = town.stranger()
    for _ in range(10):
        assert browser.post("/sign-in", {"token": "xt1.a.b"}).status_code == 401
    answer = browser.post("/sign-in", {"token": "xt1.a.b"})
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert "too many refused sign-ins" in said(answer)
    assert browser.post("/sign-in", {"token": town.token(CHECKER)}).status_code == 303
    town.clock.later_ns = 61 * SECOND_NS
    assert browser.post("/sign-in", {"token": "xt1.a.b"}).status_code == 401


def test_tries_are_bounded_and_counted_by_address() -> None:
    """The address that failed longest ago is forgotten first; another one's tries are not counted."""
    tries = Tries(lambda: 0)
    for number in range(10_000):
        tries.failed(str(number))
    for _ in range(9):
        tries.failed("9999")
    with pytest.raises(Unavailable):
        tries.failed("9999")
    tries.failed("new")
    assert len(tries._failed) == 10_000


def test_a_browser_without_cookies_is_told_so(looked_at: Town) -> None:
    """The page after the form says what is missing, not the form again."""
    browser = looked_at.stranger()
    answer = browser.post("/sign-in", {"token": looked_at.token(CHECKER)})
    browser.client.cookies.clear()
    told = browser.follow(answer)
    assert told.status_code == 400
    assert "the browser kept no cookie" in said(told)


def test_whoever_is_nobody_is_led_to_the_form(looked_at: Town) -> None:
    """Every page; a form sent without a session shows it too."""
    browser = looked_at.stranger()
    for path in ("/", "/catalogue", "/audit", "/who-saw", "/datasets/hrss.pension_account/dead-letters"):
        answer = browser.get(path)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/sign-in")
    assert browser.post("/agreements/agr-1/revoke", {"reason": "no"}).status_code == 401


def test_a_token_revoked_in_mid_session_ends_it(town: Town) -> None:
    """At the next page: the reason, the form, the cookie taken back."""
    browser = town.browser(CHECKER)
    model = town.exchange.control.model()
    (token,) = [one.id for one in model.tokens.values() if one.principal == CHECKER]
    assert browser.get("/").status_code == 200
    town.exchange.control.execute(model.principals[AUTHORITY], c.RevokeToken(token))
    answer = browser.get("/catalogue")
    assert answer.status_code == 401
    assert "revoked" in said(answer)
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert browser.get("/").status_code == 303


def test_signing_out_ends_the_session_for_whoever_has_its_cookie(looked_at: Town) -> None:
    """A cookie kept elsewhere is worth nothing then."""
    browser = looked_at.browser(CHECKER, own=True)
    kept = browser.client.cookies["session"]
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    assert browser.get("/").headers.get("location") == "/sign-in"
    thief = looked_at.stranger()
    thief.client.cookies.set("session", kept)
    assert thief.get("/").status_code == 401


def test_signing_in_again_gives_another_session(looked_at: Town) -> None:
    """No session of one person goes over to the next one on the same machine."""
    browser = looked_at.browser(CHECKER, own=True)
    former = browser.client.cookies["session"]
    browser.follow(browser.follow(browser.post("/sign-in", {"token": looked_at.token(PROVIDER)})))
    assert browser.client.cookies["session"] != former
    stranger = looked_at.stranger()
    stranger.client.cookies.set("session", former)
    assert stranger.get("/").status_code == 401


def test_sessions_end_by_idleness_and_by_age() -> None:
    """After 15 minutes without use, after eight hours in any case; a clock set back ends them too."""
    now = [10 * WHOLE_NS]
    sessions = Sessions(lambda: now[0], bytes)
    name = sessions.open("token")
    now[0] += IDLE_NS - 1
    assert sessions.find(name)
    now[0] += IDLE_NS
    assert sessions.find(name) is None
    name = sessions.open("token")
    for _ in range(WHOLE_NS // IDLE_NS * 2):
        now[0] += IDLE_NS // 2
        alive = sessions.find(name)
    assert alive is None
    name = sessions.open("token")
    now[0] -= 1
    assert sessions.find(name) is None
    assert sessions.find(None) is None


def test_sessions_are_bounded() -> None:
    """The oldest goes first."""
    numbers = iter(range(1, 1 << 20))
    sessions = Sessions(lambda: 0, lambda count: next(numbers).to_bytes(count, "big"), most=4)
    names = [sessions.open("token") for _ in range(6)]
    assert sessions.find(names[1]) is None
    assert sessions.find(names[2])


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({"csrf": ""}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": "ü"}, {}),
        ({}, {"sec-fetch-site": "cross-site"}),
        ({}, {"sec-fetch-site": "same-site"}),
        ({}, {"origin": "http://evil.test"}),
        ({}, {"origin": "null"}),
    ],
)
def test_a_form_of_another_site_does_nothing(looked_at: Town, form: dict[str, str], headers: dict[str, str]) -> None:
    """Neither without the session's own secret nor from another origin; the agreement stays as it is."""
    browser = looked_at.browser(AUTHORITY)
    answer = browser.post("/agreements/agr-1/revoke", {"reason": "not ours", **form}, headers=headers)
    assert answer.status_code == 403
    assert "did not come from a page of this exchange" in said(answer)
    assert looked_at.exchange.control.model().agreements["agr-1"].status == "active"


def test_the_secret_of_one_session_is_worth_nothing_in_another(looked_at: Town) -> None:
    """It is the session's, not the site's."""
    other = looked_at.browser(AUDITOR)
    browser = looked_at.browser(AUTHORITY)
    assert browser.csrf != other.csrf
    assert browser.post("/agreements/agr-1/revoke", {"csrf": other.csrf, "reason": "x"}).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "same-origin", "origin": "null"}, {"origin": "http://exchange.test"}]
)
def test_a_form_of_ours_is_taken(looked_at: Town, headers: dict[str, str]) -> None:
    """As browsers send it."""
    browser = looked_at.browser(AUDITOR)
    assert browser.post("/audit/verify", headers=headers).status_code == 303


def test_signing_in_from_another_site_is_refused(looked_at: Town) -> None:
    """Nobody is signed in as somebody else by a page elsewhere."""
    token = {"token": looked_at.token(CHECKER)}
    assert looked_at.stranger().post("/sign-in", token, headers={"sec-fetch-site": "cross-site"}).status_code == 403
