"""aics-tlog, written in Python by others, reads our log as we serve it and as we export it."""

from pathlib import Path

import pytest

from exchange.site import VKEY as VKEY_FILE
from tests.api.serving import served
from tests.audit.building import VKEY, control, copy_of, new_log
from tests.independent.following import serving
from tests.independent.judging import command, judged
from tests.simulator import ASKED, CHECKER, DATASET, MEMBERS, Site

pytestmark = [pytest.mark.whole, pytest.mark.enable_socket, pytest.mark.timeout(400)]


def test_a_served_log_without_a_token(site: Site, tmp_path: Path) -> None:
    """Its own commands, against a real server: the signed checkpoint, every tile of hashes, and after more has happened
    that the log only grew.
    """
    vkey = site.root / VKEY_FILE
    key, kept = ["--vkey-file", str(vkey)], tmp_path / "kept"
    with served(site) as server:
        url = f"http://127.0.0.1:{server.port}/log"
        code, found = command("verify-checkpoint", *key, "--tiles", url, "--save-checkpoint", str(kept))
        assert (code, found["ok"]) == (0, True), found
        site.run("read", DATASET, *ASKED, who=CHECKER)
        site.run("case", "open", "case-2", "--title", "synthetic", who=CHECKER, stdin=MEMBERS[0])
        code, grown = command("verify-consistency", *key, "--tiles", url, "--old-checkpoint", str(kept))
        assert (code, grown["ok"]) == (0, True), grown
        audited = judged(log=url, vkey=vkey.read_text("utf-8").strip(), entries=False)
        assert audited["size"] > found["size"]
        assert audited["tiles"] >= 1


def test_an_exported_log_with_its_entries(site: Site, tmp_path: Path) -> None:
    """Every tile and every bundle, and the inclusion of an entry by its command."""
    vkey, out = site.root / VKEY_FILE, tmp_path / "out"
    assert site.run("audit", "export", str(out)).code == 0
    audited = judged(log=str(out), vkey=vkey.read_text("utf-8").strip(), entries=True)
    assert (audited["tiles"], audited["bundles"]) == (1, 1)
    with site.opened() as exchange:
        leaf = tmp_path / "leaf"
        leaf.write_bytes(exchange.audit.leaf(3))
    words = ["--vkey-file", str(vkey), "--tiles", str(out), "--leaf", str(leaf), "--index"]
    code, found = command("verify-inclusion", *words, "3")
    assert (code, found["ok"]) == (0, True), found
    assert command("verify-inclusion", *words, "4")[0] == 1


def test_many_tiles_and_one_changed_bit(tmp_path: Path) -> None:
    """Over HTTP and from the folder, at sizes around the borders of tiles; in a forged copy each place is found."""
    log = new_log(tmp_path)
    with serving(tmp_path / "audit") as url:
        for size in (1, 256, 257, 700):
            log.submit([control(number) for number in range(log.size, size)])
            log.settle()
            for source in (url, str(tmp_path / "audit")):
                found = judged(log=source, vkey=VKEY, entries=True)
                assert found["size"] == log.size, found
    log.close()
    for path in ("tile/0/001", "tile/1/000.p/2", "tile/entries/001", "checkpoint"):
        forged = copy_of(tmp_path / "audit", tmp_path / path.replace("/", "-"))
        data = bytearray((forged / path).read_bytes())
        data[len(data) // 2] ^= 1
        (forged / path).write_bytes(data)
        assert "error" in judged(log=str(forged), vkey=VKEY, entries=True), path
