"""The life of an agreement by forms: three people, each on a page; wrong words beside their field."""

import re

import pytest

from tests.console.browsing import Browser, Town, said
from tests.console.conftest import HOSTILE
from tests.simulator import AUTHORITY, CONSUMER, DATASET, PROVIDER

ASK = {
    "dataset": DATASET,
    "purpose": "dibao.recheck",
    "legal_basis": "社会救助法 第四十一条",
    "actions": ["read", "lookup"],
    "case_bound": "yes",
    "zone": "extranet",
    "from": "2020-01-01",
    "until": "2020-01-02",
    "purge_by": "",
    "mask:person_id": "ends",
    "mask:monthly_benefit_fen": "below:431126",
    "mask:bank_account": "last_four",
}


def _requested(browser: Browser, **changes: object) -> str:
    page = browser.get(f"/agreements/new?dataset={DATASET}").text
    days = {day: re.search(rf'name="{day}"[^>]*value="([0-9-]+)"', page) for day in ("from", "until")}
    dates = {day: found[1] for day, found in days.items() if found}
    answer = browser.post("/agreements", {**ASK, **dates, **changes})
    assert answer.status_code == 303, said(answer)
    return str(answer.headers["location"])


def test_three_people_make_an_agreement_by_forms(town: Town) -> None:
    """Requested, endorsed, approved, revoked: each by another person, told with its entry, seen in the timeline."""
    consumer = town.browser(CONSUMER)
    page = _requested(consumer)
    assert "is requested: entry" in said(consumer.get(page))
    assert "is requested: entry" not in said(consumer.get(page))  # told once

    provider = town.browser(PROVIDER)
    assert "to be reviewed by you" in said(provider.get("/"))
    assert provider.get(page).status_code == 200
    sent = provider.post(page + "/review", {"verdict": "endorse", "note": HOSTILE})
    told = provider.follow(sent)
    assert HOSTILE in said(told).replace("“", "") or HOSTILE in told.text.replace("&lt;", "<").replace("&gt;", ">")
    assert "<script" not in told.text

    authority = town.browser(AUTHORITY)
    assert "to be approved by you" in said(authority.get("/"))
    assert authority.get(page).status_code == 200
    assert "is in force: entry" in said(authority.follow(authority.post(page + "/approve")))
    found = town.exchange.control.model().agreements[page.rpartition("/")[2]]
    assert (found.status, found.requested_by, found.reviewed_by, found.approved_by) == (
        "active",
        CONSUMER,
        PROVIDER,
        AUTHORITY,
    )
    assert [(one.path, dict(one.mask)) for one in found.terms.fields] == [
        ("person_id", {"kind": "partial", "first": 6, "last": 4}),
        (
            "monthly_benefit_fen",
            {"kind": "verdict", "op": "lt", "value": {"table": "dibao_standard_fen", "key": "431126"}},
        ),
        ("bank_account", {"kind": "partial", "first": 0, "last": 4}),
    ]
    assert "is revoked: entry" in said(authority.follow(authority.post(page + "/revoke", {"reason": "用途已结束"})))
    life = said(authority.get(page))
    steps = [life.index(word) for word in ("requested", "endorsed by the provider", "approved, in force")]
    assert steps == sorted(steps)
    assert "用途已结束" in life


def test_the_second_of_two_approvals_is_a_plain_refusal(town: Town) -> None:
    """Both saw the form; the one who comes later learns that it is done."""
    page = _requested(town.browser(CONSUMER))
    provider = town.browser(PROVIDER)
    provider.get(page)
    provider.post(page + "/review", {"verdict": "endorse", "note": "needed"})
    first, second = town.browser(AUTHORITY), town.browser(AUTHORITY, own=True)
    assert first.get(page).status_code == second.get(page).status_code == 200
    assert first.post(page + "/approve").status_code == 303
    refused = second.post(page + "/approve")
    assert refused.status_code == 403
    assert "wrong_state" in refused.text
    assert "<h1>Not permitted</h1>" in refused.text


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"purpose": "no.such"}, "purpose"),
        ({"legal_basis": " "}, "legal_basis"),
        ({"legal_basis": "11010519491231002X"}, "legal_basis"),
        ({"case_bound": ""}, "case_bound"),
        ({"actions": []}, "actions"),
        ({"from": "yesterday"}, "from"),
        ({"until": "0000-00-00"}, "until"),
        ({"until": "1999-01-01"}, "until"),
        ({"purge_by": "soon"}, "purge_by"),
        ({"zone": "moon"}, "zone"),
        ({"mask:monthly_benefit_fen": "below:000000"}, "mask:monthly_benefit_fen"),
        ({"mask:person_id": "", "mask:monthly_benefit_fen": "", "mask:bank_account": ""}, "fields"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(looked_at: Town, changes: dict[str, object], field: str) -> None:
    """And above; what was typed stays; nothing is requested."""
    browser = looked_at.browser(CONSUMER)
    browser.get(f"/agreements/new?dataset={DATASET}")
    count = len(looked_at.exchange.control.model().agreements)
    answer = browser.post("/agreements", {**ASK, "from": "2026-01-01", "until": "2028-01-01", **changes})
    assert answer.status_code == 400
    assert f'id="wrong-{field.replace(":", "-")}"' in answer.text
    assert 'role="alert"' in answer.text
    assert "社会救助法" in answer.text or field == "legal_basis"
    assert len(looked_at.exchange.control.model().agreements) == count


def test_a_request_for_what_is_not_there_is_an_error(looked_at: Town) -> None:
    """A dataset that nobody has; one form field that is a file."""
    browser = looked_at.browser(CONSUMER)
    browser.get("/agreements/new")
    assert browser.post("/agreements", {**ASK, "dataset": "no.such"}).status_code in {400, 404}
    assert browser.get("/agreements/new?dataset=no.such").status_code == 404


def test_a_note_that_may_not_stand_is_said_on_the_page(town: Town) -> None:
    """The agreement's page again, with what is wrong; a long number is not repeated."""
    page = _requested(town.browser(CONSUMER))
    provider = town.browser(PROVIDER)
    provider.get(page)
    for note in ("", "x" * 5_000, "11010519491231002X", "a\x00b"):
        answer = provider.post(page + "/review", {"verdict": "return", "note": note})
        assert answer.status_code == 400
        assert "<h1>Agreement" in answer.text
        assert "11010519491231002X" not in answer.text


def test_masks_are_offered_where_they_are_defined(looked_at: Town) -> None:
    """A field of class L4 is never offered as it is; a number has no first characters."""
    text = looked_at.browser(CONSUMER).get(f"/agreements/new?dataset={DATASET}").text
    offered = {
        path: set(re.findall(r'<option value="([^"]+)"', body))
        for path, body in re.findall(r'(?s)name="mask:(\w+)"[^>]*>(.*?)</select>', text)
    }
    assert "keep" not in offered["bank_account"]
    assert "last_four" not in offered["monthly_benefit_fen"]
    assert "below:431126" in offered["monthly_benefit_fen"]
    assert {"keep", "ends"} <= offered["person_id"]
