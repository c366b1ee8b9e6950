"""What ends or narrows a permission between two releases, or while they are in flight, holds for what comes after."""

import gc
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from exchange.access import Gateway, Release
from exchange.audit.log import AuditLog
from exchange.control import commands as c
from exchange.control.model import Model
from exchange.errors import Refused, Unavailable
from exchange.plan import Plan, Question
from tests.access.oracle import judge
from tests.access.test_paths import amounts, contract, of_members
from tests.access.town import (
    AGREEMENT,
    AUTHORITY,
    CASE,
    DATASET,
    LOOKUP,
    MEMBERS,
    OWNER,
    READ,
    READER,
    SECOND,
    STEWARD,
    Clock,
    Town,
)


def suspend(town: Town) -> None:
    """The reader's account ends."""
    town.do(AUTHORITY, c.SuspendPrincipal(READER, "test"))


def revoke_token(town: Town) -> None:
    """A token of the reader's account ends."""
    [token] = [one for one in town.exchange.control.model().tokens.values() if one.principal == READER]
    town.do(AUTHORITY, c.RevokeToken(token.id))


def change_roles(town: Town) -> None:
    """The reader becomes an auditor, who reads no payload."""
    town.do(AUTHORITY, c.ChangeRoles(READER, ("auditor",)))


def revoke(town: Town) -> None:
    """The agreement ends."""
    town.revoke()


def close_case(town: Town) -> None:
    """The case is over."""
    town.do(READER, c.CloseCase(CASE, "test"))


def withdraw_policy(town: Town) -> None:
    """There is no policy any more."""
    town.do(AUTHORITY, c.WithdrawPolicy("test"))


def unshare(town: Town) -> None:
    """The dataset is not shared any more."""
    share = {"type": "not_shared", "legal_basis": "test"}
    town.do(OWNER, c.SubmitContract({**contract(town), "share": share}))


ENDS: dict[Callable[[Town], None], str] = {
    suspend: "principal_suspended",
    revoke_token: "principal_changed",
    change_roles: "principal_changed",
    revoke: "revoked",
    close_case: "case_closed",
    withdraw_policy: "policy_unavailable",
    unshare: "no_agreement",
}


def ended(reading: Iterator[Release]) -> tuple[list[Release], Refused]:
    """The releases of a read until it is refused."""
    handed: list[Release] = []
    with pytest.raises(Refused) as caught:
        handed.extend(reading)
    return handed, caught.value


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_right_that_ends_between_two_releases(town: Town, end: Callable[[Town], None]) -> None:
    """The read ends with the reason; no release comes after, and the refusal stands in the log."""
    gateway, reader = town.gateway(in_flight=1), town.reader
    reading = gateway.read(reader, READ, {}, "jsonl")
    first = next(reading)
    end(town)
    handed, refusal = ended(reading)
    assert ENDS[end] in (refusal.code, refusal.facts.get("reasons"))
    assert handed == []
    entries = judge(town, [first])
    assert ENDS[end] in entries[-1][2]["reasons"]
    with pytest.raises(Refused):
        gateway.lookup(reader, LOOKUP, MEMBERS[:1], "jsonl")


@pytest.mark.parametrize("end", [suspend, revoke, close_case, unshare], ids=lambda end: end.__name__)
def test_a_right_that_ends_between_decision_and_entry(town: Town, end: Callable[[Town], None]) -> None:
    """The sequencer refuses the release, whatever the gateway knew; its number goes to a refusal entry."""
    reading = town.gateway(in_flight=1).read(town.reader, READ, {}, "jsonl")
    first = next(reading)
    town.log.once("read", lambda: end(town))
    handed, _ = ended(reading)
    entries = judge(town, [first, *handed])
    spoiled = [body for _, kind, body in entries if kind == "refusal" and body["counter"] is not None]
    assert {tuple(body["reasons"]) for body in spoiled} == {("epoch_behind",)}
    assert spoiled
    assert {body["id"] for _, kind, body in entries if kind == "release"}.isdisjoint(one["release"] for one in spoiled)


