"""The two closed vocabularies of plan.md: row conditions and masks, with the parameters of each.

Only the form is checked here. Whether a path exists and a mask fits its type is for `exchange.view`, with a schema.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Final

from exchange.errors import Invalid
from exchange.plan.shapes import Shape, choice, form, integer, listing, record, scalar, tagged, text, word

COMPARISONS: Final = ("eq", "ne", "lt", "le", "gt", "ge")
TRUNCATE_UNITS: Final = ("month", "quarter", "year", "day", "hour")
REGION_LEVELS: Final = {"province": 2, "prefecture": 4, "county": 6, "township": 9, "village": 12}
MAX_KEPT: Final = 10_000
DECIMAL: Final = re.compile(r"-?[0-9]{1,100}(\.[0-9]{1,100})?")


def decimal_of(value: object) -> Decimal | None:
    """The number that a plan writes as a whole number or as a decimal in a string; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return Decimal(value) if isinstance(value, str) and DECIMAL.fullmatch(value) else None


def _number(value: object, where: str) -> None:
    if decimal_of(value) is None:
        raise Invalid("plan_type_wrong", where=where, expected="integer | string (decimal)")


def _step(value: object, where: str) -> None:
    _number(value, where)
    if (decimal_of(value) or 0) <= 0:
        raise Invalid("plan_out_of_range", where=where, least="> 0", most="∞")


def _edges(value: object, where: str) -> None:
    listing(_number, least=1, most=MAX_KEPT)(value, where)
    numbers = [decimal_of(edge) or Decimal(0) for edge in value] if isinstance(value, list | tuple) else []
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise Invalid("plan_edges_unsorted", where=where)


MASKS: Final[Mapping[str, Mapping[str, Shape]]] = {
    "keep": {},
    "null": {},
    "redact": {},
    "partial": {"first": integer(0, MAX_KEPT), "last": integer(0, MAX_KEPT)},
    "pseudonym": {"scope": word},
    "year": {},
    "truncate": {"unit": choice("unit", TRUNCATE_UNITS)},
    "region": {"level": choice("level", REGION_LEVELS)},
    "bucket": {"edges": _edges},
    "round": {"to": _step},
    "verdict": {"op": choice("operator", COMPARISONS), "value": scalar},
}
mask: Final = tagged("kind", MASKS, what="mask")
_CODE: Final = record({"table": word, "key": word})


def _threshold(value: object, where: str) -> None:
    """A verdict's value in an agreement: itself, or the entry of a code table that the policy puts in its place."""
    (_CODE if isinstance(value, Mapping) else scalar)(value, where)


# An agreement may name a threshold by its code table; in a plan it is always the number itself.
agreed_mask: Final = tagged("kind", {**MASKS, "verdict": {**MASKS["verdict"], "value": _threshold}}, what="mask")


def _branches(value: object, where: str) -> None:
    listing(rows, least=1)(value, where)


def _one_branch(value: object, where: str) -> None:
    listing(rows, least=1, most=1)(value, where)


_OPERATORS: Final[Mapping[str, Mapping[str, Shape]]] = {
    "all": {},
    **{op: {"path": word, "value": scalar} for op in COMPARISONS},
    "in": {"path": word, "values": listing(scalar)},
    "prefix": {"path": word, "value": text},
    "null": {"path": word},
    "member": {"set": form("digest")},
    "and": {"of": _branches},
    "or": {"of": _branches},
    "not": {"of": _one_branch},
}
_node: Final = tagged("op", _OPERATORS, what="operator")


def rows(value: object, where: str) -> None:
    """A tree of row conditions, of a document that `shapes.bounded` has let through."""
    _node(value, where)
