"""`config show`, `errors`, `completion`: true to the code, in both languages."""

import shutil
import subprocess
from pathlib import Path

import pytest

from exchange.cli.main import parser
from exchange.errors import ExchangeError
from exchange.messages import error_codes
from exchange.settings import SETTINGS
from tests.cli.test_main import leaves
from tests.simulator import Site, run


def test_every_setting_is_shown_with_its_origin(site: Site) -> None:
    """Default, file and variable each say so; without --origin the values alone are shown."""
    more = {"EXCHANGE_POLICY_DEADLINE_MS": "250"}
    ran = site.run("config", "show", "--origin", "--json", more=more)
    rows = {row["setting"]: row for row in ran.json}
    assert list(rows) == [one.name for one in SETTINGS]
    assert rows["policy.deadline_ms"]["value"] == 250
    assert rows["policy.deadline_ms"]["origin"] == "EXCHANGE_POLICY_DEADLINE_MS"
    assert rows["format"]["origin"] == "exchange.toml"
    assert rows["access.in_flight"]["origin"] == "default"
    plain = site.run("config", "show", more=more).stdout.splitlines()
    assert [line.split()[0] for line in plain] == ["setting", *rows]
    assert "origin" not in plain[0]


def test_a_secret_is_shown_as_its_place(site: Site) -> None:
    """Where it lies, and nothing of what lies there; it works on a site whose keys are gone, without a token."""
    secret = (site.root / "keys" / "subject.key").read_text("ascii").strip()
    shown = site.run("config", "show", "--origin").stdout
    assert "file:keys/subject.key" in shown
    assert secret not in shown
    shutil.rmtree(site.root / "keys")
    assert site.run("config", "show").code == 0
    (site.root / "exchange.toml").write_text("format = ", "utf-8")
    assert site.run("config", "show").error_code == "settings_unparsable"


def test_the_catalogue_of_errors_is_whole() -> None:
    """Every code with its family, the family's exit code and the four sentences."""
    families = {family.family: family.exit_code for family in ExchangeError.__subclasses__()}
    assert families == {"refused": 1, "invalid": 2, "unavailable": 3, "tampered": 4}
    rows = {row["code"]: row for row in run(["errors", "--json"], {}).json}
    assert rows.keys() == error_codes().keys()
    assert all(row["exit_code"] == families[row["family"]] for row in rows.values())
    assert all(row.keys() == {"code", "exit_code", "family", "en", "zh", "do_en", "do_zh"} for row in rows.values())


@pytest.mark.parametrize(("language", "said"), [("en", "try again"), ("zh", "重试")])
def test_one_error_is_shown_as_it_is_told(language: str, said: str) -> None:
    """The code, its family and exit code; then what happened and what to do, in the language asked for."""
    head, what, todo = run(["errors", "disk_reserve", "--lang", language], {}).stdout.splitlines()
    assert head.split() == ["disk_reserve", "unavailable", "3"]
    assert "{free}" in what
    assert todo.startswith("  → ")
    assert said in todo


def test_an_unknown_code_names_the_nearest() -> None:
    """However long or odd it is."""
    near = run(["errors", "disk_reserved"], {})
    assert (near.code, near.error_code) == (2, "error_unknown")
    assert "disk_reserve\n" in near.stderr
    odd = run(["errors", "x" * 5_000 + "\n"], {})
    assert (odd.code, len(odd.stderr) < 500) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_script_knows_every_command(shell: str) -> None:
    """Each shell's script names all commands; zsh, which shows help, in the language asked for."""
    ran = run(["completion", shell, "--lang", "zh"], {})
    assert (ran.code, ran.stderr) == (0, "")
    words = {word for path, _ in leaves(parser("en")) for word in path}
    assert sorted(word for word in words if word not in ran.stdout) == []
    assert ("审计日志" in ran.stdout) == (shell == "zsh")


@pytest.mark.whole
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_a_command(tmp_path: Path) -> None:
    """A real bash that has taken the script in offers commands, options and files."""
    (tmp_path / "script").write_text(run(["completion", "bash"], {}).stdout, "utf-8")
    for words, expected in (
        (("exchange", "db", "upgrade", "--d"), "--dry-run"),
        (("exchange", "comple"), "completion"),
        (("exchange", "audit", "verify", "--checkpoint", "scr"), "script"),
    ):
        line = " ".join(f"'{word}'" for word in words)
        given = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}"
        asked = f"source ./script; {given}; _shtab_exchange; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, check=True, text=True)
        assert expected in done.stdout.split(), (words, done)