def test_what_was_not_sent_gives_its_number_back(town: Town) -> None:
    """The third batch cannot be read: the first was sent at once, the second never. Its number goes to the next one."""
    gateway, read = town.gateway(), itertools.count(1)

    def third(*_: object) -> None:
        if next(read) == 3:
            raise Unavailable("log_unavailable", where="test", detail="test")

    town.log.before["read"] = third
    with pytest.raises(Unavailable):
        next(gateway.read(town.reader, READ, {}, "jsonl"))
    handed = town.read(gateway)
    entries = judge(town, handed)
    counters = [body["counter"] for _, kind, body in entries if kind == "release"]
    assert counters == list(range(1, len(handed) + 2))


def test_the_end_of_one_agreement_is_not_that_of_another(town: Town) -> None:
    """Where another agreement permits the same, the read goes on under it, from where it was."""
    other = town.agree()
    reading = town.gateway().read(town.reader, READ, {}, "jsonl")
    first = next(reading)
    town.log.once("read", town.revoke)
    rest = list(reading)
    assert sorted(amounts(first, *rest)) == of_members(*range(1, 25))
    entries = judge(town, [first, *rest])
    assert entries[rest[-1].index][2]["agreement"] == other
    assert entries[first.index][2]["agreement"] == AGREEMENT


def narrow_case(town: Town) -> None:
    """The case has one member left."""
    town.do(READER, c.ChangeCaseMembers(CASE, town.exchange.tags("person", MEMBERS[:1])))


def test_a_case_that_is_narrowed(town: Town) -> None:
    """From its end on only the member that is left is shown."""
    reading = town.gateway(in_flight=1).read(town.reader, READ, {}, "jsonl")
    first = next(reading)
    narrow_case(town)
    rest = list(reading)
    shown = {json.loads(line)["person_id"] for one in rest for line in one.payload.splitlines()}
    assert shown <= set(MEMBERS[:1])
    judge(town, [first, *rest])


@pytest.mark.parametrize(
    "change",
    [lambda town: town.change_policy(added={}), lambda town: town.do(OWNER, c.SubmitContract(revised(town)))],
    ids=["policy", "contract"],
)
def test_a_revision_that_changes_nothing_for_the_reader(town: Town, change: Callable[[Town], None]) -> None:
    """The read goes on under the new one: nothing is lost, nothing comes twice, nothing is tried under the old."""
    reading = town.gateway().read(town.reader, READ, {}, "jsonl")
    first = next(reading)
    change(town)
    rest = list(reading)
    assert sorted(amounts(first, *rest)) == of_members(*range(1, 25))
    assert (len(town.bodies("decision")), town.bodies("refusal")) == (2, [])
    judge(town, [first, *rest])


def revised(town: Town) -> dict[str, object]:
    """The contract with another title."""
    return {**contract(town), "title": {"zh": "改名", "en": "Renamed"}}


@pytest.mark.parametrize("revision", ["contract", "policy"])
def test_a_revision_between_the_question_and_its_answer(town: Town, revision: str) -> None:
    """A plan has the epochs of the facts that it was made from: what was revised meanwhile ends it."""

    def late(question: Question, model: Model) -> Plan:
        if revision == "contract" and not town.bodies("decision"):
            town.do(OWNER, c.SubmitContract(revised(town)))
        elif not town.bodies("decision"):
            town.change_policy(added={})
        return town.exchange.decide(question, model)

    found = town.gateway(decide=late).lookup(town.reader, LOOKUP, MEMBERS, "jsonl")
    entries = judge(town, [found])
    assert [body["reasons"] for _, kind, body in entries if kind == "refusal"] == [["epoch_behind"]]
    assert [body["attempt"] for _, kind, body in entries if kind == "release"] == [1]


def test_a_schema_accepted_between_decision_and_lookup(town: Town) -> None:
    """A record written with it is answered under a decision that knows it."""
    document = contract(town)
    newer = json.loads(json.dumps(document["schemas"][0]))
    newer["fields"].append({"name": "note", "type": "string", "default": ""})
    fields = {**document["fields"], "note": document["fields"]["status"]}

    def revise(*_: object) -> None:
        town.state.before.clear()
        town.do(OWNER, c.SubmitContract({**document, "schemas": [document["schemas"][0], newer], "fields": fields}))
        town.publish_records({101: {"note": "n", "person_id": MEMBERS[0]}})

    town.state.before["current_to"] = revise
    found = town.gateway().lookup(town.reader, LOOKUP, MEMBERS[:1], "jsonl")
    assert amounts(found) == [101]
    judge(town, [found])


