"""What holds of every page: its weight, its languages, that it is inert, and that errors are pages too."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from exchange import messages
from exchange.console import house
from exchange.wiring import make_site
from tests.console.addresses import PAGES, ROLES
from tests.console.browsing import Town, opened, said
from tests.console.conftest import OWN_CASE
from tests.simulator import AUDITOR, CHECKER, DATASET, MEMBERS, PROVIDER, Site

MOST_BYTES = 100_000
KEY = re.compile(r"\b(page|plan|reason|problem|seen)_[a-z][a-z_]+")
ROOT = Path(house.__file__).parent
POSTED = {
    "/who-saw": (AUDITOR, {"subject_type": "person", "subject": MEMBERS[0]}),
    "/records": (CHECKER, {"dataset": DATASET, "purpose": "dibao.initial_check", "case": "case-1"}),
}


def _shown(town: Town, language: str) -> list[tuple[str, httpx.Response]]:
    """Every page that anybody may see, by somebody who may."""
    browsers = {who: town.browser(who, language) for who in ROLES}
    pages = [(path, browsers[min(PAGES[path])].get(path)) for path in PAGES]
    pages += [("/sign-in", town.stranger(language).get("/sign-in"))]
    for path, (who, form) in POSTED.items():
        browsers[who].get(path)
        pages.append((path, browsers[who].post(path, form)))
    return [(path, answer) for path, answer in pages if answer.headers["content-type"].startswith("text/html")]


@pytest.mark.parametrize("language", ["zh", pytest.param("en", marks=pytest.mark.whole)])
def test_every_page_is_light_and_inert_and_speaks_one_language(looked_at: Town, language: str) -> None:
    """Under 100 KB, no script, no style of its own, nothing from outside, no key of a sentence, its language said."""
    pages = _shown(looked_at, language)
    assert len(pages) > 15
    for path, answer in pages:
        text = answer.text
        assert answer.status_code == 200, path
        assert len(answer.content) < MOST_BYTES, path
        assert not re.search(r"(?i)<script|<iframe|<object|<embed|<\w[^>]*\s(style|on\w+)=", text), path
        assert all(to.startswith(("/", "#", "data:,")) for to in re.findall(r'(?:href|src|action)="([^"]*)"', text)), (
            path
        )
        assert not KEY.search(said(answer).replace("page_unknown", "")), path
        assert f'<html lang="{"zh-CN" if language == "zh" else "en"}">' in text
        assert answer.headers["content-language"] == language
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert answer.headers["cache-control"] == "no-store"
        assert len(re.findall("<h1", text)) == 1, path
        assert re.findall("<label", text) or "<input id" not in text, path


def test_every_sentence_of_the_pages_is_there_and_is_used() -> None:
    """Each key that a template names is in the catalogue; no sentence of the pages stands there for nothing."""
    sources = [*ROOT.rglob("*.html"), *ROOT.rglob("*.py")]
    text = "\n".join(file.read_text("utf-8") for file in sources)
    named = set(re.findall(r"['\"](page_[a-z_]+[a-z])['\"]", text)) - {"page_unknown"}
    known = {key for key in messages._catalogue("text") if key.startswith("page_")}
    made = {"page_" + kind for kind in re.findall(r"word\('(\w+)'", text)} | {
        key.rstrip("_")
        for key in re.findall(r"['\"](page_[a-z_]+_)['\"]|f\"(page_[a-z]+)_\{", text)
        for key in key
        if key
    }
    assert named <= known
    leads = {"page_side_by_side_lead", "page_dead_letters_lead"}
    unused = {key for key in known - named - leads if not key.startswith(tuple(one + "_" for one in made))}
    assert unused == set()


def test_the_style_sheet_is_kept_by_its_digest(looked_at: Town) -> None:
    """For a year; another digest is no address."""
    answer = looked_at.stranger().get(house.STYLE)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    assert looked_at.stranger().get("/style-0000000000000000.css").status_code == 404


def test_the_language_is_chosen_by_a_link_and_kept(looked_at: Town) -> None:
    """Over what the browser asks for; the link goes to the same page."""
    browser = looked_at.browser(CHECKER, "en")
    page = browser.get("/agreements?page=1")
    (link,) = re.findall(r'<a href="([^"]*)" hreflang="zh-CN"', page.text)
    assert link == "/agreements?page=1&amp;lang=zh"
    assert "共享协议" in said(browser.get(link.replace("&amp;", "&")))
    assert "共享协议" in said(browser.get("/agreements"))
    assert "共享协议" not in said(browser.get("/agreements?lang=en"))


def test_an_unknown_address_is_a_page_for_people_and_a_problem_for_programs(looked_at: Town) -> None:
    """The same code and request id, and the own menu for who is signed in."""
    browser = looked_at.browser(CHECKER)
    page = browser.get("/no/such/page")
    assert page.status_code == 404
    assert "page_unknown" in page.text
    assert "checker.ny.minzheng" in page.text
    assert page.headers["request-id"] in page.text
    assert looked_at.stranger().get("/no").status_code == 404
    problem = browser.get("/no/such/page", headers={"accept": "application/json"})
    assert problem.headers["content-type"] == "application/problem+json"
    api = browser.get("/v1/no", headers={"accept": "text/html"})
    assert api.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/datasets/no.such", "/agreements/agr-99", "/audit/entries/99999", "/datasets/%2e%2e"]
)
def test_an_unknown_thing_is_a_page(looked_at: Town, path: str) -> None:
    """404, with what to do, in the menu of the reader."""
    answer = looked_at.browser(AUDITOR, "zh").get(path)
    assert answer.status_code == 404
    assert "此处没有内容" in said(answer)


@pytest.mark.parametrize("path", ["/catalogue?page=0", "/catalogue?page=x", "/audit/entries/x", "/audit?before=-1"])
def test_a_malformed_address_is_a_page(looked_at: Town, path: str) -> None:
    """400 or 404, never a fault; nothing that was typed comes back."""
    answer = looked_at.browser(AUDITOR).get(path)
    assert answer.status_code == 400
    assert "Something in the request is wrong" in said(answer)


def test_a_body_that_is_too_large_is_a_page(looked_at: Town) -> None:
    """Found at the edge, before there is any visit."""
    answer = looked_at.stranger("zh").send("POST", "/sign-in", content=b"x" * (5 << 20))
    assert answer.status_code == 413
    assert "请求有误" in said(answer)


def test_a_fault_of_ours_is_a_page_that_tells_nothing_of_it(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """But its request's id; the log line has the place."""
    browser = town.browser(CHECKER)

    def fault(*_: object) -> None:
        raise ZeroDivisionError(MEMBERS[0])

    monkeypatch.setattr("exchange.wiring.reading_room.ReadingRoom.latest", fault)
    answer = browser.get("/")
    assert answer.status_code == 503
    assert "Not possible just now" in said(answer)
    assert answer.headers["request-id"] in answer.text
    assert MEMBERS[0] not in answer.text + "".join(town.lines)
    assert any("ZeroDivisionError" in line for line in town.lines)


