"""Terms: each part has its form, its rule and its refusal, and what is approved is frozen."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.control import commands as c
from exchange.control.terms import parse
from exchange.errors import Invalid, Refused
from tests.control.failing import fails
from tests.control.town import (
    AUTHORITY,
    CIVIL,
    CIVIL_SYSTEM,
    CLASSES,
    DAY,
    NOW,
    POLICE,
    POLICE_STEWARD,
    POLICE_SYSTEM,
    Town,
    agreed,
    contract,
    governed,
    schema,
    terms,
)

KEEP = {"kind": "keep"}


def _deep(levels: int) -> Any:
    tree: Any = {"op": "all"}
    for _ in range(levels):
        tree = {"op": "not", "of": [tree]}
    return tree


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"quota": 5}, "unknown_key", "terms"),
        ({"consumer": "ny.minzhengg"}, "unknown_department", ""),
        ({"consumer": None}, "name_malformed", "terms.consumer"),
        ({"dataset": "ps.hukou_persn"}, "unknown_dataset", ""),
        ({"schema": "sha256:" + "0" * 64}, "schema_not_current", "terms.schema"),
        ({"purpose": "dibao.rewiew"}, "unknown_purpose", "terms.purpose"),
        ({"case_bound": False}, "case_binding_required", "terms.case_bound"),
        ({"case_bound": "true"}, "command_malformed", "terms.case_bound"),
        ({"counts": 1}, "command_malformed", "terms.counts"),
        ({"legal_basis": " "}, "command_malformed", "terms.legal_basis"),
        ({"legal_basis": "431126199003074514"}, "text_holds_id", "terms.legal_basis"),
        ({"actions": []}, "command_malformed", "terms.actions"),
        ({"actions": ["read", "read"]}, "command_malformed", "terms.actions"),
        ({"actions": ["write"]}, "unknown_word", "terms.actions"),
        ({"actions": "read"}, "command_malformed", "terms.actions"),
        ({"zone": "internet"}, "unknown_word", "terms.zone"),
        ({"not_before_ns": "now"}, "command_malformed", "terms.not_before_ns"),
        ({"not_before_ns": NOW + DAY, "expires_ns": NOW + DAY}, "period_malformed", "terms.expires_ns"),
        ({"not_before_ns": NOW - 2 * DAY, "expires_ns": NOW}, "period_malformed", "terms.expires_ns"),
        ({"expires_ns": NOW + 1_827 * DAY + 1}, "period_malformed", "terms.expires_ns"),
        ({"purge_by": "2027-13-01"}, "command_malformed", "terms.purge_by"),
        ({"purge_by": "20271231"}, "command_malformed", "terms.purge_by"),
        ({"purge_by": 20271231}, "command_malformed", "terms.purge_by"),
        ({"fields": []}, "command_malformed", "terms.fields"),
        ({"fields": {"name": "keep"}}, "command_malformed", "terms.fields"),
        ({"fields": ["name"]}, "command_malformed", "terms.fields[0]"),
        ({"fields": [{"path": "name"}]}, "missing_key", "terms.fields[0]"),
        ({"fields": [{"path": "name", "mask": KEEP, "label": "x"}]}, "unknown_key", "terms.fields[0]"),
        ({"fields": [{"path": "nam", "mask": KEEP}]}, "unknown_field", "terms.fields[0].path"),
        ({"fields": [{"path": "addr", "mask": KEEP}]}, "unknown_field", "terms.fields[0].path"),
        ({"fields": [{"path": "", "mask": KEEP}]}, "unknown_field", "terms.fields[0].path"),
        ({"fields": [{"path": None, "mask": KEEP}]}, "unknown_field", "terms.fields[0].path"),
        ({"fields": [{"path": "name", "mask": {"kind": "keeep"}}]}, "plan_name_unknown", "terms.fields[0].mask.kind"),
        ({"fields": [{"path": "name", "mask": {**KEEP, "x": 1}}]}, "plan_key_unknown", "terms.fields[0].mask"),
        ({"fields": [{"path": "name", "mask": None}]}, "plan_type_wrong", "terms.fields[0].mask"),
        (
            {"fields": [{"path": "address", "mask": KEEP}, {"path": "address.street", "mask": {"kind": "null"}}]},
            "field_twice",
            "terms.fields[1].path",
        ),
        ({"rows": None}, "plan_type_wrong", "terms.rows"),
        ({"rows": {}}, "plan_key_missing", "terms.rows"),
        ({"rows": {"op": "near", "path": "name", "value": "x"}}, "plan_name_unknown", "terms.rows.op"),
        ({"rows": {"op": "and", "of": []}}, "plan_empty", "terms.rows.of"),
        ({"rows": {"op": "eq", "path": "nam", "value": "x"}}, "unknown_field", "terms.rows"),
        ({"rows": {"op": "not", "of": [{"op": "null", "path": "address"}]}}, "unknown_field", "terms.rows"),
        ({"rows": {"op": "eq", "path": "income_fen", "value": 0.5}}, "plan_type_wrong", ""),
        ({"rows": _deep(10_000)}, "document_too_deep", "terms"),
        ({"rows": {"op": "in", "path": "name", "values": ["x" * 1_000] * 1_100}}, "event_too_large", ""),
    ],
)
def test_malformed_terms_are_refused_with_their_place(
    town: Town, changes: dict[str, Any], code: str, where: str
) -> None:
    """One clear error each; nothing is stored."""
    position = town.model.position
    with fails(Invalid, code, where):
        town.do(CIVIL_SYSTEM, c.RequestAgreement(terms(**changes)))
    assert town.model.position == position


@pytest.mark.parametrize("key", sorted(terms()))
def test_no_part_is_assumed(town: Town, key: str) -> None:
    """Each key must be said."""
    given_terms = terms()
    del given_terms[key]
    with fails(Invalid, "missing_key", "terms"):
        town.do(CIVIL_SYSTEM, c.RequestAgreement(given_terms))


@pytest.mark.parametrize("document", [None, [], "terms", 7])
def test_terms_are_an_object(town: Town, document: Any) -> None:
    """Nothing else is."""
    with fails(Invalid, "command_malformed", "terms"):
        town.do(CIVIL_SYSTEM, c.RequestAgreement(document))


def test_an_unknown_purpose_is_named_with_the_nearest(town: Town) -> None:
    """The table of purposes is the active policy's; without a policy nothing is requested at all."""
    with pytest.raises(Invalid) as caught:
        town.do(CIVIL_SYSTEM, c.RequestAgreement(terms(purpose="dibao.rewiew")))
    assert caught.value.facts["nearest"] == "dibao.review"
    town.do(AUTHORITY, c.WithdrawPolicy("a mistake"))
    with fails(Refused, "no_active_policy"):
        town.do(CIVIL_SYSTEM, c.RequestAgreement(terms()))


