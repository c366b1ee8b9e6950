"""The command line as a whole: exit codes, streams, languages, help, and what an error says."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange.cli.main import parser
from exchange.messages import Language
from tests import simulator
from tests.simulator import ASKED, AUDITOR, CHECKER, DATASET, NEIGHBOUR, PROVIDER, Site

HAN = range(0x4E00, 0xA000)


def _han(text: str) -> bool:
    return any(ord(character) in HAN for character in text)


def leaves(above: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every command that does something, with its help."""
    below = [action for action in above._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield path, above.format_help()
    for action in below:
        for name, one in action.choices.items():
            yield from leaves(one, (*path, name))


@pytest.mark.parametrize(
    ("words", "who", "stdin", "code", "error"),
    [
        (["status"], AUDITOR, "", 0, ""),
        (["lookup", DATASET, *ASKED], CHECKER, NEIGHBOUR, 1, "question_refused"),
        (["read", DATASET, *ASKED], AUDITOR, "", 1, "question_refused"),
        (["dataset", "show", "no.such"], AUDITOR, "", 2, "unknown_dataset"),
        (["status", "--colour"], AUDITOR, "", 2, "command_line"),
    ],
)
def test_the_exit_code_is_the_family_of_the_error(
    site: Site, words: list[str], who: str, stdin: str, code: int, error: str
) -> None:
    """0 done, 1 refused, 2 invalid; with and without `--json` it is the same error."""
    for more in ([], ["--json"]):
        ran = site.run(*words, *more, who=who, stdin=stdin)
        assert (ran.code, ran.error_code) == (code, error), ran.stderr
        assert not code or not ran.out


def test_an_unavailable_site_exits_3_and_a_tampered_one_4(site: Site) -> None:
    """3 where something is missing or busy, 4 where a store is not what was written."""
    with site.opened():
        held = site.run("status", who=AUDITOR)
    assert (held.code, held.error_code) == (3, "site_in_use")
    assert "test (pid" in held.stderr
    (site.data / "records.db").unlink()
    lost = site.run("read", DATASET, *ASKED, who=CHECKER)
    assert (lost.code, lost.error_code, lost.out) == (4, "log_behind_commits", b"")


def test_data_goes_to_stdout_and_talk_to_stderr(site: Site) -> None:
    """Every line on standard output is a record; the sum is on standard error, as JSON when asked for."""
    plain, as_json = site.read(), site.read("--json")
    assert plain.out == as_json.out
    assert [sorted(one) for one in plain.records] == [
        ["bank_account", "monthly_benefit_fen", "person_id", "status"]
    ] * len(simulator.MEMBERS)
    assert plain.stderr.startswith("2 records in 1 releases")
    told = json.loads(as_json.err)
    assert (told["released"], [one["released"] for one in told["releases"]]) == (2, [2])


def test_an_error_is_what_where_and_what_to_do(site: Site) -> None:
    """As lines for people, as one object for programs, with the reasons of a refusal each on its own."""
    words = ["lookup", DATASET, *ASKED]
    plain = site.run(*words, who=CHECKER, stdin=NEIGHBOUR).stderr.splitlines()
    assert plain[0].startswith("question_refused: ")
    assert plain[1].startswith("  not_in_case: ")
    assert plain[2].startswith("  → ")
    error = site.run(*words, "--json", who=CHECKER, stdin=NEIGHBOUR).error
    assert set(error) == {"code", "family", "where", "what", "do", "reasons"}
    assert (error["family"], error["where"], error["reasons"]) == ("refused", DATASET, ["not_in_case"])


@pytest.mark.parametrize(
    ("environment", "options", "chinese"),
    [
        ({"LANG": "zh_CN.UTF-8"}, [], True),
        ({"LANG": "en_GB.UTF-8"}, [], False),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, [], False),
        ({"LANG": "en_GB.UTF-8"}, ["--lang", "zh"], True),
        ({"LANG": "zh_CN.UTF-8"}, ["--lang=en"], False),
        ({"LANG": "C", "EXCHANGE_LANG": "zh"}, [], True),
        ({"LANG": "zh_CN.UTF-8", "EXCHANGE_LANG": "en"}, [], False),
    ],
)
def test_the_language_is_chosen_by_option_then_variable_then_locale(
    site: Site, environment: dict[str, str], options: list[str], chinese: bool
) -> None:
    """Errors and help are in the chosen language, what is wrong with the words too."""
    ran = site.run("dataset", "show", "no.such", *options, who=CHECKER, more=environment)
    assert _han(ran.stderr) == chinese, ran
    assert _han(site.run("nothing", *options, more=environment).stderr) == chinese
    assert _han(site.run("--help", *options, more=environment).stdout) == chinese


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_command_and_argument_explains_itself(language: Language) -> None:
    """Help of each command in both languages: no argument without a sentence, no sentence in the other language."""

    def look(above: argparse.ArgumentParser) -> None:
        for action in above._actions:
            if isinstance(action, argparse._SubParsersAction):
                for one in action.choices.values():
                    look(one)
                continue
            assert action.help, (above.prog, action.dest)
            own = action.help not in {argparse.SUPPRESS, "show this help message and exit"}
            assert not own or _han(action.help) == (language == "zh"), (above.prog, action.dest)

    look(parser(language))
    for path, text in leaves(parser(language)):
        assert _han(text.replace("区", "")) == (language == "zh"), path
        assert ("usage: " in text) == (language == "en"), path


