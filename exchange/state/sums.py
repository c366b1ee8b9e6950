"""Sums over a bucket of subjects: what finds a row that was lost or put back, on every engine.

A bucket holds the tags of equal first 12 bits; its sum is the XOR of its rows' tags and digests.
"""

from typing import Final

EMPTY: Final = bytes(16)


def bucket(tag: bytes) -> bytes:
    """The bucket of a tag: also the lowest tag prefix in it."""
    return tag[:1] + bytes([tag[1] & 0xF0])


def last(prefix: bytes) -> bytes:
    """The highest tag of a bucket."""
    return prefix[:1] + bytes([prefix[1] | 0x0F]) + b"\xff" * 14


def number(digest: bytes) -> int:
    """A tag, digest or sum as the number that is added by XOR."""
    return int.from_bytes(digest, "big")


def packed(total: int) -> bytes:
    """A sum as it is stored."""
    return total.to_bytes(len(EMPTY), "big")