def test_whoever_was_suspended_before_is_refused_at_once(town: Town) -> None:
    """However the caller came by the account: it is looked up again."""
    suspend(town)
    for use in (
        lambda gateway: list(gateway.read(town.who(READER), READ, {}, "jsonl")),
        lambda gateway: gateway.explain(town.who(READER), READ),
    ):
        with pytest.raises(Refused) as caught:
            use(town.gateway())
        assert caught.value.code == "principal_suspended"
    judge(town, [])


def test_a_plan_is_used_again_for_its_time_and_no_longer(town: Town) -> None:
    """Under 60 s, one decision; after it, or when the clock went back, another."""
    gateway = town.gateway()
    handed = [*town.read(gateway), *town.read(gateway)]
    assert len(town.bodies("decision")) == 1
    town.clock.ns += 61 * SECOND
    handed += town.read(gateway)
    assert len(town.bodies("decision")) == 2
    handed += town.read(town.gateway(plan_ns=0))
    judge(town, handed)


def test_a_gateway_whose_clock_goes_back(town: Town) -> None:
    """Its plans become no younger by it, and what it cannot date it does not hand over."""
    clock = Clock(town.clock.ns + SECOND)
    gateway = town.gateway(now_ns=clock)
    handed = town.read(gateway)
    clock.jump(-30 * SECOND)
    with pytest.raises(Unavailable) as caught:
        town.read(gateway)
    assert caught.value.code == "release_unstable"
    assert len(town.bodies("decision")) > 1
    judge(town, handed)


def test_a_plan_that_expires_while_its_records_are_read(town: Town) -> None:
    """No entry is made under it; the question is asked again."""
    town.log.once("read", lambda: town.clock.jump(4_000 * SECOND))
    releases = town.read()
    assert sorted(amounts(*releases)) == of_members(*range(1, 25))
    entries = judge(town, releases)
    assert len([1 for _, kind, _ in entries if kind == "decision"]) == 2


def test_plans_that_always_expire_too_soon(town: Town) -> None:
    """Three tries, then the reader is told; nothing was released."""
    town.log.before["read"] = lambda *_: town.clock.jump(4_000 * SECOND)
    with pytest.raises(Unavailable) as caught:
        town.read()
    assert caught.value.code == "release_unstable"
    assert town.bodies("release") == []
    judge(town, [])


class Late:
    """An audit log after whose `wait` the clock has moved by `by_ns`, so many times."""

    def __init__(self, town: Town, by_ns: int, times: int) -> None:
        self._town, self._by_ns, self._left = town, by_ns, times

    def __getattr__(self, name: str) -> object:
        return getattr(self._town.exchange.audit, name)

    def wait(self, entry_id: bytes, timeout_s: float = 5.0) -> object:
        """See `AuditLog.wait`."""
        receipt = self._town.exchange.audit.wait(entry_id, timeout_s)
        if self._left:
            self._left -= 1
            self._town.clock.ns += self._by_ns
        return receipt


def late(town: Town, by_ns: int, times: int) -> Gateway:
    """A gateway whose receipts come late."""
    audit: AuditLog = Late(town, by_ns, times)  # type: ignore[assignment]  # it is one but for its `wait`
    return town.gateway(audit=audit)


def test_what_comes_late_is_thrown_away_and_made_again(town: Town) -> None:
    """Over 2 s after its checkpoint nothing is handed over; a new attempt has its own number and entry."""
    releases = town.read(late(town, 2 * SECOND + 1, 1))
    assert sorted(amounts(*releases)) == of_members(*range(1, 25))
    attempts = [entry[2]["attempt"] for entry in judge(town, releases) if entry[1] == "release"]
    assert sorted(attempts)[-4:] == [0, 1, 1, 1]
    assert len(attempts) == len(releases) + 3


def test_just_in_time(town: Town) -> None:
    """Within 2 s it is handed over."""
    releases = town.read(late(town, SECOND, 1))
    assert {body["attempt"] for body in town.bodies("release")} == {0}
    judge(town, releases)


