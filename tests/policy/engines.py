"""What the tests of policies share: this machine's engines, small bundles, a question that is allowed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from exchange.policy import Bundle, PolicyEngine
from exchange.policy.opa_binary import OpaBinaryEngine
from exchange.policy.regorus import RegorusEngine
from tests import services

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "policies"
NOW = 1_795_420_800_000_000_000
HOUR = 3_600_000_000_000
SCHEMA = "sha256:" + "a" * 64
MEMBERS = "sha256:" + "b" * 64
REVISION = "sha256:" + "c" * 64

MakeEngine = Callable[[float], PolicyEngine]


def opa_path() -> Path:
    """The OPA binary; without one the test is skipped by name, or fails when `REQUIRE` lists `opa`."""
    return services.opa()


def maker(name: str) -> MakeEngine:
    """How to make an engine of this name with a deadline in seconds."""
    if name == "regorus":
        return RegorusEngine
    path = opa_path()
    return lambda deadline_s: OpaBinaryEngine(path, deadline_s)


def closing(engine: PolicyEngine) -> Iterator[PolicyEngine]:
    """For fixtures: the engine, closed afterwards."""
    try:
        yield engine
    finally:
        engine.close()


def bundle(body: str, **more: str) -> Bundle:
    """A bundle of `plan.rego` with this body, and further whole modules by name."""
    texts = {f"{name}.rego": text for name, text in more.items()}
    return Bundle({"plan.rego": f"package exchange\n\nimport rego.v1\n\n{body}\n", **texts}, {"limit": 7, "no": False})


def agreement(**changes: Any) -> dict[str, Any]:
    """A candidate that permits what `question` asks."""
    return {
        "id": "agr-17",
        "revision": 3,
        "epoch": 5,
        "status": "active",
        "consumer": "ny.minzheng",
        "dataset": "ps.hukou_person",
        "schema": SCHEMA,
        "purpose": "dibao.initial_check",
        "legal_basis": "社会救助法 41",
        "actions": ["read", "lookup"],
        "fields": [
            {"path": "id_number", "mask": {"kind": "pseudonym", "scope": "agr-17"}},
            {"path": "name", "mask": {"kind": "keep"}},
        ],
        "rows": {"op": "prefix", "path": "region", "value": "431126"},
        "case_bound": True,
        "zone": "extranet",
        "counts": False,
        "not_before_ns": NOW - HOUR,
        "expires_ns": NOW + 10 * HOUR,
        "purge_by": "2026-12-31",
        **changes,
    }


def question(**changes: Any) -> dict[str, Any]:
    """A question that the standing policies allow."""
    return {
        "format": "exchange.question/1",
        "id": "q-1",
        "now_ns": NOW,
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
            "schema": SCHEMA,
            "share_type": "conditional",
            "subject": {"type": "person", "path": "id_number"},
            "fields": {
                "id_number": {"class": "L3", "tags": ["id"]},
                "name": {"class": "L2", "tags": []},
                "region": {"class": "L1", "tags": []},
                "photo": {"class": "L4", "tags": []},
            },
        },
        "purpose": "dibao.initial_check",
        "fields": None,
        "case": {"id": "case-1", "epoch": 2, "status": "open", "members": MEMBERS, "opened_ns": 0},
        "agreements": [agreement()],
        **changes,
    }
