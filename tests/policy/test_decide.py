"""`decide` completes the policy's answer and believes none of it that the question can check."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from exchange.errors import Refused, Unavailable
from exchange.plan import Plan, Question
from exchange.policy import Bundle, PolicyEngine
from exchange.policy.bundle import load_bundle
from exchange.policy.decide import decide
from exchange.policy.regorus import RegorusEngine
from tests.policy.engines import HOUR, MEMBERS, NOW, POLICIES, REVISION, SCHEMA, agreement, closing, question

PRINCIPAL = "principal/svc.ny.minzheng.dibao"


class Answering:
    """An engine that gives one prepared answer, as a hostile or mistaken policy might."""

    def __init__(self, answer: Mapping[str, Any] | Exception) -> None:
        self.answer = answer

    def load(self, bundle: Bundle | None) -> None:
        """Nothing to load."""

    def offering(self, bundle: Bundle, patience_s: float) -> AbstractContextManager[None]:
        """Nothing to wait for."""
        del bundle, patience_s
        return nullcontext()

    def evaluate(self, question: bytes) -> Mapping[str, Any]:
        """The prepared answer."""
        del question
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def test(self, bundle: Bundle) -> Mapping[str, bool]:
        """No tests."""
        del bundle
        return {}

    def close(self) -> None:
        """Nothing to end."""


def body(**changes: Any) -> dict[str, Any]:
    """The answer of a sound policy to `question()`; None takes a key away."""
    sound = {
        "effect": "allow",
        "reasons": [{"code": "agreement", "agreement": "agr-17", "revision": 3}],
        "fields": [{"path": "name", "mask": {"kind": "keep"}}],
        "rows": {"op": "all"},
        "obligations": [],
        "expires_ns": NOW + HOUR,
        "schema": SCHEMA,
        "epochs": {"agreement/agr-17": 5, "case/case-1": 2, PRINCIPAL: 4},
        **changes,
    }
    return {key: value for key, value in sound.items() if value is not None}


def decided(answer: Mapping[str, Any] | Exception, **changes: Any) -> Plan:
    """The plan for the question, changed, when the engine answers this."""
    return decide(Answering(answer), Question(question(**changes)), REVISION, 41)


def reason(plan: Plan) -> tuple[str, str]:
    """The one reason of a deny, which grants nothing."""
    assert plan.effect == "deny"
    assert not plan.to_document().keys() & {"fields", "rows", "epochs"}
    (only,) = plan.reasons
    return str(only["code"]), str(only.get("detail", ""))


@pytest.fixture(scope="module", name="standing")
def _standing() -> Iterator[PolicyEngine]:
    engine = RegorusEngine(2.0)
    engine.load(load_bundle(POLICIES))
    yield from closing(engine)


def test_plan_is_completed(standing: PolicyEngine) -> None:
    """Dataset, subject, purpose and case of the question; policy revision and epoch of the site."""
    plan = decide(standing, Question.from_document(question()), REVISION, 41)
    assert plan.to_document() == {
        "format": "exchange.plan/1",
        "effect": "allow",
        "reasons": [{"code": "agreement", "agreement": "agr-17", "revision": 3}],
        "dataset": "ps.hukou_person",
        "schema": SCHEMA,
        "subject": {"type": "person", "path": "id_number"},
        "purpose": "dibao.initial_check",
        "case": "case-1",
        "fields": [
            {"path": "id_number", "mask": {"kind": "pseudonym", "scope": "agr-17"}},
            {"path": "name", "mask": {"kind": "keep"}},
        ],
        "rows": {
            "op": "and",
            "of": [{"op": "member", "set": MEMBERS}, {"op": "prefix", "path": "region", "value": "431126"}],
        },
        "obligations": [{"kind": "purge_by", "date": "2026-12-31"}],
        "expires_ns": NOW + HOUR,
        "policy_revision": REVISION,
        "epochs": {"agreement/agr-17": 5, "case/case-1": 2, "policy": 41, PRINCIPAL: 4},
    }


def test_refusal_is_completed(standing: PolicyEngine) -> None:
    """A deny says what was asked and under which policy, and grants nothing."""
    plan = decide(standing, Question.from_document(question(case=None)), REVISION, 41)
    assert plan.reasons == ({"code": "case_required", "agreement": "agr-17"},)
    assert (plan.dataset, plan.case, plan.policy_revision) == ("ps.hukou_person", None, REVISION)
    assert not plan.to_document().keys() & {"fields", "rows", "epochs"}


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (body(effect="maybe"), "keys"),
        (body(effect=None), "keys"),
        (body(rows=None), "keys"),
        (body(more=1), "keys"),
        (body(policy_revision=REVISION), "keys"),
        ({"effect": "deny", "reasons": [{"code": "zone"}], "fields": []}, "keys"),
        ({"effect": "deny", "reasons": []}, "plan_empty"),
        ({"effect": "deny", "reasons": [{"code": "agreement"}]}, "plan_reason_misplaced"),
        ({"effect": "deny", "reasons": [{"code": "because"}]}, "plan_name_unknown"),
        (body(fields=[]), "plan_empty"),
        (body(fields=[{"path": "name", "mask": {"kind": "none"}}]), "plan_name_unknown"),
        (body(rows={"op": "any"}), "plan_name_unknown"),
        (body(epochs=[]), "plan_type_wrong"),
        (body(expires_ns="soon"), "plan_type_wrong"),
        (body(reasons=[]), "reasons"),
        (body(reasons=[{"code": "zone"}]), "plan_reason_misplaced"),
        (body(reasons=[{"code": "agreement"}]), "reasons.agreement"),
        (body(reasons=[{"code": "agreement", "agreement": "agr-18", "revision": 3}]), "reasons.agreement"),
        (body(reasons=[{"code": "agreement", "agreement": "agr-17", "revision": 2}]), "reasons.agreement"),
        (body(schema="sha256:" + "d" * 64), "schema"),
        (body(fields=[{"path": "nowhere", "mask": {"kind": "keep"}}]), "fields.unknown"),
        (body(expires_ns=NOW), "expires_ns.past"),
        (body(expires_ns=NOW + 10 * HOUR + 1), "expires_ns.agreement"),
        (body(epochs={"agreement/agr-17": 5, "case/case-1": 2}), "epochs.missing"),
        (body(epochs={"agreement/agr-17": 5, PRINCIPAL: 4}), "epochs.missing"),
        (body(epochs={"case/case-1": 2, PRINCIPAL: 4}), "epochs.missing"),
        (body(epochs={**body()["epochs"], PRINCIPAL: 5}), "epochs.unknown"),
        (body(epochs={**body()["epochs"], "agreement/agr-18": 1}), "epochs.unknown"),
    ],
)
def test_unfit_answer_is_a_deny(answer: Mapping[str, Any], detail: str) -> None:
    """Whatever the policy gives that a plan cannot be, or that the question belies: `policy_error`, never a plan."""
    assert reason(decided(answer)) == ("policy_error", detail)


def test_fit_answer_passes() -> None:
    """The answer that the refusals above change is itself sound, and the policy's epoch is the site's."""
    assert decided(body()).allowed
    assert decided(body(epochs={**body()["epochs"], "policy": 9})).epochs["policy"] == 41


def test_fields_asked_for_are_given_exactly() -> None:
    """A listed field may not be left out or added in silence."""
    assert decided(body(), fields=["name"]).allowed
    assert reason(decided(body(), fields=["name", "region"])) == ("policy_error", "fields.asked")
    assert reason(decided(body(), fields=["region"])) == ("policy_error", "fields.asked")


def test_plan_without_an_agreement_has_the_datasets_schema() -> None:
    """Unconditional data is shown by its current schema, for as long as the policy says."""
    answer = body(reasons=[{"code": "unconditional"}], epochs={"case/case-1": 2, PRINCIPAL: 4})
    assert decided(answer, agreements=[agreement(schema="sha256:" + "d" * 64)]).allowed
    assert reason(decided({**answer, "schema": "sha256:" + "d" * 64})) == ("policy_error", "schema")


@pytest.mark.parametrize("code", ["policy_undefined", "policy_error", "policy_unavailable"])
def test_engine_that_refuses(code: str) -> None:
    """The engine's refusal is the plan's reason."""
    assert reason(decided(Refused(code, detail="why"))) == (code, "why")


def test_engine_that_is_down() -> None:
    """No engine: no plan but a deny, and no exception."""
    assert reason(decided(Unavailable("policy_engine_missing", engine="opa", detail="x")))[0] == "policy_unavailable"
    assert reason(decide(RegorusEngine(), Question(question()), REVISION, 41)) == ("policy_unavailable", "no_policy")
