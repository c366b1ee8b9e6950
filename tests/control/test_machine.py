"""Any sequence of commands by anybody: what holds of every state that can be reached."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from exchange.control import commands as c
from exchange.control.model import Model
from exchange.control.people import ALONE
from exchange.control.projections import fold
from exchange.errors import Invalid, Refused
from exchange.names import ROLES
from tests.control.town import (
    AUTHORITY,
    BUNDLE,
    CIVIL,
    CIVIL_SYSTEM,
    DAY,
    DIGEST,
    POLICE,
    POLICE_STEWARD,
    SECOND_AUTHORITY,
    TESTS,
    Town,
    governed,
    terms,
)
from tests.profiles import examples

PEOPLE = [AUTHORITY, SECOND_AUTHORITY, POLICE_STEWARD, CIVIL_SYSTEM, "a.first", "a.second"]
ACTORS = st.sampled_from(PEOPLE)
QUEUE = st.permutations(PEOPLE)  # each tries in turn: whoever may do it first, does
MOVERS = ["a.first", POLICE_STEWARD, CIVIL_SYSTEM]
ANY = st.integers(0, 2)  # one of those there are
ROLE_SETS = st.sampled_from([["sharing_authority"], ["steward"]]) | st.sets(st.sampled_from(ROLES), max_size=2).map(
    sorted
)
OTHER = {**BUNDLE, "codes": {"purposes": {"dibao.review": {"case_required": True}}}}
ENDED = {"revoked", "expired", "rejected", "returned"}


class _Town(RuleBasedStateMachine):
    """Few people, so that the same ones meet again and again in other roles; every other step changes somebody's."""

    def __init__(self) -> None:
        super().__init__()
        self.town: Town = governed()
        self.ended: dict[str, str] = {}
        for name, department in (("a.first", POLICE), ("a.second", CIVIL)):
            self.town.do(AUTHORITY, c.AddPrincipal(name, department, ["steward"]))

    def _try(self, queue: list[str], command: c.Command) -> None:
        """Each in turn, until nobody can any more; who may not leaves everything as it was."""
        for actor in queue:
            former, shape = self.town.model, _shape(self.town.model)
            try:
                self.town.do(actor, command)
            except (Invalid, Refused):
                assert self.town.model is former
            assert _shape(former) == shape

    @rule(queue=QUEUE, person=st.sampled_from(MOVERS), roles=ROLE_SETS)
    def change_roles(self, queue: list[str], person: str, roles: list[str]) -> None:
        """People change sides."""
        self._try(queue, c.ChangeRoles(person, roles))

    @invariant()
    def separated_roles(self) -> None:
        """No account holds one of the separated roles beside another, and an authority is always left."""
        people = self.town.model.principals.values()
        assert all(len(one.roles) == 1 for one in people if one.roles & ALONE)
        assert any("sharing_authority" in one.roles and one.status == "active" for one in people)

    def teardown(self) -> None:
        """A rebuild from the first event equals the model that was kept up to date."""
        assert fold(Model(), self.town.events) == replace(self.town.model, codes={})


