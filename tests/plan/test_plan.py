"""Plans are read to the letter: whatever is missing, unknown, contradictory or too large is refused at its place."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import ExchangeError, Invalid
from exchange.messages import describe, text
from exchange.names import digest
from exchange.plan import GROUNDS, REASONS, REFUSALS, Grant, Plan
from exchange.plan.shapes import MAX_DEPTH, read_json
from tests.profiles import examples
from tests.view.plans import ALL, ZERO, deny_document, field, plan_document

FULL = plan_document(
    [
        field("id_number", "pseudonym", scope="agr-17"),
        field("name", "partial", first=1, last=0),
        field("address.region_code", "region", level="county"),
        field("monthly_income", "verdict", op="le", value=560),
        field("birth_date", "year"),
        field("at", "truncate", unit="quarter"),
        field("items[].amount", "bucket", edges=[0, "0.5", 100]),
        field("m{}.c", "round", to="0.05"),
        field("photo", "null"),
        field("bank", "redact"),
        field("sex"),
    ],
    {
        "op": "and",
        "of": [
            {"op": "member", "set": ZERO},
            {"op": "prefix", "path": "address.region_code", "value": "431126"},
            {"op": "or", "of": [{"op": "null", "path": "a"}, {"op": "in", "path": "a", "values": ["x", 1, True]}]},
            {"op": "not", "of": [{"op": "ge", "path": "b", "value": "2026-01-01"}]},
            ALL,
        ],
    },
    schema=ZERO,
    case="case-2026-000123",
)


def changed(place: str, value: Any) -> dict[str, Any]:
    """The full plan with one thing changed: `fields.0.mask.scope`; `...` takes the key out."""
    document: dict[str, Any] = json.loads(json.dumps(FULL))
    inside: Any = document
    *steps, last = [int(step) if step.isdecimal() else step for step in place.split(".")]
    for step in steps:
        inside = inside[step]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return document


def refusal(document: Any, **how: Any) -> Invalid:
    """The error that reading this gives."""
    with pytest.raises(Invalid) as caught:
        Plan.from_document(document, **how)
    return caught.value


def test_a_plan_survives_its_document() -> None:
    """A plan and its document are the same thing, digest and all."""
    plan = Plan.from_document(FULL)
    assert plan.to_document() == FULL
    assert plan.digest == digest(FULL) == Plan.from_document(plan.to_document()).digest
    assert plan.fields[1] == Grant("name", {"kind": "partial", "first": 1, "last": 0})
    assert (plan.allowed, plan.codes) == (True, ("agreement",))


def test_the_digest_is_over_canonical_json() -> None:
    """The order of keys in the text of a plan does not matter; every value does."""
    turned = json.loads(json.dumps(dict(reversed(FULL.items()))))
    assert Plan.from_document(turned).digest == Plan.from_document(FULL).digest
    assert Plan.from_document(changed("epochs.policy", 42)).digest != Plan.from_document(FULL).digest


@pytest.mark.parametrize("key", sorted(FULL))
def test_an_allow_without_any_one_key_is_refused(key: str) -> None:
    """Nothing is assumed: every key of an allow must be written."""
    error = refusal(changed(key, ...))
    assert (error.code, error.where, error.facts["key"]) == ("plan_key_missing", "plan", key)


@pytest.mark.parametrize(
    ("place", "value", "code", "where"),
    [
        ("extra", 1, "plan_key_unknown", "plan"),
        ("fields.0.why", 1, "plan_key_unknown", "plan.fields[0]"),
        ("fields.0.mask.salt", 1, "plan_key_unknown", "plan.fields[0].mask"),
        ("fields.1.mask.first", ..., "plan_key_missing", "plan.fields[1].mask"),
        ("fields.1.mask.first", -1, "plan_out_of_range", "plan.fields[1].mask.first"),
        ("fields.1.mask.first", True, "plan_type_wrong", "plan.fields[1].mask.first"),
        ("fields.1.mask.first", 1.0, "plan_type_wrong", "plan.fields[1].mask.first"),
        ("fields.2.mask.level", "city", "plan_name_unknown", "plan.fields[2].mask.level"),
        ("fields.3.mask.op", "in", "plan_name_unknown", "plan.fields[3].mask.op"),
        ("fields.3.mask.value", 0.5, "plan_type_wrong", "plan.fields[3].mask.value"),
        ("fields.3.mask.value", None, "plan_type_wrong", "plan.fields[3].mask.value"),
        ("fields.5.mask.unit", "week", "plan_name_unknown", "plan.fields[5].mask.unit"),
        ("fields.6.mask.edges", [], "plan_empty", "plan.fields[6].mask.edges"),
        ("fields.6.mask.edges", [2, "1.5"], "plan_edges_unsorted", "plan.fields[6].mask.edges"),
        ("fields.6.mask.edges", [1, "1.0"], "plan_edges_unsorted", "plan.fields[6].mask.edges"),
        ("fields.6.mask.edges", ["1e3"], "plan_type_wrong", "plan.fields[6].mask.edges[0]"),
        ("fields.7.mask.to", 0, "plan_out_of_range", "plan.fields[7].mask.to"),
        ("fields.7.mask.to", "-1", "plan_out_of_range", "plan.fields[7].mask.to"),
        ("fields.0.mask.scope", "", "plan_empty", "plan.fields[0].mask.scope"),
        ("fields.0.mask", {}, "plan_key_missing", "plan.fields[0].mask"),
        ("fields.0.mask", "keep", "plan_type_wrong", "plan.fields[0].mask"),
        ("fields.0.path", "name", "plan_path_twice", "plan.fields[1]"),
        ("fields", [], "plan_empty", "plan.fields"),
        ("fields", {}, "plan_type_wrong", "plan.fields"),
        ("rows", {}, "plan_key_missing", "plan.rows"),
        ("rows", {"op": "and", "of": []}, "plan_empty", "plan.rows.of"),
        ("rows", {"op": "or", "of": []}, "plan_empty", "plan.rows.of"),
        ("rows", {"op": "not", "of": [ALL, ALL]}, "plan_oversized", "plan.rows.of"),
        ("rows", {"op": "not", "of": []}, "plan_empty", "plan.rows.of"),
        ("rows", {"op": "like", "path": "a", "value": "b"}, "plan_name_unknown", "plan.rows.op"),
        ("rows", {"op": "all", "of": []}, "plan_key_unknown", "plan.rows"),
        ("rows", {"op": "eq", "path": "a"}, "plan_key_missing", "plan.rows"),
        ("rows", {"op": "eq", "path": "a", "value": None}, "plan_type_wrong", "plan.rows.value"),
        ("rows", {"op": "prefix", "path": "a", "value": 4}, "plan_type_wrong", "plan.rows.value"),
        ("rows", {"op": "eq", "path": "a", "value": 1 << 63}, "plan_out_of_range", "plan.rows.value"),
        ("rows", {"op": "eq", "path": "a", "value": "\ud840"}, "plan_type_wrong", "plan.rows.value"),
        ("rows", {"op": "eq", "path": "a", "value": "x" * 5000}, "plan_oversized", "plan.rows.value"),
        ("rows.of.0.set", "sha256:0", "name_malformed", "plan.rows.of[0].set"),
        ("format", "exchange.plan/2", "plan_name_unknown", "plan.format"),
        ("effect", "maybe", "plan_name_unknown", "plan.effect"),
        ("reasons.0.code", "because", "plan_name_unknown", "plan.reasons[0].code"),
        ("reasons.0.code", "expired", "plan_reason_misplaced", "plan.reasons[0].code"),
        ("reasons.0.who", "x", "plan_key_unknown", "plan.reasons[0]"),
        ("schema", "sha256:abc", "name_malformed", "plan.schema"),
        ("schema", "", "name_malformed", "plan.schema"),
        ("subject", {}, "plan_key_missing", "plan.subject"),
        ("subject.type", "Person!", "name_malformed", "plan.subject.type"),
        ("expires_ns", "1795424400000000000", "plan_type_wrong", "plan.expires_ns"),
        ("obligations.0.kind", "burn", "plan_name_unknown", "plan.obligations[0].kind"),
        ("obligations.0.date", "2026-02-30", "plan_type_wrong", "plan.obligations[0].date"),
        ("epochs.agreement", 1, "plan_name_unknown", "plan.epochs"),
        ("epochs.policy", -1, "plan_out_of_range", "plan.epochs.policy"),
    ],
)
def test_a_wrong_plan_is_refused_at_its_place(place: str, value: Any, code: str, where: str) -> None:
    """Each wrong thing gives one code and the JSON path where it stands, and a sentence in both languages."""
    error = refusal(changed(place, value))
    assert (error.code, error.where) == (code, where)
    assert all(describe(error, language)[0].startswith(where) for language in ("zh", "en"))


def test_an_unknown_mask_names_the_nearest() -> None:
    """A slip of the pen is answered with the word that was meant; a value is never shown."""
    assert refusal(changed("fields.1.mask.kind", "partiel")).facts["nearest"] == "partial"
    error = refusal(changed("fields.1.mask.kind", "431126198001011234"))
    assert "431126" not in str(error)


def test_the_token_mask_is_not_there_yet() -> None:
    """`token` belongs to a later issue: until then a plan with it is refused."""
    assert refusal(changed("fields.1.mask", {"kind": "token"})).code == "plan_name_unknown"


def test_a_deny_is_complete_when_read() -> None:
    """A deny needs effect and reasons; what it leaves out is written as empty."""
    plan = Plan.from_document(deny_document("not_in_case", "zone"))
    assert (plan.allowed, plan.codes, plan.fields) == (False, ("not_in_case", "zone"), ())
    assert Plan.from_document(plan.to_document()) == plan
    assert not {"fields", "rows", "epochs"} & plan.to_document().keys()


@pytest.mark.parametrize("key", ["fields", "rows", "epochs"])
def test_a_deny_grants_nothing(key: str) -> None:
    """A deny with anything of an allow contradicts itself."""
    error = refusal({**deny_document("zone"), key: FULL[key]})
    assert (error.code, error.where) == ("plan_deny_grants", f"plan.{key}")


def test_a_deny_says_why() -> None:
    """A deny without a reason, or with the ground of an allow, is refused."""
    assert refusal(deny_document()).code == "plan_empty"
    assert refusal(deny_document("agreement")).code == "plan_reason_misplaced"


def test_an_allow_becomes_a_refusal() -> None:
    """`refused` keeps whom and what it is about, and takes every grant away."""
    plan = Plan.from_document(FULL).refused({"code": "expired", "agreement": "agr-17"})
    assert Plan.from_document(plan.to_document()) == plan
    assert (plan.dataset, plan.codes, plan.epochs) == ("ps.hukou_person", ("expired",), {})


def test_a_draft_may_leave_schema_and_revision_open() -> None:
    """`exchange view` takes a plan whose schema is empty; nothing else is relaxed."""
    draft = plan_document([field("a")], policy_revision="")
    assert Plan.from_document(draft, draft=True).schema == ""
    assert refusal(draft).where == "plan.schema"
    assert refusal({**draft, "rows": {}}, draft=True).code == "plan_key_missing"


def test_a_tree_of_any_depth_gives_one_error() -> None:
    """A row tree 10,000 deep is refused, not a RecursionError; one of an honest depth is read."""
    deep: dict[str, Any] = ALL
    for _ in range(10_000):
        deep = {"op": "not", "of": [deep]}
    assert refusal(changed("rows", deep)).code == "plan_oversized"
    fine: dict[str, Any] = ALL
    for _ in range((MAX_DEPTH - 4) // 2):
        fine = {"op": "not", "of": [fine]}
    assert Plan.from_document(changed("rows", fine)).digest


@pytest.mark.parametrize(
    ("text_of_it", "code"),
    [
        ("{", "plan_json_malformed"),
        (b"\xff", "plan_json_malformed"),
        ('{"a": NaN}', "plan_json_malformed"),
        ("9" * 5000, "plan_json_malformed"),
        ('{"a": 1, "a": 2}', "plan_key_twice"),
        ("[" * 100_000, "plan_oversized"),
        ("[" * 200 + "]" * 200, "plan_oversized"),
        ("[" + "0," * 600_000 + "0]", "plan_oversized"),
    ],
)
def test_json_from_outside_gives_one_error(text_of_it: str | bytes, code: str) -> None:
    """JSON that is cut off, deep, huge or says a key twice is refused with the document named."""
    with pytest.raises(Invalid) as caught:
        read_json(text_of_it, where="P.json")
    assert (caught.value.code, caught.value.where) == (code, "P.json")


def test_every_reason_has_its_sentences() -> None:
    """The codes of plan.md, each with a sentence in both languages."""
    assert (len(GROUNDS), len(REFUSALS)) == (4, 24)
    sentences = [text(f"reason_{code}", language) for code in REASONS for language in ("zh", "en")]
    assert all(sentences)
    assert len(set(sentences)) == len(sentences)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FULL, "op", "of", "kind"]), inner),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=examples(80), deadline=None)
def test_no_document_breaks_the_reader(data: st.DataObject) -> None:
    """Any JSON value in any place of a plan is read or refused; nothing else happens."""
    place = data.draw(st.sampled_from([*FULL, "fields.0", "fields.1.mask", "rows.of.0", "rows.of.2.of", "reasons.0"]))
    document = changed(place, data.draw(_JSON))
    try:
        assert Plan.from_document(document).to_document() == document
    except ExchangeError as error:
        assert error.where.startswith("plan")  # noqa: PT017  either outcome is right
