"""The log that Tessera's own tests are made of, sixteen checkpoints of it: we read all of it, and write the same."""

from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from exchange.audit import tiles
from exchange.audit.note import Checkpoint, open_checkpoint
from exchange.audit.publication import Publication, place_of
from exchange.errors import Tampered
from exchange.signing.merkle import leaf_hashes
from tests.audit.building import store_at
from tests.independent.tools import tessera

pytestmark = [pytest.mark.whole, pytest.mark.timeout(400)]
# The verifier key stands in testdata/build_log.sh.
_VKEY: Final = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
_ENTRIES: Final = 15


@pytest.fixture(scope="module")
def golden() -> Path:
    """The folder."""
    return tessera() / "testdata" / "log"


def test_all_its_checkpoints(golden: Path) -> None:
    """Each signature is Tessera's; each root is that of our tree over its entries; each extends the one before."""
    bundle = (golden / tiles.path(None, 0, _ENTRIES)).read_bytes()
    leaves = tiles.unframe(bundle, _ENTRIES)
    hashes = leaf_hashes(leaves)
    shown = [open_checkpoint((golden / f"checkpoint.{size}").read_bytes(), _VKEY) for size in range(_ENTRIES + 1)]
    for size, checkpoint in enumerate(shown):
        edge, _ = tiles.Edge().append(leaves[:size])
        assert checkpoint == Checkpoint("example.com/log/testdata", size, edge.root())
    for old, new in pairwise(shown):
        proof = tiles.consistency(old.size, new.size, lambda _level, _n, size=new.size: hashes[:size])  # type: ignore[misc]
        assert tiles.consistent(old.size, new.size, old.root, new.root, proof)


def test_we_write_the_same_files(golden: Path) -> None:
    """Entry by entry, every tile and bundle that Tessera kept comes out of our writer to the byte."""
    leaves = tiles.unframe((golden / tiles.path(None, 0, _ENTRIES)).read_bytes(), _ENTRIES)
    edge, files = tiles.Edge(), {}
    for leaf in leaves:
        edge, new = edge.append([leaf])
        files.update(new)
    theirs = {str(file.relative_to(golden)): file.read_bytes() for file in golden.glob("tile/**/*") if file.is_file()}
    assert len(theirs) > _ENTRIES
    assert theirs.items() <= files.items()


def test_we_serve_it(golden: Path, tmp_path: Path) -> None:
    """Our publication reads a folder that Tessera wrote, by its key, and with no other."""
    (tmp_path / "audit").symlink_to(golden)
    store = store_at(tmp_path)
    published = Publication(store, _VKEY)
    assert published.size == _ENTRIES
    for width in range(1, _ENTRIES + 1):
        for kind in ("0", "entries"):
            file = golden / "tile" / kind / "000.p" / str(width)
            if file.is_file():
                assert published.read(place_of(kind, f"000.p/{width}")) == file.read_bytes()
    with pytest.raises(Tampered, match="audit_note_invalid"):
        Publication(store, "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").checkpoint()
