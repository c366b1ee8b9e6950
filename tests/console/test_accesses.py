"""Every look is an entry; what records hold stays inert; nobody learns from a preview what the own release hides."""

import csv
import html
import io
import json
import re
from typing import Any

import pytest

from exchange.control.questions import Request
from exchange.wiring.desk import LocalDesk
from exchange.wiring.preview import HIDDEN
from tests.console.browsing import Browser, Town, opened, said
from tests.console.conftest import FORMULA, HOSTILE, OWN_CASE
from tests.simulator import ASKED, AUDITOR, CHECKER, DATASET, MEMBERS, NEIGHBOUR, PROVIDER

BESIDE = f"/datasets/{DATASET}/side-by-side?case={OWN_CASE}"


@pytest.mark.parametrize(
    ("who", "path", "kinds", "query"),
    [
        (PROVIDER, BESIDE, ["audit_query", "release"], "preview"),
        (PROVIDER, f"/datasets/{DATASET}/dead-letters", ["audit_query"], "dead_letters"),
        (AUDITOR, "/audit", ["audit_query"], "audit_log"),
        (AUDITOR, "/audit/entries/3", ["audit_query"], "audit_entry"),
        (AUDITOR, "/audit/entries/3/proof", ["audit_query"], "audit_proof"),
        (PROVIDER, "/", [], None),
        (PROVIDER, "/catalogue", [], None),
        (PROVIDER, "/agreements/agr-1", [], None),
    ],
)
def test_a_look_at_records_or_accesses_is_an_entry(
    looked_at: Town, who: str, path: str, kinds: list[str], query: str | None
) -> None:
    """Of the person, by pseudonym, before the page is there; what holds nothing of anybody leaves none. (A decision is
    an entry too, where none is kept from before.)
    """
    browser = looked_at.browser(who)
    browser.get(BESIDE) if who == PROVIDER else None  # the gateway's run has begun
    size = looked_at.size
    assert browser.get(path).status_code == 200
    found = [
        (kind, body)
        for _, kind, body in looked_at.exchange.audit.entries(size, 1 << 60)
        if kind not in {"schema", "decision"}
    ]
    assert sorted({kind for kind, _ in found}) == kinds
    assert {body["actor"] for _, body in found} <= {looked_at.exchange.actors.name(who)}
    assert [body["query"] for kind, body in found if kind == "audit_query"] == ([query] if query else [])


def test_the_records_page_shows_what_the_policy_gives_and_no_more(looked_at: Town) -> None:
    """As the command line reads it: the members of the case, masked; the entry's index is shown."""
    browser = looked_at.browser(CHECKER)
    browser.get("/records")
    size = looked_at.size
    answer = browser.post("/records", {"dataset": DATASET, "purpose": "dibao.initial_check", "case": "case-1"})
    text = said(answer)
    (release,) = looked_at.entries("release", size)
    assert all(member in text for member in MEMBERS)
    assert NEIGHBOUR not in text
    assert "************1234" in text
    assert "6222020000001234" not in text
    assert release["recipient"] == "ny.minzheng"


@pytest.mark.parametrize(
    ("form", "status", "sentence"),
    [
        ({"dataset": DATASET, "purpose": "dibao.initial_check", "case": ""}, 200, "may not be read"),
        ({"dataset": DATASET, "purpose": "dibao.initial_check", "case": "case-9"}, 400, "there is no case case-9"),
        ({"dataset": "no.such", "purpose": "open.use", "case": ""}, 400, ""),
        ({"dataset": DATASET, "purpose": "../../x", "case": ""}, 400, ""),
        ({"dataset": DATASET, "purpose": "dibao.initial_check", "case": "case-1", "position": "999"}, 400, ""),
        ({"dataset": DATASET, "purpose": "dibao.initial_check", "case": "case-1", "position": "x" * 50}, 200, ""),
    ],
)
def test_a_read_that_cannot_be_says_why(looked_at: Town, form: dict[str, str], status: int, sentence: str) -> None:
    """On the page of the form, which keeps what was chosen; no record is shown with a refusal."""
    browser = looked_at.browser(CHECKER)
    browser.get("/records")
    answer = browser.post("/records", form)
    assert answer.status_code == status
    assert sentence in said(answer) or not sentence
    assert status == 200 or MEMBERS[0] not in said(answer)


