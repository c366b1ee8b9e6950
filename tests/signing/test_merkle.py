"""Merkle roots against the definition in RFC 6962 and its known vectors."""

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.signing import merkle
from tests.profiles import examples


def defined_root(datas: list[bytes]) -> bytes:
    """MTH(D[n]) word for word from RFC 6962 §2.1."""
    if not datas:
        return sha256(b"").digest()
    if len(datas) == 1:
        return sha256(b"\x00" + datas[0]).digest()
    split = 1
    while split * 2 < len(datas):
        split *= 2
    return sha256(b"\x01" + defined_root(datas[:split]) + defined_root(datas[split:])).digest()


# The leaves and roots of the certificate-transparency reference tests (merkletree/merkle_tree_test.cc).
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_roots_are_those_of_the_certificate_transparency_vectors() -> None:
    """The eight trees of the reference implementation and the empty one have their published roots."""
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    roots = [merkle.root(merkle.leaf_hashes(CT_LEAVES[: n + 1])).hex() for n in range(8)]
    assert roots == CT_ROOTS


def test_every_size_to_130_has_the_defined_root() -> None:
    """Going up level by level gives the RFC's split at every shape of the right edge."""
    datas = [bytes([n]) for n in range(130)]
    hashes = merkle.leaf_hashes(datas)
    assert all(merkle.root(hashes[:n]) == defined_root(datas[:n]) for n in range(131))


@settings(max_examples=examples(40))
@given(st.lists(st.binary(max_size=80), max_size=70))
def test_root_is_the_defined_one(datas: list[bytes]) -> None:
    """For any leaves the root is the one of the RFC's recursive definition; the input is left alone."""
    hashes = [merkle.leaf_hash(data) for data in datas]
    before = list(hashes)
    assert merkle.root(hashes) == defined_root(datas)
    assert hashes == before == merkle.leaf_hashes(datas)


def test_leaf_and_node_are_told_apart() -> None:
    """A node's bytes taken as a leaf give another hash (second preimages, RFC 6962 §2.1)."""
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.node_hash(left, right) == merkle.root([left, right])
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
