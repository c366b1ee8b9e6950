"""A small exchange for the tests of the access path: real stores, real policy; a clock and hooks of the test's own.

Two partitions, four records a release, three releases in flight; a provider with twelve persons' accounts, a consumer
with an agreement (`agr-1`, bound to the case `case-1`, of which the first eight persons are members).
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from exchange.access import Gateway, Release
from exchange.access.parts import Parts
from exchange.audit.runs import GatewayRuns
from exchange.contracts.contract import load
from exchange.control import commands as c
from exchange.control.control import Outcome
from exchange.control.model import Principal
from exchange.control.questions import Request
from exchange.control.tokens import new_token
from exchange.envelope import Stored
from exchange.names import check_character
from exchange.policy import Bundle
from exchange.policy.bundle import load_bundle
from exchange.policy.regorus import RegorusEngine
from exchange.source import Place, SourceBatch
from exchange.wiring import Exchange, make_site, open_exchange, standing

DATASET: Final = "hrss.pension_account"
PURPOSE: Final = "dibao.initial_check"
CASE, AGREEMENT = "case-1", "agr-1"
PROVIDER, CONSUMER, OFFICE = "ny.renshe", "ny.minzheng", "ny.shuju"
AUTHORITY, READER, STEWARD = "authority.shuju", "svc.minzheng", "steward.minzheng"
PUBLISHER, OWNER = "svc.renshe", "steward.renshe"
START_NS: Final = 1_795_420_800_000_000_000
SECOND: Final = 1_000_000_000
DAY: Final = 86_400 * SECOND
READ: Final = Request("read", DATASET, PURPOSE, CASE)
LOOKUP: Final = Request("lookup", DATASET, PURPOSE, CASE)
ENVIRONMENT: Final = {
    "EXCHANGE_ACCESS_RELEASE_RECORDS": "4",
    "EXCHANGE_ACCESS_IN_FLIGHT": "3",
    "EXCHANGE_PUBLISH_PARTITIONS": "2",
    "EXCHANGE_POLICY_DEADLINE_MS": "10000",
}


def _person(number: int) -> str:
    seventeen = f"431126{1950 + number}0101{number:03}"
    return seventeen + check_character(seventeen)


PERSONS: Final = tuple(_person(number) for number in range(12))
MEMBERS: Final = PERSONS[:8]


class Clock:
    """A clock that advances by a microsecond whenever it is read, and otherwise when the test says so."""

    def __init__(self, start_ns: int) -> None:
        self.ns = start_ns

    def __call__(self) -> int:
        self.ns += 1_000
        return self.ns

    def jump(self, ns: int) -> None:
        """It moves on, or back."""
        self.ns += ns


class KeptEngine:
    """A real engine that does not start another process for the bundle that it has already."""

    def __init__(self) -> None:
        self._engine = RegorusEngine(10.0)
        self._bundle: Bundle | None = None
        self._in_force = False

    def load(self, bundle: Bundle | None) -> None:
        """See `PolicyEngine.load`."""
        if bundle is not None and bundle != self._bundle:
            self._engine.load(bundle)
            self._bundle = bundle
        elif bundle is None and self._bundle is None:
            self._engine.load(None)
        self._in_force = bundle is not None

    def evaluate(self, question: bytes) -> Mapping[str, Any]:
        """See `PolicyEngine.evaluate`."""
        if not self._in_force:
            self._engine.load(None)
            self._bundle = None
        return self._engine.evaluate(question)

    def test(self, bundle: Bundle) -> Mapping[str, bool]:
        """See `PolicyEngine.test`."""
        return self._engine.test(bundle)

    def close(self) -> None:
        """The session's engine goes on: `end` closes it."""

    def end(self) -> None:
        """Ends its process."""
        self._engine.close()


@dataclass(frozen=True)
class Accounts:
    """Gives an account of each person, with the sequence as its amount; `more` says what is otherwise in some."""

    sequences: Sequence[int]
    more: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    source: str = "ny.renshe/test"
    notes: Sequence[str] = ()

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        """See `Adapter.batches`."""
        fresh = [one for one in self.sequences if one > mark]
        for start in range(0, len(fresh), limit):
            part = fresh[start : start + limit]
            values = [{**_account(one), **self.more.get(one, {})} for one in part]
            yield SourceBatch(part, values, [Place("test", one) for one in part])