def test_records_are_text_whatever_they_hold(looked_at: Town) -> None:
    """HTML, attributes and formulas of a record, a case's title, a file's name: shown as they are, doing nothing."""
    browser = looked_at.browser(PROVIDER)
    for path in (BESIDE, f"/datasets/{DATASET}/dead-letters"):
        answer = browser.get(path)
        assert "<script" not in answer.text, path
        assert "<img" not in answer.text, path
        assert "<b onmouseover" not in answer.text, path
        assert 'onmouseover="' not in answer.text, path
        assert HOSTILE in html.unescape(answer.text), path
        assert FORMULA in html.unescape(answer.text), path


def test_formulas_in_a_csv_file_are_texts_too(looked_at: Town, furnished: Any) -> None:
    """The same record by the command line as CSV: a spreadsheet runs nothing."""
    own = ["--purpose", "own.review", "--case", OWN_CASE, "--format", "csv"]
    ran = furnished.copy(looked_at.site.folder.parent / "csv").run("read", DATASET, *own, who=PROVIDER)
    rows = list(csv.DictReader(io.StringIO(ran.stdout)))
    assert "'" + FORMULA in {row["last_paid_month"] for row in rows}
    assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())


def test_side_by_side_shows_one_record_as_each_sees_it(looked_at: Town) -> None:
    """The provider's own release beside the checker's preview: fields not granted are absent, masks are marked."""
    answer = looked_at.browser(PROVIDER).get(BESIDE)
    text = said(answer)
    assert "own.review" in text
    assert "dibao.initial_check" in text
    assert text.count(MEMBERS[0]) >= 2
    assert "not shown" in text
    assert text.count("left out") > 1  # of the third agreement, whose row condition leaves this record out
    assert '<span class="mask"' in answer.text
    assert NEIGHBOUR not in text


def test_every_column_of_a_record_is_of_that_record(looked_at: Town) -> None:
    """The provider's id and the checker's are the same in each table, and there is one for each record of the case."""
    text = looked_at.browser(PROVIDER).get(BESIDE).text
    tables = re.findall(r'(?s)<table class="beside">.*?</table>', text)
    ids = [re.findall(r"\b(\d{17}[\dX])\b", table) for table in tables]
    assert len(tables) == 3
    assert all(len(found) == 2 and len(set(found)) == 1 for found in ids)
    assert {found[0] for found in ids} == set(MEMBERS)


def test_a_preview_discloses_nothing_that_the_own_release_hides(looked_at: Town) -> None:
    """The bank account is struck out for the steward, so that its last four digits, which the checker gets, are not
    told; that the checker sees something is.
    """
    answer = looked_at.browser(PROVIDER).get(BESIDE)
    assert "9876" not in answer.text
    assert "seen, in a form not shown to you" in said(answer)
    assert HIDDEN not in answer.text


def test_the_preview_is_never_the_consumers_decision(looked_at: Town) -> None:
    """No entry of the audit log names the consumer for what its provider looked at."""
    size = looked_at.size
    looked_at.browser(PROVIDER).get(BESIDE)
    decisions = looked_at.entries("decision", size)
    assert {one["consumer"] for one in decisions} <= {"ny.renshe"}
    (query,) = looked_at.entries("audit_query", size)
    assert (query["query"], query["department"]) == ("preview", "ny.renshe")


def test_a_case_that_is_not_theirs_is_unknown(looked_at: Town) -> None:
    """As to every other question about it."""
    answer = looked_at.browser(PROVIDER).get(f"/datasets/{DATASET}/side-by-side?case=case-1")
    assert answer.status_code == 404


def test_without_an_own_agreement_the_refusal_is_shown(made: Any, runner: Any, tmp_path: Any) -> None:
    """With the way to one; no record is shown, and no preview is made."""
    with opened(made.copy(tmp_path / "exchange"), runner) as town:
        answer = town.browser(PROVIDER).get(f"/datasets/{DATASET}/side-by-side")
    assert answer.status_code == 200
    assert "no agreement in force for the review of its own records" in said(answer)
    assert "/agreements/new?dataset=" in answer.text


def _asked(browser: Browser, **form: str) -> Any:
    browser.get("/who-saw")
    return browser.post("/who-saw", {"subject_type": "person", **form})


