"""What auditors search the log for, on a terminal and into tables."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import openpyxl
import pytest

from exchange.cli.searching import WHATS
from exchange.wiring.searching import WHATS as KNOWN
from exchange.wiring.searching import columns
from tests.simulator import AUDITOR, CASE, CHECKER, CONSUMER, DATASET, PROVIDER, PURPOSE, Site

RELEASED = ("--dataset", DATASET, "--purpose", PURPOSE, "--case", CASE)


def _found(site: Site, what: str, *words: str, who: str = AUDITOR) -> list[dict[str, Any]]:
    ran = site.run("audit", what, "--json", *words, who=who)
    assert ran.code == 0, ran.stderr
    found: list[dict[str, Any]] = ran.json
    return found


@pytest.fixture(name="read")
def _read(site: Site) -> Site:
    """A site with two releases and a refusal more than it began with."""
    assert site.read().code == site.read("--ack").code == 0
    assert site.read(who=PROVIDER).error_code == "question_refused"
    return site


def test_every_entry_of_a_kind_is_found_once(read: Site) -> None:
    """What is found is what a scan of the log finds; the list of kinds is one and the same."""
    assert WHATS == KNOWN
    kinds = {"releases": "release", "refusals": "refusal", "policy": "policy_revision", "keys": "key"}
    for what, kind in kinds.items():
        assert [one["index"] for one in _found(read, what)] == [index for index, _, _ in read.entries(kind)], what
        assert all(one.keys() == set(columns(what)) for one in _found(read, what))  # type: ignore[arg-type]  # a What
    controls = read.entries("control")
    for what, begin in (("grants", "agreement/"), ("openings", "case/")):
        wanted = [index for index, _, body in controls if body["aggregate"].startswith(begin)]
        assert [one["index"] for one in _found(read, what)] == wanted
    queries = [index for index, _, _ in read.entries("audit_query")]
    assert [one["index"] for one in _found(read, "queries")] == queries


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ((), 2),
        (RELEASED, 2),
        (("--officer", CHECKER), 2),
        (("--officer", PROVIDER), 0),
        (("--department", "ny.minzheng"), 2),
        (("--department", "ny.renshe"), 0),
        (("--field", "person_id"), 2),
        (("--field", "no.such"), 0),
        (("--dataset", "x.other"), 0),
        (("--case", "case-7"), 0),
        (("--purpose", "supervise"), 0),
        (("--from", "2020-01-01"), 2),
        (("--until", "2020-01-01"), 0),
        (("--from", "2020-01-01T10:00:00+08:00", "--until", "2999-12-31"), 2),
        (("--limit", "1"), 1),
    ],
)
def test_each_filter_narrows(read: Site, words: Sequence[str], count: int) -> None:
    """By who acted, whom it concerns, what was shown, what for, and when."""
    assert len(_found(read, "releases", *words)) == count


def test_a_grant_says_whose_it_is(read: Site) -> None:
    """Every step of an agreement is found by its parties, whoever made it."""
    rows = _found(read, "grants", "--department", "ny.minzheng", "--dataset", DATASET, "--purpose", PURPOSE)
    assert [one["type"] for one in rows] == [
        "agreement.requested/1", "agreement.endorsed/1", "agreement.approved/1",
    ]  # fmt: skip
    assert {(one["consumer"], one["dataset"], one["agreement"]) for one in rows} == {("ny.minzheng", DATASET, "agr-1")}


def test_what_nobody_confirmed_is_listed(read: Site) -> None:
    """One of two releases; its recipient may ask for its own, and for no others."""
    released = [index for index, _, _ in read.entries("release")]
    acked = [body["index"] for _, _, body in read.entries("ack")]
    assert len(acked) == 1
    wanted = [index for index in released if index not in acked]
    assert [one["index"] for one in _found(read, "unconfirmed")] == wanted
    own = _found(read, "unconfirmed", "--department", "ny.minzheng", who=CHECKER)
    assert [one["index"] for one in own] == wanted
    assert (
        read.run("audit", "unconfirmed", "--department", "ny.minzheng", who=PROVIDER).error_code == "auditor_required"
    )


def test_searching_goes_on_where_it_was(read: Site) -> None:
    """`--after` is the last index that was seen; pages follow one another without a gap."""
    rows: list[dict[str, Any]] = []
    while page := _found(read, "grants", "--limit", "1", "--after", str(rows[-1]["index"] if rows else -1)):
        rows += page
    assert rows == _found(read, "grants")


@pytest.mark.parametrize(("lang", "header"), [("zh", "接收部门"), ("en", "recipient")])
def test_a_table_reads_as_it_is_meant(read: Site, lang: str, header: str) -> None:
    """CSV with a byte order mark and xlsx, headers in the reader's language, every row, numbers as numbers."""
    wanted = _found(read, "releases")
    for suffix in ("csv", "xlsx"):
        file = read.folder / f"table.{suffix}"
        ran = read.run("audit", "releases", "--out", str(file), "--lang", lang, who=AUDITOR)
        assert ran.code == 0, ran.stderr
        if suffix == "csv":
            assert file.read_bytes().startswith(b"\xef\xbb\xbf")
            rows: list[list[Any]] = list(csv.reader(io.StringIO(file.read_text("utf-8-sig"))))
        else:
            (page,) = openpyxl.load_workbook(file).worksheets
            rows = [list(row) for row in page.iter_rows(values_only=True)]
        assert header in rows[0]
        assert len(rows) == len(wanted) + 1
        assert [int(row[0]) for row in rows[1:]] == [one["index"] for one in wanted]
        assert rows[1][rows[0].index(header)] == "ny.minzheng"


