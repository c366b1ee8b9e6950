"""The plan: the answer to a question, complete and serialisable, the same bytes from every engine (plan.md, "Plan")."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import Any, Final, Self

from exchange.errors import Invalid
from exchange.names import check, digest
from exchange.plan.shapes import (
    Shape,
    bounded,
    choice,
    different,
    form,
    integer,
    listing,
    mapping,
    nullable,
    record,
    shown,
    tagged,
    text,
    word,
)
from exchange.plan.tree import mask, rows

PLAN_FORMAT: Final = "exchange.plan/1"
GROUNDS: Final = ("agreement", "unconditional", "public", "break_glass")
REFUSALS: Final = (
    *("no_agreement", "not_yet", "expired", "suspended", "revoked", "wrong_purpose", "wrong_action"),
    *("case_required", "case_closed", "not_in_case", "field_not_granted", "classification", "zone", "quota"),
    *("delegation", "consent_missing", "own_data_only", "malformed_question", "unknown_dataset"),
    *("unknown_department", "policy_undefined", "policy_error", "policy_unavailable", "policy_stale"),
)
REASONS: Final = (*GROUNDS, *REFUSALS)
EPOCH_KINDS: Final = ("agreement", "case", "dataset", "delegation", "emergency", "principal")
MAX_FIELDS: Final = 10_000
_GRANTS: Final = ("fields", "rows", "epochs")  # what only an allow has


@dataclass(frozen=True, slots=True)
class Grant:
    """One leaf that may be seen, and under which mask."""

    path: str
    mask: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """Allow or deny, and everything that a release under it needs. `schema` is the one the paths mean leaves of.

    `expires_ns` is UTC nanoseconds. A deny has no fields, rows or epochs (all empty here).
    """

    effect: str
    reasons: tuple[Mapping[str, Any], ...]
    dataset: str
    schema: str
    subject: Mapping[str, Any]
    purpose: str
    case: str | None
    fields: tuple[Grant, ...] = ()
    rows: Mapping[str, Any] = field(default_factory=dict)
    obligations: tuple[Mapping[str, Any], ...] = ()
    expires_ns: int = 0
    policy_revision: str = ""
    epochs: Mapping[str, int] = field(default_factory=dict)

    @property
    def allowed(self) -> bool:
        """Whether anything may be released."""
        return self.effect == "allow"

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the reasons, each once, in their order."""
        return tuple(dict.fromkeys(str(reason["code"]) for reason in self.reasons))

    @cached_property
    def digest(self) -> str:
        """`sha256:…` of the canonical document."""
        return digest(self.to_document())

    def to_document(self) -> dict[str, Any]:
        """The JSON document: every key written, except that a deny has no fields, rows, epochs."""
        document: dict[str, Any] = {
            "format": PLAN_FORMAT,
            "effect": self.effect,
            "reasons": [dict(reason) for reason in self.reasons],
            "dataset": self.dataset,
            "schema": self.schema,
            "subject": dict(self.subject),
            "purpose": self.purpose,
            "case": self.case,
            "obligations": [dict(one) for one in self.obligations],
            "expires_ns": self.expires_ns,
            "policy_revision": self.policy_revision,
        }
        if self.allowed:
            document["fields"] = [{"path": grant.path, "mask": dict(grant.mask)} for grant in self.fields]
            document["rows"] = dict(self.rows)
            document["epochs"] = dict(self.epochs)
        return document

    @classmethod
    def from_document(cls, document: object, *, draft: bool = False, where: str = "plan") -> Self:
        """The plan of a document, when it is one to the letter.

        An allow has every key; a deny needs only `format`, `effect` and `reasons`, and what it leaves out is empty. In
        a draft, as `exchange view` takes it, `schema` and `policy_revision` may be empty.

        Raises:
            Invalid: `plan_key_unknown`, `plan_key_missing`, `plan_type_wrong`, `plan_name_unknown` (mask, operator,
                format …, with the nearest), `plan_out_of_range`, `plan_empty`, `plan_oversized`, `plan_path_twice`,
                `plan_edges_unsorted`, `plan_deny_grants`, `plan_reason_misplaced`, `name_malformed`; each names the
                JSON path.
        """
        bounded(document, where)
        if not isinstance(document, Mapping):
            raise Invalid("plan_type_wrong", where=where, expected="object")
        effect = _effect(document, where)
        _SHAPES[effect](document, where)
        _consistent(document, where, effect)
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        del known["format"]
        grants = tuple(Grant(one["path"], dict(one["mask"])) for one in known.pop("fields", ()))
        plan = replace(cls(effect, (), "", "", {}, "", None), fields=grants, **known)
        if plan.allowed and not draft:
            check("digest", plan.schema, where=f"{where}.schema")
            check("digest", plan.policy_revision, where=f"{where}.policy_revision")
        return plan

    def refused(self, *reasons: Mapping[str, Any]) -> Self:
        """The deny for the same question, with these reasons."""
        return replace(self, effect="deny", reasons=reasons, fields=(), rows={}, obligations=(), epochs={})


