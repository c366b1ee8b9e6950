"""An entry's inclusion proof (RFC 9162 §2.1.3) as a drawing that people can follow and read aloud.

The entry stands at the bottom, the root with its checkpoint on top. Between them each level shows the node that is
computed from below beside the hash that the proof gives, on the side on which it is hashed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from exchange.audit.tiles import split
from exchange.errors import Tampered
from exchange.messages import Language, text
from exchange.signing.merkle import node_hash

WIDTH: Final = 360  # user units: at their own size they fit a telephone; a page may scale them
_BOX: Final = (156, 44)
_ROW: Final = 78  # from one level's boxes to the next level's
_TOP: Final = 10
_COLUMNS: Final = {"left": 92, "middle": WIDTH // 2, "right": WIDTH - 92}
_CHECKPOINT: Final = 48
_LEGEND: Final = 60
_LONGEST: Final = 45  # characters of an origin in its box
_KIND: Final = 'xmlns="http://www.w3.org/2000/svg" class="merkle-path" role="img"'
_KINDS: Final = {  # of boxes: the root and the leaf, what is computed from below, what the proof gives
    "end": 'fill-opacity="0.16" stroke="currentColor" stroke-width="2.5"',
    "computed": 'fill-opacity="0.08" stroke="currentColor" stroke-width="1.5"',
    "given": 'fill-opacity="0" stroke="currentColor" stroke-dasharray="5 4"',
}
_SANS: Final = "font-family=\"system-ui,'Noto Sans CJK SC','Microsoft YaHei',sans-serif\""
_MONO: Final = "font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\""


@dataclass(frozen=True, slots=True)
class Step:
    """One level of a proof: the node made so far, the hash beside it, and the leaves [lo, hi) under each."""

    side: str  # on which side the sibling stands: `left` or `right`
    node: bytes
    node_covers: tuple[int, int]
    sibling: bytes
    sibling_covers: tuple[int, int]


def steps(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> list[Step]:
    """The levels of a proof from the leaf upwards, each hash computed anew.

    Raises:
        Tampered: `audit_log_damaged`: these hashes do not lead from the leaf to the root, so there is nothing to draw.
    """
    made, node = [], leaf
    halves = list(_halves(index, size))[::-1]
    if 0 <= index < size and len(halves) == len(proof):
        for (side, own, other), sibling in zip(halves, proof, strict=True):
            made.append(Step(side, node, own, sibling, other))
            node = node_hash(sibling, node) if side == "left" else node_hash(node, sibling)
        if node == root:
            return made
    raise Tampered("audit_log_damaged", where=str(index), detail="the proof does not lead to the root")


def draw_path(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes, origin: str, language: Language
) -> str:
    """The proof of entry `index` under the checkpoint of `size` entries, as an SVG element to stand in a page.

    Args:
        index: of the entry, from 0.
        size: of the log, as its checkpoint says.
        leaf: the entry's leaf hash, 32 bytes.
        proof: sibling hashes from the leaf upwards, as `AuditLog.proof` gives them.
        root: the checkpoint's root.
        origin: the log's name, as the checkpoint says it.
        language: of title, description and labels.

    Returns:
        `<svg class="merkle-path" …>`: 360 units wide, coloured by `currentColor` (so it follows a page's text, in
        print and in the dark), with title and description for those who do not see it. It has no ids, no script, no
        style and nothing outside, so that any number may stand in a page under any content policy.

    Raises:
        Tampered: as `steps`: a proof that does not hold is never drawn.
    """
    levels = steps(index, size, leaf, proof, root)
    root_y = _TOP + _CHECKPOINT + 28
    leaf_y = root_y + _ROW * len(levels)
    height = leaf_y + _BOX[1] + _LEGEND
    box = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg {_KIND} {box} fill="currentColor" {_SANS} text-anchor="middle">',
        f"<title>{escape(text('path_title', language, index=index, size=size))}</title>",
        f"<desc>{escape(_told(index, leaf, root, origin, levels, language))}</desc>",
        *_checkpoint(origin, root_y, language),
        *_lines(levels, root_y),
        *_boxes(index, size, root, levels, root_y, language),
        *_legend(leaf_y + _BOX[1] + 24, language),
        "</svg>",
    ]
    return "\n".join(parts)


def _halves(index: int, size: int) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    """From the root down: on which side the sibling of the path stands, what the path's node covers, what it does."""
    lo, hi = 0, size
    while hi - lo > 1 and lo <= index < hi:
        middle = lo + split(hi - lo)
        if index < middle:
            yield "right", (lo, middle), (middle, hi)
            hi = middle
        else:
            yield "left", (middle, hi), (lo, middle)
            lo = middle


