"""What a process of the exchange does until it is killed: the real paths, in a random order, each told when done."""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

from exchange.control import commands as c
from exchange.control.tokens import new_token
from exchange.envelope import Stored
from exchange.errors import Refused
from exchange.log import RecordLog
from exchange.names import set_digest
from exchange.source import Place, Rejected, SourceBatch
from exchange.wiring import Exchange
from tests.torture import site
from tests.torture.told import Tell, tell_acknowledged, tell_outcome, tell_release

_EVERY_BAD: Final = 5  # which record of a source is a dead letter by the contract
_EVERY_REJECTED: Final = 7  # and which one by its adapter
_BASE: Final = 1_000_000


def is_good(sequence: int) -> bool:
    """Whether the record of this sequence is published; the others are dead letters."""
    return sequence % _EVERY_BAD != 0 and sequence % _EVERY_REJECTED != 0


def amount(source: str, sequence: int) -> int:
    """The amount by which a record is recognised wherever it appears."""
    return (site.SOURCES.index(source) + 1) * _BASE + sequence


class Numbers:
    """An adapter whose record of a sequence follows from the sequence: `count` more than were taken."""

    def __init__(self, source: str, count: int) -> None:
        self._source, self._count = source, count

    @property
    def source(self) -> str:
        return self._source

    @property
    def notes(self) -> list[str]:
        return []

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        last = mark + self._count
        for start in range(mark + 1, last + 1, limit):
            sequences = range(start, min(start + limit, last + 1))
            given = [one for one in sequences if one % _EVERY_REJECTED]
            rejected = [
                Rejected(one, _place(one), "cell_unreadable") for one in sequences if one % _EVERY_REJECTED == 0
            ]
            yield SourceBatch(given, [self._record(one) for one in given], [_place(one) for one in given], rejected)

    def _record(self, sequence: int) -> Mapping[str, Any]:
        return {
            "person_id": site.PERSONS[sequence % len(site.PERSONS)],
            "region_code": "431126" if sequence % _EVERY_BAD else None,
            "scheme": "RESIDENT",
            "status": "RECEIVING",
            "monthly_benefit_fen": amount(self._source, sequence),
            "last_paid_month": None,
            "employer_uscc": None,
            "bank_account": None,
        }


def _place(sequence: int) -> Place:
    return Place("numbers", sequence)


class Interposed:
    """The record log, with something done right before one of its reads: between a release's decision and its entry."""

    def __init__(self, inner: RecordLog) -> None:
        self._inner = inner
        self._before: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def arm(self, before: Callable[[], None], skipped: int) -> None:
        """Does this before the read that comes after so many others."""
        self._before = [*([lambda: None] * skipped), before]

    def disarm(self) -> None:
        """Does nothing any more."""
        self._before = []

    def read(self, topic: str, partition: int, position: int, limit: int) -> Stored:
        if self._before:
            self._before.pop(0)()
        return self._inner.read(topic, partition, position, limit)


