"""The terms of an agreement: from a request's document to what is frozen when it is approved.

A request's terms are an object with the keys of `model.Terms` (`schema` may be left out): `fields` is a list of
`{"path", "mask"}` where a path names a leaf or a whole record; `rows` is a row condition of plan.md, `{"op": "all"}`
said and never implied. The `value` of a verdict mask may be `{"table": name, "key": key}`, an entry of the policy's
code tables, so that a threshold is changed in one place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final

from exchange.control.decision import MAX_PERIOD_NS, exact_keys, instant, malformed, one_of, shallow, text, words
from exchange.control.model import Dataset, Model, Terms, TermsField
from exchange.errors import Invalid, Refused
from exchange.names import ACTIONS, ZONES, check, nearest
from exchange.plan.shapes import shown
from exchange.plan.tree import mask as check_mask
from exchange.plan.tree import rows as check_rows

_KEYS: Final = (
    "consumer",
    "dataset",
    "purpose",
    "legal_basis",
    "actions",
    "fields",
    "rows",
    "case_bound",
    "zone",
    "counts",
    "not_before_ns",
    "expires_ns",
    "purge_by",
)


def parse(document: object, model: Model, now_ns: int) -> Terms:
    """The terms, when every rule that does not depend on who asks holds for them now.

    Raises:
        Invalid: a malformed or unknown part, with its place.
        Refused: `dataset_not_shared`, `consumer_is_provider`, `purpose_own_data`, `no_active_policy`,
            `class_needs_mask`.
    """
    shallow(document, where="terms")
    given = exact_keys(document, _KEYS, where="terms", optional=("schema",))
    consumer = model.department(check("department", given["consumer"], where="terms.consumer")).id
    dataset = model.dataset(check("dataset", given["dataset"], where="terms.dataset"))
    _shareable(dataset)
    if given.get("schema") not in (None, "", dataset.current.fingerprint):
        raise Invalid("schema_not_current", where="terms.schema", current=dataset.current.fingerprint)
    not_before, expires = _period(given, now_ns)
    case_bound = _flag(given, "case_bound")
    return Terms(
        consumer=consumer,
        dataset=dataset.name,
        schema="",
        purpose=_purpose(given["purpose"], model, own=dataset.department == consumer, case_bound=case_bound),
        legal_basis=text(given["legal_basis"], where="terms.legal_basis"),
        actions=_actions(given["actions"]),
        fields=_fields(given["fields"], dataset, model.codes),
        rows=_rows(given["rows"], dataset),
        case_bound=case_bound,
        zone=one_of(given["zone"], ZONES, where="terms.zone"),
        counts=_flag(given, "counts"),
        not_before_ns=not_before,
        expires_ns=expires,
        purge_by=_date(given["purge_by"]),
    )


def freeze(terms: Terms, dataset: Dataset) -> Terms:
    """The terms on the schema of now, every record written out to its leaves: a leaf added later stays invisible."""
    fields = tuple(TermsField(leaf, one.mask) for one in terms.fields for leaf in _leaves(one.path, dataset.fields))
    return replace(terms, schema=dataset.current.fingerprint, fields=fields)


def _shareable(dataset: Dataset) -> None:
    if dataset.share_type == "not_shared":
        raise Refused("dataset_not_shared", where="terms.dataset", dataset=dataset.name, basis=dataset.legal_basis)


def _purpose(value: object, model: Model, *, own: bool, case_bound: bool) -> str:
    """A purpose of the active policy's table; of a department with itself only one that the table says is for that."""
    purpose = check("purpose", value, where="terms.purpose")
    if model.active_policy is None:
        raise Refused("no_active_policy")
    known = model.codes.get("purposes", {})
    if purpose not in known:
        raise Invalid("unknown_purpose", where="terms.purpose", name=purpose, nearest=nearest(purpose, known) or "-")
    if (known[purpose].get("own_data", False) is True) != own:
        raise Refused("consumer_is_provider" if own else "purpose_own_data", where="terms.purpose", purpose=purpose)
    # Anything but a plain false needs a case: a table that says it unclearly must not widen a right.
    if known[purpose].get("case_required", False) is not False and not case_bound:
        raise Invalid("case_binding_required", where="terms.case_bound", purpose=purpose)
    return purpose


