"""The pages in Chromium: axe-core finds nothing serious, nothing is wider than the window, and nothing is blocked."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.console import chromium
from tests.console.addresses import PAGES
from tests.simulator import AUDITOR, CHECKER, DATASET, MEMBERS, PROVIDER, Site

pytestmark = [pytest.mark.whole, pytest.mark.slow, pytest.mark.processes, pytest.mark.enable_socket]

WIDTHS = (1280, 400)
GRAVE = {"serious", "critical"}
FILES = ("/proof", "/checkpoint", ".csv", ".xlsx")
# Made by the same template as those that are looked at: releases, refusals, agreements.
ALIKE = tuple(f"/audit/{what}?size" for what in ("releases", "unconfirmed", "policy", "openings", "queries", "keys"))


@pytest.fixture(scope="module")
def base(furnished: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Site]]:
    """The furnished site, served by a process."""
    chromium.needed()
    site = furnished.copy(tmp_path_factory.mktemp("served") / "exchange")
    with chromium.served(site.root, os.environ) as url:
        yield url, site


@pytest.fixture(scope="module")
def browser(base: tuple[str, Site]) -> Iterator[Any]:
    """Chromium."""
    del base
    with chromium.launched() as started:
        yield started


def _token(site: Site, who: str) -> str:
    return (site.folder / "tokens" / f"{who}.token").read_text().strip()


def _judged(page: Any, axe: Any, where: str) -> list[str]:
    """What is wrong with the page as it stands, at both widths."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if over > 0:
            found.append(f"{where} at {width}: {over} px too wide")
        grave = [one for one in axe.run(page).response["violations"] if one["impact"] in GRAVE]
        found += [f"{where} at {width}: {one['id']} {one['nodes'][0]['html'][:200]}" for one in grave]
    return found


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_page_is_for_everybody(base: tuple[str, Site], browser: Any, language: str) -> None:
    """No serious or critical finding, no horizontal scrolling, no message of the browser's console: every page, in
    both languages, at both widths.
    """
    from axe_playwright_python.sync_playwright import Axe

    url, site = base
    axe, found, told = Axe(), list[str](), list[str]()
    pages = {}
    for who in {min(may) for may in PAGES.values()} | {AUDITOR, CHECKER}:
        pages[who] = chromium.signed_in(browser, url, _token(site, who), language)
        pages[who].on("console", lambda message: told.append(message.text))
    for path, may in PAGES.items():
        if not path.endswith(FILES) and not path.startswith(ALIKE):
            page = pages[min(may)]
            page.goto(path)
            found += _judged(page, axe, path)
    asked = pages[AUDITOR]
    for path in ("/audit/releases?from=2026-05-01&until=2026-04-01", "/audit/keys?foo=1"):
        asked.goto(path)
        found += _judged(asked, axe, path)
    asked.goto("/who-saw")
    asked.fill("#subject", MEMBERS[0])
    asked.click("main form button")
    asked.wait_for_selector("table")
    asked.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    found += _judged(asked, axe, "/who-saw answered")
    read = pages[CHECKER]
    read.goto("/records")
    read.select_option("#dataset", DATASET)
    read.select_option("#purpose", "dibao.initial_check")
    read.select_option("#case", "case-1")
    read.click("main form button")
    read.wait_for_selector("table")
    found += _judged(read, axe, "/records answered")
    read.goto("/no/such/page")
    found += _judged(read, axe, "an error")
    told = [line for line in told if "404" not in line and "400" not in line]
    assert (found, told) == ([], [])


def test_a_form_with_a_file_is_sent_by_a_real_browser(base: tuple[str, Site], browser: Any) -> None:
    """With the headers and cookies that it sends by itself; signing out ends it."""
    url, site = base
    page = chromium.signed_in(browser, url, _token(site, PROVIDER), "en")
    page.goto(f"/datasets/{DATASET}/dead-letters")
    page.set_input_files("#file", str(site.folder / "pension.csv"))
    page.click(".decision button")
    page.wait_for_selector(".told")
    assert "0 taken" in page.inner_text(".told")
    page.emulate_media(media="print")
    assert not page.is_visible("nav")
    page.emulate_media(media="screen")
    page.click("text=Sign out")
    page.wait_for_url(url + "/sign-in")
    page.goto("/catalogue")
    assert page.url == url + "/sign-in"


def test_a_search_needs_no_mouse_and_prints(base: tuple[str, Site], browser: Any) -> None:
    """From field to field by Tab, sent by Enter, on to an entry; what a person's number would be is not sent at all.
    On paper there are rows and no form.
    """
    url, site = base
    page = chromium.signed_in(browser, url, _token(site, AUDITOR), "en")
    page.goto("/audit/releases")
    _tab_to(page, "#dataset")
    page.keyboard.type(DATASET)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/audit/releases?dataset={DATASET}&size=*")
    asked = page.url
    _tab_to(page, "#case")
    page.keyboard.type(MEMBERS[0])
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('form.search').checkValidity()") is False
    assert page.url == asked
    page.emulate_media(media="print")
    assert page.is_visible(".found tbody tr")
    assert not any(page.is_visible(one) for one in ("form.search", "nav.tabs", ".exports"))
    page.emulate_media(media="screen")
    with page.expect_download() as got:
        page.click("text=All as CSV")
    assert got.value.suggested_filename == "audit-releases.csv"
    page.focus("h1 >> xpath=..")
    _tab_to(page, ".found th a")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/audit/entries/*")


def _tab_to(page: Any, selector: str) -> None:
    """Presses Tab until this has the focus."""
    for _ in range(80):
        if page.evaluate("one => document.activeElement === document.querySelector(one)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(selector)
