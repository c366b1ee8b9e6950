"""The demo's report: whatever is in the records is text in it, it needs nothing from outside, and it draws no lie."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import pytest

from exchange.audit.note import vkey
from exchange.cli.report import Attack, Proof, Report, View, written
from exchange.errors import Tampered
from exchange.messages import Language
from exchange.signing.merkle import leaf_hash
from tests.audit.building import KEY, ORIGIN, VKEY, control, log_at, release
from tests.log.memory import folder_in_memory

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "<script>alert('&\"')</script>{{ 7*7 }}\x00"
WHOLE = {"person_id": "431126199001010013", "amount": 20_000, "note": HOSTILE, "bank": None}


def proved() -> tuple[str, bytes]:
    """An entry's evidence from a real log, and its leaf hash."""
    with folder_in_memory() as folder, log_at(folder) as log:
        entries = [control(1, agreement_agr=1), *(release(n, epochs={"agreement/agr": 1}) for n in range(1, 9))]
        log.submit(entries)
        log.wait(entries[-1].id)
        return log.evidence(5).decode(), leaf_hash(log.leaf(5))


@pytest.fixture(scope="module")
def report() -> Report:
    """One with everything in it, some of it hostile."""
    clerk = {"person_id": "431126********0013", "amount": False}
    checker = {name: WHOLE[name] for name in ("person_id", "amount")}
    return Report(
        language="en",
        county=(7, 0.5, 1_228, 407),
        engines={"log": "kafka://127.0.0.1:9092/x", "control": HOSTILE},
        figures=[
            {"what": "records", "name": "fin.receipt", "count": 12_345},
            {"what": "dead letters", "name": "fin.receipt", "count": 4},
            {"what": "entries", "name": "release", "count": 8},
            {"what": "records released", "name": "all", "count": 99},
        ],
        asked=[{"engine": HOSTILE, "what": "dead letters", "name": "fin.receipt", "count": 98_765}],
        dataset="fin.receipt",
        labels={"amount": "amount & more"},
        views=[
            View("provider", "steward.x", ["may be read", "  amount: as it is"], [WHOLE]),
            View("clerk", "clerk.x", [HOSTILE], [clerk]),
            View("checker", "checker.x", ["may be read"], [checker]),
        ],
        seen=[HOSTILE, "    shown"],
        proof=Proof.of(*proved(), VKEY),
        attacks=[Attack("flipped", ["bad", f"entry_changed: {HOSTILE}"])],
        checks=[("figures", HOSTILE)],
    )


class Page(HTMLParser):
    """The tags of a page, and each cell's text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "rect", "line", "br"}:
            self.open.append(tag)
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"rect", "line"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data.strip()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_it_stands_alone_and_runs_nothing(report: Report, language: Language) -> None:
    """No script, no frame, no address outside, whatever the records say; its policy forbids what it does not have."""
    page = written(replace(report, language=language))
    parsed = Page(page)
    assert parsed.open == []
    assert not {tag for tag, _ in parsed.tags} & {"script", "iframe", "img", "link", "object", "a", "form", "use"}
    assert not [1 for _, attributes in parsed.tags if {"src", "href"} & attributes.keys()]
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in page
    assert "@import" not in page
    assert "{{ 7*7 }}" in page
    policy = next(a["content"] for tag, a in parsed.tags if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert dict(parsed.tags)["html"]["lang"] == {"zh": "zh-CN", "en": "en"}[language]
    assert ("Synthetic data" if language == "en" else "合成数据") in page


def test_three_views_of_a_record_stand_side_by_side(report: Report) -> None:
    """A value as it was released, one that was masked marked so, and what is not in a view said to be not shown."""
    cells = Page(written(report)).cells
    at = cells.index("person_id")
    assert cells[at : at + 4] == ["person_id", WHOLE["person_id"], "431126********0013masked", WHOLE["person_id"]]
    at = cells.index("amount & more")
    assert cells[at + 1 : at + 4] == ["20000", "falsemasked", "20000"]
    at = cells.index("bank")
    assert cells[at + 1 : at + 4] == ["null", "not shown", "not shown"]
    at = cells.index("note")
    assert cells[at + 1].rstrip("\x00\ufffd") == HOSTILE.rstrip("\x00")


def test_figures_are_told_as_they_were_asked(report: Report) -> None:
    """Records with their dead letters, entries, and what was released."""
    cells = Page(written(report)).cells
    assert cells[cells.index("dead letters offin.receipt") + 1] == "98,765"
    at = cells.index("fin.receipt")
    assert cells[at + 1 : at + 3] == ["12,345", "4"]
    assert cells[cells.index("release") + 1] == "8"
    assert cells[cells.index("records released in all") + 1] == "99"


def test_the_proof_is_written_out_and_drawn(report: Report) -> None:
    """Index, leaf, every sibling, root and checkpoint in full, and the picture of them."""
    page, proof = written(report), report.proof
    for digest in (proof.leaf, *proof.siblings, proof.checkpoint.root):
        assert digest.hex() in page
        assert f">{digest.hex()[:8]}<" in page
    assert f"{ORIGIN}, {proof.checkpoint.size}" in page


def test_a_proof_that_does_not_hold_is_no_report(report: Report) -> None:
    """Another leaf, or a checkpoint that this key did not sign."""
    with pytest.raises(Tampered) as caught:
        written(replace(report, proof=replace(report.proof, leaf=bytes(32))))
    assert caught.value.code == "audit_log_damaged"
    with pytest.raises(Tampered) as caught:
        Proof.of(*proved(), vkey(ORIGIN, bytes(32)))
    assert caught.value.code == "audit_note_invalid"
    assert KEY.public != bytes(32)


@pytest.mark.whole
@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium")
@pytest.mark.parametrize("language", ["zh", "en"])
def test_everybody_can_read_it(report: Report, language: Language, tmp_path: Path) -> None:
    """In a browser, wide and narrow, in the light and in the dark: axe finds nothing, and nothing has to be scrolled
    sideways.
    """
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    file = tmp_path / "report.html"
    file.write_text(written(replace(report, language=language)), "utf-8")
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        for width, dark in ((1280, False), (400, False), (400, True)):
            colours: Literal["dark", "light"] = "dark" if dark else "light"
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=colours)
            page.goto(file.as_uri())
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            assert len(found.response["passes"]) > 10
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate("document.querySelector('svg.merkle-path').clientWidth") <= width
            page.close()
        browser.close()