def test_a_purpose_without_a_case_needs_none(town: Town) -> None:
    """`case_required` false, said plainly, allows terms that are not bound to a case."""
    town.do(CIVIL_SYSTEM, c.RequestAgreement(terms(purpose="statistics", case_bound=False)))
    assert not town.terms_of("agr-1").case_bound


@pytest.mark.parametrize("unclear", [None, 0, "", "false", [], 1, True])
def test_an_unclear_table_never_widens_a_right(town: Town, unclear: Any) -> None:
    """Anything but a plain false in `case_required` binds to a case."""
    codes = {"purposes": {"statistics": {"case_required": unclear}}}
    revision = town.do(POLICE_STEWARD, c.SubmitPolicy({"modules": {"a.rego": ""}, "codes": codes}, {"t": True}))
    town.do(AUTHORITY, c.ApprovePolicy(revision))
    with fails(Invalid, "case_binding_required"):
        town.do(CIVIL_SYSTEM, c.RequestAgreement(terms(purpose="statistics", case_bound=False)))


def test_a_dataset_that_is_not_shared_cannot_be_requested(town: Town) -> None:
    """The refusal says its legal basis (Decree 809: only where a law says so)."""
    share = {"type": "not_shared", "legal_basis": "保守国家秘密法第十三条"}
    town.do(POLICE_STEWARD, c.SubmitContract(contract(share=share)))
    with pytest.raises(Refused) as caught:
        town.do(CIVIL_SYSTEM, c.RequestAgreement(terms()))
    assert caught.value.code == "dataset_not_shared"
    assert caught.value.facts["basis"] == "保守国家秘密法第十三条"


def test_a_provider_is_its_own_consumer_for_its_own_purpose_alone(town: Town) -> None:
    """What departments share has a purpose of others; what a department checks of its own has one of its own."""
    own = {"purpose": "own.review", "case_bound": False}
    with fails(Refused, "consumer_is_provider"):
        town.do(POLICE_SYSTEM, c.RequestAgreement(terms(consumer=POLICE)))
    with fails(Refused, "purpose_own_data"):
        town.do(CIVIL_SYSTEM, c.RequestAgreement(terms(**own)))
    asked = town.do(POLICE_SYSTEM, c.RequestAgreement(terms(consumer=POLICE, **own)))
    assert town.model.agreement(asked).terms.consumer == POLICE
    with fails(Refused, "class_needs_mask"):
        whole = [{"path": "photo_ref", "mask": KEEP}]
        town.do(POLICE_SYSTEM, c.RequestAgreement(terms(consumer=POLICE, **own, fields=whole)))


