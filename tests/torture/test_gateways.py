"""Eighty of the revokes of `make torture`, through two gateways under load."""

import uuid
from pathlib import Path

import pytest

from tests import services
from tests.test_simulator_postgres import settings_for
from tests.torture.gateways import play

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.enable_socket]

REVOKES = 80


def on_servers(postgres: str, folder: Path) -> dict[str, str]:
    """Settings of a site with everything on servers."""
    kafka, prefix = services.kafka(), "g" + uuid.uuid4().hex[:12]
    found = {
        **settings_for(postgres, folder),
        "engines_log": f"kafka:{kafka.url.removeprefix('kafka:')}/{prefix}",
        "kafka_security.protocol": "PLAINTEXT",
        "kafka_replication.factor": "1",
        "kafka_min.insync.replicas": "1",
    }
    if kafka.passwords:
        password = folder / "kafka.password"
        password.write_text(kafka.passwords["exchange"], "utf-8")
        found |= {"kafka_security.protocol": "SASL_PLAINTEXT", "kafka_sasl.password": f"file:{password}"}
    return found


def test_no_release_after_a_revoke(postgres: str, tmp_path: Path) -> None:
    """After a revoke through one gateway has returned, neither releases, and no release has a higher index; all that
    clients received is in the log, and all that was published through both is readable, once.
    """
    figures = play(tmp_path, on_servers(postgres, tmp_path), REVOKES, "slice")
    assert figures["revokes"] >= REVOKES, figures
    assert min(figures["releases_through"].values()) > REVOKES, figures  # the load was real, through both
    assert min(figures["revokes_through"].values()) > REVOKES // 4, figures
    assert figures["turns"] > REVOKES, figures
    assert figures["revokes_with_releases_before"] > REVOKES // 2, figures
    print(figures)
