"""A log as a folder: what is exported is what the verifier reads, however the log goes on."""

from pathlib import Path

import pytest

from exchange.audit.export import export
from exchange.audit.log import create
from exchange.audit.note import vkey
from exchange.audit.verify import verify
from exchange.errors import Tampered, Unavailable
from tests.audit.building import KEY, ORIGIN, VKEY, clock, control, log_at, new_log, store_at
from tests.simulator import Site


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_an_export_is_the_log_and_grows_with_it(tmp_path: Path) -> None:
    """The first one over the border of a tile, the second adds what is new; each verifies, byte for byte the log's."""
    log, out = new_log(tmp_path), tmp_path / "out"
    for first, last in ((1, 300), (300, 600)):
        log.submit([control(number) for number in range(first, last)])
        log.settle()
        told: list[int] = []
        shown = export(store_at(tmp_path), out, VKEY, told.append)
        assert (shown.size, max(told)) == (log.size, log.size)
        verdict = verify(out, VKEY)
        assert verdict.ok, verdict.findings
    log.close()
    assert _files(out).items() >= _files(tmp_path / "audit").items()


def test_the_log_may_outgrow_an_export(tmp_path: Path) -> None:
    """The checkpoint is the one that was read first: a partial tile that is gone by then comes from the full one."""
    log, out = new_log(tmp_path), tmp_path / "out"
    log.submit([control(number) for number in range(1, 200)])
    log.settle()
    store = store_at(tmp_path)
    kept = store.published()
    log.submit([control(number) for number in range(200, 400)])
    log.settle()
    log.close()
    assert store.read("tile/0/000.p/201") is None
    store.published = lambda: kept  # type: ignore[method-assign]  # what an export that takes long has read
    assert export(store, out, VKEY).size == 201
    verdict = verify(out, VKEY)
    assert verdict.ok, verdict.findings


def test_what_is_no_log_is_not_exported(tmp_path: Path) -> None:
    """No checkpoint, one of another log, a missing tile: an error, and no checkpoint in the folder."""
    store, out = store_at(tmp_path), tmp_path / "out"
    with pytest.raises(Unavailable, match="audit_missing"):
        export(store, out, VKEY)
    create(store, ORIGIN, KEY, clock())
    with pytest.raises(Tampered, match="audit_note_invalid"):
        export(store, out, vkey("other.example", KEY.public))
    (tmp_path / "second").mkdir()
    with log_at(tmp_path / "second") as log:
        log.append(control(1))
        (tmp_path / "second" / "audit" / "tile" / "entries" / "000.p" / "3").unlink()
        with pytest.raises(Tampered, match="audit_log_damaged"):
            export(store_at(tmp_path / "second"), out, VKEY)
    assert not (out / "checkpoint").exists()


def test_the_command(made: Site, tmp_path: Path) -> None:
    """It needs no token, and works while another process holds the site."""
    with made.opened():
        ran = made.run("audit", "export", str(tmp_path / "out"), "--json")
    assert ran.code == 0
    assert ran.json["size"] > 10
    key = made.root / "keys" / "audit.vkey"
    assert made.run("audit", "verify", str(tmp_path / "out"), "--key", str(key)).code == 0
