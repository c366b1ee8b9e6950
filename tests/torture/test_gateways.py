"""Forty of the revokes of `make torture`, through two gateways under load."""

from pathlib import Path

import pytest

from tests.torture.gateways import on_servers, play

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.enable_socket]

REVOKES = 40


@pytest.mark.timeout(600)  # of a machine that does much else; alone it takes seconds
def test_no_release_after_a_revoke(postgres: str, tmp_path: Path) -> None:
    """After a revoke through one gateway has returned, neither releases, and no release has a higher index; all that
    clients received is in the log, and all that was published through both is readable, once.
    """
    figures = play(tmp_path, on_servers(postgres, tmp_path), REVOKES, "slice")
    assert figures["revokes"] >= REVOKES, figures
    # The load was real, through both; a gateway may have begun another run, which is counted for itself.
    assert sorted(figures["releases_through"].values())[-2] > REVOKES, figures
    assert min(figures["revokes_through"].values()) > REVOKES // 8, figures
    assert figures["turns"] > REVOKES, figures
    assert figures["revokes_with_releases_before"] > REVOKES // 2, figures
    print(figures)
