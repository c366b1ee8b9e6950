"""The disk's reserve: below it nothing that can wait is written, and what ends a right goes on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from exchange.errors import Unavailable
from exchange.site import check_room, free_bytes
from tests.control.failing import fails
from tests.simulator import AGREEMENT, ASKED, AUDITOR, AUTHORITY, CASE, CHECKER, CONSUMER, DATASET, MEMBERS, Site, row

FULL = {"EXCHANGE_STORAGE_RESERVE_MB": str(1 << 30)}  # no disk has a pebibyte free
MIB = 1 << 20
PUBLISHER = "svc.ny.renshe"


def test_the_reserve_is_of_free_bytes(tmp_path: Path) -> None:
    """As much free as is kept is enough, a byte less is not, and the error says both figures."""
    check_room(tmp_path, 7 * MIB, lambda _: 7 * MIB)
    with pytest.raises(Unavailable) as caught:
        check_room(tmp_path, 7 * MIB, lambda _: 7 * MIB - 1)
    assert (caught.value.code, caught.value.facts) == ("disk_reserve", {"free": 6, "reserve": 7})


def test_without_a_reserve_nobody_looks_at_the_disk(tmp_path: Path) -> None:
    """0 asks for nothing; a folder that cannot be looked at is one error."""

    def no_disk(_: Path) -> int:
        raise OSError(5, "Input/output error")

    check_room(tmp_path, 0, no_disk)
    with fails(Unavailable, "system"):
        check_room(tmp_path, 1, no_disk)
    with fails(Unavailable, "system"):
        check_room(tmp_path / "gone", 1)


def test_below_the_reserve_nothing_is_written_that_can_wait(site: Site) -> None:
    """Publishing, reading, looking up, explaining, giving rights, the auditor's index: one error, not one entry."""
    before = len(site.entries())
    terms, more = str(site.folder / "terms.json"), site.rows([row(MEMBERS[0], 7)], "next.csv")
    for words, who in (
        (("publish", str(site.folder / "pension.toml"), str(more)), PUBLISHER),
        (("read", DATASET, *ASKED), CHECKER),
        (("lookup", DATASET, *ASKED), CHECKER),
        (("explain", DATASET, *ASKED), CHECKER),
        (("agreement", "request", terms), CONSUMER),
        (("token", "issue", CHECKER), AUTHORITY),
        (("audit", "who-saw"), AUDITOR),
    ):
        ran = site.run(*words, who=who, stdin="\n".join(MEMBERS), more=FULL)
        assert (ran.code, ran.error_code, ran.out) == (3, "disk_reserve", b""), (words, ran)
    assert len(site.entries()) == before
    assert site.publish(more).code == 0
    assert len(site.read().records) == 3


def test_below_the_reserve_rights_end(site: Site) -> None:
    """Revoking, closing, suspending, withdrawing, refusing and verifying write or read as ever; the log is sound."""
    mine = site.run("token", "issue", CHECKER, "--out", str(site.folder / "t.token"), who=CHECKER)
    assert mine.code == 0
    token = next(
        one["id"] for one in site.run("token", "list", "--json", who=CHECKER).json if one["principal"] == CHECKER
    )
    for words, who in (
        (("agreement", "revoke", AGREEMENT, "--reason", "full"), AUTHORITY),
        (("case", "close", CASE, "--reason", "full"), CHECKER),
        (("token", "revoke", token), AUTHORITY),
        (("principal", "suspend", CHECKER, "--reason", "full"), AUTHORITY),
        (("agreement", "expire"), AUTHORITY),
        (("policy", "withdraw", "--reason", "full"), AUTHORITY),
    ):
        ran = site.run(*words, who=who, more=FULL)
        assert ran.code == 0, (words, ran.stderr)
    before = len(site.entries("refusal"))
    assert site.run("read", DATASET, *ASKED, who=CHECKER, more=FULL).code == 1
    assert len(site.entries("refusal")) == before + 1
    assert site.run("audit", "verify", more=FULL).code == 0


def test_the_disk_is_looked_at_once_a_batch(site: Site) -> None:
    """Publishing ten thousand rows asks a few times, not ten thousand times."""
    many = site.rows([row(MEMBERS[0], 100 + number) for number in range(3_000)], "many.csv")
    with mock.patch("exchange.site.shutil.disk_usage", side_effect=shutil.disk_usage) as looked:
        assert site.publish(many).code == 0
    assert 1 <= looked.call_count <= 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root mounts a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.whole
@pytest.mark.skipif(os.name == "nt", reason="no tmpfs")
def test_a_disk_that_fills_up_refuses_reads_and_keeps_its_log(made: Site, small_disk: Path) -> None:
    """On a real small disk: filled up to the reserve, reads end and the revocation is written; with room again, on."""
    site = made.copy(small_disk / "exchange")
    kept = {"EXCHANGE_STORAGE_RESERVE_MB": "16"}
    assert site.run("read", DATASET, *ASKED, who=CHECKER, more=kept).code == 0
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(free_bytes(small_disk) - 15 * MIB))
    assert site.run("read", DATASET, *ASKED, who=CHECKER, more=kept).error_code == "disk_reserve"
    assert site.run("case", "close", CASE, "--reason", "full", who=CHECKER, more=kept).code == 0
    assert site.run("audit", "verify").code == 0
    ballast.unlink()
    assert site.run("read", DATASET, *ASKED, who=CHECKER, more=kept).error_code == "question_refused"
