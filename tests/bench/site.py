"""A real site for benchmarks: the standing policy active, one dataset, a consumer with one agreement bound to a case
and one that is not. Everything goes through the commands that people use.
"""

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from exchange.contracts.contract import load
from exchange.control import commands as c
from exchange.control.model import Principal
from exchange.control.questions import Request
from exchange.policy.bundle import load_bundle
from exchange.wiring import Exchange, make_site, open_exchange, standing
from tests.bench.county import DATASET

PROVIDER: Final = "ny.gongan"
CONSUMER: Final = "ny.minzheng"
AUTHORITY: Final = "authority.ny.shuju"
CASE: Final = "case-2026-000123"
FREE: Final = Request("read", DATASET, "supervise")
IN_CASE: Final = Request("read", DATASET, "dibao.recheck", CASE)
_DAY_NS: Final = 86_400 * 1_000_000_000
_KEPT: Final = ("sex", "birth_date", "relation_to_head", "hukou_region", "status", "status_date")


def make(root: Path, given: Mapping[str, str] | None = None) -> None:
    """Makes the site, its people, dataset, policy and agreements; no record yet. `given`: further settings."""
    make_site(
        root,
        name="bench",
        origin="bench.invalid/exchange",
        department="ny.shuju",
        principal=AUTHORITY,
        now_ns=time.time_ns,
        random_bytes=secrets.token_bytes,
        given=given,
    )
    with opened(root) as exchange:
        _people(exchange)
        contract = load(standing("schemas") / PROVIDER / DATASET)
        _do(exchange, f"steward.{PROVIDER}", c.SubmitContract(contract.to_document()))
        bundle = load_bundle(standing("policies"))
        document = {"modules": dict(bundle.modules), "codes": dict(bundle.codes)}
        made = exchange.control.execute(
            who(exchange, f"steward.{PROVIDER}"), c.SubmitPolicy(document, dict(exchange.engine.test(bundle)))
        )
        _do(exchange, AUTHORITY, c.ApprovePolicy(str(made.about)))
        _agree(exchange, terms("supervise", case_bound=False))
        _agree(exchange, terms("dibao.recheck", case_bound=True))


@contextmanager
def opened(root: Path, **settings: object) -> Iterator[Exchange]:
    """The site, open, with settings like `publish_partitions=8`."""
    given = {f"EXCHANGE_{name.upper()}": str(value) for name, value in settings.items()}
    with open_exchange(root, "bench", {**os.environ, **given}, time.time_ns, secrets.token_bytes) as exchange:
        yield exchange


def who(exchange: Exchange, principal: str) -> Principal:
    """The account of that name."""
    return exchange.control.model().principals[principal]


def open_case(exchange: Exchange, ids: Sequence[str]) -> None:
    """Opens the case that `IN_CASE` is for, with these persons as its members."""
    members = exchange.tags("person", ids)
    _do(exchange, f"svc.{CONSUMER}", c.OpenCase(CASE, "person", "bench", members, ()))


def terms(purpose: str, *, case_bound: bool) -> dict[str, Any]:
    """One pseudonym, two partial masks, six fields as they are, and a row condition that four in five records meet."""
    now = time.time_ns()
    masked = {
        "person_id": {"kind": "pseudonym", "scope": "agreement"},
        "name": {"kind": "partial", "first": 1, "last": 0},
        "household_id": {"kind": "partial", "first": 6, "last": 2},
    }
    fields = {**masked, **{path: {"kind": "keep"} for path in _KEPT}}
    return {
        "consumer": CONSUMER,
        "dataset": DATASET,
        "purpose": purpose,
        "legal_basis": "社会救助法 第四十一条",
        "actions": ["read", "lookup"],
        "fields": [{"path": path, "mask": mask} for path, mask in fields.items()],
        "rows": {"op": "prefix", "path": "hukou_region", "value": "431126"},
        "case_bound": case_bound,
        "zone": "extranet",
        "counts": False,
        "not_before_ns": now - _DAY_NS,
        "expires_ns": now + 30 * _DAY_NS,
        "purge_by": None,
    }


def _people(exchange: Exchange) -> None:
    for name in (PROVIDER, CONSUMER):
        key = exchange.delegated_seal_key(name)
        _do(exchange, AUTHORITY, c.AddDepartment(name, name, name, "431126", None, None, "extranet", key))
        for role, kind in (("steward", "steward"), ("svc", "department_system")):
            _do(exchange, AUTHORITY, c.AddPrincipal(f"{role}.{name}", name, (kind,)))


def _agree(exchange: Exchange, document: dict[str, Any]) -> None:
    made = exchange.control.execute(who(exchange, f"steward.{CONSUMER}"), c.RequestAgreement(document))
    number = str(made.about)
    _do(exchange, f"steward.{PROVIDER}", c.ReviewAgreement(number, "endorse", "bench"))
    _do(exchange, AUTHORITY, c.ApproveAgreement(number))


def _do(exchange: Exchange, principal: str, command: c.Command) -> None:
    exchange.control.execute(who(exchange, principal), command)