def test_a_long_document_of_an_entry_is_cut(looked_at: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page stays light, whatever an entry holds."""
    long = {
        "question": '{"a": "' + '\\"' * 25_000 + '"}',
        "tags": ["0" * 32] * 1_000,
        "plan": "[" + '"b",' * 9_000 + "1]",
    }
    monkeypatch.setattr("exchange.wiring.desk.LocalDesk.entry", lambda *_: {"index": 1, "kind": "decision", **long})
    answer = looked_at.browser(AUDITOR).get("/audit/entries/1")
    assert answer.status_code == 200
    assert len(answer.content) < MOST_BYTES
    assert " …</pre>" in answer.text


def test_a_sample_site_says_so_on_every_page(runner: asyncio.Runner, tmp_path: Path, looked_at: Town) -> None:
    """By its origin; another site says nothing of the kind."""
    import os
    import time

    made = {"now_ns": time.time_ns, "random_bytes": os.urandom, "department": "a", "principal": "a.b"}
    site = make_site(tmp_path / "site", name="", origin=None, sample=True, **made)  # type: ignore[arg-type]
    with opened(Site(tmp_path), runner) as town:
        for page in (town.stranger("zh").get("/sign-in"), town.stranger("en").get("/no")):
            assert "示例数据" in page.text
            assert "Sample" in page.text
    assert site.origin.startswith("sample.")
    assert "示例数据" not in looked_at.stranger("zh").get("/sign-in").text


def test_no_log_line_holds_an_id_or_an_address(town: Town) -> None:
    """Who-saw and reads by form: their lines name the route alone."""
    auditor = town.browser(AUDITOR)
    auditor.get("/who-saw")
    answer = auditor.post("/who-saw", {"subject_type": "person", "subject": MEMBERS[0]})
    assert MEMBERS[0] not in answer.text
    provider = town.browser(PROVIDER)
    provider.get(f"/datasets/{DATASET}/side-by-side?case={OWN_CASE}")
    assert MEMBERS[0] not in "".join(town.lines)
    assert '"route": "/who-saw"' in "".join(town.lines)
