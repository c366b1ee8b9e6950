"""An auditor's searches as pages: what they find is what the API finds, by the same right and with the same entries."""

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from exchange.access.acks import Ack
from exchange.audit.tables import DETAILS
from exchange.console import searching as pages
from exchange.evidence.check import check
from exchange.wiring import searching
from exchange.wiring.desk import LocalDesk
from exchange.wiring.searching import WHATS, Sought, What
from tests.console.browsing import Browser, Town, opened, said
from tests.console.conftest import HOSTILE
from tests.simulator import AUDITOR, CHECKER, DATASET, MEMBERS, PROVIDER, Site

RELEASES = "/audit/releases"
WRONG_CHECK = MEMBERS[0][:-1] + "1"


def _shown(text: str) -> list[int]:
    """The indexes of a page's rows, as they stand there."""
    return [int(one) for one in re.findall(r'<th scope="row">(?:<a href="/audit/entries/\d+">)?(\d+)', text)]


def _link(text: str, rel: str) -> str | None:
    found = re.search(rf'<a rel="{rel}" href="([^"]*)"', text)
    return found[1].replace("&amp;", "&") if found else None


def _walk(browser: Browser, path: str | None, rel: str) -> Iterator[tuple[str, list[int]]]:
    """Every page from this one on, by its own links: its address and its rows."""
    while path:
        answer = browser.get(path)
        if answer.status_code == 303:
            path = answer.headers["location"]
            continue
        assert answer.status_code == 200, said(answer)
        yield path, _shown(answer.text)
        path = _link(answer.text, rel)


def _known(town: Town, what: What) -> list[int]:
    """What the desk finds that the API and the command line ask, the newest first."""
    desk = LocalDesk(town.exchange, town.exchange.control.model().principals[AUDITOR])
    return [row["index"] for row in desk.search(what, Sought(), -1, 10_000)][::-1]


@pytest.mark.parametrize("what", WHATS)
def test_pages_show_every_entry_once_and_back_again(
    looked_at: Town, monkeypatch: pytest.MonkeyPatch, what: What
) -> None:
    """From the newest to the oldest by one link, back by the other: all that the desk finds up to the size in the
    address, which each look makes grow.
    """
    monkeypatch.setattr(pages, "_ROWS", 25 if what == "queries" else 3)
    browser = looked_at.browser(AUDITOR)
    there = list(_walk(browser, f"/audit/{what}", "next"))
    back = list(_walk(browser, there[-1][0], "prev"))
    size = int(there[0][0].rpartition("=")[2])
    known = [index for index in _known(looked_at, what) if index < size]
    assert [index for _, rows in there for index in rows] == known
    assert sorted({index for _, rows in back for index in rows}, reverse=True) == known
    assert len(back) == len(there)
    assert _shown(browser.get(there[0][0]).text) == there[0][1]


def test_a_kept_address_gives_the_same_rows(town: Town) -> None:
    """Though the log has grown since, and though what nobody had confirmed is confirmed now."""
    browser = town.browser(AUDITOR)
    (path, rows), *_ = _walk(browser, "/audit/unconfirmed", "next")
    assert rows
    exchange = town.exchange
    checker = LocalDesk(exchange, exchange.control.model().principals[CHECKER])
    _, body = exchange.audit.entry(rows[-1])

    checker.acknowledge([Ack(rows[-1], "received", body["payload_digest"], body["released"])])
    exchange.audit.settle()
    again = browser.get(path)
    assert _shown(again.text) == rows
    assert re.search(rf"entries 0 to {path.rpartition('=')[2]}\b", said(again)) is None  # up to the one before
    assert f"entries 0 to {int(path.rpartition('=')[2]) - 1} of the log" in said(again)
    assert next(_walk(browser, "/audit/unconfirmed", "next"))[1] == rows[:-1]


