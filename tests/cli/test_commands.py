"""Every command does what its help says, for somebody who may, and is refused to somebody who may not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from exchange.cli.main import parser
from exchange.cli.searching import WHATS
from tests.cli.test_main import leaves
from tests.simulator import (
    ADAPTER,
    AGREEMENT,
    ASKED,
    AUDITOR,
    AUTHORITY,
    CASE,
    CHECKER,
    CONSUMER,
    DATASET,
    MEMBERS,
    NEIGHBOUR,
    PERSONS,
    PROVIDER,
    SYSTEM,
    Ran,
    Site,
    row,
    terms,
)

# The fewest words with which each command of a site can be given.
WORDS = {
    "status": "",
    "register": "{folder}/register.json",
    "department add": "d --zh z --en e --region 43",
    "department list": "",
    "principal add": "p.q --department d --role steward",
    "principal roles": "p.q --role steward",
    "principal suspend": "p.q --reason r",
    "principal list": "",
    "token issue": "p.q",
    "token revoke": "0123456789abcdef",
    "token list": "",
    "dataset submit": "{site}/schemas/ny.renshe/hrss.pension_account",
    "dataset list": "",
    "dataset show": DATASET,
    "case open": "case-9 --title t",
    "case members": CASE,
    "case close": f"{CASE} --reason r",
    "case list": "",
    "publish": "{folder}/pension.toml {folder}/pension.csv",
    "dead-letters": DATASET,
    "intake open": f"{DATASET} --user u",
    "intake close": DATASET,
    "intake run": "",
    "policy test": "",
    "policy submit": "",
    "policy approve": "sha256:" + "0" * 64,
    "policy withdraw": "--reason r",
    "policy list": "",
    "dataset withheld": DATASET,
    "agreement request": "{folder}/terms.json",
    "agreement review": f"{AGREEMENT} --endorse --note n",
    "agreement approve": AGREEMENT,
    "agreement reject": f"{AGREEMENT} --reason r",
    "agreement revoke": f"{AGREEMENT} --reason r",
    "agreement expire": "",
    "agreement list": "",
    "agreement show": AGREEMENT,
    "read": f"{DATASET} --purpose p",
    "lookup": f"{DATASET} --purpose p",
    "ack": "0",
    "explain": f"{DATASET} --purpose p",
    "audit who-saw": "",
    **{f"audit {what}": "" for what in WHATS},
    "audit seal": "",
    "audit detail": "0",
    "audit expire": "",
    "audit checkpoint": "",
    "audit entry": "0",
    "audit proof": "0",
    "audit bundle": "{folder}/bundle.zip",
    "audit trust-sheet": "",
}
NO_TOKEN = {
    *(
        "init",
        "view",
        "audit verify",
        "audit export",
        "audit lesson",
        "errors",
        "completion",
        "demo",
        "docs",
        "serve",
        "sequence",
        "try",
    ),
    # Whoever may read the site's files needs none.
    *("backup", "restore", "export", "import", "db upgrade", "doctor", "config show", "policy opa-config"),
}


def done(ran: Ran) -> Any:
    """The answer of a command that ended well."""
    assert ran.code == 0, ran.stderr
    return ran.json if ran.out else None


def test_no_command_of_a_site_works_without_a_token(site: Site) -> None:
    """All but a few commands ask who works; without a token nothing is done and nothing shown."""
    assert {" ".join(path) for path, _ in leaves(parser("en"))} == set(WORDS) | NO_TOKEN
    before = len(site.entries())
    for name, words in WORDS.items():
        given = words.format(folder=site.folder, site=site.root).split()
        ran = site.run(*name.split(), *given, stdin=NEIGHBOUR)
        assert (ran.code, ran.error_code, ran.out) == (2, "token_missing", b""), name
    assert len(site.entries()) == before


def test_departments_join(site: Site) -> None:
    """`department add` makes a seal key for one that has none; only the authority may; `list` shows it."""
    words = ["department", "add", "ny.caizheng", "--zh", "财政局", "--en", "Finance", "--region", "431126"]
    assert done(site.run(*words, "--json", who=AUTHORITY))[0]["events"] == ["department.added/1"]
    assert (site.root / "keys" / "seal-ny.caizheng.key").stat().st_mode & 0o777 == 0o600
    rows = done(site.run("department", "list", "--json", who=AUDITOR))
    assert next(one for one in rows if one["id"] == "ny.caizheng")["title_zh"] == "财政局"
    assert site.run(*words, who=AUTHORITY).error_code == "already_exists"
    refused = site.run("department", "add", "ny.x", *words[3:], who=CONSUMER)
    assert (refused.code, refused.error_code) == (1, "role_missing")


def test_a_department_may_bring_its_own_seal_key(site: Site) -> None:
    """With `--seal-key` the exchange makes none for it."""
    words = ["department", "add", "ny.own", "--zh", "自", "--en", "Own", "--region", "431126", "--json"]
    assert site.run(*words, "--seal-key", "zz", who=AUTHORITY).code == 2
    done(site.run(*words, "--seal-key", "ab" * 32, "--line-parent", "ny.renshe", who=AUTHORITY))
    assert not (site.root / "keys" / "seal-ny.own.key").exists()


def test_accounts_come_change_and_end(site: Site) -> None:
    """`principal add`, `roles`, `suspend`, `list`: a suspended account's token opens nothing."""
    words = ["new.ny.renshe", "--department", "ny.renshe", "--role", "steward", "--json"]
    done(site.run("principal", "add", *words, who=AUTHORITY))
    token = done(site.run("token", "issue", "new.ny.renshe", "--json", who=AUTHORITY))["token"]
    assert site.run("status", "--token", "env:T", more={"T": token}).code == 0
    done(site.run("principal", "roles", "new.ny.renshe", "--role", "operator", "--json", who=AUTHORITY))
    rows = {one["id"]: one for one in done(site.run("principal", "list", "--json", who=AUDITOR))}
    assert (rows["new.ny.renshe"]["roles"], rows["new.ny.renshe"]["status"]) == (["operator"], "active")
    done(site.run("principal", "suspend", "new.ny.renshe", "--reason", "left", "--json", who=AUTHORITY))
    assert site.run("status", "--token", "env:T", more={"T": token}).error_code == "principal_suspended"
    assert site.run("principal", "suspend", CHECKER, "--reason", "x", who=PROVIDER).error_code == "role_missing"