class Work:
    """The actions on one open exchange."""

    def __init__(self, exchange: Exchange, random: Random, tell: Tell) -> None:
        self._exchange, self._random, self._tell = exchange, random, tell
        self._log = Interposed(exchange.log)
        exchange.__dict__["log"] = self._log

    def publish(self) -> None:
        """A few batches of one source."""
        adapter = Numbers(self._random.choice(site.SOURCES), self._random.randint(1, 9))
        publisher = site.who(self._exchange, f"svc.{site.PROVIDER}")
        self._exchange.publish(publisher, adapter, site.DATASET, lambda told: tell_acknowledged(self._tell, told))

    def read(self) -> None:
        """The newest records, in small releases."""
        marks = self._exchange.publish_parts.marks
        start = {n: max(0, marks.committed(site.DATASET, n) - 14) for n in range(site.PARTITIONS)}
        reader = site.who(self._exchange, f"svc.{site.CHECKING}")
        for release in self._exchange.gateway.read(reader, site.STANDING, start, "jsonl"):
            tell_release(self._tell, release)

    def one(self) -> None:
        """One release, of one record."""
        newest = self._exchange.publish_parts.marks.committed(site.DATASET, 0) - 1
        reader = site.who(self._exchange, f"svc.{site.CHECKING}")
        releases = self._exchange.gateway.read(reader, site.STANDING, {0: newest, 1: 1 << 40}, "jsonl")
        tell_release(self._tell, next(releases))

    def lookup(self) -> None:
        """An answer from the state."""
        reader = site.who(self._exchange, f"svc.{site.CHECKING}")
        ids = self._random.sample(site.PERSONS, 3)
        tell_release(self._tell, self._exchange.gateway.lookup(reader, site.STANDING_LOOKUP, ids, "jsonl"))

    def raced(self) -> None:
        """A read whose right ends between its decision and the entry of one of its releases."""
        reader = site.who(self._exchange, f"svc.{site.INTAKE}")
        if self._active() is None:
            self.agree()
        self._log.arm(self._random.choice((self.revoke, self.members)), self._random.randint(0, 2))
        try:
            for release in self._exchange.gateway.read(reader, site.PASSING, {}, "jsonl"):
                tell_release(self._tell, release)
        except Refused as refused:
            if refused.code != "question_refused":
                raise
        finally:
            self._log.disarm()

    def agree(self) -> None:
        """A new agreement, by three people; each step is an outcome of its own."""
        asked = c.RequestAgreement(site.terms(site.PASSING.purpose, site.INTAKE, time.time_ns()))
        name = self._done(f"steward.{site.INTAKE}", asked, "agreement", "requested")
        review = c.ReviewAgreement(name, "endorse", "needed")
        self._done(f"steward.{site.PROVIDER}", review, "agreement", "endorsed")
        self._done(site.AUTHORITY, c.ApproveAgreement(name), "agreement", "active")

    def revoke(self) -> None:
        """The passing agreement ends; where there is none, one is made."""
        name = self._active()
        if name is None:
            return self.agree()
        self._done(site.AUTHORITY, c.RevokeAgreement(name, "torture"), "agreement", "revoked")
        return None

    def members(self) -> None:
        """The passing case gets other members, which ends plans for the old ones."""
        tags = site.tags(self._exchange, self._random.randint(4, len(site.PERSONS)))
        digest = set_digest(bytes.fromhex(tag) for tag in tags)
        self._done(f"svc.{site.INTAKE}", c.ChangeCaseMembers(site.PASSING_CASE, tags), "case", digest)

    def opening(self) -> None:
        """A new case."""
        tags = site.tags(self._exchange, 2)
        digest = set_digest(bytes.fromhex(tag) for tag in tags)
        name = f"case-{secrets.token_hex(6)}"
        self._done(f"svc.{site.INTAKE}", c.OpenCase(name, "person", "torture", tags, ()), "case", digest)

    def token(self) -> None:
        """A token comes and sometimes goes again."""
        _, identity, digest = new_token(secrets.token_bytes)
        owner = f"svc.{site.INTAKE}"
        issue = c.IssueToken(owner, identity, digest, time.time_ns() + 10**15)
        self._done(site.AUTHORITY, issue, "token", "valid")
        if self._random.random() < 0.5:
            self._done(site.AUTHORITY, c.RevokeToken(identity), "token", "revoked")

    def _active(self) -> str | None:
        candidates = self._exchange.control.model().agreements.values()
        mine = [one for one in candidates if one.terms.consumer == site.INTAKE and one.status == "active"]
        return mine[0].id if mine else None

    def _done(self, actor: str, command: c.Command, what: str, value: str) -> str:
        outcome = site.as_actor(self._exchange, actor, command)
        tell_outcome(self._tell, outcome, what, value)
        return outcome.about


ACTIONS: Final[Mapping[str, tuple[str, int]]] = {
    "publish": ("publish", 8),
    "read": ("read", 5),
    "lookup": ("read", 2),
    "raced": ("read", 3),
    "agree": ("control", 2),
    "revoke": ("control", 2),
    "members": ("control", 2),
    "opening": ("control", 2),
    "token": ("control", 2),
}


def work(root: Path, random: Random, tell: Tell, first: str | None = None) -> None:
    """Opens the site and works until it is killed (or for 200 actions, which no kill is as late as)."""
    names, weights = list(ACTIONS), [weight for _, weight in ACTIONS.values()]
    with site.opened(root) as exchange:
        doing = Work(exchange, random, tell)
        for name in [*([first] if first else []), *random.choices(names, weights, k=200)]:
            tell("doing", ACTIONS[name][0])
            getattr(doing, name)()


def amounts(payload: bytes) -> list[int]:
    """The records of a payload in JSON lines, each by its amount."""
    return [json.loads(line)["monthly_benefit_fen"] for line in payload.splitlines()]