def test_each_page_and_each_file_is_a_question_in_the_log(looked_at: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the person, before it is answered, by the name that the API's has, with how many rows were given."""
    monkeypatch.setattr(searching, "_PORTION", 2)
    browser = looked_at.browser(AUDITOR)
    size = looked_at.size
    browser.get(f"/audit/keys?size={size}")
    browser.get("/audit/keys.csv")
    browser.get("/audit/keys")  # only sends on to the address that can be kept
    found = looked_at.entries("audit_query", size)
    assert [(one["query"], one["results"]) for one in found] == [("keys", 4), ("keys", 2), ("keys", 2), ("keys", 0)]
    assert {one["actor"] for one in found} == {looked_at.exchange.actors.name(AUDITOR)}
    assert found[0]["size"] == size


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 2),
        (f"dataset={DATASET}&purpose=dibao.initial_check&case=case-1", 1),
        (f"officer={CHECKER}", 1),
        ("officer=nobody", 0),
        ("department=ny.minzheng&field=person_id", 1),
        ("field=no.such", 0),
        ("from=2020-01-01&until=2999-12-31", 2),
        ("until=2020-01-01", 0),
        ("from=2020-01-01T10:00:00%2B08:00&dataset=", 2),
    ],
)
def test_each_filter_narrows(town: Town, query: str, count: int) -> None:
    """What was typed stands in its field; how many there are is said; nothing found is said, too."""
    town.browser(PROVIDER).get(f"/datasets/{DATASET}/side-by-side?case=case-2")
    town.exchange.audit.settle()
    answer = town.browser(AUDITOR).get(f"{RELEASES}?{query}&size={town.size}")
    assert f" {count} found" in said(answer)
    assert ("Nothing was found" in said(answer)) == (count == 0)
    assert len(_shown(answer.text)) == count
    for name, value in (one.split("=") for one in query.split("&") if one):
        assert re.search(rf'name="{name}" value="{re.escape(value.replace("%2B", "+"))}"', answer.text), name


@pytest.mark.parametrize("suffix", ["", ".csv", ".xlsx"])
@pytest.mark.parametrize(
    ("query", "place", "sentence"),
    [
        ("foo=1", "", "there is no filter foo"),
        ("field=person_id", "", "there is no filter field"),
        (f"{MEMBERS[0]}=1", "", "there is no filter (18 characters)"),
        ("from=yesterday", "from", "that is no date"),
        ("until=2026-13-01", "until", "that is no date"),
        ("from=2026-01-02&until=2026-01-01", "until", "the end lies before the beginning"),
        (f"department={MEMBERS[0]}", "department", "never a person's number"),
        ("department=%00", "department", "nothing that can be searched for"),
        (f"department={'x' * 301}", "department", "nothing that can be searched for"),
        ("size=999999999", "", "does not fit the question"),
        ("size=-1", "", "does not fit the question"),
        ("size=0", "", "does not fit the question"),
        ("size=x", "", "does not fit the question"),
    ],
)
def test_what_cannot_be_asked_is_told_at_its_field(
    looked_at: Town, suffix: str, query: str, place: str, sentence: str
) -> None:
    """400, in words, and what might be a person's number does not come back, not even in a link."""
    answer = looked_at.browser(AUDITOR).get(f"/audit/keys{suffix}?{query}")
    assert answer.status_code == 400
    assert sentence in said(answer)
    assert MEMBERS[0] not in answer.text
    if place and not suffix:
        assert re.search(rf'name="{place}"[^>]*aria-describedby="wrong-{place}"', answer.text)
        assert f'id="wrong-{place}"' in answer.text


@pytest.mark.parametrize(
    "places", ["before=abc", "before=-5", "after=1e3", "before=0", "after=99999999999999999999", "before=4&after=4"]
)
def test_a_cursor_that_is_none_is_told(looked_at: Town, places: str) -> None:
    """Rubbish, and an index that is not among the results."""
    answer = looked_at.browser(AUDITOR, "zh").get(f"/audit/keys?size=40&{places}")
    assert answer.status_code == 400
    assert "地址与此项查询不符" in said(answer)


