"""`db upgrade`, and what a program does with stores of a later version: it says both numbers and changes nothing."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.control.database import open_engine, revisions, upgrade
from exchange.site import owned
from tests.simulator import ASKED, AUDITOR, CHECKER, DATASET, MEMBERS, Site, run


def _old_site(folder: Path) -> Path:
    """A site whose control database stands at an older revision."""
    (folder / "data").mkdir()
    (folder / "exchange.toml").write_text('format = 1\norigin = "exchange.invalid/old"\n', "utf-8")
    engine = open_engine(f"sqlite:///{folder}/data/control.db")
    upgrade(engine, revisions()[1])
    engine.dispose()
    return folder / "data" / "control.db"


def _tables(file: Path) -> list[str]:
    plain = sqlite3.connect(file)
    names = [row[0] for row in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
    plain.close()
    return names


def test_an_upgrade_is_told_before_it_is_run(tmp_path: Path) -> None:
    """A dry run names the steps and changes nothing; the upgrade runs them; once more there is nothing to do."""
    file = _old_site(tmp_path)
    before = _tables(file)
    words = ["db", "upgrade", "--site", str(tmp_path), "--json"]
    said = run([*words, "--dry-run"], {})
    assert said.json == {"found": revisions()[1], "steps": revisions()[2:], "done": False}
    assert "exchange backup" in said.stderr
    assert _tables(file) == before
    assert run(words, {}).json == {"found": revisions()[1], "steps": revisions()[2:], "done": True}
    assert set(_tables(file)) > set(before)
    again = run([*words[:-1]], {"LANG": "zh_CN"})
    assert (again.code, again.stderr) == (0, "")
    assert revisions()[-1] in again.stdout


def test_an_old_store_says_how_to_upgrade_it(tmp_path: Path) -> None:
    """A command on it names the found and the needed revision, and the command to run."""
    _old_site(tmp_path)
    ran = run(["status", "--site", str(tmp_path)], {})
    assert (ran.code, ran.error_code) == (3, "control_database_revision")
    assert revisions()[1] in ran.stderr
    assert revisions()[-1] in ran.stderr
    assert "exchange db upgrade" in ran.stderr


def test_an_upgrade_needs_the_site_for_itself(site: Site) -> None:
    """While another process holds the site a dry run answers, an upgrade is refused if there is anything to do."""
    with site.opened():
        assert site.run("db", "upgrade", "--dry-run").code == 0
    plain = sqlite3.connect(site.data / "control.db")
    with plain:
        plain.execute(f"UPDATE alembic_version SET version_num = '{revisions()[-2]}'")
        plain.execute("DROP TABLE audit_details")
    plain.close()
    with owned(site.root, "exchange serve", 1):
        held = site.run("db", "upgrade", "--json")
    assert (held.code, held.error_code) == (3, "site_in_use")
    assert site.run("db", "upgrade").code == 0


def _numbered(file: Path, statement: str) -> None:
    plain = sqlite3.connect(file)
    with plain:
        plain.execute(statement)
    plain.close()


LATER: dict[str, tuple[str, tuple[str, ...], str, str, Callable[[Path], object]]] = {
    "control.db": (
        "control_database_newer",
        ("read", DATASET, *ASKED),
        CHECKER,
        "9999_later",
        lambda file: _numbered(file, "UPDATE alembic_version SET version_num = '9999_later'"),
    ),
    "records.db": (
        "log_format",
        ("read", DATASET, *ASKED),
        CHECKER,
        "7",
        lambda file: _numbered(file, "PRAGMA user_version = 7"),
    ),
    "state.db": (
        "state_format",
        ("lookup", DATASET, *ASKED),
        CHECKER,
        "7",
        lambda file: _numbered(file, "PRAGMA user_version = 7"),
    ),
    "subjects.db": (
        "subject_index_format",
        ("audit", "who-saw"),
        AUDITOR,
        "7",
        lambda file: _numbered(file, "PRAGMA user_version = 7"),
    ),
    "../exchange.toml": (
        "site_format",
        ("status",),
        AUDITOR,
        "7",
        lambda file: file.write_text(file.read_text("utf-8").replace("format = 1", "format = 7"), "utf-8"),
    ),
}


@pytest.mark.parametrize("name", LATER)
def test_a_store_of_a_later_version_is_refused(site: Site, name: str) -> None:
    """Every store, and the folder's format: 2, the number found and the one known, the file as it was."""
    code, words, who, found, make_later = LATER[name]
    file = site.data / name
    assert site.run(*words, who=who, stdin=MEMBERS[0]).code == 0  # what is derived is made by who needs it first
    make_later(file)
    kept = file.read_bytes()
    ran = site.run(*words, who=who, stdin=MEMBERS[0])
    assert (ran.code, ran.error_code, ran.out) == (2, code, b""), ran.stderr
    assert found in ran.stderr
    assert file.read_bytes() == kept
