"""Seals: their leaves are unambiguous, their signature holds for exactly what was sealed."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import Tampered
from exchange.signing import merkle
from exchange.signing.keys import SigningKey, new_signing_key
from exchange.signing.seals import Seal, rejected_leaf, seal, seal_leaf, seal_leaves, verify
from tests.profiles import examples

NAMES = st.text("ab/.", max_size=3)
LEAVES = [seal_leaf("a.b", "s", n, "fp", b"value") for n in range(1, 6)]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """A department's key."""
    return new_signing_key(tmp_path_factory.mktemp("keys") / "seal.key")


def sealed(key: SigningKey, now_ns: int = 7) -> Seal:
    """Five records under a seal."""
    return seal(key, LEAVES, dataset="a.b", department="d", delegate=True, now_ns=lambda: now_ns)


def defined_leaf(dataset: str, source: str, sequence: int, fingerprint: str, value: bytes) -> bytes:
    """The encoding of the module's docstring, written out."""
    texts = [len(text.encode()).to_bytes(4, "big") + text.encode() for text in (dataset, source, fingerprint)]
    data = b"\x00" + texts[0] + texts[1] + sequence.to_bytes(8, "big") + texts[2] + value
    return sha256(b"\x00" + data).digest()


@settings(max_examples=examples(40))
@given(NAMES, NAMES, st.integers(0, 2**63 - 1), NAMES, st.binary(max_size=9))
def test_a_leaf_is_the_defined_one(dataset: str, source: str, sequence: int, fp: str, value: bytes) -> None:
    """One by one and in bulk, a leaf is what the docstring says."""
    leaf = defined_leaf(dataset, source, sequence, fp, value)
    assert seal_leaf(dataset, source, sequence, fp, value) == leaf
    assert seal_leaves(dataset, source, [sequence] * 2, fp, [value] * 2) == [leaf, leaf]


EVENTS = st.tuples(NAMES, NAMES, st.integers(1, 300), NAMES, st.binary(max_size=3))


@settings(max_examples=examples(40))
@given(EVENTS, EVENTS)
def test_different_contents_have_different_leaves(one: Any, other: Any) -> None:
    """Moving a character from one field to the next gives another leaf; a rejection is never a record."""
    assert (seal_leaf(*one) == seal_leaf(*other)) == (one == other)
    assert rejected_leaf(*one[:4]) != seal_leaf(*other)
    assert (rejected_leaf(*one[:4]) == rejected_leaf(*other[:4])) == (one[:4] == other[:4])


def test_the_signature_is_over_the_domain_and_the_canonical_seal(key: SigningKey) -> None:
    """Anyone with an Ed25519 library can check a seal from the docstring alone."""
    made = sealed(key)
    document = {
        "count": 5,
        "dataset": "a.b",
        "delegate": True,
        "department": "d",
        "public": key.public.hex(),
        "root": merkle.root(LEAVES).hex(),
        "time_ns": 7,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    Ed25519PublicKey.from_public_bytes(key.public).verify(made.signature, b"exchange.seal/1\n" + text)
    del document["time_ns"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    assert made.id == sha256(b"exchange.seal/1\n" + text).hexdigest()[:32]
    verify(made, LEAVES)


def test_sealing_the_same_again_gives_the_same_id(key: SigningKey) -> None:
    """The id says the content: the time is not part of it, anything else is."""
    assert sealed(key, 7).id == sealed(key, 8).id
    shorter = seal(key, LEAVES[1:], dataset="a.b", department="d", delegate=True, now_ns=lambda: 7)
    assert shorter.id != sealed(key).id


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "a.c"},
        {"department": "e"},
        {"count": 4},
        {"root": bytes(32)},
        {"delegate": False},
        {"time_ns": 8},
        {"id": "0" * 32},
        {"public": bytes(32)},
        {"signature": bytes(64)},
        {"signature": b""},
    ],
)
def test_a_changed_seal_does_not_hold(key: SigningKey, change: dict[str, Any]) -> None:
    """Every single field is under the signature or the id."""
    with pytest.raises(Tampered, match="seal_broken"):
        verify(replace(sealed(key), **change), LEAVES)


def test_changed_leaves_do_not_hold(key: SigningKey) -> None:
    """One leaf more, less, changed or in another place."""
    for leaves in ([*LEAVES, LEAVES[0]], LEAVES[:-1], [*LEAVES[:-1], bytes(32)], LEAVES[::-1], []):
        with pytest.raises(Tampered, match="seal_broken"):
            verify(sealed(key), leaves)


def test_the_key_of_another_department_does_not_seal_for_this_one(key: SigningKey, tmp_path: Path) -> None:
    """A seal re-signed with another key names that key, and has another id."""
    other = new_signing_key(tmp_path / "other.key")
    forged = replace(sealed(key), public=other.public)
    with pytest.raises(Tampered, match="seal_broken"):
        verify(forged, LEAVES)
    assert sealed(other).id != sealed(key).id
