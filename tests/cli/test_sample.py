"""A sample site: made by one command, whole enough to play every part of it, and a sample for ever."""

import json
import os
import stat
from collections import Counter
from pathlib import Path

import pytest

from adapters.sample.truth import Truth
from exchange.cli.cast import AUDITOR, AUTHORITY, CASE, CHECKER, CLERK
from exchange.cli.sample import NAME
from tests import simulator
from tests.cli.test_no_ids import RECORDS, among
from tests.simulator import Ran, Site

pytestmark = [pytest.mark.demo, pytest.mark.slow]

PENSIONS = "hrss.pension_account"
VIEWS = (("steward.ny.renshe", "own.review"), (CLERK, "dibao.intake"), (CHECKER, "dibao.initial_check"))


class Sample(Site):
    """A sample site, its tokens inside of it."""

    @property
    def root(self) -> Path:
        """The site's folder is the folder."""
        return self.folder

    def must(self, *words: str, who: str) -> Ran:
        """A command that succeeds."""
        ran = self.run(*words, who=who)
        assert ran.code == 0, ran.stderr
        return ran


@pytest.fixture(scope="module")
def made_sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Made once by its command: look, do not touch."""
    folder = tmp_path_factory.mktemp("samples") / "sample"
    ran = simulator.run(["init", str(folder), "--sample", "--json"], {"LANG": "C.UTF-8", "PATH": os.environ["PATH"]})
    assert ran.code == 0, ran.stderr
    assert ran.json["sample"] is True
    assert "made up" in ran.stderr
    return Sample(folder)


@pytest.fixture
def sample(made_sample: Sample, tmp_path: Path) -> Sample:
    """One of this test's own."""
    return Sample(made_sample.copy(tmp_path / "sample").folder)


def test_it_says_that_it_is_one(made_sample: Sample) -> None:
    """In the log's name and so in every checkpoint, in the site's name, in `status` as data and as talk."""
    note = made_sample.must("audit", "checkpoint", who=AUDITOR).stdout
    assert note.startswith("sample.exchange.invalid/")
    status = made_sample.must("status", "--json", who=AUDITOR)
    assert status.json[0] == {"what": "sample", "name": NAME, "count": None}
    assert "样例" in NAME
    assert status.stderr == "this is a sample site: all data in it are made up, and it never becomes a real one\n"
    assert "样例" in made_sample.run("status", who=AUDITOR, more={"LANG": "zh_CN.UTF-8"}).stderr
    assert made_sample.run("audit", "verify").code == 0


def test_an_edit_makes_no_real_site_of_it(sample: Sample) -> None:
    """With another origin in its settings nothing opens it; without the mark, or with another name, it is one still."""
    file = sample.root / "exchange.toml"
    written = file.read_text("utf-8")
    file.write_text(written.replace('origin = "sample.', 'origin = "'), "utf-8")
    assert sample.run("status", who=AUDITOR).error_code == "origin_differs"
    plain = [line for line in written.splitlines() if not line.startswith(("#", "name"))]
    file.write_text("\n".join([*plain, 'name = "real"', ""]), "utf-8")
    assert sample.must("status", "--json", who=AUDITOR).json[0]["what"] == "sample"