def test_a_tokens_text_is_shown_once_or_lies_in_a_file_of_its_owner(site: Site) -> None:
    """On standard output once, or in a new file of mode 0600; a file that is there is not written over."""
    file = site.folder / "mine"
    answer = done(site.run("token", "issue", CHECKER, "--out", str(file), "--json", who=CHECKER))
    assert file.stat().st_mode & 0o777 == 0o600
    assert site.run("status", "--token", f"file:{file}").code == 0
    text = site.run("token", "issue", CHECKER, who=CHECKER).stdout.strip()
    assert text.startswith("xt1.")
    listed = site.run("token", "list", who=AUDITOR).stdout
    assert answer["id"] in listed
    assert text.split(".")[1] in listed
    assert text.split(".")[2] not in listed
    before, kept = len(site.entries()), file.read_bytes()
    again = site.run("token", "issue", CHECKER, "--out", str(file), who=CHECKER)
    nowhere = site.run("token", "issue", CHECKER, "--out", str(site.folder / "no" / "file"), who=CHECKER)
    assert (again.code, again.error_code, file.read_bytes()) == (2, "file_exists", kept)
    assert (nowhere.code, nowhere.error_code) == (2, "file_unwritable")
    assert len(site.entries()) == before  # no token was issued that nobody has


def test_a_token_that_was_not_issued_leaves_no_file(site: Site) -> None:
    """Whoever may not issue a token for another account gets no file either; days have bounds."""
    file = site.folder / "stolen"
    refused = site.run("token", "issue", AUDITOR, "--out", str(file), who=CHECKER)
    assert (refused.code, file.exists()) == (1, False)
    for days in ("0", "-1", "3651", "99999999999999999999"):
        wrong = site.run("token", "issue", CHECKER, "--days", days, who=CHECKER)
        assert (wrong.code, wrong.error_code) == (2, "command_line")
        wrong = site.run("register", str(site.folder / "register.json"), "--days", days, who=AUTHORITY)
        assert (wrong.code, wrong.error_code) == (2, "command_line")