def test_help_and_version_end_well(site: Site) -> None:
    """`--help` of everything and `--version` need neither a site nor a token."""
    assert site.run("--version").stdout == "exchange 0.1.0\n"
    for path, _ in leaves(parser("en")):
        ran = simulator.run([*path, "--help"], {"LANG": "C"})
        assert (ran.code, ran.err) == (0, b""), path
        assert ran.stdout.startswith(f"usage: exchange {' '.join(path)} ")


def test_the_common_options_may_stand_before_or_after_the_command(site: Site) -> None:
    """`--site` and `--token` win over the variables, wherever they stand."""
    for words in (["--site", str(site.root), "status"], ["status", "--site", str(site.root)]):
        ran = simulator.run([*words, "--token", site.token(AUDITOR)], {"LANG": "C", "EXCHANGE_SITE": "/nowhere"})
        assert ran.code == 0, ran.stderr
    ran = site.run("status", "--token", "file:/no/such/token", who=AUDITOR)
    assert (ran.code, ran.error_code) == (2, "secret_unreadable")


def test_an_option_is_written_out(site: Site) -> None:
    """No abbreviations: a later option must not change what an old script means."""
    assert site.run("status", "--js", who=AUDITOR).error_code == "command_line"


@pytest.mark.parametrize(
    "words",
    [
        ["lookup", DATASET, *ASKED, NEIGHBOUR],
        ["lookup", DATASET, *ASKED, "--ids-file", NEIGHBOUR],
        ["case", "open", NEIGHBOUR, "--title", "x"],
        ["case", "open", "case-2", "--title", f"about {NEIGHBOUR}"],
        ["read", DATASET, "--purpose", NEIGHBOUR],
        ["read", NEIGHBOUR, "--purpose", "open.use"],
        ["read", DATASET, *ASKED, "--field", NEIGHBOUR],
        ["audit", "entry", NEIGHBOUR],
        ["audit", "entry", NEIGHBOUR[:-1] + "X"],
        ["agreement", "show", NEIGHBOUR],
        ["publish", f"{NEIGHBOUR}.toml", "x.csv"],
        ["token", "revoke", NEIGHBOUR],
        [NEIGHBOUR],
    ],
)
def test_an_id_given_as_an_argument_is_refused_and_not_repeated(site: Site, words: list[str]) -> None:
    """Ids come by prompt, file or standard input; one that was typed as an argument comes back in no error or entry."""
    ran = site.run(*words, who=CHECKER, stdin="")
    assert ran.code in {1, 2}
    assert NEIGHBOUR[:-1] not in ran.stdout + ran.stderr
    assert NEIGHBOUR[:-1] not in str(site.entries())


def test_no_site_no_token_and_a_token_in_plain_are_said(site: Site, tmp_path: Path) -> None:
    """Each says what is missing and how to give it; a token written down is not repeated."""
    token = Path(site.token(AUDITOR).removeprefix("file:")).read_text("utf-8").strip()
    nowhere = simulator.run(["status"], {"LANG": "C", "EXCHANGE_SITE": str(tmp_path), "EXCHANGE_TOKEN": "env:T"})
    assert (nowhere.code, nowhere.error_code) == (2, "no_site")
    assert "exchange init" in nowhere.stderr
    assert site.run("status").error_code == "token_missing"
    plain = site.run("status", "--token", token)
    assert (plain.code, plain.error_code) == (2, "secret_in_plain")
    assert token not in plain.stderr
    assert site.run("status", "--token", "env:MINE", more={"MINE": token}).code == 0
    assert site.run("status", "--token", "env:MINE").error_code == "secret_unreadable"


def test_a_token_that_is_none_unknown_expired_or_revoked_is_refused_and_audited(site: Site) -> None:
    """Each ends with 1 and its own code, and leaves a refusal in the audit log that names nobody."""
    ran = [
        site.run("status", "--token", "env:T", more={"T": "not a token"}),
        site.run("status", "--token", "env:T", more={"T": "xt1.0123456789abcdef." + "A" * 43}),
    ]
    tokens = site.run("token", "list", "--json", who=simulator.AUTHORITY).json
    own = next(one["id"] for one in tokens if one["principal"] == CHECKER)
    assert site.run("token", "revoke", own, who=CHECKER).code == 0
    assert site.run("principal", "suspend", PROVIDER, "--reason", "left", who=simulator.AUTHORITY).code == 0
    ran += [site.run("status", who=CHECKER), site.run("status", who=PROVIDER)]
    ran.append(site.run("status", who=AUDITOR, later_ns=91 * simulator.DAY_NS))  # the log's clock never goes back
    codes = ["token_unknown", "token_unknown", "token_revoked", "principal_suspended", "token_expired"]
    assert [(one.code, one.error_code) for one in ran] == [(1, code) for code in codes]
    refusals = [body for _, _, body in site.entries("refusal")]
    assert [body["reasons"][0] for body in refusals] == codes
    assert {(body["actor"], body["action"]) for body in refusals} == {(None, "status")}
