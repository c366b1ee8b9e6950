"""Ed25519 in plain Python: RFC 8032, and `cryptography` as the reference for all else."""

import random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from exchange.evidence.ed25519 import _L, _P, holds

# RFC 8032 section 7.1: public key, message, signature.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_the_vectors_of_the_rfc(public: str, message: str, signature: str) -> None:
    """Each holds, and not with one bit of anything changed."""
    key, text, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert holds(key, signed, text)
    assert not holds(key, signed, text + b"x")
    choice = random.Random(8032)
    for _ in range(6):
        bit = choice.randrange(512)
        assert not holds(key, (int.from_bytes(signed, "big") ^ 1 << bit).to_bytes(64, "big"), text)


def _reference(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_random_keys_and_messages_against_the_reference() -> None:
    """Whatever `cryptography` says of it, sound or with a bit flipped anywhere."""
    choice = random.Random(20261125)
    for _ in range(12):
        key = Ed25519PrivateKey.from_private_bytes(choice.randbytes(32))
        public, message = key.public_key().public_bytes_raw(), choice.randbytes(choice.randrange(200))
        signature = key.sign(message)
        assert holds(public, signature, message)
        flipped = bytearray(public + signature)
        flipped[choice.randrange(96)] ^= 1 << choice.randrange(8)
        tried = bytes(flipped[:32]), bytes(flipped[32:]), message
        assert holds(*tried) is _reference(*tried) is False


def test_no_signature_has_a_second_form() -> None:
    """S with the group's order added (malleability), R or the key with the field's order added: refused."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"m")
    scalar = int.from_bytes(signature[32:], "little") + _L
    assert not holds(public, signature[:32] + scalar.to_bytes(32, "little"), b"m")
    for y in range(19):  # the encodings of 0 … 18 that are not in their one form
        twice = (y + _P).to_bytes(32, "little")
        assert not holds(twice, signature, b"m")
        assert not holds(public, twice + signature[32:], b"m")
        assert not holds(twice[:31] + bytes([twice[31] | 128]), signature, b"m")


def test_points_of_small_order_against_the_reference() -> None:
    """Keys and R of small order with S = 0: what the reference accepts of canonical ones is accepted, nothing else."""
    points = [
        (1).to_bytes(32, "little"),
        (_P - 1).to_bytes(32, "little"),
        bytes(32),
        (1 << 255).to_bytes(32, "little"),
        (1 | 1 << 255).to_bytes(32, "little"),
    ]
    for public in points:
        for first in points:
            tried = public, first + bytes(32), b"m"
            assert not (holds(*tried) and not _reference(*tried))


@pytest.mark.parametrize(("public", "signature"), [(b"", bytes(64)), (bytes(31), bytes(64)), (bytes(32), bytes(63))])
def test_other_lengths(public: bytes, signature: bytes) -> None:
    """Refused, never an error."""
    assert not holds(public, signature, b"")
