"""Rules of the tree: RFC 6962 vectors, growth by tiles, and proofs that fit one leaf in one tree only."""

from collections.abc import Callable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.audit import tiles
from exchange.errors import Tampered
from exchange.signing.merkle import leaf_hash, root

# The reference tree of Certificate Transparency (trillian's and google/certificate-transparency's merkletree tests).
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        *("", "00", "10", "2021", "3031", "40414243"),
        *("5051525354555657", "606162636465666768696a6b6c6d6e6f"),
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {  # (index, size): proof
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
CONSISTENCY = {
    (1, 1): [],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
MANY = [str(n).encode() for n in range(300)]
HASHES = [leaf_hash(leaf) for leaf in MANY]
ROOT_AT = [root(HASHES[:size]) for size in range(301)]


def _grow(leaves: Sequence[bytes], steps: Sequence[int]) -> tuple[tiles.Edge, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    edge, at = tiles.Edge(), 0
    for step in (*steps, len(leaves)):
        edge, new = edge.append(leaves[at : at + step])
        at = min(at + step, len(leaves))
        assert not {path for path in new if path in files and files[path] != new[path]}
        files.update(new)
    return edge, files


def _reader(files: dict[str, bytes], size: int) -> Callable[[int, int], Sequence[bytes]]:
    def read(level: int, n: int) -> Sequence[bytes]:
        data = files[tiles.path(level, n, tiles.width_at(level, n, size))]
        return [data[at : at + 32] for at in range(0, len(data), 32)]

    return read


ALL = _grow(MANY, [1] * 300)[1]


def test_the_reference_tree() -> None:
    """Roots, inclusion and consistency proofs of the eight reference leaves are those published."""
    for size in range(1, 9):
        assert tiles.Edge().append(LEAVES[:size])[0].root().hex() == ROOTS[size - 1]
    files = _grow(LEAVES, [1] * 8)[1]
    for (index, size), proof in INCLUSION.items():
        assert [one.hex() for one in tiles.inclusion(index, size, _reader(files, size))] == proof
    for (old, new), proof in CONSISTENCY.items():
        assert [one.hex() for one in tiles.consistency(old, new, _reader(files, new))] == proof


@given(st.lists(st.integers(0, 400), max_size=6), st.integers(0, 700))
def test_growth_does_not_depend_on_its_steps(steps: list[int], size: int) -> None:
    """However appends are cut, the root is RFC 6962's, the edge reads back, and a written tile is never another."""
    leaves = [n.to_bytes(2, "big") for n in range(size)]
    edge, files = _grow(leaves, steps)
    assert (edge.size, edge.root()) == (size, root([leaf_hash(leaf) for leaf in leaves]))
    again = tiles.read_edge(
        size, _reader(files, size), lambda n: files[tiles.path(None, n, tiles.width_at(None, n, size))]
    )
    assert again.root() == edge.root()
    assert again.bundle == edge.bundle


def test_three_levels_of_tiles() -> None:
    """66,000 leaves fill a tile of level 1 and begin one of level 2; the edge still fits."""
    leaves = [n.to_bytes(3, "big") for n in range(66_000)]
    edge, files = _grow(leaves, [65_535, 1])
    assert edge.root() == root([leaf_hash(leaf) for leaf in leaves])
    assert len(files[tiles.path(2, 0, 1)]) == 32
    assert tiles.root_at(65_536, _reader(files, 66_000)) == root([leaf_hash(leaf) for leaf in leaves[:65_536]])


@given(st.data(), st.integers(1, 300))
def test_an_inclusion_proof_fits_one_leaf_in_one_tree(data: st.DataObject, size: int) -> None:
    """For sizes up to 300: the proof holds, and fails after any single-bit change of leaf, proof, root or index."""
    index = data.draw(st.integers(0, size - 1))
    proof = tiles.inclusion(index, size, _reader(ALL, size))
    assert tiles.included(HASHES[index], index, size, proof, ROOT_AT[size])
    assert not tiles.included(HASHES[index], index + size, size, proof, ROOT_AT[size])
    parts = [HASHES[index], ROOT_AT[size], *proof]
    which, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[which] = _flipped(parts[which], bit)
    assert not tiles.included(parts[0], index, size, parts[2:], parts[1])
    assert not tiles.included(HASHES[index], index, size, [*proof, HASHES[0]], ROOT_AT[size])
    other = data.draw(st.integers(0, size - 1))
    assert other == index or not tiles.included(HASHES[index], other, size, proof, ROOT_AT[size])


@given(st.data(), st.integers(1, 300))
def test_a_consistency_proof_fits_two_trees_only(data: st.DataObject, new: int) -> None:
    """For sizes up to 300: the proof holds, and fails after any single-bit change of a root or of the proof."""
    old = data.draw(st.integers(1, new))
    proof = tiles.consistency(old, new, _reader(ALL, new))
    assert tiles.consistent(old, new, ROOT_AT[old], ROOT_AT[new], proof)
    parts = [ROOT_AT[old], ROOT_AT[new], *proof]
    which, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[which] = _flipped(parts[which], bit)
    assert not tiles.consistent(old, new, parts[0], parts[1], parts[2:])
    assert not tiles.consistent(old, new, ROOT_AT[old], ROOT_AT[new], [*proof, ROOT_AT[0]])


def test_the_ends_of_consistency() -> None:
    """The empty tree begins every tree; an older tree is never the larger one."""
    assert tiles.consistent(0, 5, ROOT_AT[0], ROOT_AT[5], [])
    assert not tiles.consistent(0, 5, ROOT_AT[1], ROOT_AT[5], [])
    assert not tiles.consistent(5, 3, ROOT_AT[5], ROOT_AT[3], [])
    assert not tiles.consistent(3, 5, ROOT_AT[3], ROOT_AT[5], [])


def test_paths() -> None:
    """Paths are those of C2SP tlog-tiles."""
    assert tiles.path(0, 1234067) == "tile/0/x001/x234/067"
    assert tiles.path(None, 0, 1) == "tile/entries/000.p/1"
    assert tiles.path(1, 999, 255) == "tile/1/999.p/255"
    assert tiles.path(0, 1000) == "tile/0/x001/000"


def test_a_bundle_that_is_cut_off_is_tampered() -> None:
    """Fewer leaves than the tree has: `Tampered`, with the place; more: only those asked for."""
    bundle = tiles.frame(b"one") + tiles.frame(b"")
    assert tiles.unframe(bundle, 2) == [b"one", b""]
    assert tiles.unframe(bundle, 1) == [b"one"]
    for cut in (bundle[:-1], b"", bundle[:4]):
        with pytest.raises(Tampered, match="audit_log_damaged at there"):
            tiles.unframe(cut, 2, "there")


def test_evidence_is_a_tlog_proof() -> None:
    """The text form of C2SP tlog-proof: header, index, hashes, blank line, checkpoint."""
    text = tiles.proof_text(5, [bytes(32)], b"origin\n9\nroot\n\nsig\n").decode()
    assert text == f"c2sp.org/tlog-proof@v1\nindex 5\n{'A' * 43}=\n\norigin\n9\nroot\n\nsig\n"


def _flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")


def test_the_empty_tree() -> None:
    """Its root is SHA-256 of nothing."""
    assert tiles.Edge().root() == tiles.root_at(0, _reader({}, 0)) == sha256(b"").digest()
