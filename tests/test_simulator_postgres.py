"""The whole small exchange with control plane, state and audit log on PostgreSQL: the same answers as on SQLite."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from tests import simulator
from tests.simulator import AGREEMENT, AUDITOR, CHECKER, MEMBERS, PROVIDER, Site

pytestmark = pytest.mark.postgres


def settings_for(url: str, folder: Path) -> dict[str, str]:
    """The settings of a site on this server; the password goes where a secret belongs."""
    address = make_url(url)
    secret = folder / "postgresql.password"
    secret.write_text(address.password or "", "utf-8")
    plain = address._replace(password=None).render_as_string()
    return {
        "engines_control": plain,
        "engines_state": "postgresql:",
        "engines_audit": "postgresql:",
        "postgresql_password": f"file:{secret}",
    }


@pytest.fixture(name="served")
def _served(postgres: str, tmp_path: Path) -> Site:
    return simulator.build(tmp_path, **settings_for(postgres, tmp_path))


def _released(site: Site) -> list[Mapping[str, Any]]:
    return [body for _, kind, body in site.entries() if kind == "release"]


def test_the_same_answers_as_on_sqlite(made: Site, served: Site, tmp_path: Path) -> None:
    """Read, look up, who saw, revoke, refuse: word for word; and nothing of it in files of the site."""
    small = made.copy(tmp_path / "small")
    answers = []
    for site in (small, served):
        read = site.read()
        seen = site.run("audit", "who-saw", "--json", who=AUDITOR, stdin=MEMBERS[0])
        site.run("agreement", "revoke", AGREEMENT, "--reason", "over", who=PROVIDER)
        after = site.read()
        figures = {row["name"]: row["count"] for row in site.run("status", "--json", who=CHECKER).json}
        answers.append((read.code, read.records, _shape(seen.json), after.code, after.error_code, figures))
    assert answers[0] == answers[1]
    assert answers[1][0] == 0
    assert len(answers[1][1]) == 2
    assert answers[1][3] == 1
    assert {file.name for file in served.data.iterdir()} & {"control.db", "state.db", "audit"} == set()


def _shape(rows: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    return [(row["kind"], row["dataset"], row["recipient"], row["proved"], len(row["fields"] or ())) for row in rows]