def test_a_register_adds_what_is_not_there_yet(site: Site) -> None:
    """The same file again adds nothing; a new account in it is added with its token."""
    file, tokens = site.folder / "register.json", site.folder / "more-tokens"
    assert done(site.run("register", str(file), "--tokens", str(tokens), "--json", who=AUTHORITY)) == {"added": []}
    assert not tokens.exists()
    document = json.loads(file.read_text("utf-8"))
    document["principals"].append({"id": "two.ny.renshe", "department": "ny.renshe", "roles": ["steward"]})
    file.write_text(json.dumps(document), "utf-8")
    ran = site.run("register", str(file), "--tokens", str(tokens), "--json", who=AUTHORITY)
    assert done(ran) == {"added": ["two.ny.renshe"]}
    assert [(one.name, one.stat().st_mode & 0o777) for one in tokens.iterdir()] == [("two.ny.renshe.token", 0o600)]


def test_a_dataset_is_shown_with_labels_and_classes(site: Site) -> None:
    """`dataset list` and `show`; the same contract again changes nothing."""
    assert done(site.run("dataset", "list", "--json", who=CHECKER))[0]["share_type"] == "conditional"
    fields = {one["path"]: one for one in done(site.run("dataset", "show", DATASET, "--json", who=CHECKER))}
    assert (fields["bank_account"]["class"], fields["bank_account"]["zh"]) == ("L4", "银行账号")
    folder = str(site.root / "schemas" / "ny.renshe" / DATASET)
    assert done(site.run("dataset", "submit", folder, "--json", who=PROVIDER))[0]["events"] == []
    assert site.run("dataset", "submit", folder, who=CONSUMER).code == 1


def test_a_case_has_members_and_ends(site: Site) -> None:
    """Members come on standard input or from a file, and are kept as tags; a closed case permits nothing."""
    ids = site.folder / "ids"
    ids.write_text(f"\ufeff{NEIGHBOUR}\n\n", "utf-8")
    done(site.run("case", "members", CASE, "--ids-file", str(ids), "--json", who=CHECKER))
    assert [one["person_id"] for one in site.read().records] == [NEIGHBOUR]
    assert done(site.run("case", "list", "--json", who=CHECKER))[0]["member_count"] == 1
    assert site.run("case", "members", CASE, who=PROVIDER, stdin=NEIGHBOUR).code == 2
    done(site.run("case", "close", CASE, "--reason", "decided", "--json", who=CONSUMER))
    refused = site.read("--json")
    assert (refused.code, refused.error["reasons"], refused.out) == (1, ["case_closed"], b"")
    assert NEIGHBOUR.encode() not in (site.data / "control.db").read_bytes()


def test_what_is_published_is_counted_and_again_is_nothing(site: Site) -> None:
    """`publish` tells what was taken; the same file again changes nothing; another department may not."""
    again = done(site.run("publish", *_files(site), "--json", who=SYSTEM))
    assert (again["taken"], again["dead_letters"]) == (0, 0)
    more = site.rows([row(person, 70_000) for person in MEMBERS], "more.csv")
    told = done(site.run("publish", str(site.folder / "pension.toml"), str(more), "--json", who=PROVIDER))
    assert (told["dataset"], told["taken"], told["dead_letters"]) == (DATASET, 2, 0)
    foreign = site.publish(who=CHECKER)
    assert (foreign.code, foreign.error_code) == (1, "not_the_owner")
    done(site.run("principal", "roles", SYSTEM, "--role", "operator", "--json", who=AUTHORITY))
    assert (site.publish().code, site.publish().error_code) == (1, "role_missing")
    assert [body["action"] for _, _, body in site.entries("refusal")] == ["publish"] * 3