def _actions(value: object) -> tuple[str, ...]:
    actions = tuple(one_of(action, ACTIONS, where="terms.actions") for action in words(value, where="terms.actions"))
    if not actions:
        raise malformed("terms.actions", "at least one action")
    return actions


def _period(given: Mapping[str, Any], now_ns: int) -> tuple[int, int]:
    not_before = instant(given["not_before_ns"], where="terms.not_before_ns")
    expires = instant(given["expires_ns"], where="terms.expires_ns")
    if not (not_before < expires and now_ns < expires and expires - not_before <= MAX_PERIOD_NS):
        raise Invalid("period_malformed", where="terms.expires_ns")
    return not_before, expires


def _flag(given: Mapping[str, Any], key: str) -> bool:
    if not isinstance(given[key], bool):
        raise malformed(f"terms.{key}", "true | false")
    return bool(given[key])


def _date(value: object) -> str | None:
    if value is None:
        return None
    try:
        if isinstance(value, str) and date.fromisoformat(value).isoformat() == value:
            return value
    except ValueError:
        pass
    raise malformed("terms.purge_by", "YYYY-MM-DD | null")


def _fields(value: object, dataset: Dataset, codes: Mapping[str, Any]) -> tuple[TermsField, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise malformed("terms.fields", "list of at least one field")
    fields = [_field(one, dataset, codes, f"terms.fields[{index}]") for index, one in enumerate(value)]
    named: set[str] = set()
    for index, one in enumerate(fields):
        leaves = set(_leaves(one.path, dataset.fields))
        if leaves & named:
            raise Invalid("field_twice", where=f"terms.fields[{index}].path", path=min(leaves & named))
        named |= leaves
    return tuple(fields)


def _field(value: object, dataset: Dataset, codes: Mapping[str, Any], where: str) -> TermsField:
    given = exact_keys(value, ("path", "mask"), where=where)
    path = _known(given["path"], list(_leaves(given["path"], dataset.fields)), dataset, f"{where}.path")
    mask = given["mask"]
    check_mask(_resolved(mask, codes, f"{where}.mask.value"), f"{where}.mask")
    for leaf in _leaves(path, dataset.fields):
        if dataset.fields[leaf][0] == "L4" and mask["kind"] == "keep":
            raise Refused("class_needs_mask", where=f"{where}.mask", path=leaf)
    return TermsField(path, mask)


def _resolved(mask: object, codes: Mapping[str, Any], where: str) -> object:
    """The mask as the plan will have it: a threshold by reference becomes the code table's number."""
    if not isinstance(mask, Mapping) or mask.get("kind") != "verdict" or not isinstance(mask.get("value"), Mapping):
        return mask
    reference = exact_keys(mask["value"], ("table", "key"), where=where)
    table = codes.get(str(reference["table"]))
    number = table.get(str(reference["key"])) if isinstance(table, Mapping) else None
    if isinstance(number, bool) or not isinstance(number, int):
        raise Invalid("unknown_code", where=where, table=shown(reference["table"]), key=shown(reference["key"]))
    return {**mask, "value": number}


def _rows(value: Mapping[str, Any], dataset: Dataset) -> Mapping[str, Any]:
    check_rows(value, "terms.rows")
    for path in _paths(value):
        _known(path, [path] if path in dataset.fields else [], dataset, "terms.rows")
    return dict(value)


def _paths(tree: Mapping[str, Any]) -> Iterator[str]:
    if "path" in tree:
        yield tree["path"]
    for branch in tree.get("of", ()):
        yield from _paths(branch)


def _known(path: object, leaves: list[str], dataset: Dataset, where: str) -> str:
    if isinstance(path, str) and leaves:
        return path
    raise Invalid("unknown_field", where=where, path=shown(path), nearest=nearest(shown(path), dataset.fields) or "-")


def _leaves(path: object, fields: Mapping[str, Any]) -> Iterator[str]:
    """The leaves that a path names: itself, or those of the record, list or map that it is."""
    if isinstance(path, str) and path:
        for leaf in fields:
            if leaf == path or leaf.startswith((f"{path}.", f"{path}[]", f"{path}{{}}")):
                yield leaf
