"""The whole small exchange with control plane, state and audit log on PostgreSQL: the same answers as on SQLite."""

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from exchange.errors import Unavailable
from tests import simulator
from tests.services_postgres import OwnServer
from tests.simulator import AGREEMENT, AUDITOR, CHECKER, DATASET, MEMBERS, OTHERS, PERSONS, PROVIDER, Site, row

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


def _verified(site: Site, folder: Path, *kept: Path) -> None:
    """The log, exported, holds, and goes on from the checkpoints that were kept."""
    assert site.run("audit", "export", str(folder)).code == 0
    key = ["--key", str(site.root / "keys" / "audit.vkey")]
    ran = site.run("audit", "verify", str(folder), *key, *(word for one in kept for word in ("--checkpoint", str(one))))
    assert ran.code == 0, ran.stdout


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
    _verified(served, tmp_path / "out")
    assert {file.name for file in served.data.iterdir()} & {"control.db", "state.db", "audit"} == set()


def test_a_database_holds_one_exchange(postgres: str, tmp_path: Path) -> None:
    """`init` on one that has an exchange, or without its password, says so and makes no folder."""
    given = settings_for(postgres, tmp_path)
    wrong = {**given, "postgresql_password": "env:WRONG"}
    for settings, code in ((given, ""), (given, "audit_exists"), (wrong, "control_database_unavailable")):
        folder = tmp_path / f"site{code}"
        ran = Site(tmp_path).run("init", str(folder), *simulator.set_words(settings), more={"WRONG": "wrong"})
        assert ran.error_code == code
        assert folder.exists() is not bool(code)


def test_a_server_killed_during_releases(own_postgres: OwnServer, tmp_path: Path) -> None:
    """SIGKILL of the server under readers and a publisher: `Unavailable`, no more. After its restart all that was
    published is readable, all that was released is in the log, and both go on.
    """
    (tmp_path / "it").mkdir()
    with own_postgres.database(own_postgres.template()) as url:
        site = simulator.build(tmp_path / "it", **settings_for(url, tmp_path))
        kept = tmp_path / "kept"
        assert site.run("audit", "checkpoint", "--out", str(kept), who=AUDITOR).code == 0
        released, published = 0, 0
        killer = threading.Timer(1.0, own_postgres.kill)
        killer.start()
        while True:
            ran = [site.read(), site.publish(site.rows([row(OTHERS[0], 100 + published)], f"more-{published}.csv"))]
            ended = [one for one in ran if one.code]
            released += not ran[0].code
            published += not ran[1].code
            if ended:
                break
        killer.join()
        assert {one.code for one in ended} == {Unavailable.exit_code}, [one.stderr for one in ended]
        own_postgres.start()
        assert site.read().code == 0
        entries = site.entries()
        assert sum(kind == "release" for _, kind, _ in entries) >= released
        commits = [body for _, kind, body in entries if kind == "record_commit" and body["topic"] == DATASET]
        assert sum(body["count"] for body in commits) >= len(PERSONS) + published
        assert site.publish(site.rows([row(OTHERS[1], 7)], "last.csv")).code == 0
        _verified(site, tmp_path / "out", kept)


def _shape(rows: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    return [(row["kind"], row["dataset"], row["recipient"], row["proved"], len(row["fields"] or ())) for row in rows]
