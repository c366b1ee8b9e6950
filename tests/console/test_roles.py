"""Who may see what: what is not theirs is not shown, and refused by its address, with an entry."""

import pytest

from tests.console.addresses import PAGES, ROLES
from tests.console.browsing import Town, said
from tests.console.conftest import DEPUTY
from tests.simulator import AUDITOR, AUTHORITY, CHECKER, CONSUMER, DATASET, PROVIDER, SYSTEM

FIRST = [who if who in {PROVIDER, AUDITOR} else pytest.param(who, marks=pytest.mark.whole) for who in ROLES]


@pytest.mark.parametrize("who", FIRST)
def test_a_role_sees_its_pages_and_no_other(looked_at: Town, who: str) -> None:
    """What is refused is a page with status 403 and a refusal in the audit log, by the person's pseudonym."""
    browser = looked_at.browser(who)
    for path, may in PAGES.items():
        size = looked_at.size
        answer = browser.get(path)
        refusals = looked_at.entries("refusal", size)
        if who in may:
            assert (answer.status_code, refusals) == (200, []), path
        else:
            assert answer.status_code == 403, path
            assert [one["actor"] for one in refusals] == [looked_at.exchange.actors.name(who)], path
            assert "Not permitted" in said(answer)


@pytest.mark.parametrize("who", FIRST)
def test_what_a_role_may_not_is_not_offered(looked_at: Town, who: str) -> None:
    """No link of the first page, and none of a dataset's or agreement's, leads to a refusal."""
    browser = looked_at.browser(who)
    for page in ("/", "/catalogue", f"/datasets/{DATASET}", "/agreements", "/agreements/agr-1"):
        text = browser.get(page).text
        for path, may in PAGES.items():
            if who not in may:
                assert f'href="{path}"' not in text, (page, path)


@pytest.mark.parametrize(
    ("who", "path", "form"),
    [
        (CHECKER, "/agreements/agr-1/revoke", {"reason": "no"}),
        (AUDITOR, "/agreements/agr-1/approve", {}),
        (CONSUMER, "/agreements/agr-1/review", {"verdict": "endorse", "note": "no"}),
        (CONSUMER, f"/datasets/{DATASET}/records", {"adapter": "pension.toml"}),
        (AUTHORITY, "/audit/verify", {}),
        (AUTHORITY, "/records", {"dataset": DATASET, "purpose": "open.use"}),
        (CHECKER, "/who-saw", {"subject": "1"}),
        (CHECKER, "/who-saw", {"tag": "0" * 32}),
        (CONSUMER, "/who-saw/bundle", {"tag": "0" * 32}),
    ],
)
def test_a_form_is_refused_like_its_page(looked_at: Town, who: str, path: str, form: dict[str, str]) -> None:
    """Whoever makes up a form: 403 and an entry, or for the records what the policy says."""
    browser = looked_at.browser(who)
    size = looked_at.size
    files = {"file": ("pension.csv", b"x")} if path.endswith("/records") and path != "/records" else None
    answer = browser.post(path, form, files=files)
    assert answer.status_code == 403, said(answer)
    assert len(looked_at.entries("refusal", size)) == 1


def test_what_is_a_stewards_is_not_a_systems(looked_at: Town) -> None:
    """The department's own system neither looks at others' views nor at dead letters by pages."""
    browser = looked_at.browser(SYSTEM)
    for path in (f"/datasets/{DATASET}/side-by-side", f"/datasets/{DATASET}/dead-letters", "/dead-letters"):
        assert browser.get(path).status_code == 403, path


def test_what_waits_is_shown_to_whom_it_waits_for(looked_at: Town) -> None:
    """Nothing waits on a site where everything is decided."""
    assert "Waiting for you" not in said(looked_at.browser(DEPUTY).get("/"))