def test_who_saw_is_what_the_command_line_says(town: Town) -> None:
    """The same entries, recipients, fields and reasons; the subject stands there by its tag alone."""
    # The site is this process's, so the command line's own desk is asked, as `exchange audit who-saw` does.
    desk = LocalDesk(town.exchange, town.exchange.control.model().principals[AUDITOR])
    rows = desk.who_saw("person", [MEMBERS[0]])
    answer = _asked(town.browser(AUDITOR), subject=MEMBERS[0])
    text = said(answer)
    assert rows
    for row in rows:
        assert f'href="/audit/entries/{row["index"]}"' in answer.text
        for field in row["fields"] or ():
            assert field["path"] in text
    assert answer.text.count("✓") == 0  # marks are the style sheet's
    assert text.count("proved") >= len(rows)
    assert rows[0]["subject"] in text
    assert MEMBERS[0] not in answer.text
    assert answer.text.count('class="merkle-path"') == len(rows) + 1  # the look of the desk above is one more


@pytest.mark.whole
def test_who_saw_goes_on_by_the_tag(town: Town) -> None:
    """Older entries are asked for by the tag, so that the id is typed once."""
    browser = town.browser(AUDITOR)
    for _ in range(22):
        _asked(browser, subject=NEIGHBOUR, as_written="yes")
    refused = _asked(browser, subject=NEIGHBOUR)  # its check digit is wrong
    assert (refused.status_code, 'name="as_written"' in refused.text, NEIGHBOUR in refused.text) == (400, True, False)
    answer = _asked(browser, subject=NEIGHBOUR, as_written="yes")
    assert len(answer.content) < 100_000
    form = _hidden(answer.text)
    assert set(form) == {"tag", "before"}
    older = browser.post("/who-saw", form)
    assert older.status_code == 200
    shown = [int(index) for index in _indexes(older.text)]
    assert shown
    assert max(shown) < int(form["before"])


def _hidden(text: str) -> dict[str, str]:
    """What the last form of the page sends along, but for its secret."""
    last = text[text.rindex('action="/who-saw"') :]
    pairs: list[tuple[str, str]] = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', last)
    return {name: value for name, value in pairs if name != "csrf"}


def _indexes(text: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/audit/entries/(\d+)"', text)


@pytest.mark.parametrize("form", [{"subject": ""}, {"subject": "9" * 101}, {"tag": "../x"}])
def test_a_question_without_a_subject_is_asked_again(looked_at: Town, form: dict[str, str]) -> None:
    """On the page of the form, without what was typed."""
    answer = _asked(looked_at.browser(AUDITOR), **form)
    assert answer.status_code == 400
    assert "9" * 101 not in answer.text


def test_a_proof_is_a_file_that_holds_elsewhere(looked_at: Town) -> None:
    """C2SP tlog-proof, as the command line writes it."""
    answer = looked_at.browser(AUDITOR).get("/audit/entries/5/proof")
    assert answer.text.startswith("c2sp.org/tlog-proof@v1\n")
    assert answer.headers["content-disposition"] == 'attachment; filename="entry-5.tlog-proof"'


def test_an_auditor_verifies_the_log(town: Town) -> None:
    """By a form; the verdict stands on the page and survives a restart of the process."""
    browser = town.browser(AUDITOR)
    assert "Not verified by this site yet" in said(browser.get("/audit"))
    page = browser.follow(browser.post("/audit/verify"))
    assert "every leaf and hash to the root, signature valid" in said(page)
    kept = json.loads((town.site.data / "verification.json").read_text())
    assert kept["ok"] is True
    assert kept["format"] == "exchange.verdict/1"


def test_a_log_that_does_not_hold_is_said_so(town: Town) -> None:
    """With what is wrong, in the reader's language."""
    tile = next(path for path in (town.site.data / "audit" / "tile" / "entries").rglob("*") if path.is_file())
    kept_bytes = bytearray(tile.read_bytes())
    kept_bytes[-1] ^= 1
    tile.write_bytes(kept_bytes)
    browser = town.browser(AUDITOR, "zh")
    browser.get("/sign-in")
    browser.csrf = ""
    browser.get("/who-saw")
    page = browser.post("/audit/verify")
    assert page.status_code == 303
    kept = json.loads((town.site.data / "verification.json").read_text())
    assert kept["ok"] is False


def test_what_the_command_line_reads_is_what_the_page_shows(town: Town) -> None:
    """Field by field, for the checker's case."""
    browser = town.browser(CHECKER)
    browser.get("/records")
    page = said(browser.post("/records", {"dataset": DATASET, "purpose": ASKED[1], "case": ASKED[3]}))
    who = town.exchange.control.model().principals[CHECKER]
    for release in town.exchange.gateway.read(who, Request("read", DATASET, ASKED[1], ASKED[3]), {}, "jsonl"):
        for line in release.payload.splitlines():
            assert all(str(value) in page for value in json.loads(line).values())