def test_a_cursor_of_another_question_is_told(looked_at: Town) -> None:
    """The place of a release is none among keys."""
    browser = looked_at.browser(AUDITOR)
    (_, rows), *_ = _walk(browser, RELEASES, "next")
    size = looked_at.size
    for name in ("before", "after"):
        assert browser.get(f"{RELEASES}?size={size}&{name}={rows[0]}").status_code == 200
        answer = browser.get(f"/audit/keys?size={size}&{name}={rows[0]}")
        assert answer.status_code == 400
        assert "does not fit the question" in said(answer)


def test_a_consumer_sees_what_its_own_department_has_not_confirmed(looked_at: Town) -> None:
    """As by the API: of its own department, without links to entries; of another, or all, it is refused and audited."""
    browser = looked_at.browser(CHECKER)
    assert "/audit/unconfirmed?department=ny.minzheng" in browser.get("/records").text
    size = looked_at.size
    answer = browser.follow(browser.get("/audit/unconfirmed?department=ny.minzheng"))
    assert answer.status_code == 200
    assert _shown(answer.text)
    assert 'href="/audit/entries/' not in answer.text
    assert 'href="/audit/releases' not in answer.text
    assert browser.get("/audit/unconfirmed.csv?department=ny.minzheng").status_code == 200
    assert [one["query"] for one in looked_at.entries("audit_query", size)] == ["unconfirmed"] * 2
    for path in (
        *("/audit/unconfirmed", "/audit/unconfirmed?department=ny.renshe", "/audit/unconfirmed?foo=1"),
        *("/audit/releases?department=ny.minzheng", "/audit/releases.xlsx?department=ny.minzheng"),
    ):
        size = looked_at.size
        refused = browser.get(path)
        assert refused.status_code == 403, path
        assert [one["reasons"] for one in looked_at.entries("refusal", size)] == [["auditor_required"]], path


@pytest.mark.parametrize("what", ["releases", "grants", "openings"])
def test_a_file_is_what_the_command_line_writes(
    furnished: Site, runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: What
) -> None:
    """The same bytes as CSV, the same cells as xlsx, in Chinese: every filter, every portion; texts stay texts."""
    site = furnished.copy(tmp_path / "exchange")
    size = len(list(site.entries()))
    words = ("--department", "ny.minzheng", "--lang", "zh")
    for suffix in ("csv", "xlsx"):
        ran = site.run("audit", what, *words, "--out", str(tmp_path / f"table.{suffix}"), who=AUDITOR)
        assert ran.code == 0, ran.stderr
    monkeypatch.setattr(searching, "_PORTION", 1)
    monkeypatch.setattr(pages, "_CHUNK", 100)
    with opened(site, runner) as town:
        browser = town.browser(AUDITOR, "zh")
        table, book = (
            browser.get(f"/audit/{what}.{suffix}?department=ny.minzheng&size={size}") for suffix in ("csv", "xlsx")
        )
    assert table.content == (tmp_path / "table.csv").read_bytes()
    assert table.headers["content-disposition"] == f'attachment; filename="audit-{what}.csv"'
    rows = list(csv.reader(io.StringIO(table.content.decode("utf-8-sig"))))
    assert rows[0][:2] == ["序号", "时间"]
    assert len(rows) > 1
    assert _cells(io.BytesIO(book.content)) == _cells(tmp_path / "table.xlsx")


def _cells(file: Any) -> list[tuple[object, ...]]:
    (page,) = openpyxl.load_workbook(file).worksheets
    return list(page.iter_rows(values_only=True))


