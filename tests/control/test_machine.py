"""Any sequence of commands by anybody: what holds of every state that can be reached."""

from dataclasses import replace
from typing import Any

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
    FINANCE,
    POLICE,
    POLICE_STEWARD,
    SECOND_AUTHORITY,
    TESTS,
    Town,
    governed,
    terms,
)

ACTORS = st.sampled_from([AUTHORITY, SECOND_AUTHORITY, POLICE_STEWARD, CIVIL_SYSTEM, "a.first", "a.second"])
AGREEMENTS = st.sampled_from(["agr-1", "agr-2", "agr-3"])
ROLE_SETS = st.sets(st.sampled_from(ROLES), max_size=2).map(sorted)
OTHER = {**BUNDLE, "codes": {"purposes": {"dibao.review": {"case_required": True}}}}
ENDED = {"revoked", "expired", "rejected", "returned"}


class Control(RuleBasedStateMachine):
    """Few people, few agreements, so that the same ones meet again and again in other roles."""

    def __init__(self) -> None:
        super().__init__()
        self.town: Town = governed()
        self.ended: dict[str, str] = {}
        for name in ("a.first", "a.second"):
            self.town.do(AUTHORITY, c.AddPrincipal(name, POLICE, ["steward"]))

    def _try(self, actor: str, command: c.Command) -> None:
        former, copy = self.town.model, _shape(self.town.model)
        try:
            self.town.do(actor, command)
        except (Invalid, Refused):
            assert self.town.model is former
        assert _shape(former) == copy

    @rule(actor=ACTORS, department=st.sampled_from([CIVIL, FINANCE, POLICE]), days=st.integers(1, 40))
    def request(self, actor: str, department: str, days: int) -> None:
        """Somebody asks for something."""
        self._try(actor, c.RequestAgreement(terms(consumer=department, expires_ns=self.town.now_ns + days * DAY)))

    @rule(actor=ACTORS, agreement=AGREEMENTS, verdict=st.sampled_from(["endorse", "endorse", "return"]))
    def review(self, actor: str, agreement: str, verdict: Any) -> None:
        """Somebody has a view."""
        self._try(actor, c.ReviewAgreement(agreement, verdict, "note"))

    @rule(actor=ACTORS, agreement=AGREEMENTS)
    def approve(self, actor: str, agreement: str) -> None:
        """Somebody approves."""
        self._try(actor, c.ApproveAgreement(agreement))

    @rule(actor=ACTORS, agreement=AGREEMENTS, revoke=st.booleans())
    def end(self, actor: str, agreement: str, *, revoke: bool) -> None:
        """Somebody ends it."""
        command = c.RevokeAgreement if revoke else c.RejectAgreement
        self._try(actor, command(agreement, "reason"))

    @rule(days=st.integers(1, 20))
    def sweep(self, days: int) -> None:
        """Time goes by."""
        self.town.now_ns += days * DAY
        self._try(AUTHORITY, c.ExpireAgreements())

    @rule(actor=ACTORS, person=ACTORS, roles=ROLE_SETS)
    def change_roles(self, actor: str, person: str, roles: list[str]) -> None:
        """People change sides."""
        self._try(actor, c.ChangeRoles(person, roles))

    @rule(actor=ACTORS, person=ACTORS)
    def suspend(self, actor: str, person: str) -> None:
        """People leave."""
        self._try(actor, c.SuspendPrincipal(person, "left"))

    @rule(actor=ACTORS, person=ACTORS, token=st.sampled_from(["1" * 16, "2" * 16]), revoke=st.booleans())
    def token(self, actor: str, person: str, token: str, *, revoke: bool) -> None:
        """Tokens come and go."""
        expires = self.town.now_ns + DAY
        self._try(actor, c.RevokeToken(token) if revoke else c.IssueToken(person, token, DIGEST, expires))

    @rule(actor=ACTORS, bundle=st.sampled_from([BUNDLE, OTHER]))
    def submit_policy(self, actor: str, bundle: dict[str, Any]) -> None:
        """Somebody submits rules."""
        self._try(actor, c.SubmitPolicy(bundle, TESTS))

    @rule(actor=ACTORS, data=st.data())
    def approve_policy(self, actor: str, data: st.DataObject) -> None:
        """Somebody approves them."""
        self._try(actor, c.ApprovePolicy(data.draw(st.sampled_from(sorted(self.town.model.policies)))))

    @rule(actor=ACTORS)
    def withdraw_policy(self, actor: str) -> None:
        """Somebody takes them away."""
        self._try(actor, c.WithdrawPolicy("reason"))

    @invariant()
    def three_different_people(self) -> None:
        """No agreement was ever active without three people, all different."""
        for one in self.town.model.agreements.values():
            people = [one.requested_by, one.reviewed_by, one.approved_by]
            if one.status in {"active", "revoked", "expired"}:
                assert None not in people
                assert len(set(people)) == 3
                assert one.terms.schema
                assert all(
                    field.path in self.town.model.datasets["ps.hukou_person"].fields for field in one.terms.fields
                )

    @invariant()
    def what_ended_stays_ended(self) -> None:
        """A status that is an end is never left, and raised the epoch."""
        for one in self.town.model.agreements.values():
            if one.status in ENDED:
                assert self.ended.setdefault(one.id, one.status) == one.status
                assert one.epoch == one.revision > 1
            else:
                assert one.id not in self.ended

    @invariant()
    def separated_roles(self) -> None:
        """No account holds one of the separated roles beside another, and an authority is always left."""
        people = self.town.model.principals.values()
        assert all(len(one.roles) == 1 for one in people if one.roles & ALONE)
        assert any("sharing_authority" in one.roles and one.status == "active" for one in people)

    @invariant()
    def one_policy_by_two_people(self) -> None:
        """At most one revision is active; two people made it so."""
        active = [one for one in self.town.model.policies.values() if one.status == "active"]
        assert [one.revision for one in active] == [one for one in [self.town.model.active_policy] if one]
        assert all(one.submitted_by != one.approved_by for one in active)

    def teardown(self) -> None:
        """A rebuild from the first event equals the model that was kept up to date."""
        rebuilt = fold(Model(), self.town.events)
        assert rebuilt == _without_codes(self.town.model)


def _without_codes(model: Model) -> Model:
    return replace(model, codes={})


def _shape(model: Model) -> tuple[int, int, int, int]:
    return model.position, len(model.agreements), len(model.tokens), len(model.versions)


def test_every_reachable_state_keeps_the_rules() -> None:
    """Whatever anybody tries, in whatever order."""
    run_state_machine_as_test(Control, settings=settings(max_examples=25, stateful_step_count=30, deadline=None))