def _told(index: int, leaf: bytes, root: bytes, origin: str, levels: Sequence[Step], language: Language) -> str:
    """The whole drawing in words."""
    facts = {"index": index, "leaf": _short(leaf), "root": _short(root), "origin": origin}
    if not levels:
        return text("path_desc_alone", language, **facts)
    siblings = [
        text(
            f"path_step_{step.side}",
            language,
            hash=_short(step.sibling),
            covers=_covers(step.sibling_covers, language),
        )
        for step in levels
    ]
    joined = ("；" if language == "zh" else "; ").join(siblings)
    return text("path_desc", language, steps=len(levels), siblings=joined, **facts)


def _checkpoint(origin: str, root_y: int, language: Language) -> Iterator[str]:
    """The note that signs the root, by the name of its log."""
    middle, wide = _COLUMNS["middle"], WIDTH - 28
    yield (
        f'<rect x="14" y="{_TOP}" width="{wide}" height="{_CHECKPOINT}" rx="3" fill="none" stroke="currentColor" '
        'stroke-width="1.5"/>'
    )
    yield f'<text x="{middle}" y="{_TOP + 19}" font-size="13">{escape(text("path_checkpoint", language))}</text>'
    name = origin if len(origin) <= _LONGEST else origin[: _LONGEST - 1] + "…"
    yield f'<text x="{middle}" y="{_TOP + 38}" font-size="12" {_MONO}>{escape(name)}</text>'
    yield _line(middle, _TOP + _CHECKPOINT, middle, root_y, computed=True)


def _lines(levels: Sequence[Step], root_y: int) -> Iterator[str]:
    """From every pair up to the node that it makes."""
    parent = "middle"
    for row, step in enumerate(reversed(levels)):
        above = root_y + _ROW * row + _BOX[1]
        below, bar = root_y + _ROW * (row + 1), above + (_ROW - _BOX[1]) // 2
        own, at = _other(step.side), _COLUMNS[parent]
        yield _line(_COLUMNS[step.side], below, _COLUMNS[step.side], bar, computed=False)
        yield _line(_COLUMNS[step.side], bar, at, bar, computed=False)
        yield _line(_COLUMNS[own], below, _COLUMNS[own], bar, computed=True)
        yield _line(_COLUMNS[own], bar, at, bar, computed=True)
        yield _line(at, bar, at, above, computed=True)
        parent = own


def _boxes(
    index: int, size: int, root: bytes, levels: Sequence[Step], root_y: int, language: Language
) -> Iterator[str]:
    """The root, then level by level the node and its sibling, at last the leaf."""
    entry = text("path_leaf", language, index=index)
    yield from _box("middle", root_y, root, text("path_root", language, size=size) if levels else entry, "end")
    for row, step in enumerate(reversed(levels), 1):
        y, last = root_y + _ROW * row, row == len(levels)
        own = entry if last else _covers(step.node_covers, language)
        yield from _box(_other(step.side), y, step.node, own, "end" if last else "computed")
        yield from _box(step.side, y, step.sibling, _covers(step.sibling_covers, language), "given")


def _box(column: str, y: int, digest: bytes, label: str, kind: str) -> Iterator[str]:
    (width, height), x = _BOX, _COLUMNS[column]
    yield f'<rect x="{x - width // 2}" y="{y}" width="{width}" height="{height}" rx="6" {_KINDS[kind]}/>'
    yield f'<text x="{x}" y="{y + 19}" font-size="15" {_MONO}>{_short(digest)}</text>'
    yield f'<text x="{x}" y="{y + 36}" font-size="12">{escape(label)}</text>'


def _legend(y: int, language: Language) -> Iterator[str]:
    x = _COLUMNS["left"] - _BOX[0] // 2
    for line, kind in enumerate(("computed", "given")):
        at, said = y + 20 * line, escape(text(f"path_{kind}", language))
        yield f'<rect x="{x}" y="{at - 11}" width="20" height="14" rx="3" {_KINDS[kind]}/>'
        yield f'<text x="{x + 27}" y="{at}" font-size="12" text-anchor="start">{said}</text>'


def _line(x1: int, y1: int, x2: int, y2: int, *, computed: bool) -> str:
    kind = 'stroke-width="2"' if computed else 'stroke-dasharray="5 4"'
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="currentColor" {kind}/>'


def _other(side: str) -> str:
    return "right" if side == "left" else "left"


def _covers(leaves: tuple[int, int], language: Language) -> str:
    first, last = leaves[0], leaves[1] - 1
    return text("path_entry" if first == last else "path_entries", language, first=first, last=last)


def _short(digest: bytes) -> str:
    """The first eight hex digits: enough to compare by eye, never enough to trust."""
    return digest[:4].hex()
