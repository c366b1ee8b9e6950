"""The staged bundle: what comes out is what went in, or nothing."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.audit.staging import name_of, pack, unpack
from exchange.audit.tiles import Edge, paths_between
from exchange.errors import Tampered


@given(st.integers(0, 1_000), st.integers(1, 700))
def test_the_files_between_two_sizes(old: int, count: int) -> None:
    """They are those that the tree makes when it grows, at any place, over any number of tiles."""
    edge, _ = Edge().append([b"leaf"] * old)
    grown, files = edge.append([b"more"] * count)
    assert paths_between(old, grown.size) == files.keys()
    assert unpack(pack(old, grown.size, files), name_of(grown.size, grown.root())) == files


@pytest.mark.parametrize(("old", "size"), [(0, 3), (250, 260)])
def test_a_changed_bundle_gives_what_was_staged_or_nothing(old: int, size: int) -> None:
    """Each bit of its table, and of its files: no other bytes and no other path ever comes out."""
    edge, _ = Edge().append([b"leaf"] * old)
    grown, files = edge.append([b"more"] * (size - old))
    bundle, name = pack(old, size, files), name_of(size, grown.root())
    for at in range(min(len(bundle), 1_000)):
        for bit in range(8):
            bad = bundle[:at] + bytes([bundle[at] ^ 1 << bit]) + bundle[at + 1 :]
            with suppress(Tampered):
                assert unpack(bad, name) == files, at
            with pytest.raises(Tampered):
                unpack(bad, name, old)
    for number in (b"-9000000000000000000", b"Infinity", b"null"):
        with pytest.raises(Tampered):
            unpack(bundle.replace(b'"old":%d' % old, b'"old":' + number), name)
    for cut in range(0, len(bundle), 7):
        with pytest.raises(Tampered):
            unpack(bundle[:cut], name)