def test_too_many_for_one_file_is_told(looked_at: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the page, which offers none then, and at the file's address: never a part of what was asked for."""
    monkeypatch.setattr(searching, "MOST_TABLE", 2)
    monkeypatch.setattr(searching, "_PORTION", 2)
    monkeypatch.setattr(pages, "MOST_TABLE", 2)
    browser = looked_at.browser(AUDITOR)
    page = browser.follow(browser.get("/audit/keys"))
    assert "More than 2 found" in said(page)
    assert "exchange audit keys --out FILE" in said(page)
    assert "keys.csv" not in page.text
    refused = browser.get("/audit/keys.csv")
    assert refused.status_code == 400
    assert "more than 2 entries are found" in said(refused)


def test_a_page_stays_light_whatever_its_filters_would_offer(looked_at: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is too long is typed, the others are offered still."""
    answer = looked_at.browser(AUDITOR).get("/audit/releases?size=20")
    assert set(re.findall(r'<datalist id="of-(\w+)"', answer.text)) == {
        *("officer", "department", "dataset", "purpose", "case"),
    }
    cases = looked_at.exchange.control.model().cases
    more = {f"case-x{number}": cases["case-1"] for number in range(2_000)}
    for number, name in enumerate(more):
        more[name] = replace(more[name], id=name, title=f"{HOSTILE} {number}" * 9)
    model = replace(looked_at.exchange.control.model(), cases={**cases, **more})
    monkeypatch.setattr(looked_at.exchange.control, "model", lambda: model)
    heavy = looked_at.browser(AUDITOR).get("/audit/releases?size=20")
    assert len(heavy.content) < 100_000
    assert set(re.findall(r'<datalist id="of-(\w+)"', heavy.text)) == {"officer", "department", "dataset", "purpose"}


def test_what_entries_hold_is_text(looked_at: Town) -> None:
    """A case's title from outside stands among what the form offers, and does nothing."""
    answer = looked_at.browser(AUDITOR).get("/audit/openings?size=20")
    assert HOSTILE not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_an_entry_leads_to_what_it_rests_on(looked_at: Town) -> None:
    """Its decision, the agreement, where its policy was submitted; what it held back is told by position."""
    browser = looked_at.browser(AUDITOR)
    index = _known(looked_at, "releases")[0]
    _, body = looked_at.exchange.audit.entry(index)
    answer = browser.get(f"/audit/entries/{index}")
    (decision,) = re.findall(
        r'<dt>Decision <code>decision</code></dt><dd>\s*<a href="/audit/entries/(\d+)">', answer.text
    )
    assert looked_at.exchange.audit.entry(int(decision))[1]["id"] == body["decision"]
    assert f'<a href="/agreements/{body["agreement"]}">' in answer.text
    assert f'<a href="/datasets/{DATASET}">' in answer.text
    (revision,) = re.findall(r'<a href="/audit/entries/(\d+)"><code>' + re.escape(body["policy_revision"]), answer.text)
    kind, told = looked_at.exchange.audit.entry(int(revision))
    assert (kind, told["event"], told["revision"]) == ("policy_revision", "submitted", body["policy_revision"])
    assert f"({body['excluded_count'] + body['withheld']} positions)" in said(answer)
    named = set(re.findall(r"<dt>[^<]*<code>(\w+)</code></dt>", answer.text))
    assert named == {name for name, value in body.items() if value is not None and value != []}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_field_of_every_kind_has_a_name_for_people(language: str) -> None:
    """In both languages, none the bare name that programs use."""
    from exchange.audit.schemas import KINDS, kind_of
    from exchange.console.rendering import _Words

    words = _Words(language)  # type: ignore[arg-type]  # one of the two
    names = {name for kind in KINDS for name in kind_of(kind).checks}
    assert {name for name in names - {"kind"} if language == "zh" and words.entry_word(name).isascii()} == set()
    assert {name for name in names - {"kind"} if words.entry_word(name) == name and "_" in name} == set()


def _who(browser: Browser, **form: str) -> Any:
    browser.get("/who-saw")
    return browser.post("/who-saw", {"subject_type": "person", **form})


def test_who_saw_within_a_period(looked_at: Town) -> None:
    """Days of the site; what was typed stays in its field, except who was asked about."""
    browser = looked_at.browser(AUDITOR)
    assert _shown(_who(browser, subject=MEMBERS[0], **{"from": "2020-01-01"}).text)
    answer = _who(browser, subject=MEMBERS[0], until="2020-01-01")
    assert _shown(answer.text) == []
    assert 'name="until" value="2020-01-01"' in answer.text
    assert "No entry concerns this subject" in said(answer)
    assert MEMBERS[0] not in answer.text


@pytest.mark.parametrize(
    ("form", "place", "sentence"),
    [
        ({"from": "2026-01-02", "until": "2026-01-01"}, "until", "the end lies before the beginning"),
        ({"from": "01/02/2026"}, "from", "that is no date"),
        ({"subject": WRONG_CHECK}, "subject", "the last digit of this number does not fit"),
        ({"subject": ""}, "subject", "an identifier of 1 to 100 characters is needed"),
    ],
)
def test_what_who_saw_cannot_take_is_told_at_its_field(
    looked_at: Town, form: dict[str, str], place: str, sentence: str
) -> None:
    """400; no question is in the log, for none was asked."""
    size = looked_at.size
    answer = _who(looked_at.browser(AUDITOR), **{"subject": MEMBERS[0], **form})
    assert answer.status_code == 400
    assert sentence in said(answer)
    assert re.search(rf'name="{place}"[^>]*aria-describedby="wrong-{place}"', answer.text)
    assert WRONG_CHECK not in answer.text
    assert looked_at.entries("audit_query", size) == []


def test_a_number_with_a_wrong_check_digit_can_be_meant(looked_at: Town) -> None:
    """Records have such numbers: the page asks once more, then takes it, by its tag."""
    browser = looked_at.browser(AUDITOR)
    answer = _who(browser, subject=WRONG_CHECK)
    (tag,) = re.findall(r'name="tag" value="([0-9a-f]{32})"', answer.text)
    assert tag == looked_at.exchange.tags("person", [WRONG_CHECK])[0]
    assert browser.post("/who-saw", {"tag": tag}).status_code == 200


def test_the_answer_is_taken_away_as_evidence(town: Town, tmp_path: Path) -> None:
    """The judge that everybody has finds that it holds, from a kept checkpoint on; the question is in the log."""
    browser = town.browser(AUDITOR)
    kept = browser.get("/audit/checkpoint").content
    page = _who(browser, subject=MEMBERS[0])
    tag = town.exchange.tags("person", [MEMBERS[0]])[0]
    assert f'name="tag" value="{tag}"' in page.text
    size = town.size
    made = browser.post("/who-saw/bundle", {"tag": tag}, files={"kept": ("kept.txt", kept)})
    assert made.headers["content-type"] == "application/zip"
    file = tmp_path / "evidence.zip"
    file.write_bytes(made.content)
    result = check(str(file), None, [kept])
    assert result.ok, result.findings
    assert MEMBERS[0].encode() not in b"".join(
        zipfile.ZipFile(file).read(one) for one in zipfile.ZipFile(file).namelist()
    )
    assert [one["query"] for one in town.entries("audit_query", size)] == ["who_saw"]
    wrong = browser.post("/who-saw/bundle", {"tag": tag}, files={"kept": ("kept.txt", b"no checkpoint")})
    assert wrong.status_code == 400
    assert 'aria-describedby="wrong-kept"' in wrong.text


@pytest.mark.parametrize("words", [["department=%00"], ["case=a%0Ab"]])
def test_what_no_name_has_is_no_filter_of_the_api_either(looked_at: Town, words: Sequence[str]) -> None:
    """A NUL would be an error of the database's; 400 with the field."""
    headers = {"authorization": f"Bearer {looked_at.token(AUDITOR)}", "accept": "application/json"}
    answer = looked_at.stranger().get(f"/v1/audit/releases?{words[0]}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "search_filter_unusable")


def test_an_entry_shows_what_lies_beside_the_log(town: Town) -> None:
    """The parameters of a query, and until when they are kept; that they are gone too early, when they are; an entry
    that names no detail has no such place.
    """
    browser = town.browser(AUDITOR)
    desk = LocalDesk(town.exchange, town.exchange.control.model().principals[AUDITOR])
    desk.search("refusals", Sought(case="DB-77"), -1, 9)
    index = town.exchange.audit.size - 1
    page = browser.get(f"/audit/entries/{index}").text
    assert "DB-77" in page
    assert "Kept until" in page
    first = browser.get("/audit/entries/0").text
    assert "Kept until" not in first
    with town.exchange.database.begin() as connection:
        connection.execute(DETAILS.delete())
    assert "gone before its period was over" in browser.get(f"/audit/entries/{index}").text