def test_class_l4_is_never_given_unmasked(town: Town) -> None:
    """Refused at the request already; with a mask it may be asked for."""
    with fails(Refused, "class_needs_mask"):
        town.do(CIVIL_SYSTEM, c.RequestAgreement(terms(fields=[{"path": "photo_ref", "mask": KEEP}])))
    masked = [{"path": "photo_ref", "mask": {"kind": "redact"}}]
    town.do(CIVIL_SYSTEM, c.RequestAgreement(terms(fields=masked)))


def test_a_field_that_became_l4_is_not_approved_unmasked(town: Town) -> None:
    """Not as part of a record either."""
    agreement = town.do(CIVIL_SYSTEM, c.RequestAgreement(terms()))
    town.do(POLICE_STEWARD, c.ReviewAgreement(agreement, "endorse", "yes"))
    fields = {
        path: {"class": "L4" if path == "address.street" else level, "label_zh": "字段"}
        for path, level in CLASSES.items()
    }
    town.do(POLICE_STEWARD, c.SubmitContract(contract(fields=fields)))
    with fails(Refused, "class_needs_mask"):
        town.do(AUTHORITY, c.ApproveAgreement(agreement))


def test_a_record_is_written_out_to_its_leaves_when_approved(town: Town) -> None:
    """On the schema of that moment; a leaf added afterwards stays invisible."""
    agreed(town)
    frozen = town.terms_of("agr-1")
    assert [one.path for one in frozen.fields] == ["name", "address.region_code", "address.street"]
    assert frozen.schema == town.model.dataset("ps.hukou_person").current.fingerprint
    later = {"name": "status", "type": "string", "default": "ACTIVE"}
    fields = {**contract()["fields"], "status": {"class": "L1", "label_zh": "状态"}}
    town.do(POLICE_STEWARD, c.SubmitContract(contract(schemas=[schema(), schema(later)], fields=fields)))
    assert town.terms_of("agr-1") == frozen
    assert frozen.schema != town.model.dataset("ps.hukou_person").current.fingerprint


def test_a_request_says_records_until_it_is_approved(town: Town) -> None:
    """And no schema: it is not yet made on one."""
    town.do(CIVIL_SYSTEM, c.RequestAgreement(terms(schema="")))
    asked = town.terms_of("agr-1")
    assert [one.path for one in asked.fields] == ["name", "address"]
    assert asked.schema == ""


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (56_000, None),
        ({"table": "dibao_standard", "key": "431126"}, None),
        ({"table": "dibao_standard", "key": "431127"}, "unknown_code"),
        ({"table": "dibao_standart", "key": "431126"}, "unknown_code"),
        ({"table": "dibao_standard", "key": "note"}, "unknown_code"),
        ({"table": "purposes", "key": "statistics"}, "unknown_code"),
        ({"table": ["x"], "key": "431126"}, "unknown_code"),
        ({"table": "dibao_standard"}, "missing_key"),
        ({"table": "dibao_standard", "key": "431126", "or": 1}, "unknown_key"),
        (None, "plan_type_wrong"),
        (0.5, "plan_type_wrong"),
    ],
)
def test_a_verdicts_threshold_is_a_number_or_stands_in_a_code_table(town: Town, value: Any, code: str | None) -> None:
    """A reference stays in the terms, so that a new standard needs no new agreement; it must lead to a whole number."""
    mask = {"kind": "verdict", "op": "le", "value": value}
    command = c.RequestAgreement(terms(fields=[{"path": "income_fen", "mask": mask}]))
    if code is None:
        town.do(CIVIL_SYSTEM, command)
        assert town.terms_of("agr-1").fields[0].mask == mask
    else:
        with fails(Invalid, code):
            town.do(CIVIL_SYSTEM, command)


TOWN = governed()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(terms())), JSON)
def test_whatever_stands_in_terms_is_parsed_or_invalid(key: str, value: Any) -> None:
    """No other error leaves the parser, and what it takes is written as it was read."""
    document = terms(**{key: value})
    try:
        parsed = parse(document, TOWN.model, NOW)
    except (Invalid, Refused):
        return
    assert parsed.consumer == CIVIL
    assert json.loads(json.dumps(parsed.to_document())) == {**document, "schema": ""}
    assert parse(parsed.to_document(), TOWN.model, NOW) == parsed
