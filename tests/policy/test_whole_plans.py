"""The embedded engine and an OPA server, which pulls the policies as a signed bundle, give the same whole plans."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
import pytest_socket
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from exchange.names import canonical
from exchange.plan import Question
from exchange.policy import PolicyEngine
from exchange.policy.bundle import load_bundle
from exchange.policy.decide import decide
from exchange.policy.regorus import RegorusEngine
from tests.policy.engines import HOUR, NOW, POLICIES, REVISION
from tests.policy.opa_servers import world
from tests.policy.test_rego import questions, rare
from tests.profiles import examples

pytestmark = [pytest.mark.opa, pytest.mark.enable_socket]
LARGEST: Final = 2**63
numbers = st.sampled_from([0, 1, 2**31, 2**53 + 1, LARGEST - 1, LARGEST])
edges = st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + HOUR - 1, NOW + HOUR, NOW + HOUR + 1, LARGEST - 1, LARGEST])
texts = st.sampled_from(
    ["", "低保.初次核对", "é", "e\u0301", "\u2028", "𠀀龥", "a|b", "dibao.initial_check ", "x" * 300]
)
leaves = st.one_of(
    st.builds(lambda value: {"op": "prefix", "path": "region", "value": value}, texts),
    st.builds(lambda value: {"op": "eq", "path": "region", "value": value}, st.one_of(texts, numbers, st.none())),
    st.just({"op": "all"}),
)
conditions = st.recursive(
    leaves,
    lambda of: st.builds(
        lambda op, some: {"op": op, "of": some}, st.sampled_from(["and", "or"]), st.lists(of, max_size=3)
    ),
)
masks = st.one_of(
    st.builds(lambda value: {"kind": "verdict", "op": "le", "value": value}, numbers),
    st.builds(lambda key: {"kind": "verdict", "op": "le", "value": {"table": "dibao_standard_fen", "key": key}}, texts),
    st.builds(lambda first: {"kind": "partial", "first": first, "last": first}, numbers),
    st.builds(lambda scope: {"kind": "pseudonym", "scope": scope}, texts),
    st.just({"kind": "keep"}),
)
# One thing of an agreement, or of the question, as it seldom is.
of_agreements: Final[dict[str, st.SearchStrategy[Any]]] = {
    "id": st.one_of(texts, st.just("agr-17")),
    "revision": numbers,
    "epoch": numbers,
    "status": st.sampled_from(["suspended", "revoked", "expired", "active", "", "requested"]),
    "purpose": texts,
    "legal_basis": texts,
    "actions": st.lists(st.sampled_from(["read", "lookup", "follow", ""]), max_size=3),
    "fields": st.lists(st.builds(lambda path, mask: {"path": path, "mask": mask}, texts, masks), max_size=3),
    "rows": conditions,
    "case_bound": st.one_of(st.booleans(), st.none()),
    "zone": st.sampled_from(["public", "extranet", "department", "", "月球"]),
    "not_before_ns": edges,
    "expires_ns": edges,
    "purge_by": st.sampled_from([None, "", "2026-12-31"]),
    "consumer": st.sampled_from(["ny.minzheng", "ny.shezhen", ""]),
    "dataset": st.sampled_from(["ps.hukou_person", ""]),
}
of_questions: Final[dict[str, st.SearchStrategy[Any]]] = {
    "now_ns": edges,
    "purpose": texts,
    "action": st.sampled_from(["read", "follow", "", "delete"]),
    "zone": st.sampled_from(["public", "department", "", "月球"]),
    "fields": st.one_of(st.just([]), st.lists(texts, max_size=2)),
    "case": st.none(),
    "agreements": st.just([]),
}


@st.composite
def hard_questions(draw: st.DrawFn) -> tuple[dict[str, Any], bool]:
    """A question of `questions`, up to three things of it changed; and whether it is whole."""
    body, whole = draw(questions())
    for one in body.get("agreements", ()):
        one["rows"] = draw(conditions)
        for field in one.get("fields", ()):
            field["mask"] = draw(masks) if draw(rare) else field["mask"]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3]))):
        changed, ways = draw(
            st.sampled_from([(body, of_questions), *[(one, of_agreements) for one in body.get("agreements", ())]])
        )
        name = draw(st.sampled_from(sorted(ways)))
        changed[name] = draw(ways[name])
    return body, whole


@pytest.fixture(scope="module", name="engines")
def _engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PolicyEngine, PolicyEngine]]:
    pytest_socket.enable_socket()
    standing = load_bundle(POLICIES)
    embedded = RegorusEngine(5.0)
    with world(tmp_path_factory.mktemp("opa")) as around:
        server = around.engine(5.0)
        for engine in (embedded, server):
            engine.load(standing)
        yield embedded, server
        for engine in (embedded, server):
            engine.close()


@settings(
    max_examples=examples(1_000),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(asked=hard_questions())
def test_whole_plans_agree(engines: tuple[PolicyEngine, PolicyEngine], asked: tuple[dict[str, Any], bool]) -> None:
    """On any question, hard ones included, both give the same bytes, and the same whole plan, allow or deny."""
    body, whole = asked
    answers = [canonical(engine.evaluate(canonical(body))) for engine in engines]
    assert answers[0] == answers[1]
    if whole and "agreements" in body:
        plans = [decide(engine, Question(body), REVISION, 41) for engine in engines]
        assert canonical(plans[0].to_document()) == canonical(plans[1].to_document())
        assert "policy_unavailable" not in plans[0].codes
        event(plans[0].effect)
