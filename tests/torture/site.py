"""The small site that is tortured: one dataset, a standing right to read it, one that comes and goes, two cases.

It is made once by the public API and copied for each batch of rounds; `opened` is what every process does with it.
"""

import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from exchange.control import commands as c
from exchange.control.control import Outcome
from exchange.control.model import Principal
from exchange.control.questions import Request
from exchange.names import check_character
from exchange.policy import Bundle
from exchange.wiring import Exchange, make_site, open_exchange, standing

DATASET: Final = "hrss.pension_account"
PROVIDER, CHECKING, INTAKE = "ny.renshe", "ny.minzheng", "ny.wanjing"
AUTHORITY: Final = "authority.ny.shuju"
SOURCES: Final = ("ny.renshe/pension-0", "ny.renshe/pension-1")
OPEN_CASE, PASSING_CASE = "case-standing", "case-passing"
STANDING: Final = Request("read", DATASET, "dibao.initial_check", OPEN_CASE)
STANDING_LOOKUP: Final = Request("lookup", DATASET, "dibao.initial_check", OPEN_CASE)
PASSING: Final = Request("read", DATASET, "dibao.intake", PASSING_CASE)
PARTITIONS: Final = 2
# Small releases and small batches: many entries and many ends of commits for little work.
ENVIRONMENT: Final = {
    "EXCHANGE_ACCESS_RELEASE_RECORDS": "4",
    "EXCHANGE_ACCESS_IN_FLIGHT": "3",
    "EXCHANGE_PUBLISH_BATCH_RECORDS": "4",
    "EXCHANGE_PUBLISH_PARTITIONS": str(PARTITIONS),
    "EXCHANGE_POLICY_DEADLINE_MS": "5000",
}
_DAY_NS: Final = 86_400_000_000_000
_KEEP: Final = {"kind": "keep"}


def _person(number: int) -> str:
    seventeen = f"431126{1950 + number}0101{number:03}"
    return seventeen + check_character(seventeen)


PERSONS: Final = tuple(_person(number) for number in range(12))


@contextmanager
def opened(root: Path) -> Iterator[Exchange]:
    """The site, opened as every command of ours opens it."""
    with open_exchange(root, "torture", ENVIRONMENT, time.time_ns, secrets.token_bytes) as exchange:
        yield exchange


def who(exchange: Exchange, name: str) -> Principal:
    """A principal as the model has it now."""
    return exchange.control.model().principal(name)


def as_actor(exchange: Exchange, name: str, command: c.Command) -> Outcome:
    """Does a command as this principal."""
    return exchange.control.execute(who(exchange, name), command)


def tags(exchange: Exchange, count: int = len(PERSONS)) -> tuple[str, ...]:
    """The tags of the first so many of our persons."""
    return exchange.tags("person", PERSONS[:count])


def terms(purpose: str, consumer: str, now_ns: int) -> dict[str, Any]:
    """Terms for all members of a case: masked ids, and the amount as it is, by which a record is recognised."""
    partial = {"kind": "partial", "first": 6, "last": 4}
    return {
        "consumer": consumer,
        "dataset": DATASET,
        "purpose": purpose,
        "legal_basis": "社会救助法 第四十一条",
        "actions": ["read", "lookup"],
        "fields": [{"path": "person_id", "mask": partial}, {"path": "monthly_benefit_fen", "mask": _KEEP}],
        "rows": {"op": "all"},
        "case_bound": True,
        "zone": "extranet",
        "counts": False,
        "not_before_ns": now_ns - _DAY_NS,
        "expires_ns": now_ns + 90 * _DAY_NS,
        "purge_by": None,
    }


def agreed(exchange: Exchange, purpose: str, consumer: str) -> str:
    """A new agreement, through all its three people."""
    asked = c.RequestAgreement(terms(purpose, consumer, time.time_ns()))
    name = as_actor(exchange, f"steward.{consumer}", asked).about
    as_actor(exchange, f"steward.{PROVIDER}", c.ReviewAgreement(name, "endorse", "needed"))
    as_actor(exchange, AUTHORITY, c.ApproveAgreement(name))
    return name


def prepare(root: Path, bundle: Bundle, tests: Mapping[str, bool]) -> str:
    """Makes the site; returns the log's public key."""
    clock, random = time.time_ns, secrets.token_bytes
    made = make_site(
        root,
        name="torture",
        origin="exchange.invalid/torture",
        department="ny.shuju",
        principal=AUTHORITY,
        now_ns=clock,
        random_bytes=random,
    )
    with opened(root) as exchange:
        for department in (PROVIDER, CHECKING, INTAKE):
            key = exchange.delegated_seal_key(department)
            places = (department, department, "431126", None, None, "extranet")
            as_actor(exchange, AUTHORITY, c.AddDepartment(department, *places, key))
            for name, role in (("steward", "steward"), ("svc", "department_system")):
                as_actor(exchange, AUTHORITY, c.AddPrincipal(f"{name}.{department}", department, (role,)))
        document = {"modules": dict(bundle.modules), "codes": dict(bundle.codes)}
        submitted = as_actor(exchange, f"steward.{CHECKING}", c.SubmitPolicy(document, dict(tests)))
        as_actor(exchange, AUTHORITY, c.ApprovePolicy(submitted.about))
        _dataset(exchange)
        for case, department in ((OPEN_CASE, CHECKING), (PASSING_CASE, INTAKE)):
            opening = c.OpenCase(case, "person", "torture", tags(exchange), ())
            as_actor(exchange, f"svc.{department}", opening)
        agreed(exchange, STANDING.purpose, CHECKING)
        agreed(exchange, PASSING.purpose, INTAKE)
    return made.log_key


def _dataset(exchange: Exchange) -> None:
    from exchange.contracts import load

    contract = load(standing("schemas") / PROVIDER / DATASET)
    as_actor(exchange, f"steward.{PROVIDER}", c.SubmitContract(contract.to_document()))


def copy(site: Path, to: Path) -> Path:
    """A fresh copy of the site."""
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(site, to))