def _effect(document: Mapping[str, Any], where: str) -> str:
    for key, known in (("format", (PLAN_FORMAT,)), ("effect", ("allow", "deny"))):
        if key not in document:
            raise Invalid("plan_key_missing", where=where, key=key)
        choice(key, known)(document[key], f"{where}.{key}")
    return str(document["effect"])


def _consistent(document: Mapping[str, Any], where: str, effect: str) -> None:
    allowed_here = GROUNDS if effect == "allow" else REFUSALS
    for place, reason in enumerate(document["reasons"]):
        if reason["code"] not in allowed_here:
            code = reason["code"]
            raise Invalid("plan_reason_misplaced", where=f"{where}.reasons[{place}].code", reason=code, effect=effect)
    different([grant["path"] for grant in document.get("fields", ())], f"{where}.fields")


def _epoch(name: object, where: str) -> None:
    text(name, where)
    kind, slash, of = str(name).partition("/")
    if name != "policy" and not (slash and of and kind in EPOCH_KINDS):
        known = ("policy", *(f"{one}/…" for one in EPOCH_KINDS))
        raise Invalid("plan_name_unknown", where=where, what="epoch", name=shown(name), nearest=", ".join(known))


def _date(value: object, where: str) -> None:
    text(value, where)
    try:
        correct = date.fromisoformat(str(value)).isoformat() == value
    except ValueError:
        correct = False
    if not correct:
        raise Invalid("plan_type_wrong", where=where, expected="string (YYYY-MM-DD)")


def _granted(key: str) -> Shape:
    def refuse(_value: object, where: str) -> None:
        raise Invalid("plan_deny_grants", where=where, key=key)

    return refuse


_DETAILS: Final[Iterable[str]] = (
    *("agreement", "case", "path", "field", "class", "zone", "action", "purpose", "dataset", "department"),
    *("principal", "emergency", "delegation", "detail"),
)
_reason: Final = record(
    {"code": choice("reason", REASONS)},
    {
        **dict.fromkeys(_DETAILS, text),
        **dict.fromkeys(("revision", "epoch", "limit", "not_before_ns", "expires_ns"), integer(0)),
    },
)
_COMMON: Final[Mapping[str, Shape]] = {
    "dataset": text,
    "schema": text,
    "subject": record({"type": form("subject_type"), "path": word}),
    "purpose": text,
    "case": nullable(word),
    "obligations": listing(tagged("kind", {"purge_by": {"date": _date}}, what="obligation")),
    "expires_ns": integer(0),
    "policy_revision": text,
}
_HEAD: Final[Mapping[str, Shape]] = {"format": text, "effect": text}
_EMPTY: Final = record({})
_DENY: Final[Mapping[str, Shape]] = {
    **_COMMON,
    "subject": lambda value, where: None if value == {} else _COMMON["subject"](value, where),
    **{key: _granted(key) for key in _GRANTS},
}
_SHAPES: Final[Mapping[str, Shape]] = {
    "allow": record(
        {
            **_HEAD,
            "reasons": listing(_reason),
            **_COMMON,
            "fields": listing(record({"path": word, "mask": mask}), least=1, most=MAX_FIELDS),
            "rows": rows,
            "epochs": mapping(_epoch, integer(0)),
        }
    ),
    "deny": record({**_HEAD, "reasons": listing(_reason, least=1)}, _DENY),
}