def test_a_cell_is_never_worked_out(site: Site) -> None:
    """What would be a formula is shown as text, in both forms."""
    from exchange.cli.sheets import sheet

    for name in ("a.csv", "a.xlsx"):
        with sheet(site.folder / name, ["=1+1"], "x") as write:
            write(["=1+1"])
            write(["@x"])
    assert (site.folder / "a.csv").read_text("utf-8-sig").splitlines() == ["'=1+1", "'=1+1", "'@x"]
    (page,) = openpyxl.load_workbook(site.folder / "a.xlsx").worksheets
    assert [(cell.value, cell.data_type) for (cell,) in page.iter_rows()] == [("=1+1", "s"), ("=1+1", "s"), ("@x", "s")]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--from", "yesterday"), "command_line"),
        (("--until", "2026-13-01"), "command_line"),
        (("--from", "2026-01-02", "--until", "2026-01-01"), "search_range"),
        (("--out", "{folder}/x.doc"), "sheet_suffix"),
        (("--out", "{folder}/no/x.csv"), "file_unwritable"),
    ],
)
def test_what_cannot_be_asked_is_told(site: Site, words: Sequence[str], code: str) -> None:
    """Times that are none or the wrong way round, files that cannot be written; an empty answer is an answer."""
    given = [word.format(folder=site.folder) for word in words]
    assert site.run("audit", "releases", *given, who=AUDITOR).error_code == code
    assert site.run("audit", "releases", who=CONSUMER).error_code == "auditor_required"
    assert _found(site, "releases", "--dataset", "nothing.such") == []


def test_who_saw_within_a_period(read: Site) -> None:
    """`--from` and `--until` bound who-saw, too."""
    from tests.simulator import MEMBERS

    words = ("audit", "who-saw", "--json")
    everything = read.run(*words, who=AUDITOR, stdin=MEMBERS[0]).json
    assert everything
    assert read.run(*words, "--until", "2020-01-01", who=AUDITOR, stdin=MEMBERS[0]).json == []
    wrong = read.run(*words, "--from", "2026-01-02", "--until", "2026-01-01", who=AUDITOR, stdin=MEMBERS[0])
    assert wrong.error_code == "search_range"
