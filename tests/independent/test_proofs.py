"""Proofs of every size up to 600 before three other verifiers: what holds for us holds for them, and no changed bit."""

import random
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from exchange.audit import tiles
from exchange.signing.merkle import leaf_hash, root
from tests.independent.following import claims
from tests.independent.judging import judged

pytestmark = [pytest.mark.whole, pytest.mark.timeout(400)]
_MOST: Final = 600
_ALL: Final = 40  # up to this size every pair, beyond it the ends and a few
_HASHES: Final = [leaf_hash(b"entry %d" % n) for n in range(_MOST)]
_ROOTS: Final = [root(_HASHES[:size]) for size in range(_MOST + 1)]


@dataclass(frozen=True)
class Claim:
    """An inclusion proof of the leaf at `old`, or a consistency proof from the tree of size `old`."""

    old: int
    size: int
    leaf: bytes
    old_root: bytes
    root: bytes
    proof: Sequence[bytes]

    @property
    def holds(self) -> bool:
        """By our own verifier."""
        if self.leaf:
            return tiles.included(self.leaf, self.old, self.size, self.proof, self.root)
        return tiles.consistent(self.old, self.size, self.old_root, self.root, self.proof)

    @property
    def told(self) -> dict[str, Any]:
        """As the others take it."""
        parts = {"leaf": self.leaf, "old_root": self.old_root, "root": self.root}
        shown: dict[str, Any] = {name: b64encode(part).decode() for name, part in parts.items() if part}
        return {"old": self.old, "size": self.size, **shown, "proof": [b64encode(one).decode() for one in self.proof]}

    def changed(self, chance: random.Random) -> "Claim":
        """The same with one bit changed somewhere, or a hash too many, or too few."""
        parts = [self.leaf or self.old_root, self.root, *self.proof]
        if chance.random() < 0.2:
            return replace(
                self, proof=chance.choice([parts[2:-1], [*parts[2:], parts[0]]]) if self.proof else parts[:1]
            )
        which, bit = chance.randrange(len(parts)), chance.randrange(256)
        parts[which] = bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(parts[which]))
        wrong = replace(self, root=parts[1], proof=parts[2:])
        return replace(wrong, leaf=parts[0]) if self.leaf else replace(wrong, old_root=parts[0])


def _tile(size: int, level: int, n: int) -> Sequence[bytes]:
    if level == 0:
        return _HASHES[n * 256 : min((n + 1) * 256, size)]
    return [root(_HASHES[at * 256 : (at + 1) * 256]) for at in range(size // 256)]


def _claims(chance: random.Random) -> Iterator[Claim]:
    for size in range(1, _MOST + 1):

        def read(level: int, n: int, size: int = size) -> Sequence[bytes]:
            return _tile(size, level, n)

        some = {0, size - 1, size // 2, *(chance.randrange(size) for _ in range(2))}
        for index in range(size) if size <= _ALL else some:
            yield Claim(index, size, _HASHES[index], b"", _ROOTS[size], tiles.inclusion(index, size, read))
            old = index + 1
            yield Claim(old, size, b"", _ROOTS[old], _ROOTS[size], tiles.consistency(old, size, read))


def test_four_verifiers_agree() -> None:
    """Ours, sumdb's, transparency-dev's and aics-tlog's: all say yes to each proof, and no to each changed one."""
    chance = random.Random(20_261_124)
    true = list(_claims(chance))
    assert {claim.size for claim in true} == set(range(1, _MOST + 1))
    changed = [claim.changed(chance) for claim in true]
    assert all(claim.holds for claim in true)
    assert not any(claim.holds for claim in changed)
    told = [claim.told for claim in (*true, *changed)]
    expected = [True] * len(true) + [False] * len(changed)
    assert claims(told) == [[one, one] for one in expected]
    assert judged(claims=told) == expected
