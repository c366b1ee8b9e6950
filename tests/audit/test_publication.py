"""What is published of a log, and by which paths: all that the checkpoint covers, at every width, and nothing more."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.audit import tiles
from exchange.audit.publication import Place, Publication, place_of
from exchange.errors import Invalid, Tampered, Unavailable
from tests.audit.building import VKEY, control, new_log, store_at


@given(st.sampled_from([None, 0, 1, 7, 63]), st.integers(0, (1 << 63) - 1), st.integers(1, 256))
def test_every_path_reads_back(level: int | None, n: int, width: int) -> None:
    """The parser is the inverse of the path that is written for a place."""
    kind, _, number = tiles.path(level, n, width).removeprefix("tile/").partition("/")
    found = place_of(kind, number)
    assert (found.level, found.n, found.width) == (level, n, width)


@given(st.sampled_from(["0", "entries", "64"]), st.text("x019/.p", max_size=14))
def test_only_written_paths_are_read(kind: str, number: str) -> None:
    """Whatever else is accepted writes back to itself."""
    try:
        found = place_of(kind, number)
    except Invalid:
        return
    assert tiles.path(found.level, found.n, found.width) == f"tile/{kind}/{number}"


def test_a_tile_is_the_same_for_ever(tmp_path: Path) -> None:
    """Whatever was read at some size reads the same when the log has outgrown it, also what is stored no more; beyond
    the published size there is nothing.
    """
    log, published = new_log(tmp_path), Publication(store_at(tmp_path), VKEY)
    read: dict[Place, bytes] = {}
    for more in (1, 3, 200, 60, 300):
        first = log.size
        log.submit([control(number) for number in range(first, first + more)])
        log.settle()
        size = published.size
        assert size == log.size
        for level in (None, 0, 1, 2):
            for n in range(4):
                width = tiles.width_at(level, n, size)
                for one in {width, max(width - 1, 1)} if width > 0 else ():
                    read[Place(level, n, one)] = published.read(Place(level, n, one))
                for beyond in range(max(width, 0) + 1, min(max(width, 0) + 3, tiles.WIDTH + 1)):
                    with pytest.raises(Invalid, match="audit_tile_unknown"):
                        published.read(Place(level, n, beyond))
    assert store_at(tmp_path).read("tile/0/000.p/3") is None  # pruned when the tile became full
    assert all(published.read(place) == data for place, data in read.items())
    for place, data in read.items():
        if place.level is None:
            leaves = [log.leaf(place.n * tiles.WIDTH + at) for at in range(place.width)]
            assert data == b"".join(map(tiles.frame, leaves))
    log.close()


def test_what_cannot_be_published(tmp_path: Path) -> None:
    """No log; a checkpoint by another key; a tile that is cut off or gone: an error, never fewer bytes."""
    with pytest.raises(Unavailable, match="audit_missing"):
        Publication(store_at(tmp_path), VKEY).checkpoint()
    log = new_log(tmp_path)
    log.append(control(1))
    log.close()
    other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    with pytest.raises(Tampered, match="audit_note_invalid"):
        Publication(store_at(tmp_path), other).read(Place(0, 0, 1))
    published = Publication(store_at(tmp_path), VKEY)
    size = published.size
    for kind, level in (("0", 0), ("entries", None)):
        file = tmp_path / "audit" / "tile" / kind / "000.p" / str(size)
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(Tampered, match="audit_log_damaged"):
            published.read(Place(level, 0, size))
        file.unlink()
        with pytest.raises(Tampered, match="audit_log_damaged"):
            published.read(Place(level, 0, 1))
