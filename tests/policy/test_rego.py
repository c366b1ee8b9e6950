"""The standing policies under OPA's own tools, and both engines against each other on random questions."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from exchange.names import canonical
from exchange.plan import Question
from exchange.policy import PolicyEngine
from exchange.policy.bundle import load_bundle
from exchange.policy.decide import decide
from tests.policy.engines import HOUR, MEMBERS, NOW, POLICIES, REVISION, agreement, closing, maker, opa_path, question
from tests.profiles import examples

pytestmark = pytest.mark.opa


def opa(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the OPA binary in the policies' folder."""
    command = [str(opa_path()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=POLICIES, check=False, timeout=60)


CAPABILITIES: Final = POLICIES / "capabilities.json"


def test_strict_check() -> None:
    """`opa check --strict` has nothing to say, with no more builtins than a bundle may call: OPA agrees on them."""
    done = opa("check", "--strict", "--capabilities", str(CAPABILITIES), ".")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("y := time.now_ns()", "time.now_ns"),
        ('y := http.send({"url": "http://example.org", "method": "get"})', "http.send"),
        ('y := upper("a")', "upper"),
        ("y if print(input)", "print"),
        ('y := $"{input.a}"', "template"),
    ],
)
def test_capabilities_limit_what_opa_accepts(tmp_path: Path, body: str, said: str) -> None:
    """With the shipped file `opa check` refuses what `modules.check` does; without it, it does not."""
    module = tmp_path / "x.rego"
    module.write_text(f"package exchange.x\n\n{body}\n")
    done = opa("check", "--capabilities", str(CAPABILITIES), str(module))
    assert done.returncode == 1
    assert said in done.stderr
    assert opa("check", str(module)).returncode == 0


def test_capabilities_are_those_of_opa() -> None:
    """Each builtin of the shipped file is declared as this OPA declares it: none by another's types."""
    current = {one["name"]: one for one in json.loads(opa("capabilities", "--current").stdout)["builtins"]}
    for one in json.loads(CAPABILITIES.read_text("utf-8"))["builtins"]:
        known = _plain(current[one["name"]])
        assert {key: known.get(key) for key in one} == one


def _plain(value: Any) -> Any:
    """Without what is for people."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if key != "description"}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def test_format() -> None:
    """Every module is written as `opa fmt` writes it."""
    done = opa("fmt", "--list", "--diff", ".")
    assert (done.returncode, done.stdout) == (0, "")


def test_opa_test(tmp_path: Path) -> None:
    """`opa test` passes, and finds as many tests as we do."""
    codes = tmp_path / "data.json"
    codes.write_text(json.dumps({"codes": json.loads((POLICIES / "codes.json").read_text("utf-8"))}))
    done = opa("test", "--format", "json", "--ignore", "codes.json", ".", str(codes))
    results = json.loads(done.stdout)
    assert [one["name"] for one in results if one.get("fail") or one.get("error")] == []
    assert len(results) >= 60


PATHS: Final = ("id_number", "name", "name", "region", "region", "region", "photo", "nowhere")
masks = st.sampled_from(
    [
        {"kind": "keep"},
        {"kind": "null"},
        {"kind": "partial", "first": 1, "last": 0},
        {"kind": "pseudonym", "scope": "agr-1"},
        {"kind": "verdict", "op": "le", "value": 7},
        {"kind": "verdict", "op": "le", "value": {"table": "dibao_standard_fen", "key": "431126"}},
        {"kind": "verdict", "op": "le", "value": {"table": "nowhere", "key": "431126"}},
    ]
)
# Mostly what permits, so that a good part of the questions is allowed and each refusal is also met alone.
purposes = st.sampled_from([*["dibao.initial_check"] * 6, *["supervise"] * 3, "open.use", "curiosity"])
zones = st.sampled_from(["public", *["extranet"] * 6, "department"])
times = st.sampled_from([0, NOW - HOUR, NOW - 1, NOW, NOW + 1, NOW + HOUR, NOW + 2 * HOUR, 2**63 - 1])
rare = st.integers(0, 9).map(lambda number: number == 0)


@st.composite
def agreements(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to five candidates, with different ids."""
    ids = draw(st.lists(st.sampled_from(["agr-1", "agr-10", "agr-2", "agr-é", "agr-z"]), max_size=5, unique=True))
    return [
        agreement(
            id=one,
            status=draw(st.sampled_from([*["active"] * 8, "revoked", "suspended", "expired", "requested"])),
            purpose=draw(purposes),
            fields=[
                {"path": path, "mask": draw(masks)}
                for path in draw(st.lists(st.sampled_from(PATHS), max_size=4, unique=True))
            ],
            case_bound=draw(st.booleans()),
            zone=draw(zones),
            not_before_ns=draw(times) if draw(rare) else 0,
            expires_ns=draw(times) if draw(rare) else NOW + draw(st.integers(1, 2 * HOUR)),
            purge_by=draw(st.sampled_from([None, "2026-12-31"])),
        )
        for one in ids
    ]


@st.composite
def questions(draw: st.DrawFn) -> tuple[dict[str, Any], bool]:
    """Questions near the border between allowed and refused, a few of them broken; and whether it is whole."""
    action = draw(st.sampled_from([*["read"] * 4, *["lookup"] * 3, "follow"]))
    case = {"id": "case-1", "epoch": 2, "status": "open", "members": MEMBERS, "opened_ns": 0}
    body = question(
        action=action,
        zone=draw(zones),
        purpose=draw(purposes),
        case=draw(st.sampled_from([None, *[case] * 6, {**case, "status": "closed"}])),
        fields=draw(st.lists(st.sampled_from(PATHS), max_size=3) if draw(rare) else st.none()),
        on_behalf_of="ny.shezhen" if draw(rare) else None,
        agreements=draw(agreements()),
    )
    body["principal"]["roles"] = draw(
        st.sampled_from([["department_system"], ["steward"], ["auditor"], ["department_system", "operator"], []])
        if draw(rare)
        else st.just(["department_system"])
    )
    body["dataset"]["share_type"] = draw(
        st.sampled_from([*["conditional"] * 6, "unconditional", "unconditional", "not_shared"])
    )
    if action == "lookup":
        body["lookup"] = {"tags": ["0" * 32], "outside": ["0" * 32] if draw(rare) else []}
    whole = not draw(rare)
    if not whole:
        broken = draw(st.sampled_from([body, body["principal"], body["dataset"], *body["agreements"]]))
        del broken[draw(st.sampled_from(sorted(broken)))]
    return body, whole


@pytest.fixture(scope="module", name="engines")
def _engines() -> Iterator[tuple[PolicyEngine, PolicyEngine]]:
    opa_path()
    for embedded in closing(maker("regorus")(5.0)):
        for server in closing(maker("opa")(5.0)):
            embedded.load(load_bundle(POLICIES))
            server.load(load_bundle(POLICIES))
            yield embedded, server


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(asked=questions())
def test_engines_agree(engines: tuple[PolicyEngine, PolicyEngine], asked: tuple[dict[str, Any], bool]) -> None:
    """On any question both engines give the same bytes, and the same whole plan."""
    (embedded, server), (body, whole) = engines, asked
    assert canonical(embedded.evaluate(canonical(body))) == canonical(server.evaluate(canonical(body)))
    if whole:
        plans = [decide(engine, Question(body), REVISION, 41) for engine in engines]
        assert canonical(plans[0].to_document()) == canonical(plans[1].to_document())
        event(",".join(plans[0].codes))
        assert not {"policy_error", "policy_unavailable"} & set(plans[0].codes)