def test_dead_letters_tell_reason_place_and_shape_to_the_owner_alone(site: Site) -> None:
    """File, row, column, code and the shape of the value; no value. Another department sees none."""
    letters = done(site.run("dead-letters", DATASET, "--json", who=PROVIDER))
    assert [(one["file"], one["row"], one["column"]) for one in letters] == [("pension.csv", 8, "社会保障号码")]
    assert letters[0]["code"] == "cell_id_damaged"
    assert "4.31" not in str(letters)
    foreign = site.run("dead-letters", DATASET, who=CHECKER)
    assert (foreign.code, foreign.error_code, foreign.out) == (1, "not_the_owner", b"")


def test_a_dataset_without_records_has_no_dead_letters(site: Site) -> None:
    """Before the first batch there is an empty answer, not an error."""
    _second_dataset(site)
    assert done(site.run("dead-letters", "ca.dibao_standard", "--json", who="steward.yz.minzheng")) == []


def test_a_policy_is_tested_submitted_approved_and_withdrawn(site: Site) -> None:
    """By two people; what fails its tests is told by `policy test` and does not become a revision."""
    tests = done(site.run("policy", "test", "--json", who=CONSUMER))
    assert len(tests) > 50
    assert all(one["held"] for one in tests)
    rows = done(site.run("policy", "list", "--json", who=AUDITOR))
    assert [(one["status"], one["submitted_by"], one["approved_by"]) for one in rows] == [
        ("active", CONSUMER, AUTHORITY)
    ]
    done(site.run("policy", "withdraw", "--reason", "drill", "--json", who=AUTHORITY))
    assert site.read("--json").error["reasons"] == ["policy_unavailable"]
    broken = site.folder / "broken"
    shutil.copytree(site.root / "policies", broken)
    (broken / "broken_test.rego").write_text(
        "package exchange.broken_test\n\nimport rego.v1\n\ntest_no if false\n", "utf-8"
    )
    failed = site.run("policy", "test", str(broken), "--json", who=CONSUMER)
    assert failed.out, failed.stderr
    assert (failed.code, sum(not one["held"] for one in failed.json)) == (1, 1)
    assert site.run("policy", "submit", str(broken), who=CONSUMER).error_code == "policy_tests_failed"
    ran = done(site.run("policy", "submit", "--json", who=CONSUMER))
    assert site.run("policy", "approve", ran[0]["about"], who=CONSUMER).code == 1
    done(site.run("policy", "approve", ran[0]["about"], "--json", who=AUTHORITY))
    assert site.read().code == 0


def test_an_agreement_needs_three_people_and_ends(site: Site) -> None:
    """Returned, requested anew, endorsed, rejected; an active one revoked; each by those who may."""
    file = site.folder / "second.json"
    file.write_text(json.dumps(terms(fields=[{"path": "status", "mask": {"kind": "keep"}}])), "utf-8")
    request = ["agreement", "request", str(file), "--json"]
    assert done(site.run(*request, who=CONSUMER))[0]["about"] == "agr-2"
    assert site.run("agreement", "approve", "agr-2", who=AUTHORITY).code == 1
    review = ["agreement", "review", "agr-2", "--note", "n", "--json"]
    assert site.run(*review, who=PROVIDER).error_code == "command_line"
    done(site.run(*review, "--return", who=PROVIDER))
    assert site.run(*review, "--endorse", who=PROVIDER).code == 1
    assert done(site.run(*request, who=CONSUMER))[0]["about"] == "agr-3"
    done(site.run("agreement", "review", "agr-3", "--note", "n", "--endorse", "--json", who=PROVIDER))
    done(site.run("agreement", "reject", "agr-3", "--reason", "r", "--json", who=AUTHORITY))
    done(site.run("agreement", "revoke", AGREEMENT, "--reason", "r", "--json", who=PROVIDER))
    rows = {one["id"]: one["status"] for one in done(site.run("agreement", "list", "--json", who=AUDITOR))}
    assert rows == {"agr-1": "revoked", "agr-2": "returned", "agr-3": "rejected"}
    assert site.read("--json").error["reasons"] == ["revoked"]
    shown = done(site.run("agreement", "show", AGREEMENT, "--json", who=AUDITOR))
    assert (shown["requested_by"], shown["reviewed_by"], shown["approved_by"]) == (CONSUMER, PROVIDER, AUTHORITY)
    assert "purpose: dibao.initial_check" in site.run("agreement", "show", AGREEMENT, who=AUDITOR).stdout


