"""What auditors ask, and what is wrong with it: each with its exact answer in both languages.

Of nine kinds the first four, by the command line; the others: `test_auditors_files.py`. Over HTTP: `tests/api`.
"""

import csv
import io
import tracemalloc
from typing import Any

import pytest

from exchange.audit.entries import Entry, make
from exchange.cli import searching
from exchange.evidence.check import check
from tests.audit.building import release
from tests.cli.auditors import LANGUAGES, NOBODY, SLIP, nobody, told_by
from tests.simulator import AUDITOR, MEMBERS, Site


@pytest.fixture(scope="module", name="town")
def _town(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site that these tests ask and never publish to."""
    return made.copy(tmp_path_factory.mktemp("auditors") / "exchange")


# 1: a subject that does not exist


def test_a_subject_that_does_not_exist_is_an_empty_answer(town: Site) -> None:
    """No error, nothing said, and one entry like that of somebody who has records and whom nobody saw."""
    ran = [town.run("audit", "who-saw", "--json", who=AUDITOR, stdin=one) for one in (nobody(2), MEMBERS[0])]
    assert [(one.code, one.out, one.err) for one in ran] == [(0, b"[]\n", b"")] * 2
    assert [one.out for one in (town.run("audit", "who-saw", who=AUDITOR, stdin=nobody(3)),)] == [b""]
    asked = [body for _, _, body in town.entries("audit_query")][-3:]
    own = ("id", "time_ns", "tags", "size")
    assert len({str({name: value for name, value in one.items() if name not in own}) for one in asked}) == 1


@pytest.mark.whole
def test_that_nobody_saw_a_subject_that_does_not_exist_is_proved(town: Site) -> None:
    """Its bundle proves the empty answer complete; in what it proves and covers it is like that of a subject with
    records: the same words, the same numbers but those of entries that are asked meanwhile.
    """
    results = []
    for person in (nobody(4), MEMBERS[1]):
        out = town.folder / "nobody.zip"
        assert town.run("audit", "bundle", str(out), who=AUDITOR, stdin=person).code == 0
        results.append(check(str(out), (town.root / "keys" / "audit.vkey").read_text()))
    for one in results:
        assert (one.findings, one.answer) == ([], [])
        assert one.proved["complete"] == one.question["size"]
    first, second = ((set(one.proved), set(one.unproved), set(one.covered), one.covered["records"]) for one in results)
    assert first == second


# 2: an id with a wrong check digit

CHECK_DIGIT = {
    "zh": (
        "所给的第 2 个编号校验码不符（GB 11643），未作查询 | "
        "→ 请核对录入；若记录中确为如此，请加“--as-written”查询（HTTP 为 as_written）"
    ),
    "en": (
        "id number 2 of those given has a wrong check digit (GB 11643): nothing was asked | "
        "→ check how it was typed; if the records have it so, ask with `--as-written` (over HTTP `as_written`)"
    ),
}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("words", [("who-saw",), ("bundle", "/dev/null/no.zip")])
def test_a_wrong_check_digit_is_refused_with_the_rule(town: Site, words: tuple[str, ...], lang: str) -> None:
    """By its place among those given, in whatever form it was typed; the id is never shown, and nothing was asked."""
    before = len(town.entries())
    for slip in (SLIP, f" {SLIP} ", "".join(chr(0xFEE0 + ord(one)) for one in SLIP)):
        ran = town.run("audit", *words, "--lang", lang, who=AUDITOR, stdin=f"{NOBODY}\n{slip}\n")
        assert told_by(ran, 2, "subject_id_check_digit") == CHECK_DIGIT[lang]
        assert SLIP not in ran.stderr
    assert len(town.entries()) == before
    ran = town.run("audit", "who-saw", "--as-written", "--json", who=AUDITOR, stdin=SLIP)
    assert (ran.code, {one["kind"] for one in ran.json} - {"audit_query"}) == (0, set())


@pytest.mark.whole
def test_what_is_no_id_of_eighteen_places_is_asked_for_as_it_is(town: Site) -> None:
    """A passport, the old fifteen digits, another type of subject: no rule of ours says what its last place is."""
    for words, typed in (((), "E12345678"), ((), "110101900307005"), (("--subject-type", "household"), SLIP)):
        assert town.run("audit", "who-saw", *words, "--json", who=AUDITOR, stdin=typed).out == b"[]\n"


# 3: a range that ends before it begins

RANGE = {
    "zh": "--until：2026-01-01 超出范围，须为 > 2026-01-02 | → 请给出先后正确的时段，并减少每次查询的条数",
    "en": (
        "--until: 2026-01-01 is out of range; it must be > 2026-01-02 | "
        "→ give a period that ends after it begins, and ask for fewer at once"
    ),
}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    "words",
    [("who-saw",), ("releases",), ("keys", "--bundle", "/dev/null/x.zip"), ("keys", "--out", "/dev/null/x.csv")],
)
def test_a_range_that_ends_before_it_begins(town: Site, words: tuple[str, ...], lang: str) -> None:
    """Told in the words in which it was given, and nothing was asked; when it begins is no range either."""
    before = len(town.entries())
    period = ("--from", "2026-01-02", "--until", "2026-01-01")
    ran = town.run("audit", *words, *period, "--lang", lang, who=AUDITOR, stdin=NOBODY)
    assert told_by(ran, 2, "search_range") == RANGE[lang]
    same = ("--from", "2026-01-02T10:00:00", "--until", "2026-01-02T10:00:00")
    assert town.run("audit", *words, *same, who=AUDITOR, stdin=NOBODY).error_code == "search_range"
    assert len(town.entries()) == before


# 4: very many results


def _grown(site: Site, count: int) -> None:
    """So many releases more in the log, by its own sequencer."""
    with site.opened() as exchange:
        entries: list[Entry] = []
        for number in range(count):
            body = {name: value for name, value in release(number).body.items() if name not in ("id", "time_ns")}
            entries.append(make("release", exchange.random_bytes(16), exchange.now_ns(), **body))
        exchange.audit.submit(entries)
        exchange.audit.wait(entries[-1].id)


@pytest.mark.whole
def test_very_many_results_are_written_as_they_come(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a million: 400 results in pages of 20. All are in the table, none is kept in memory (ten times as
    many cost hardly more), each page is asked for where the last one ended, and a terminal shows a bar.
    """
    monkeypatch.setattr(searching, "_PAGE", 20)
    _grown(site, 400)
    out, peaks = site.folder / "all.csv", []
    for limit in ("20", "40", "400"):
        tracemalloc.start()
        assert site.run("audit", "releases", "--limit", limit, "--out", str(out), who=AUDITOR).code == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 350_000  # bytes; a row kept for each would be twice that. The first run loads modules
    before = len(site.entries("audit_query"))
    ran = site.run("audit", "releases", "--json", "--out", str(out), who=AUDITOR)
    rows = list(csv.reader(io.StringIO(out.read_text("utf-8-sig"))))[1:]
    indexes = [int(row[0]) for row in rows]
    assert indexes == [index for index, _, _ in site.entries("release")]
    assert (ran.json["rows"], ran.json["last"], len(rows)) == (400, indexes[-1], 400)
    assert len(site.entries("audit_query")) - before == 400 // 20 + 1
    shown: list[int] = []
    monkeypatch.setattr("exchange.cli.terminal.Progress.to", lambda _, done: shown.append(done))
    assert site.run("audit", "releases", "--limit", "30", "--out", str(out), who=AUDITOR).code == 0
    assert shown == list(range(1, 31))


TOO_MANY = {
    "zh": (
        "answer：条目数 > 10000 超出一个证据包的上限（10000） | "
        "→ 请缩短时段（--from、--until）或收窄条件，分成几个证据包"
    ),
    "en": (
        "answer: > 10000 entries are more than one bundle holds (at most 10000) | "
        "→ ask about a shorter period (--from, --until), or narrow the question; make several bundles"
    ),
}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_bundle_says_how_many_it_holds(town: Site, monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    """Its limit is stated, and what is beyond it is not left out silently."""

    class Index:
        """One that finds one entry more than the limit, for a log of that size takes minutes to build."""

        def find(self, _: Any, after: int, most: int) -> dict[int, Any]:
            return {index: {} for index in range(after + 1, min(after + 1 + most, 10_001))}

    monkeypatch.setattr("exchange.wiring.exchange.Exchange.followed", lambda _: Index())
    ran = town.run("audit", "releases", "--bundle", str(town.folder / "b"), "--lang", lang, who=AUDITOR)
    assert told_by(ran, 2, "bundle_too_large") == TOO_MANY[lang]