def test_everybody_has_a_token_of_the_owner_alone(made_sample: Sample) -> None:
    """A file of mode 0600 each, in a folder of mode 0700, and each is worth something."""
    tokens = made_sample.root / "tokens"
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o700
    files = sorted(tokens.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    people = made_sample.must("principal", "list", "--json", who=AUTHORITY).json
    assert [file.name for file in files] == sorted(f"{one['id']}.token" for one in people)
    stewards = Counter(one["department"] for one in people if one["roles"] == ["steward"])
    assert set(stewards.values()) == {2}
    assert {role for one in people for role in one["roles"]} == {
        *("steward", "department_system", "auditor", "operator", "sharing_authority")
    }
    for one in people:
        assert made_sample.run("dataset", "list", who=one["id"]).code == 0


def test_there_is_something_at_every_stage(made_sample: Sample) -> None:
    """Agreements, policies, cases, dead letters, releases, refusals: what a page may show, there is one of."""
    agreements = Counter(one["status"] for one in made_sample.must("agreement", "list", "--json", who=AUTHORITY).json)
    assert agreements == {
        "active": 10,
        **dict.fromkeys(("requested", "endorsed", "returned", "rejected", "revoked"), 1),
    }
    policies = {one["status"]: one for one in made_sample.must("policy", "list", "--json", who=AUTHORITY).json}
    assert set(policies) == {"active", "submitted"}
    cases = Counter(one["status"] for one in made_sample.must("case", "list", "--json", who=AUDITOR).json)
    assert cases == {"open": 3, "closed": 1}
    refused = [body["reasons"][0] for _, _, body in made_sample.entries("refusal")]
    assert refused == [
        *("not_in_case", "no_agreement", "case_required", "case_closed", "revoked", "wrong_action"),
        *("role_missing", "auditor_required"),
    ]
    recipients = Counter(body["recipient"] for _, _, body in made_sample.entries("release"))
    assert recipients == {"ny.minzheng": 8, "ny.wanjing": 2, "ny.renshe": 1}
    assert len(made_sample.entries("audit_query")) == 1


def test_the_figures_are_the_generators(made_sample: Sample) -> None:
    """Each dataset holds what is good in its file, dead letters the rest; the correction is left over."""
    truth = Truth.load(made_sample.root / "departments" / "truth.json")
    rows = made_sample.must("status", "--json", who=AUDITOR).json
    counts = {(row["what"], row["name"]): row["count"] for row in rows}
    for name, file in truth.files.items():
        if not name.endswith("-correction.csv"):
            assert counts[("records", file.dataset)] == file.good, name
            assert counts[("dead letters", file.dataset)] == sum(file.rejected.values()), name
    correction = next(name for name in truth.files if name.endswith("-correction.csv"))
    assert (made_sample.root / "departments" / correction).is_file()


def test_review_and_approval_work_at_once(sample: Sample) -> None:
    """The waiting request is reviewed, the reviewed one approved, the draft policy activated, by those who may."""
    stages = {one["status"]: one["id"] for one in sample.must("agreement", "list", "--json", who=AUTHORITY).json}
    sample.must("agreement", "review", stages["requested"], "--endorse", "--note", "x", who="deputy.ny.renshe")
    sample.must("agreement", "approve", stages["requested"], stages["endorsed"], who=f"deputy.{AUTHORITY[10:]}")
    asked = ("--purpose", "dibao.recheck", "--case", CASE)
    assert len(sample.must("read", PENSIONS, *asked, who=CHECKER).records) == 2
    policies = sample.must("policy", "list", "--json", who=AUTHORITY).json
    draft = next(one["revision"] for one in policies if one["status"] == "submitted")
    assert sample.run("policy", "approve", draft, who="deputy.ny.minzheng").error_code == "same_person"
    sample.must("policy", "approve", draft, who="steward.ny.minzheng")
    assert len(sample.must("read", PENSIONS, *asked, who=CHECKER).records) == 2


def test_a_departments_own_review_takes_its_two_stewards(sample: Sample) -> None:
    """What a steward asks of the own department's data another steward of it reviews, and never the same one."""
    own = next(one for one in sample.must("agreement", "list", "--json", who=AUTHORITY).json if one["id"] == "agr-8")
    shown = sample.must("agreement", "show", own["id"], "--json", who=AUTHORITY).json
    terms = {key: value for key, value in shown["terms"].items() if key != "schema"}
    file = sample.folder / "again.json"
    file.write_text(json.dumps(terms), "utf-8")
    made = sample.must("agreement", "request", str(file), "--json", who="steward.ny.renshe").json[0]["about"]
    review = ("agreement", "review", made, "--endorse", "--note", "x")
    assert sample.run(*review, who="steward.ny.renshe").error_code == "same_person"
    sample.must(*review, who="deputy.ny.renshe")
    sample.must("agreement", "approve", made, who=AUTHORITY)


def test_three_see_the_same_records_each_in_their_own_way(sample: Sample) -> None:
    """The provider all but the bank account's digits, the checker what the check needs, the clerk verdicts."""
    provider, clerk, checker = (
        sample.must("read", PENSIONS, "--purpose", purpose, "--case", CASE, who=who).records for who, purpose in VIEWS
    )
    assert len(provider) == len(clerk) == len(checker) == 2
    for whole, verdict, checked in zip(provider, clerk, checker, strict=True):
        assert verdict["person_id"] == f"{whole['person_id'][:6]}********{whole['person_id'][-4:]}"
        assert verdict["monthly_benefit_fen"] is (whole["monthly_benefit_fen"] < 56_000)
        assert set(verdict) == {"person_id", "monthly_benefit_fen"}
        assert checked == {name: whole[name] for name in checked}
        assert set(checked) < set(whole)
        assert set(whole["bank_account"][:-4]) == {"*"}


def test_no_id_lies_beside_the_records(made_sample: Sample) -> None:
    """Not in events, entries, index, ledgers, tokens or settings; the departments' own files are not the exchange's."""
    truth = Truth.load(made_sample.root / "departments" / "truth.json")
    ids = frozenset({one.person_id for one in truth.planted} | {one.household_id for one in truth.planted})
    files = [file for file in made_sample.root.rglob("*") if file.is_file() and "departments" not in file.parts]
    assert len(files) > 50
    for file in files:
        found = among(file.read_bytes().decode("latin-1"), ids)
        assert bool(found) == (file.name in RECORDS), file


@pytest.mark.parametrize("option", ["--name", "--origin", "--department", "--principal", "--token-out"])
def test_what_describes_a_real_site_does_not_describe_a_sample(tmp_path: Path, option: str) -> None:
    """Said, and nothing made."""
    ran = simulator.run(["init", str(tmp_path / "x"), "--sample", option, "x"], {"LANG": "C.UTF-8"})
    assert (ran.code, ran.error_code) == (2, "command_line")
    assert option in ran.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    """As with every site."""
    (tmp_path / "file").write_text("x", "utf-8")
    ran = simulator.run(["init", str(tmp_path), "--sample"], {"LANG": "C.UTF-8"})
    assert (ran.code, ran.error_code) == (2, "site_exists")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
