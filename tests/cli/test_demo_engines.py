"""The demo on Kafka, PostgreSQL and an OPA server: the same figures, releases, refusals and views as on files."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from exchange.cli.servers import LOCAL, policy_engine, stop_opa
from tests import services
from tests.cli.playing import Play, played_in
from tests.services_postgres import Server

pytestmark = [pytest.mark.demo, pytest.mark.slow, pytest.mark.kafka, pytest.mark.postgres, pytest.mark.opa]

PREFIX = "played"
BINARY = LOCAL.parents[1] / ".tools" / "bin" / "opa"


def settings_on(kafka: services.Kafka, postgres: str, folder: Path) -> dict[str, str]:
    """The settings of a site on these servers and an OPA of its own; passwords in files of the folder."""
    address = make_url(postgres)
    secrets = {"kafka": kafka.passwords.get("exchange", ""), "postgres": address.password or ""}
    for name, password in secrets.items():
        (folder / name).write_text(password, "utf-8")
    return {
        "engines.log": f"{kafka.url}/{PREFIX}-{folder.name[:20]}",
        "kafka.security.protocol": "SASL_PLAINTEXT" if kafka.passwords else "PLAINTEXT",
        "kafka.sasl.password": f"file:{folder / 'kafka'}",
        "kafka.replication.factor": "1",
        "kafka.min.insync.replicas": "1",
        "engines.control": address._replace(password=None).render_as_string(),
        "engines.state": "postgresql:",
        "engines.audit": "postgresql:",
        "postgresql.password": f"file:{folder / 'postgres'}",
        **policy_engine(),
    }


@pytest.fixture(scope="module")
def plays(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The demo on files, then on servers, both served by one process; the OPA is the one that `opa.sh` starts."""
    if services.opa() != BINARY:
        pytest.skip("no opa: deploy/local/opa.sh has built none")
    folder = tmp_path_factory.mktemp("plays")
    files = {"http.port": policy_engine()["http.port"]}
    with postgres_server.database() as url:
        given = settings_on(services.kafka(), url, folder)
        try:
            yield (
                played_in(folder / "embedded", files, served=True),
                played_in(folder / "real", given, served=True),
                given,
            )
        finally:
            stop_opa(folder / "real")


def figures(play: Play) -> dict[str, Any]:
    """What a play wrote for programs."""
    return dict(json.loads((play.folder / "figures.json").read_text("utf-8")))


def test_the_figures_are_the_same(plays: tuple[Play, Play, dict[str, str]]) -> None:
    """Records, dead letters, releases, refusals, entries by kind: as the exchange says, and as the engines do."""
    embedded, real = map(figures, plays[:2])
    of_kafka = "control events not mirrored"
    assert [row for row in real["figures"] if row["what"] != of_kafka] == embedded["figures"]
    assert of_kafka in {row["what"] for row in real["figures"]}
    kinds = {row["name"]: row["count"] for row in real["figures"] if row["what"] == "entries"}
    assert kinds["release"] > 5
    assert kinds["refusal"] > 2
    asked = [[{**row, "engine": ""} for row in one["asked"]] for one in (embedded, real)]
    assert asked[0] == asked[1]
    assert {row["what"] for row in real["asked"]} >= {"records", "dead letters", "events", "seals", "entries", "size"}


def test_the_views_are_the_same_to_the_byte(plays: tuple[Play, Play, dict[str, str]]) -> None:
    """Who asked what, in order, and the digest of all that was released: no mask of the demo is random."""
    embedded, real = (
        [(asked.split(" --out ")[0], digest) for asked, digest in figures(one)["views"]] for one in plays[:2]
    )
    assert real == embedded
    assert len(real) > 5


def test_nothing_of_it_stands_in_files(plays: tuple[Play, Play, dict[str, str]]) -> None:
    """The site on servers keeps no records, state, events or tiles in its folder; the report names the engines."""
    _, real, given = plays
    left = {file.name for file in (real.folder / "site" / "data").rglob("*")}
    assert not left & {"records.db", "state.db", "control.db", "tile", "checkpoint"}
    page = (real.folder / "report.html").read_text("utf-8")
    for name in ("engines.log", "engines.control", "engines.policy"):
        assert given[name].replace("&", "&amp;") in page
        assert given[name] in real.printed
    assert "(PostgreSQL 1" in page


def test_no_password_is_told(plays: tuple[Play, Play, dict[str, str]]) -> None:
    """Not in the report, the figures, what was printed, or the site's settings."""
    _, real, given = plays
    secrets = [
        Path(given[name].removeprefix("file:")).read_text("utf-8") for name in given if name.endswith("password")
    ]
    told = [real.printed, *real.given, *real.said]
    told += [(real.folder / name).read_text("utf-8") for name in ("report.html", "figures.json", "site/exchange.toml")]
    assert not [one for one in secrets if one and any(one in text for text in told)]
