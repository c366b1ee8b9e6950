"""The facts of a question: all of one model, nothing of an outsider's, nothing that is no fact."""

from dataclasses import replace
from typing import Any

import pytest

from exchange.control import commands as c
from exchange.control.model import Principal
from exchange.control.questions import Request, facts, with_lookup
from exchange.errors import Invalid
from exchange.plan import Question
from tests.control.town import AUTHORITY, CIVIL, CIVIL_SYSTEM, DAY, FINANCE_STEWARD, NOW, Town, agreed, contract, schema

DATASET = "ps.hukou_person"
READ = Request("read", DATASET, "dibao.review")
TAGS = [bytes([number]) * 16 for number in range(3)]


def asked(town: Town, request: Request = READ, who: str = CIVIL_SYSTEM) -> dict[str, Any]:
    """The document, which must be a question to the letter."""
    document = facts(town.model, town.model.principals[who], request, id="q-1", now_ns=NOW)
    Question.from_document(document)
    return document


def with_case(town: Town, departments: tuple[str, ...] = ()) -> None:
    """Opens a case of the civil bureau with two members."""
    members = [tag.hex() for tag in TAGS[:2]]
    town.do(CIVIL_SYSTEM, c.OpenCase("case-1", "person", "a case", members, departments))


def test_a_question_says_who_asks_what_of_which_dataset(town: Town) -> None:
    """Account, zone, dataset with every leaf's class, each as it is in the model."""
    document = asked(town, replace(READ, fields=("name",)))
    assert document["principal"] == {
        "id": CIVIL_SYSTEM,
        "department": CIVIL,
        "roles": ["department_system"],
        "epoch": 1,
    }
    assert (document["zone"], document["fields"], document["case"]) == ("extranet", ["name"], None)
    dataset = town.model.dataset(DATASET)
    assert document["dataset"]["schema"] == dataset.current.fingerprint
    assert {path: one["class"] for path, one in document["dataset"]["fields"].items()} == {
        path: level for path, (level, _) in dataset.fields.items()
    }


def test_the_account_is_that_of_the_model(town: Town) -> None:
    """A caller's older picture of it gives no role that it has lost, under no epoch of now."""
    before = town.model.principals[CIVIL_SYSTEM]
    town.do(AUTHORITY, c.ChangeRoles(CIVIL_SYSTEM, ("auditor",)))
    document = facts(town.model, before, READ, id="q-1", now_ns=NOW)
    assert (document["principal"]["roles"], document["principal"]["epoch"]) == (["auditor"], 2)


def test_the_candidates_are_what_was_ever_in_force(town: Town) -> None:
    """Of this consumer for this dataset; one that ended is told, one that never was a permission is not."""
    active, revoked = agreed(town), agreed(town)
    town.do(AUTHORITY, c.RevokeAgreement(revoked, "over"))
    town.do(CIVIL_SYSTEM, c.RequestAgreement(town.terms_of(active).to_document() | {"schema": ""}))
    told = {one["id"]: one for one in asked(town)["agreements"]}
    assert {name: one["status"] for name, one in told.items()} == {active: "active", revoked: "revoked"}
    assert told[active] == {
        "id": active,
        "revision": town.model.agreement(active).revision,
        "epoch": town.model.agreement(active).epoch,
        "status": "active",
        **town.terms_of(active).to_document(),
    }
    assert asked(town, who=FINANCE_STEWARD)["agreements"] == []


def test_a_case_is_a_fact_only_for_those_who_may_use_it(town: Town) -> None:
    """For others, as for one that does not exist, there is none."""
    with_case(town)
    case = town.model.cases["case-1"]
    told = asked(town, replace(READ, case="case-1"))["case"]
    assert told == {"id": "case-1", "epoch": 1, "status": "open", "members": case.members, "opened_ns": NOW}
    for who, name in ((FINANCE_STEWARD, "case-1"), (CIVIL_SYSTEM, "case-2"), (CIVIL_SYSTEM, "11010519491231002X")):
        assert asked(town, replace(READ, case=name), who)["case"] is None


def test_a_lookup_names_those_outside_the_case(town: Town) -> None:
    """By tag, in the order asked; without a case nobody is outside."""
    plain = facts(town.model, town.model.principals[CIVIL_SYSTEM], replace(READ, action="lookup"), id="q-1", now_ns=NOW)
    named = [tag.hex() for tag in TAGS]
    assert with_lookup(plain, TAGS, frozenset(TAGS[:2]))["lookup"] == {"tags": named, "outside": named[2:]}
    assert with_lookup(plain, TAGS, frozenset())["lookup"]["outside"] == named
    assert with_lookup(plain, TAGS, None)["lookup"]["outside"] == []
    Question.from_document(with_lookup(plain, TAGS, None))
    assert "lookup" not in plain


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (replace(READ, dataset="ps.hukou_persn"), "unknown_dataset"),
        (replace(READ, purpose="11010519491231002X"), "name_malformed"),
        (replace(READ, purpose=""), "name_malformed"),
        (replace(READ, fields=("name", "11010519491231002X")), "name_malformed"),
        (replace(READ, fields=("id_110105194912310020",)), "name_malformed"),
        (replace(READ, fields=("",)), "name_malformed"),
    ],
)
def test_what_has_no_form_becomes_no_question(town: Town, request_: Request, code: str) -> None:
    """It would stand in the audit log for ever; the error does not repeat it."""
    with pytest.raises(Invalid) as caught:
        asked(town, request_)
    assert caught.value.code == code
    assert "1949" not in str(caught.value)


def test_paths_of_every_kind_may_be_asked(town: Town) -> None:
    """Also those of arrays and maps."""
    fields = ("a", "a.b", "items[].c", "m{}.c", "m{}[].c_1", "address.region_code")
    assert asked(town, replace(READ, fields=fields))["fields"] == list(fields)


def test_an_unknown_account_is_no_fact(town: Town) -> None:
    """Nobody asks as somebody who is not there."""
    nobody = Principal("no.body", CIVIL, frozenset({"steward"}), 1, "active")
    with pytest.raises(Invalid) as caught:
        facts(town.model, nobody, READ, id="q-1", now_ns=NOW)
    assert caught.value.code == "unknown_principal"


def test_a_revised_contract_is_another_question(town: Town) -> None:
    """A later schema and other classes change the question's digest, the clock and the id do not."""
    first = Question(asked(town))
    later = Question({**asked(town), "id": "q-2", "now_ns": NOW + DAY})
    assert first.digest == later.digest
    extra = {"name": "note", "type": "string", "default": ""}
    levels = contract()["fields"]
    fields = {**levels, "note": {"class": "L1", "label_zh": "注", "label_en": "note"}}
    document = contract(schemas=[schema(), schema(extra)], fields=fields)
    town.do("wang.gongan", c.SubmitContract(document))
    assert Question(asked(town)).digest != first.digest