def _account(sequence: int) -> dict[str, Any]:
    return {
        "person_id": PERSONS[sequence % len(PERSONS)],
        "region_code": "431126",
        "scheme": "RESIDENT",
        "status": "RECEIVING",
        "monthly_benefit_fen": sequence,
        "last_paid_month": None,
        "employer_uscc": None,
        "bank_account": f"62220000{sequence:08}",
    }


class Hooked:
    """Something of the exchange's own, with what the test does before (`before`) one of its methods is called."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.before: dict[str, Callable[..., None]] = {}

    def once(self, name: str, action: Callable[[], object]) -> None:
        """Does this before the next call of the method, and not again."""

        def first(*_: object) -> None:
            del self.before[name]
            action()

        self.before[name] = first

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if not callable(method):
            return method

        def hooked(*arguments: Any, **named: Any) -> Any:
            self.before.get(name, lambda *_, **__: None)(*arguments, **named)
            return method(*arguments, **named)

        return hooked


@dataclass
class Town:
    """The exchange, open."""

    exchange: Exchange
    clock: Clock
    random: Random
    log: Hooked
    audit: Hooked
    state: Hooked

    @property
    def reader(self) -> Principal:
        """The consumer's system, as its token would show it now."""
        return self.who(READER)

    def who(self, name: str) -> Principal:
        """A principal as it is now."""
        return self.exchange.control.model().principal(name)

    def do(self, name: str, command: c.Command) -> Outcome:
        """Does a command as this principal."""
        return self.exchange.control.execute(self.who(name), command)

    def gateway(self, **changes: Any) -> Gateway:
        """A gateway of its own, over the hooked stores, with some of its parts changed."""
        return Gateway(self.parts(**changes))

    def parts(self, **changes: Any) -> Parts:
        """What a gateway is made of; each has a name and so a line of runs of its own."""
        exchange, name = self.exchange, f"gateway-{self.random.randbytes(4).hex()}"
        runs = GatewayRuns(exchange.settings.path(f"data/{name}.json"), exchange.audit, self.clock, name)
        plain: dict[str, Any] = {
            "control": exchange.control,
            "decide": exchange.decide,
            "view": exchange.view,
            "log": self.log,
            "state": self.state,
            "audit": self.audit,
            "committed": exchange.publish_parts.marks.ends,
            "partitions": exchange.partitions,
            "members": exchange.control.members,
            "start_run": runs.start,
            "tagger": exchange.tagger,
            "actors": exchange.actors,
            "now_ns": self.clock,
            "random_bytes": self.random.randbytes,
            "release_records": exchange.settings.number("access.release_records"),
            "in_flight": exchange.settings.number("access.in_flight"),
            "plan_ns": 60 * SECOND,
        }
        return Parts(**{**plain, **changes})

    def read(
        self, gateway: Gateway | None = None, request: Request = READ, start: Mapping[int, int] | None = None
    ) -> list[Release]:
        """All releases of a read, as JSON lines."""
        return list((gateway or self.gateway()).read(self.reader, request, start or {}, "jsonl"))

    def publish(self, first: int, count: int) -> None:
        """Publishes accounts with these sequences."""
        self.exchange.publish(self.who(PUBLISHER), Accounts(range(first, first + count)), DATASET, lambda _: None)

    def publish_records(self, records: Mapping[int, Mapping[str, Any]]) -> None:
        """Publishes accounts with these sequences, in which something is otherwise."""
        self.exchange.publish(self.who(PUBLISHER), Accounts(sorted(records), records), DATASET, lambda _: None)

    def agree(self, **changes: Any) -> str:
        """An agreement of the consumer's, through its three people."""
        name = self.do(STEWARD, c.RequestAgreement(terms(self.clock.ns, **changes))).about
        self.do(OWNER, c.ReviewAgreement(name, "endorse", "needed"))
        self.do(AUTHORITY, c.ApproveAgreement(name))
        return name

    def revoke(self, name: str = AGREEMENT) -> None:
        """The agreement ends."""
        self.do(AUTHORITY, c.RevokeAgreement(name, "test"))

    def change_policy(self, **codes: Any) -> None:
        """Another policy revision: the same rules, other code tables."""
        bundle = load_bundle(standing("policies"))
        document = {"modules": dict(bundle.modules), "codes": {**bundle.codes, **codes}}
        revision = self.do(STEWARD, c.SubmitPolicy(document, {"tested": True})).about
        self.do(AUTHORITY, c.ApprovePolicy(revision))

    def entries(self, *kinds: str) -> list[tuple[int, str, dict[str, Any]]]:
        """The audit log's entries of these kinds, with all that was submitted."""
        audit = self.exchange.audit
        audit.settle()
        return [one for one in audit.entries(0, audit.size) if not kinds or one[1] in kinds]

    def bodies(self, *kinds: str) -> list[dict[str, Any]]:
        """Their bodies alone."""
        return [body for _, _, body in self.entries(*kinds)]


