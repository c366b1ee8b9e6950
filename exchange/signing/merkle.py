"""Merkle tree hashes of RFC 6962 §2.1 (the same in RFC 9162 §2.1.1) over SHA-256."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 ‖ data), 32 bytes."""
    return sha256(b"\x00" + data).digest()


def leaf_hashes(datas: Sequence[bytes]) -> list[bytes]:
    """`leaf_hash` of each, without a call of ours for each."""
    digest = sha256
    return [digest(b"\x00" + data).digest() for data in datas]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 ‖ left ‖ right), 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """The tree hash over these leaf hashes (32 bytes each); of no leaf it is SHA-256 of nothing.

    Level by level from below: a node without a right neighbour goes up as it is. That is RFC 6962's split at the
    largest power of two, since every level but its right edge is full.
    """
    if not hashes:
        return EMPTY_ROOT
    level, digest = list(hashes), sha256
    while len(level) > 1:
        alone = level[-1:] if len(level) % 2 else []
        pairs = b"".join(level[: len(level) - len(alone)])
        level = [digest(b"\x01" + pairs[at : at + 64]).digest() for at in range(0, len(pairs), 64)] + alone
    return level[0]
