"""A witness that is not ours cosigns our checkpoints (C2SP tlog-witness), and refuses whatever goes back or forks."""

import re
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from exchange.audit.log import AuditLog
from exchange.audit.note import open_checkpoint
from exchange.site import VKEY as VKEY_FILE
from tests.api.serving import Served, served
from tests.audit.building import KEY, ORIGIN, VKEY, clock, control, copy_of, new_log, store_at
from tests.independent.judging import judged, witnessing
from tests.simulator import AUTHORITY, Site

pytestmark = [pytest.mark.whole, pytest.mark.enable_socket, pytest.mark.timeout(400)]


def _grown(log: AuditLog, first: int, last: int) -> bytes:
    log.submit([control(number) for number in range(first, last)])
    log.settle()
    return log.checkpoint()


def test_a_growing_log_is_cosigned(tmp_path: Path) -> None:
    """From nothing and over tiles, each with our consistency proof; the cosignature below our own signature passes
    aics-tlog's policy, and our reader of checkpoints takes both.
    """
    log, old = new_log(tmp_path), 0
    with witnessing(tmp_path, ORIGIN, VKEY) as witness:
        for last in (1, 2, 200, 300, 600):
            checkpoint = _grown(log, old, last)
            status, line = witness.add(old, log.consistency(old), checkpoint)
            assert status == 200, line
            cosigned = checkpoint + line.encode()
            assert judged(note=cosigned.decode(), vkey=VKEY, witness=witness.vkey) == {
                "log": True, "all": True, "error": None
            }  # fmt: skip
            assert open_checkpoint(cosigned, VKEY).size == log.size
            old = log.size
        again = witness.add(old, [], log.checkpoint())
        assert again[0] == 200  # the same once more is no harm
        assert witness.evidence() == []
    log.close()


def test_what_a_witness_refuses(tmp_path: Path) -> None:
    """A size that it does not know, a proof that does not hold, another key, another origin: the statuses of C2SP."""
    log = new_log(tmp_path)
    first = _grown(log, 0, 10)
    small = log.size
    with witnessing(tmp_path, ORIGIN, VKEY) as witness:
        assert witness.add(0, [], first)[0] == 200
        second = _grown(log, 10, 300)
        proof = log.consistency(small)
        assert witness.add(0, [], second) == (409, f"{small}\n")
        assert witness.add(small - 1, log.consistency(small - 1), second) == (409, f"{small}\n")
        assert witness.add(log.size + 1, [], second)[0] == 400
        for at in range(len(proof)):
            wrong = [bytes([one[0] ^ 1, *one[1:]]) if n == at else one for n, one in enumerate(proof)]
            assert witness.add(small, wrong, second)[0] == 422
        assert witness.add(small, proof[:-1], second)[0] == 422
        assert witness.add(small, proof, second.replace(ORIGIN.encode(), b"other.example/log"))[0] == 404
        assert witness.add(small, proof, second[:-6] + b"AAAA=\n")[0] in {400, 403}
        assert witness.add(small, proof, second)[0] == 200
        assert witness.add(small, [], first) == (409, f"{log.size}\n")  # it never goes back
    log.close()


def test_an_old_backup_that_signs_again_is_refused(tmp_path: Path) -> None:
    """The log's folder of yesterday, with the true key, goes on in its own way: smaller, of the same size, or larger,
    it gets no cosignature, and the witness keeps what the log signed against itself.
    """
    (tmp_path / "live").mkdir()
    log = new_log(tmp_path / "live")
    _grown(log, 0, 100)
    backup = log.size
    copy_of(tmp_path / "live", tmp_path / "old")
    checkpoint = _grown(log, 100, 200)
    live = log.size
    log.close()
    with witnessing(tmp_path, ORIGIN, VKEY) as witness:
        assert witness.add(0, [], checkpoint)[0] == 200
        fork = AuditLog(store_at(tmp_path / "old"), KEY, clock(1_900_000_000_000_000_000))
        smaller = _grown(fork, 1_000, 1_010)
        assert witness.add(backup, fork.consistency(backup), smaller) == (409, f"{live}\n")
        same = _grown(fork, 1_010, 1_000 + live - backup)
        assert fork.size == live
        assert witness.add(live, [], same)[0] == 422
        larger = _grown(fork, 2_000, 2_100)
        assert witness.add(live, fork.consistency(live), larger)[0] == 422
        fork.close()
        assert len(witness.evidence()) == 2


def test_a_forced_restore_is_a_fork_to_a_witness(site: Site, tmp_path: Path) -> None:
    """By the exchange's own commands: backup, more reads, restore with force. The restored site's log is refused."""
    vkey = (site.root / VKEY_FILE).read_text("utf-8").strip()
    origin = vkey.partition("+")[0]
    backup = tmp_path / "backup"
    assert site.run("backup", str(backup)).code == 0
    for _ in range(3):
        site.read()
    with site.opened() as exchange, witnessing(tmp_path, origin, vkey) as witness:
        known = exchange.audit.size
        kept = tmp_path / "kept"
        kept.write_bytes(exchange.audit.checkpoint())
        assert witness.add(0, [], exchange.audit.checkpoint())[0] == 200
        target = tmp_path / "again" / "site"
        target.parent.mkdir()
        words = ["restore", str(backup), str(target), "--checkpoint", str(kept)]
        assert site.run(*words, who=AUTHORITY).error_code != ""
        assert site.run(*words, "--force", "the disk is gone", who=AUTHORITY).code == 0
        with Site(target.parent).opened() as restored:
            while restored.audit.size <= known:
                restored.audit.append(control(restored.audit.size))
            proof = restored.audit.consistency(known)
            assert witness.add(known, proof, restored.audit.checkpoint())[0] == 422


def test_a_served_site_has_its_log_cosigned(site: Site, tmp_path: Path) -> None:
    """`exchange serve` asks the witness that its settings name, while the log grows; the metrics say how far it is, the
    anchors verify against its key; a copy of the site that was left behind is an alarm, and gets no anchor.
    """
    vkey = (site.root / VKEY_FILE).read_text("utf-8").strip()
    old = site.copy(tmp_path / "old")
    with witnessing(tmp_path, vkey.partition("+")[0], vkey) as witness:
        more: dict[str, Any] = {
            "audit_witnesses": f"http://127.0.0.1:{witness.port} {witness.vkey}",
            "audit_witness_seconds": 1,
        }
        with served(site, **more) as running:
            first = _when(running, lambda told: told["entries"] > 0)["entries"]
            assert site.read().code == 0
            told = _when(running, lambda told: told["entries"] > first)
            assert (told["failed"], told["disagrees"]) == (0, 0)
            assert running.ended() == 0
        anchors = site.entries("anchor")
        assert {body["authority"] for _, _, body in anchors} == {"witness.example/w1"}
        assert len(anchors) >= 2
        words = ("--key", vkey, "--witness", witness.vkey)
        verdict = site.run("audit", "verify", str(site.data / "audit"), *words)
        assert verdict.code == 0, verdict.stdout
        with served(old, **more) as running:
            assert _when(running, lambda told: told["disagrees"] > 0)["failed"] == 1
            assert running.ended() == 0
            assert any("contradicts" in str(line) for line in running.logged)
        assert old.entries("anchor") == []


def _when(running: Served, so: Callable[[Mapping[str, float]], bool]) -> Mapping[str, float]:
    """The served exchange's figures about its witness, when they are so."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        told = {name: float(value) for name, value in re.findall(r"(?m)^exchange_witness_(\w+)\{.*\} (\S+)$", text)}
        if told and so(told):
            return told
        time.sleep(0.1)
    raise AssertionError(text)