def test_several_agreements_are_done_in_order_until_one_is_refused(site: Site) -> None:
    """What was done before the refused one stays."""
    ran = site.run("agreement", "revoke", AGREEMENT, "agr-7", "--reason", "r", who=PROVIDER)
    assert (ran.code, ran.error_code) == (2, "unknown_agreement")
    assert "revoked" in site.run("agreement", "list", who=AUDITOR).stdout


def test_agreements_expire_by_their_time(site: Site) -> None:
    """From the end of its last day on a read is refused, whether or not `expire` was run; then it is recorded."""
    later = 181 * 86_400 * 1_000_000_000
    token = done(site.run("token", "issue", CHECKER, "--days", "400", "--json", who=CHECKER))["token"]
    words = ["read", DATASET, *ASKED, "--json", "--token", "env:T"]
    refused = site.run(*words, more={"T": token}, later_ns=later)
    assert (refused.code, refused.error["reasons"], refused.out) == (1, ["expired"], b"")
    ran = done(site.run("agreement", "expire", "--json", who=AUTHORITY, later_ns=later + 1))
    assert [one["events"] for one in ran] == [["agreement.expired/1"]]


def test_explain_says_the_plan_in_sentences_and_releases_nothing(site: Site) -> None:
    """In both languages, as a document with `--json`; a refusal is explained too; no release is in the log."""
    english = site.run("explain", DATASET, *ASKED, who=CHECKER)
    assert "bank account (bank_account)" in english.stdout
    assert "银行账号" in site.run("explain", DATASET, *ASKED, "--lang", "zh", who=CHECKER).stdout
    assert done(site.run("explain", DATASET, *ASKED, "--json", who=CHECKER))["effect"] == "allow"
    denied = done(site.run("explain", DATASET, "--purpose", "supervise", "--json", who=CHECKER))
    assert (denied["effect"], [one["code"] for one in denied["reasons"]]) == ("deny", ["wrong_purpose"])
    assert site.entries("release") == []


def test_status_counts_what_the_logs_hold(site: Site) -> None:
    """Records, dead letters, entries by kind and records released, each as the logs have it."""
    site.read()
    figures = {(one["what"], one["name"]): one["count"] for one in done(site.run("status", "--json", who=CHECKER))}
    assert figures[("records", DATASET)] == 5
    assert figures[("dead letters", DATASET)] == 1
    assert figures[("records released", "all")] == 2
    assert figures[("entries", "release")] == len(site.entries("release")) == 1


def test_init_makes_a_site_with_its_first_authority(tmp_path: Path) -> None:
    """Into a new or empty folder only; the token is shown this once; keys are their owner's alone."""
    site = Site(tmp_path)
    answer = done(site.run("init", str(site.root), "--name", "试验", "--origin", "log.example/1", "--json"))
    assert (answer["origin"], answer["principal"]) == ("log.example/1", "authority.first")
    assert {one.name for one in site.root.iterdir()} >= {"exchange.toml", "schemas", "policies", "data", "keys"}
    modes = {one.name: one.stat().st_mode & 0o777 for one in (site.root / "keys").iterdir()}
    assert {mode for name, mode in modes.items() if name.endswith(".key")} == {0o600}
    assert site.run("status", "--token", "env:T", more={"T": answer["token"]}).code == 0
    token = (site.root / "keys" / "audit.key").read_bytes()
    again = site.run("init", str(site.root), "--token-out", str(tmp_path / "t"))
    assert (again.code, again.error_code, (tmp_path / "t").exists()) == (2, "site_exists", False)
    assert (site.root / "keys" / "audit.key").read_bytes() == token