class Agreements(_Town):
    """Requests, reviews, approvals and ends by people who change sides; two requests are there from the beginning."""

    def __init__(self) -> None:
        super().__init__()
        for actor in (CIVIL_SYSTEM, "a.second"):
            self.town.do(actor, c.RequestAgreement(terms()))

    @rule(queue=QUEUE, days=st.integers(2, 40))
    def request(self, queue: list[str], days: int) -> None:
        """Somebody asks for something."""
        if len(self.town.model.agreements) < 3:
            self._try(queue, c.RequestAgreement(terms(expires_ns=self.town.now_ns + days * DAY)))

    @rule(queue=QUEUE, one=ANY, verdict=st.sampled_from(["endorse", "endorse", "endorse", "return"]))
    def review(self, queue: list[str], one: int, verdict: Any) -> None:
        """Somebody has a view."""
        self._try(queue, c.ReviewAgreement(self._agreement(one), verdict, "note"))

    @rule(queue=QUEUE, one=ANY)
    def approve(self, queue: list[str], one: int) -> None:
        """Somebody approves."""
        self._try(queue, c.ApproveAgreement(self._agreement(one)))

    @rule(queue=QUEUE, one=ANY, revoke=st.booleans())
    def end(self, queue: list[str], one: int, *, revoke: bool) -> None:
        """Somebody ends it."""
        command = c.RevokeAgreement if revoke else c.RejectAgreement
        self._try(queue[:1], command(self._agreement(one), "reason"))

    @rule(days=st.integers(1, 4))
    def sweep(self, days: int) -> None:
        """Time goes by."""
        self.town.now_ns += days * DAY
        self._try(PEOPLE, c.ExpireAgreements())

    def _agreement(self, one: int) -> str:
        return f"agr-{1 + one % max(1, len(self.town.model.agreements))}"

    @invariant()
    def three_different_people(self) -> None:
        """No agreement was ever active without three people, all different."""
        leaves = self.town.model.datasets["ps.hukou_person"].fields.keys()
        for one in self.town.model.agreements.values():
            people = [one.requested_by, one.reviewed_by, one.approved_by]
            assert None in people or len(set(people)) == 3
            if one.status in {"active", "revoked", "expired"}:
                assert None not in people
                assert one.terms.schema
                assert {field.path for field in one.terms.fields} <= leaves

    @invariant()
    def a_review_is_by_another_person(self) -> None:
        """Whatever became of the request."""
        assert all(one.requested_by != one.reviewed_by for one in self.town.model.agreements.values())

    @invariant()
    def what_ended_stays_ended(self) -> None:
        """A status that is an end is never left, and raised the epoch."""
        for one in self.town.model.agreements.values():
            if one.status in ENDED:
                assert self.ended.setdefault(one.id, one.status) == one.status
                assert one.epoch == one.revision > 1
            else:
                assert one.id not in self.ended


class Policies(_Town):
    """Policies, tokens and accounts."""

    @rule(person=st.sampled_from(["a.first", "a.second"]), queue=QUEUE)
    def suspend(self, person: str, queue: list[str]) -> None:
        """People leave."""
        self._try(queue, c.SuspendPrincipal(person, "left"))

    @rule(queue=QUEUE, person=ACTORS, token=st.sampled_from(["1" * 16, "2" * 16]), revoke=st.booleans())
    def token(self, queue: list[str], person: str, token: str, *, revoke: bool) -> None:
        """Tokens come and go."""
        expires = self.town.now_ns + DAY
        self._try(queue[:2], c.RevokeToken(token) if revoke else c.IssueToken(person, token, DIGEST, expires))

    @rule(queue=QUEUE, bundle=st.sampled_from([BUNDLE, OTHER]))
    def submit_policy(self, queue: list[str], bundle: dict[str, Any]) -> None:
        """Somebody submits rules."""
        self._try(queue, c.SubmitPolicy(bundle, TESTS))

    @rule(queue=QUEUE, one=ANY)
    def approve_policy(self, queue: list[str], one: int) -> None:
        """Somebody approves them."""
        revisions = sorted(self.town.model.policies)
        self._try(queue, c.ApprovePolicy(revisions[one % len(revisions)]))

    @rule(actor=ACTORS)
    def withdraw_policy(self, actor: str) -> None:
        """Somebody takes them away."""
        self._try([actor], c.WithdrawPolicy("reason"))

    @invariant()
    def one_policy_by_two_people(self) -> None:
        """At most one revision is active; two people made it so."""
        active = [one for one in self.town.model.policies.values() if one.status == "active"]
        assert [one.revision for one in active] == [one for one in [self.town.model.active_policy] if one]
        assert all(one.submitted_by != one.approved_by for one in active)

    @invariant()
    def epochs_are_those_of_the_accounts(self) -> None:
        """What a question says of an account is what the sequencer knows."""
        model = self.town.model
        assert all(one.epoch == model.epochs[f"principal/{one.id}"] for one in model.principals.values())


def _shape(model: Model) -> tuple[int, int, int, int]:
    return model.position, len(model.agreements), len(model.tokens), len(model.versions)


@pytest.mark.parametrize("machine", [Agreements, Policies])
def test_every_reachable_state_keeps_the_rules(machine: type[RuleBasedStateMachine]) -> None:
    """Whatever anybody tries, in whatever order."""
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples(14), stateful_step_count=25, deadline=None)
    )
