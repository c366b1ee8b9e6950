"""Questions hold every fact, under names that are all known, and are found again by their digest."""

import json
from typing import Any

import pytest

from exchange.errors import Invalid
from exchange.plan import Question
from tests.view.plans import ALL, ZERO, field

AGREEMENT = {
    "id": "agr-17",
    "revision": 3,
    "epoch": 3,
    "status": "active",
    "consumer": "ny.minzheng",
    "dataset": "ps.hukou_person",
    "schema": ZERO,
    "purpose": "dibao.review",
    "legal_basis": "社会救助法 41",
    "actions": ["read", "lookup"],
    "fields": [field("name", "partial", first=1, last=0)],
    "rows": ALL,
    "case_bound": True,
    "zone": "extranet",
    "counts": False,
    "not_before_ns": 0,
    "expires_ns": 1795424400000000000,
    "purge_by": None,
}
QUESTION: dict[str, Any] = {
    "format": "exchange.question/1",
    "id": "q-01J",
    "now_ns": 1795420800000000000,
    "action": "read",
    "zone": "extranet",
    "principal": {
        "id": "svc.ny.minzheng.dibao",
        "department": "ny.minzheng",
        "roles": ["department_system"],
        "epoch": 4,
    },
    "on_behalf_of": None,
    "dataset": {
        "name": "ps.hukou_person",
        "schema": ZERO,
        "share_type": "conditional",
        "subject": {"type": "person", "path": "id_number"},
        "fields": {"id_number": {"class": "L3", "tags": ["id"]}, "name": {"class": "L2", "tags": []}},
    },
    "purpose": "dibao.review",
    "fields": None,
    "case": {"id": "case-2026-000123", "epoch": 2, "status": "open", "members": ZERO, "opened_ns": 0},
    "agreements": [AGREEMENT],
}
LOOKUP = {"tags": ["0" * 32], "outside": []}


def test_a_question_survives_its_document() -> None:
    """A question is its document."""
    assert Question.from_document(QUESTION).to_document() == QUESTION


def test_the_digest_leaves_out_id_and_clock() -> None:
    """The same question asked later has the same digest; another purpose has another."""
    first = Question.from_document(QUESTION).digest
    assert Question.from_document({**QUESTION, "id": "q-2", "now_ns": 5}).digest == first
    assert Question.from_document({**QUESTION, "purpose": "other"}).digest != first


@pytest.mark.parametrize("action", ["lookup", "verify"])
def test_lookups_name_their_tags(action: str) -> None:
    """`lookup` stands in a question for named subjects, and in no other."""
    assert Question.from_document({**QUESTION, "action": action, "lookup": LOOKUP}).document["lookup"] == LOOKUP
    for wrong in ({**QUESTION, "action": action}, {**QUESTION, "lookup": LOOKUP}):
        with pytest.raises(Invalid):
            Question.from_document(wrong)


@pytest.mark.parametrize("key", sorted(QUESTION))
def test_a_question_without_any_one_fact_is_refused(key: str) -> None:
    """Every fact must be there."""
    with pytest.raises(Invalid) as caught:
        Question.from_document({name: value for name, value in QUESTION.items() if name != key})
    assert (caught.value.code, caught.value.facts["key"]) == ("plan_key_missing", key)


@pytest.mark.parametrize(
    ("path", "value", "code", "where"),
    [
        (("extra",), 1, "plan_key_unknown", "question"),
        (("action",), "steal", "plan_name_unknown", "question.action"),
        (("zone",), "moon", "plan_name_unknown", "question.zone"),
        (("format",), "exchange.question/2", "plan_name_unknown", "question.format"),
        (("principal", "roles"), ["king"], "plan_name_unknown", "question.principal.roles[0]"),
        (
            ("dataset", "fields"),
            {"a": {"class": "L9", "tags": []}},
            "plan_name_unknown",
            "question.dataset.fields.a.class",
        ),
        (("dataset", "subject"), {"type": "person"}, "plan_key_missing", "question.dataset.subject"),
        (("fields",), ["name", "name"], "plan_path_twice", "question.fields[1]"),
        (("fields",), [""], "plan_empty", "question.fields[0]"),
        (("case", "members"), "all", "name_malformed", "question.case.members"),
        (("agreements",), [{**AGREEMENT, "quota": 5}], "plan_key_unknown", "question.agreements[0]"),
        (
            ("agreements",),
            [{**AGREEMENT, "fields": [field("a", "blur")]}],
            "plan_name_unknown",
            "question.agreements[0].fields[0].mask.kind",
        ),
        (("now_ns",), 1.5, "plan_type_wrong", "question.now_ns"),
    ],
)
def test_a_wrong_question_is_refused_at_its_place(path: tuple[str, ...], value: Any, code: str, where: str) -> None:
    """Each wrong thing gives one code and the JSON path where it stands."""
    document = json.loads(json.dumps(QUESTION))
    inside = document
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    with pytest.raises(Invalid) as caught:
        Question.from_document(document)
    assert (caught.value.code, caught.value.where) == (code, where)


@pytest.mark.parametrize("document", [None, [], "x", 5])
def test_what_is_no_object_is_no_question(document: Any) -> None:
    """A question is an object."""
    with pytest.raises(Invalid):
        Question.from_document(document)