@pytest.mark.parametrize("by_ns", [3 * SECOND, 3_600 * SECOND])
def test_what_always_comes_late_is_given_up(town: Town, by_ns: int) -> None:
    """Three attempts, then `release_unstable`, in a read and a look-up; the entries stand, over-reported."""
    with pytest.raises(Unavailable) as caught:
        town.read(late(town, by_ns, 99))
    assert caught.value.code == "release_unstable"
    with pytest.raises(Unavailable) as caught:
        late(town, by_ns, 99).lookup(town.reader, LOOKUP, MEMBERS[:1], "jsonl")
    assert caught.value.code == "release_unstable"
    entries = judge(town, [])
    assert sorted({body["attempt"] for _, kind, body in entries if kind == "release"}) == [0, 1, 2]


def test_a_clock_that_goes_back_stops_releases(town: Town) -> None:
    """The age of an entry from the future is not known: it is thrown away, and the sequencer signs no more."""
    handed: list[Release] = []
    with pytest.raises(Unavailable) as caught:
        handed.extend(late(town, -10 * SECOND, 1).read(town.reader, READ, {}, "jsonl"))
    assert (caught.value.code, handed) == ("audit_stopped", [])


def test_a_slow_reader_still_gets_everything(town: Town) -> None:
    """Who takes 3 s for each release has those in flight behind it made again, one at a time."""
    handed: list[Release] = []
    for release in town.gateway().read(town.reader, READ, {}, "jsonl"):
        handed.append(release)
        town.clock.ns += 3 * SECOND
    assert sorted(amounts(*handed)) == of_members(*range(1, 25))
    judge(town, handed)


def test_releases_are_in_flight_and_in_order(town: Town) -> None:
    """Three entries are durable before the first release is handed over, never a fourth; the next go together."""
    town.publish(25, 24)
    gateway = town.gateway()
    reading = gateway.read(town.reader, READ, {}, "jsonl")
    handed = [next(reading)]
    assert len(town.bodies("release")) == 3
    handed.append(next(reading))
    assert len(town.bodies("release")) == 3
    handed.append(next(reading))
    assert len(town.bodies("release")) == 5
    handed += reading
    assert [one.index for one in handed] == sorted(one.index for one in handed)
    judge(town, handed)


def test_a_crash_with_a_refused_release_in_flight(town: Town) -> None:
    """No release of the same agreement stands behind it: so its number, which nobody took, is the last of the run."""
    town.log.once("read", lambda: town.log.once("read", lambda: narrow_case(town)))
    handed = [next(town.gateway().read(town.reader, READ, {}, "jsonl"))]
    # Here the process dies: the second release is refused, and no refusal entry was written.
    judge(town, handed)
    assert len(town.bodies("release")) == 1
    judge(town, [*handed, *town.read()])


def test_a_reader_that_goes_away(town: Town) -> None:
    """What was in flight for it is settled before the gateway's next use: no number is missing."""
    gateway = town.gateway()
    town.audit.once("wait", town.revoke)  # three are in flight: refused after this, or not
    handed = [one for one, _ in zip(gateway.read(town.reader, READ, {}, "jsonl"), "1", strict=False)]
    gc.collect()
    town.agree()
    handed += town.read(gateway)
    handed.append(gateway.lookup(town.reader, LOOKUP, MEMBERS[:1], "jsonl"))
    judge(town, handed)


def test_another_department_is_told_nothing_of_the_case(town: Town) -> None:
    """The same refusal as for a case that does not exist."""
    with pytest.raises(Refused) as caught:
        list(town.gateway().read(town.who(OWNER), replace(READ, dataset=DATASET), {}, "jsonl"))
    known = caught.value.facts["reasons"]
    with pytest.raises(Refused) as caught:
        list(town.gateway().read(town.who(OWNER), replace(READ, case="case-9"), {}, "jsonl"))
    assert caught.value.facts["reasons"] == known
    with pytest.raises(Refused):
        list(town.gateway().read(town.who(AUTHORITY), READ, {}, "jsonl"))
    assert town.who(STEWARD).status == "active"