def terms(now_ns: int, **changes: Any) -> dict[str, Any]:
    """Terms for all members of a case."""
    return {
        "consumer": CONSUMER,
        "dataset": DATASET,
        "purpose": PURPOSE,
        "legal_basis": "社会救助法 第四十一条",
        "actions": ["read", "lookup"],
        "fields": [{"path": path, "mask": {"kind": "keep"}} for path in ("person_id", "monthly_benefit_fen")],
        "rows": {"op": "all"},
        "case_bound": True,
        "zone": "extranet",
        "counts": False,
        "not_before_ns": now_ns - DAY,
        "expires_ns": now_ns + 90 * DAY,
        "purge_by": None,
        **changes,
    }


def build(root: Path, engine: KeptEngine, environment: Mapping[str, str] = ENVIRONMENT) -> None:
    """Makes the exchange in a folder that is not there."""
    clock, random = Clock(START_NS), Random(1)
    place: dict[str, Any] = {
        "name": "test",
        "origin": "exchange.invalid/test",
        "department": OFFICE,
        "principal": AUTHORITY,
    }
    make_site(root, now_ns=clock, random_bytes=random.randbytes, **place)
    with opened(root, engine, clock, environment) as town:
        for department, people in (
            (PROVIDER, {OWNER: "steward", PUBLISHER: "department_system"}),
            (CONSUMER, {STEWARD: "steward", READER: "department_system"}),
        ):
            key = town.exchange.delegated_seal_key(department)
            town.do(
                AUTHORITY,
                c.AddDepartment(department, department, department, "431126", None, None, "extranet", key),
            )
            for name, role in people.items():
                town.do(AUTHORITY, c.AddPrincipal(name, department, (role,)))
        _, token, digest = new_token(random.randbytes)
        town.do(AUTHORITY, c.IssueToken(READER, token, digest, clock.ns + 9 * DAY))
        town.change_policy()
        contract = load(standing("schemas") / PROVIDER / DATASET)
        town.do(OWNER, c.SubmitContract(contract.to_document()))
        town.agree()
        members = town.exchange.tags("person", MEMBERS)
        town.do(READER, c.OpenCase(CASE, "person", "test", members, ()))
        town.publish(1, 24)


@contextmanager
def opened(
    root: Path, engine: KeptEngine, clock: Clock | None = None, environment: Mapping[str, str] = ENVIRONMENT
) -> Iterator[Town]:
    """The exchange in this folder, open for one test."""
    clock = clock or Clock(START_NS + DAY)
    random = Random(os.fspath(root) + str(next(_OPENED)))
    with open_exchange(root, "test", environment, clock, random.randbytes) as exchange:
        exchange.__dict__["engine"] = engine
        yield Town(exchange, clock, random, Hooked(exchange.log), Hooked(exchange.audit), Hooked(exchange.state))


_OPENED = itertools.count()


def copied(made: Path, to: Path) -> Path:
    """A copy of a made exchange."""
    return Path(shutil.copytree(made, to))


def stored_all(town: Town) -> list[Stored]:
    """All that is committed, by partition."""
    marks, log = town.exchange.publish_parts.marks, town.exchange.log
    ends = [(part, marks.committed(DATASET, part)) for part in range(log.topics().get(DATASET, 0))]
    return [log.read(DATASET, part, 0, end) for part, end in ends if end]
