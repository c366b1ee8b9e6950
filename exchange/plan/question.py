"""The question: what policy is asked, with every fact it rests on, so that it can be asked again years later.

An agreement stands in it as `id`, `revision`, `epoch`, `status` and beside them, flat, every key of its terms. A lookup
or verify question has one key more, `lookup`: the tags asked for and those of them outside the case.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

from exchange.errors import Invalid
from exchange.names import ACTIONS, CLASSES, ROLES, SHARE_TYPES, ZONES, digest
from exchange.plan.shapes import (
    Shape,
    boolean,
    bounded,
    choice,
    different,
    form,
    integer,
    listing,
    mapping,
    nullable,
    record,
    text,
    word,
)
from exchange.plan.tree import agreed_mask, rows

QUESTION_FORMAT: Final = "exchange.question/1"
BY_TAG: Final = ("lookup", "verify")  # the actions that ask for named subjects
MAX_TAGS: Final = 10_000
_PASSING: Final = ("id", "now_ns")  # not part of what is asked


@dataclass(frozen=True)
class Question:
    """One question, held as its document."""

    document: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """`sha256:…` of the document without `id` and `now_ns`: the key under which its plan is kept."""
        return digest({key: value for key, value in self.document.items() if key not in _PASSING})

    def to_document(self) -> dict[str, Any]:
        """The JSON document."""
        return dict(self.document)

    @classmethod
    def from_document(cls, document: object, *, where: str = "question") -> Self:
        """The question of a document, when it is one to the letter.

        Raises:
            Invalid: the codes of `Plan.from_document`, each with the JSON path.
        """
        bounded(document, where)
        if not isinstance(document, Mapping):
            raise Invalid("plan_type_wrong", where=where, expected="object")
        (_ABOUT_TAGS if document.get("action") in BY_TAG else _PLAIN)(document, where)
        different(document["fields"] or (), f"{where}.fields")
        return cls(dict(document))


_TERMS: Final[Mapping[str, Shape]] = {
    "consumer": form("department"),
    "dataset": form("dataset"),
    "schema": text,
    "purpose": text,
    "legal_basis": text,
    "actions": listing(choice("action", ACTIONS)),
    "fields": listing(record({"path": word, "mask": agreed_mask})),
    "rows": rows,
    "case_bound": boolean,
    "zone": choice("zone", ZONES),
    "counts": boolean,
    "not_before_ns": integer(0),
    "expires_ns": integer(0),
    "purge_by": nullable(word),
}
_NAMED: Final[Mapping[str, Shape]] = {"id": form("agreement"), "revision": integer(0), "epoch": integer(0)}
_tags: Final = listing(form("tag"), most=MAX_TAGS)
_KEYS: Final[Mapping[str, Shape]] = {
    "format": choice("format", (QUESTION_FORMAT,)),
    "id": word,
    "now_ns": integer(0),
    "action": choice("action", ACTIONS),
    "zone": choice("zone", ZONES),
    "principal": record(
        {
            "id": form("principal"),
            "department": form("department"),
            "roles": listing(choice("role", ROLES)),
            "epoch": integer(0),
        }
    ),
    "on_behalf_of": nullable(word),
    "dataset": record(
        {
            "name": form("dataset"),
            "schema": form("digest"),
            "share_type": choice("share type", SHARE_TYPES),
            "subject": record({"type": form("subject_type"), "path": word}),
            "fields": mapping(word, record({"class": choice("class", CLASSES), "tags": listing(text)})),
        }
    ),
    "purpose": text,
    "fields": nullable(listing(word)),
    "case": nullable(
        record(
            {
                "id": form("case"),
                "epoch": integer(0),
                "status": choice("status", ("open", "closed")),
                "members": form("digest"),
                "opened_ns": integer(0),
            }
        )
    ),
    "agreements": listing(record({**_NAMED, "status": word, **_TERMS})),
}
_PLAIN: Final = record(_KEYS)
_ABOUT_TAGS: Final = record({**_KEYS, "lookup": record({"tags": _tags, "outside": _tags})})
