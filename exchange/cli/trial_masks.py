"""The masks of a trial's one agreement: what the class and kind of each field suggest, on the careful side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from adapters.draft import Draft, DraftField

Mask = dict[str, Any]

_KEEP: Final[Mask] = {"kind": "keep"}
_REDACT: Final[Mask] = {"kind": "redact"}
_NULL: Final[Mask] = {"kind": "null"}
_TEXTS: Final = frozenset({"text", "name", "id"})
_PARTIAL: Final[Mapping[str, tuple[int, int]]] = {
    "id_number": (6, 4),
    "phone": (3, 4),
    "name": (1, 0),
    "address": (6, 0),
    "plate": (2, 2),
    "other_id": (2, 2),
}
_MOST_EDGES: Final = 3


def suggested(draft: "Draft") -> dict[str, Mask]:
    """For each field that the agreement names its mask; fields of L4 are not named.

    Where there is nothing but L4, the subject is, with nothing of it to be seen: an agreement names a field at least.
    """
    masks = {one.field: mask for one in draft.fields if (mask := _mask(one)) is not None}
    return masks or {draft.subject_path: dict(_REDACT)}


def _mask(one: "DraftField") -> Mask | None:
    if one.security_class == "L4":
        return None
    whole = not any(reason.key.startswith("draft_inside_") for reason in one.reasons)
    if one.type in _TEXTS and whole and one.kind in _PARTIAL:
        first, last = _PARTIAL[one.kind]
        return {"kind": "partial", "first": first, "last": last}
    if one.kind == "birth_date" and one.type == "date":
        return {"kind": "year"}
    return dict(_KEEP) if one.security_class in {"L1", "L2"} and whole else _narrowed(one)


def _narrowed(one: "DraftField") -> Mask:
    """What remains of a field of L3: an order of magnitude, a year, or nothing."""
    if one.type in {"fen", "int"}:
        return {"kind": "bucket", "edges": _edges([value for value in one.examples if isinstance(value, int)])}
    if one.type == "date":
        return {"kind": "year"}
    return dict(_REDACT) if one.type in _TEXTS or one.type in {"month", "enum"} else dict(_NULL)


def _edges(values: list[int]) -> list[int]:
    """The quartiles, rounded to their first digit, so that they tell no single value."""
    ranked = sorted(values) or [0]
    quartiles = (ranked[len(ranked) * part // (_MOST_EDGES + 1)] for part in range(1, _MOST_EDGES + 1))
    return sorted({_rounded(value) for value in quartiles})


def _rounded(value: int) -> int:
    unit: int = 10 ** max(0, len(str(abs(value))) - 1)
    return max(1, round(value / unit)) * unit
