"""`read` and `lookup`: where the records go, from which position, and what a refusal leaves (nothing)."""

import csv
import io
import json
from pathlib import Path

import fastavro
import pytest

from tests.simulator import ASKED, BANK, CHECKER, DATASET, MEMBERS, NEIGHBOUR, PROVIDER, Site, row

IDS = "\n".join(MEMBERS)


@pytest.mark.parametrize("words", [["read"], ["lookup"]])
def test_the_three_forms_hold_the_same_records(site: Site, words: list[str]) -> None:
    """JSON lines, CSV and Avro of one view say the same; the bank account shows its last four digits only."""
    asked = [*words, DATASET, *ASKED, "--format"]
    lines, table, avro = (site.run(*asked, form, who=CHECKER, stdin=IDS) for form in ("jsonl", "csv", "avro"))
    assert sorted(one["person_id"] for one in lines.records) == sorted(MEMBERS)
    assert list(fastavro.reader(io.BytesIO(avro.out))) == lines.records
    told = list(csv.DictReader(io.StringIO(table.out.decode("utf-8-sig"))))
    assert [one["person_id"] for one in told] == [one["person_id"] for one in lines.records]
    assert {one["bank_account"] for one in lines.records} == {"*" * (len(BANK) - 4) + BANK[-4:]}


def test_a_file_appears_whole_and_is_its_owners_alone(site: Site) -> None:
    """`--out` holds what standard output would have; the sum is said; nothing else is left in its folder."""
    folder = site.folder / "out"
    folder.mkdir()
    ran = site.read("--out", str(folder / "view.jsonl"))
    assert (ran.code, ran.out) == (0, b"")
    assert ran.stderr.startswith("2 records in 1 releases")
    assert (folder / "view.jsonl").read_bytes() == site.read().out
    assert [(one.name, one.stat().st_mode & 0o777) for one in folder.iterdir()] == [("view.jsonl", 0o600)]


@pytest.mark.parametrize(
    ("words", "stdin", "code"),
    [
        (["read", DATASET, "--purpose", "supervise"], "", "question_refused"),
        (["read", DATASET, "--purpose", "dibao.initial_check"], "", "question_refused"),
        (["read", DATASET, *ASKED, "--field", "employer_uscc"], "", "question_refused"),
        (["lookup", DATASET, *ASKED], NEIGHBOUR, "question_refused"),
        (["lookup", DATASET, *ASKED], "", "ids_missing"),
        (["read", DATASET, *ASKED, "--from", "0:999"], "", "position_unknown"),
        (["read", DATASET, *ASKED, "--from", "7:1"], "", "position_unknown"),
        (["read", DATASET, *ASKED, "--from", "0:99999999999999999999"], "", "position_unknown"),
        (["read", DATASET, *ASKED, "--from", "one"], "", "command_line"),
        (["read", DATASET, *ASKED, "--from", "0:-1"], "", "command_line"),
        (["read", DATASET, *ASKED, "--from", "0:1", "--from", "0:2"], "", "command_line"),
        (["read", DATASET, "--purpose", "no.such.purpose", "--case", "case-1"], "", "question_refused"),
        (["read", DATASET, "--purpose", "Not A Purpose"], "", "name_malformed"),
        (["read", DATASET, "--purpose", "dibao.initial_check", "--case", "case-77"], "", "question_refused"),
        (["read", "no.such", "--purpose", "supervise"], "", "unknown_dataset"),
    ],
)
def test_what_is_refused_writes_no_file_and_leaves_none_behind(
    site: Site, words: list[str], stdin: str, code: str
) -> None:
    """No output, no half of one, an older file as it was, and no release in the audit log."""
    folder = site.folder / "out"
    folder.mkdir()
    older = folder / "older.jsonl"
    older.write_bytes(b"older")
    out = older if len(words) % 2 else folder / "view.jsonl"
    ran = site.run(*words, "--out", str(out), who=CHECKER, stdin=stdin)
    assert (ran.error_code, ran.out, list(folder.iterdir())) == (code, b"", [older]), ran.stderr
    assert older.read_bytes() == b"older"
    assert site.entries("release") == []


