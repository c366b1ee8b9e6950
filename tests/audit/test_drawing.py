"""A drawn proof is the proof: every hash and place in it is right and said in words, and a false one is refused."""

import re
from collections.abc import Sequence
from hashlib import sha256
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.audit import tiles
from exchange.audit.drawing import WIDTH, draw_path, steps
from exchange.errors import Tampered
from exchange.messages import Language
from exchange.signing.merkle import leaf_hash, node_hash, root

ORIGIN = "sample.exchange.invalid/<&>\"'"
SVG = "{http://www.w3.org/2000/svg}"
HASHES = [leaf_hash(str(n).encode()) for n in range(300)]
TILES = {(0, 0): HASHES[:256], (0, 1): HASHES[256:], (1, 0): [root(HASHES[:256])]}


def proof_in(index: int, size: int) -> list[bytes]:
    """The proof as the log itself gives it."""
    return tiles.inclusion(index, size, lambda level, n: TILES[level, n][: tiles.width_at(level, n, size)])


def far(index: int, size: int) -> tuple[list[bytes], bytes]:
    """A proof in a log whose other leaves nobody has: any siblings, and the root that they lead to."""
    node, siblings = HASHES[0], []
    lo, hi, sides = 0, size, []
    while hi - lo > 1:
        middle = lo + (1 << (hi - lo - 1).bit_length() - 1)
        sides.append(index < middle)
        lo, hi = (lo, middle) if index < middle else (middle, hi)
    for level, first in enumerate(reversed(sides)):
        sibling = sha256(f"sibling {level}".encode()).digest()
        siblings.append(sibling)
        node = node_hash(node, sibling) if first else node_hash(sibling, node)
    return siblings, node


def words(svg: str) -> list[str]:
    """The texts of the drawing from the top."""
    return [one.text or "" for one in ET.fromstring(svg).iter(f"{SVG}text")]


@given(st.integers(1, 300).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))))
def test_levels_are_the_logs_own(place: tuple[int, int]) -> None:
    """Each level names the leaves under its hashes: the hash is theirs, and together the two are the level above."""
    index, size = place
    tree = root(HASHES[:size])
    made = steps(index, size, HASHES[index], proof_in(index, size), tree)
    above = (0, size)
    for step in reversed(made):
        left, right = sorted([step.node_covers, step.sibling_covers])
        assert (left[0], right[1]) == above
        assert left[1] == right[0]
        assert step.side == ("left" if step.sibling_covers == left else "right")
        assert step.sibling == root(HASHES[slice(*step.sibling_covers)])
        assert step.node == root(HASHES[slice(*step.node_covers)])
        above = step.node_covers
    assert above == (index, index + 1)


@pytest.mark.parametrize("language", ["zh", "en"])
@given(st.integers(1, 10**7).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))))
def test_a_drawing_says_and_shows_every_hash(language: Language, place: tuple[int, int]) -> None:
    """Up to ten million entries: root, siblings, leaf, index, size and origin stand in the drawing and in its words."""
    index, size = place
    proof, tree = far(index, size)
    svg = draw_path(index, size, HASHES[0], proof, tree, ORIGIN, language)
    drawn = ET.fromstring(svg)
    told = str(drawn.findtext(f"{SVG}title")) + str(drawn.findtext(f"{SVG}desc"))
    for digest in (tree, HASHES[0], *proof):
        assert digest.hex()[:8] in words(svg)
        assert digest.hex()[:8] in told
    assert all(str(fact) in told for fact in (index, size, ORIGIN))
    assert len(re.findall("<rect", svg)) == 1 + 1 + 2 * len(proof) + 2


@given(st.integers(1, 10**7).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))))
def test_nothing_stands_outside_or_over_another(place: tuple[int, int]) -> None:
    """Every box is within the drawing, and no two boxes touch."""
    proof, tree = far(*place)
    drawn = ET.fromstring(draw_path(*place, HASHES[0], proof, tree, ORIGIN, "zh"))
    _, _, width, height = map(int, str(drawn.get("viewBox")).split())
    boxes = [[int(str(one.get(key))) for key in ("x", "y", "width", "height")] for one in drawn.iter(f"{SVG}rect")]
    assert width == WIDTH
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    for n, (x, y, w, h) in enumerate(boxes):
        for other_x, other_y, other_w, other_h in boxes[:n]:
            assert x >= other_x + other_w or other_x >= x + w or y >= other_y + other_h or other_y >= y + h


def test_it_may_stand_in_any_page() -> None:
    """No id that could be there twice, no script, style or address; what names the log is no mark-up."""
    svg = draw_path(5, 8, HASHES[5], proof_in(5, 8), root(HASHES[:8]), ORIGIN, "en")
    assert not re.search(r"\b(id|style|href|src|on\w+)=|<(script|style|image|use)\b|url\(", svg)
    assert svg.count("http") == svg.count('xmlns="http://www.w3.org/2000/svg"') == 1
    assert "<&>" not in svg


def test_the_entry_stands_at_the_bottom_and_the_root_on_top() -> None:
    """Read from above: checkpoint, root, pairs from left to right, and the entry in the last pair."""
    svg = draw_path(2, 3, HASHES[2], proof_in(2, 3), root(HASHES[:3]), "log", "en")
    tree, pair = root(HASHES[:3]).hex()[:8], root(HASHES[:2]).hex()[:8]
    assert words(svg)[:8] == [
        *("signed checkpoint", "log", tree, "root over 3 entries"),
        *(HASHES[2].hex()[:8], "this entry, 2", pair, "0 – 1"),
    ]


def changes() -> list[tuple[int, int, bytes, Sequence[bytes], bytes]]:
    """A proof that holds, and everything that can be wrong with it."""
    proof, tree = proof_in(5, 8), root(HASHES[:8])
    return [
        (4, 8, HASHES[5], proof, tree),
        (5, 9, HASHES[5], proof, tree),
        (5, 8, HASHES[4], proof, tree),
        (5, 8, HASHES[5], proof[:-1], tree),
        (5, 8, HASHES[5], [*proof, tree], tree),
        (5, 8, HASHES[5], proof[::-1], tree),
        (5, 8, HASHES[5], proof, HASHES[0]),
        (-1, 8, HASHES[5], proof, tree),
        (8, 8, HASHES[5], [], HASHES[5]),
        (0, 0, HASHES[0], [], HASHES[0]),
    ]


@pytest.mark.parametrize("wrong", changes())
def test_a_proof_that_does_not_hold_is_not_drawn(wrong: tuple[int, int, bytes, Sequence[bytes], bytes]) -> None:
    """A drawing convinces: what leads to no root gets none."""
    with pytest.raises(Tampered) as caught:
        draw_path(*wrong, "log", "en")
    assert caught.value.code == "audit_log_damaged"
