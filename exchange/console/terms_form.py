"""The form of a request for an agreement: from what was typed to terms, and from an error's place to a field."""

import re
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from exchange.errors import ExchangeError, Invalid

if TYPE_CHECKING:
    from exchange.contracts.contract import Contract
    from exchange.control.model import Model
    from exchange.wiring.desk import Row

_NS: Final = 1_000_000_000
_DAYS: Final = 180
_FIELD: Final = re.compile(r"terms\.fields\[(\d+)\]")
_PLACES: Final = {
    "terms.purpose": "purpose",
    "terms.case_bound": "case_bound",
    "terms.legal_basis": "legal_basis",
    "terms.actions": "actions",
    "terms.fields": "fields",
    "terms.not_before_ns": "from",
    "terms.expires_ns": "until",
    "terms.purge_by": "purge_by",
    "terms.zone": "zone",
    "terms.dataset": "dataset",
}
_MASKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "keep": {"kind": "keep"},
    "last_four": {"kind": "partial", "first": 0, "last": 4},
    "ends": {"kind": "partial", "first": 6, "last": 4},
    "year": {"kind": "year"},
    "month": {"kind": "truncate", "unit": "month"},
    "redact": {"kind": "redact"},
    "null": {"kind": "null"},
}
_BELOW: Final = "below:"  # with the key of the consumer's own standard


def masks_for(contract: "Contract", model: "Model", consumer: str) -> dict[str, dict[str, Mapping[str, Any]]]:
    """For each field, the masks that can be asked for it: those that are defined for its type and class."""
    from exchange.view.masks import DEFINED, type_of

    leaves = contract.schemas[-1].leaves
    region = model.departments[consumer].region[:6]
    standards = model.codes.get("dibao_standard_fen", {})
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for path, terms in contract.fields.items():
        kind = type_of(leaves[path])
        able = {name: mask for name, mask in _MASKS.items() if kind in DEFINED[str(mask["kind"])]}
        if terms.security_class == "L4":
            able.pop("keep", None)
        if region in standards and kind == "integer" and path.endswith("_fen"):
            able[_BELOW + region] = _below(region)
        found[path] = able
    return found


def _below(region: str) -> dict[str, Any]:
    return {"kind": "verdict", "op": "lt", "value": {"table": "dibao_standard_fen", "key": region}}


def terms_of(values: Mapping[str, str], dataset: "Row", consumer: str, zone: ZoneInfo) -> dict[str, Any]:
    """The terms that were typed; what they say is checked by `exchange.control.terms`, where every request is.

    Raises:
        Invalid: `date_malformed` for a day that is none.
    """
    fields = []
    for path in _paths(dataset):
        chosen = values.get(f"mask:{path}", "")
        mask = _below(chosen.removeprefix(_BELOW)) if chosen.startswith(_BELOW) else _MASKS.get(chosen)
        if mask is not None:
            fields.append({"path": path, "mask": dict(mask)})
    return {
        "consumer": consumer,
        "dataset": dataset["name"],
        "purpose": values.get("purpose", ""),
        "legal_basis": values.get("legal_basis", "").strip(),
        "actions": values.get("actions", "").split(),
        "fields": fields,
        "rows": {"op": "all"},  # the form has no narrower one; `exchange agreement request` takes any
        "case_bound": values.get("case_bound") == "yes",
        "zone": values.get("zone", "extranet"),
        "counts": False,
        "not_before_ns": _instant(values.get("from", ""), time.min, zone, "terms.not_before_ns"),
        "expires_ns": _instant(values.get("until", ""), time.max, zone, "terms.expires_ns"),
        "purge_by": values.get("purge_by", "").strip() or None,
    }


def _paths(dataset: "Row") -> list[str]:
    return [str(one["path"]) for one in dataset["fields"]]


def _instant(day: str, at: time, zone: ZoneInfo, where: str) -> int:
    """Both days are included, in the site's zone."""
    try:
        moment = datetime.combine(datetime.strptime(day.strip(), "%Y-%m-%d").date(), at, zone)  # noqa: DTZ007  # a day
        return int(moment.timestamp()) * _NS
    except (ValueError, OverflowError):
        raise Invalid("date_malformed", where=where) from None


def filled(values: Mapping[str, str], zone: ZoneInfo, now_ns: int) -> dict[str, str]:
    """What the form holds: what was typed, else what most requests are like."""
    today = datetime.fromtimestamp(now_ns // _NS, zone).date()
    plain = {
        "purpose": "",
        "legal_basis": "",
        "actions": "read lookup",
        "case_bound": "yes",
        "zone": "extranet",
        "from": today.isoformat(),
        "until": (today + timedelta(days=_DAYS)).isoformat(),
        "purge_by": "",
    }
    return {**plain, **({"case_bound": ""} if values else {}), **values}


def place_of(error: ExchangeError, values: Mapping[str, str]) -> str:
    """The name of the field that an error speaks of; empty where it is of none."""
    field = _FIELD.match(error.where)
    if field:
        chosen = [name for name, value in values.items() if name.startswith("mask:") and value]
        return chosen[int(field[1])] if int(field[1]) < len(chosen) else "fields"
    return _PLACES.get(error.where, "")