def test_where_no_file_can_be_written_nothing_is_released(site: Site) -> None:
    """The folder is looked at before the question is asked."""
    for words in (["read", DATASET, *ASKED], ["lookup", DATASET, *ASKED]):
        ran = site.run(*words, "--out", str(site.folder / "no" / "view"), who=CHECKER, stdin=IDS)
        assert (ran.code, ran.error_code) == (2, "file_unwritable")
    assert site.entries("release") == []


def test_reading_goes_on_from_where_the_last_release_ended(site: Site) -> None:
    """`--from` takes the `next_position` of the release before; then only what is new comes."""
    told = json.loads(site.read("--json").err)["releases"][-1]
    place = f"{told['partition']}:{told['next_position']}"
    assert site.read("--from", place).out == b""
    more = site.rows([row(MEMBERS[0], 99_900)], "more.csv")
    site.publish(more)
    ran = site.read("--from", place)
    assert [one["monthly_benefit_fen"] for one in ran.records] == [99_900]


def test_a_field_can_be_asked_for_by_name(site: Site) -> None:
    """Exactly the named fields come, in the dataset's order."""
    ran = site.read("--field", "status", "--field", "person_id")
    assert {tuple(one) for one in ran.records} == {("person_id", "status")}


def test_a_lookup_takes_ids_from_a_file_or_standard_input(site: Site) -> None:
    """One a line, BOM and blank lines aside, written as people write them; each way the same answer."""
    file = site.folder / "ids"
    file.write_text("\ufeff" + "\n\n".join([MEMBERS[0].lower(), f" {MEMBERS[1]} "]), "utf-8")
    words = ["lookup", DATASET, *ASKED]
    by_file = site.run(*words, "--ids-file", str(file), who=CHECKER)
    by_dash = site.run(*words, "--ids-file", "-", who=CHECKER, stdin=IDS)
    by_stdin = site.run(*words, who=CHECKER, stdin=IDS.replace("\n", "\r\n"))
    assert by_file.out == by_dash.out == by_stdin.out
    assert len(by_file.records) == 2


@pytest.mark.parametrize("ids", ["\n".join([MEMBERS[0]] * 10_001), " \n\n", "x" * (16 << 20) + "y"])
def test_no_ids_or_too_many_are_refused(site: Site, ids: str) -> None:
    """Between one id and ten thousand, in at most 16 MiB; nothing is taken of a list cut off."""
    ran = site.run("lookup", DATASET, *ASKED, who=CHECKER, stdin=ids)
    assert ran.code == 2
    assert ran.error_code in {"ids_missing", "file_unreadable"}


def test_ids_that_are_no_utf8_are_refused(site: Site, tmp_path: Path) -> None:
    """Neither a traceback nor a guess."""
    (tmp_path / "ids").write_bytes("身份证".encode("gb18030"))
    words = ["lookup", DATASET, *ASKED]
    for ran in (
        site.run(*words, who=CHECKER, stdin=b"\xff\xfe1"),
        site.run(*words, "--ids-file", str(tmp_path / "ids"), who=CHECKER),
        site.run(*words, "--ids-file", str(tmp_path), who=CHECKER),
        site.run(*words, "--ids-file", "no\0file", who=CHECKER),
    ):
        assert (ran.code, ran.error_code) == (2, "file_unreadable")


def test_only_its_own_agreement_opens_a_dataset(site: Site) -> None:
    """The provider, without an agreement, may not even read its own records through the exchange."""
    refused = site.run("read", DATASET, *ASKED, "--json", who=PROVIDER)
    assert (refused.code, refused.out) == (1, b"") or refused.code == 2
    assert site.entries("release") == []