def test_init_makes_nothing_where_the_token_cannot_be_kept(tmp_path: Path) -> None:
    """The file for the token is there before the site is."""
    (tmp_path / "t").write_text("something else", "utf-8")
    ran = Site(tmp_path).run("init", str(tmp_path / "site"), "--token-out", str(tmp_path / "t"))
    assert (ran.code, ran.error_code) == (2, "file_exists")
    assert not (tmp_path / "site").exists()
    assert (tmp_path / "t").read_text("utf-8") == "something else"


def test_what_the_operating_system_refuses_is_said(site: Site) -> None:
    """Its own words, the file, and 3: mend the cause and try again. Nothing is made up."""
    site.data.rename(site.folder / "moved")
    ran = site.read()
    assert (ran.code, ran.error_code, ran.out) == (3, "system", b"")
    assert "lock: the operating system says: No such file or directory" in ran.stderr.splitlines()[0]
    assert not site.data.exists()


@pytest.mark.parametrize(
    "words", [["--department", "Bad Name"], ["--principal", "x"], ["--origin", "no spaces"], ["--origin", "a+b"]]
)
def test_init_with_a_malformed_name_makes_no_site(tmp_path: Path, words: list[str]) -> None:
    """What is left, if anything, no program opens."""
    site = Site(tmp_path)
    assert site.run("init", str(site.root), *words).code == 2
    assert site.run("status", "--token", "env:T", more={"T": "x"}).error_code == "no_site"


def _files(site: Site) -> list[str]:
    return [str(site.folder / "pension.toml"), str(site.folder / "pension.csv")]


def _second_dataset(site: Site) -> None:
    """An unconditional dataset of a further department."""
    from exchange.wiring import standing

    register = site.folder / "more.json"
    department = {"id": "yz.minzheng", "title_zh": "市", "title_en": "City", "region": "431100"}
    steward = {"id": "steward.yz.minzheng", "department": "yz.minzheng", "roles": ["steward"]}
    register.write_text(json.dumps({"departments": [department], "principals": [steward]}), "utf-8")
    words = [str(register), "--tokens", str(site.folder / "tokens"), "--json"]
    done(site.run("register", *words, who=AUTHORITY))
    folder = str(standing("schemas") / "yz.minzheng" / "ca.dibao_standard")
    done(site.run("dataset", "submit", folder, "--json", who="steward.yz.minzheng"))


def test_an_adapter_for_other_fields_is_one_error(site: Site) -> None:
    """A field that the schema lacks, or one left out, is told once and before a record is read: no dead letters."""
    config = site.folder / ADAPTER
    text = config.read_text("utf-8")
    assert "monthly_benefit_fen" in text
    config.write_text(text.replace("monthly_benefit_fen", "monthly_benefit"), "utf-8")
    before = site.entries("record_commit")
    ran = site.publish(site.rows([row(PERSONS[0], 7)], "next.csv"))
    assert (ran.code, ran.error_code) == (2, "adapter_fields_differ")
    assert f"{ADAPTER}: " in ran.stderr
    assert "fills monthly_benefit," in ran.stderr
    assert "leaves out monthly_benefit_fen" in ran.stderr
    assert site.entries("record_commit") == before


def test_what_was_withheld_is_told_to_the_owner_alone(site: Site) -> None:
    """Nothing was: an empty table; another department is refused."""
    assert done(site.run("dataset", "withheld", DATASET, "--json", who=PROVIDER)) == []
    assert site.run("dataset", "withheld", DATASET, who=CONSUMER).error_code == "not_the_owner"
