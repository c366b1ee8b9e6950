"""Agreements: requested, reviewed and approved by three different people of the right departments, then ended."""

import pytest

from exchange.control import commands as c
from exchange.errors import Invalid, Refused
from tests.control.failing import fails
from tests.control.town import (
    AUDITOR,
    AUTHORITY,
    CIVIL,
    CIVIL_STEWARD,
    CIVIL_SYSTEM,
    DAY,
    FINANCE_STEWARD,
    NOW,
    OPERATOR,
    POLICE,
    POLICE_CLERK,
    POLICE_STEWARD,
    POLICE_SYSTEM,
    SECOND_AUTHORITY,
    Town,
    agreed,
    terms,
)

ENDORSE = c.ReviewAgreement("agr-1", "endorse", "as the decree says")


def _requested(town: Town) -> str:
    return town.do(CIVIL_SYSTEM, c.RequestAgreement(terms()))


def test_three_people_make_an_agreement(town: Town) -> None:
    """Consumer asks, provider's steward endorses, the authority approves; all three are recorded."""
    assert agreed(town) == "agr-1"
    made = town.model.agreements["agr-1"]
    assert (made.status, made.revision, made.epoch, town.model.epochs["agreement/agr-1"]) == ("active", 3, 1, 1)
    assert (made.requested_by, made.reviewed_by, made.approved_by) == (CIVIL_SYSTEM, POLICE_STEWARD, AUTHORITY)
    assert town.model.agreements_for(CIVIL, "ps.hukou_person") == (made,)
    assert town.model.agreements_for(POLICE, "ps.hukou_person") == ()


def test_ids_are_given_in_order(town: Town) -> None:
    """A request that came to nothing keeps its id."""
    _requested(town)
    town.do(AUTHORITY, c.RejectAgreement("agr-1", "not needed"))
    assert town.do(CIVIL_STEWARD, c.RequestAgreement(terms())) == "agr-2"


@pytest.mark.parametrize("actor", [AUDITOR, OPERATOR, AUTHORITY])
def test_only_a_steward_or_system_requests(town: Town, actor: str) -> None:
    """Those who watch, run or approve the exchange do not ask for data."""
    with fails(Refused, "role_missing"):
        town.do(actor, c.RequestAgreement(terms()))


@pytest.mark.parametrize("actor", [FINANCE_STEWARD, POLICE_SYSTEM])
def test_nobody_requests_for_another_department(town: Town, actor: str) -> None:
    """The consumer is the requester's own department."""
    with fails(Refused, "other_department"):
        town.do(actor, c.RequestAgreement(terms()))


@pytest.mark.parametrize(
    ("actor", "code"),
    [
        (CIVIL_STEWARD, "other_department"),
        (FINANCE_STEWARD, "other_department"),
        (POLICE_SYSTEM, "role_missing"),
        (AUTHORITY, "role_missing"),
        (AUDITOR, "role_missing"),
    ],
)
def test_only_the_providers_steward_reviews(town: Town, actor: str, code: str) -> None:
    """Neither the consumer nor the authority takes the provider's part."""
    _requested(town)
    with fails(Refused, code):
        town.do(actor, ENDORSE)


@pytest.mark.parametrize("actor", [POLICE_STEWARD, CIVIL_STEWARD, OPERATOR, AUDITOR])
def test_only_the_authority_approves_and_rejects(town: Town, actor: str) -> None:
    """Whoever else tries it."""
    _requested(town)
    town.do(POLICE_STEWARD, ENDORSE)
    for command in (c.ApproveAgreement("agr-1"), c.RejectAgreement("agr-1", "no")):
        with fails(Refused, "role_missing"):
            town.do(actor, command)


def test_a_person_who_changed_sides_does_not_take_a_second_step(town: Town) -> None:
    """The requester, become steward or authority since, neither reviews nor approves; nor does the reviewer approve."""
    town.do(AUTHORITY, c.AddPrincipal("a.mover", POLICE, ["steward"]))
    _requested(town)
    town.do("a.mover", ENDORSE)
    town.do(AUTHORITY, c.ChangeRoles("a.mover", ["sharing_authority"]))
    town.do(AUTHORITY, c.ChangeRoles(CIVIL_SYSTEM, ["sharing_authority"]))
    for actor in ("a.mover", CIVIL_SYSTEM):
        with fails(Refused, "same_person"):
            town.do(actor, c.ApproveAgreement("agr-1"))
    town.do(SECOND_AUTHORITY, c.ApproveAgreement("agr-1"))


@pytest.mark.parametrize("verdict", ["approve", "", None, ["endorse"]])
def test_a_review_endorses_or_returns(town: Town, verdict: str) -> None:
    """Nothing else is a verdict."""
    _requested(town)
    with fails(Invalid, "unknown_word"):
        town.do(POLICE_STEWARD, c.ReviewAgreement("agr-1", verdict, "note"))  # type: ignore[arg-type]  # from outside


def test_a_returned_request_is_over(town: Town) -> None:
    """It is neither approved nor reviewed again; its epoch has risen."""
    _requested(town)
    town.do(POLICE_STEWARD, c.ReviewAgreement("agr-1", "return", "name the duty"))
    returned = town.model.agreements["agr-1"]
    assert (returned.status, returned.epoch, returned.reason) == ("returned", 2, "name the duty")
    for actor, command in ((AUTHORITY, c.ApproveAgreement("agr-1")), (POLICE_CLERK, ENDORSE)):
        with fails(Refused, "wrong_state"):
            town.do(actor, command)


def test_nothing_is_approved_without_a_review(town: Town) -> None:
    """Requested is not endorsed."""
    _requested(town)
    with fails(Refused, "wrong_state"):
        town.do(AUTHORITY, c.ApproveAgreement("agr-1"))


@pytest.mark.parametrize("actor", [POLICE_STEWARD, POLICE_CLERK, AUTHORITY, SECOND_AUTHORITY])
def test_provider_and_authority_revoke(town: Town, actor: str) -> None:
    """At once, alone, with a reason; the epoch rises, and it is never active again."""
    agreed(town)
    town.do(actor, c.RevokeAgreement("agr-1", "misuse"))
    ended = town.model.agreements["agr-1"]
    assert (ended.status, ended.epoch, ended.ended_by, ended.reason) == ("revoked", 4, actor, "misuse")
    assert town.model.epochs["agreement/agr-1"] == 4
    with fails(Refused, "wrong_state"):
        town.do(AUTHORITY, c.RevokeAgreement("agr-1", "again"))


@pytest.mark.parametrize(
    ("actor", "code"),
    [(CIVIL_STEWARD, "other_department"), (POLICE_SYSTEM, "role_missing"), (OPERATOR, "role_missing")],
)
def test_others_do_not_revoke(town: Town, actor: str, code: str) -> None:
    """The right role of the right department, or the authority."""
    agreed(town)
    with fails(Refused, code):
        town.do(actor, c.RevokeAgreement("agr-1", "misuse"))


def test_an_ending_has_a_reason(town: Town) -> None:
    """Rejecting and revoking without one is refused."""
    agreed(town)
    _requested(town)
    for command in (c.RevokeAgreement("agr-1", ""), c.RejectAgreement("agr-2", "  ")):
        with fails(Invalid, "command_malformed", "reason"):
            town.do(AUTHORITY, command)


def test_an_unknown_agreement_is_named_with_the_nearest(town: Town) -> None:
    """Whatever is done to it."""
    agreed(town)
    with fails(Invalid, "unknown_agreement"):
        town.do(AUTHORITY, c.RevokeAgreement("agr-11", "misuse"))


@pytest.mark.parametrize("actor", [OPERATOR, AUTHORITY])
def test_the_sweep_writes_down_what_is_over(town: Town, actor: str) -> None:
    """At the very nanosecond of its end, not before; what was never active is left as it is."""
    agreed(town, expires_ns=NOW + DAY)
    agreed(town)
    town.do(CIVIL_SYSTEM, c.RequestAgreement(terms(expires_ns=NOW + DAY)))
    town.now_ns = NOW + DAY - 1
    town.do(actor, c.ExpireAgreements())
    assert town.model.agreements["agr-1"].status == "active"
    town.now_ns = NOW + DAY
    town.do(actor, c.ExpireAgreements())
    assert [one.status for one in town.model.agreements.values()] == ["expired", "active", "requested"]
    assert town.model.epochs["agreement/agr-1"] == town.model.agreements["agr-1"].epoch == 4


def test_others_do_not_sweep(town: Town) -> None:
    """It is the operator's and the authority's work."""
    with fails(Refused, "role_missing"):
        town.do(POLICE_STEWARD, c.ExpireAgreements())


def test_terms_are_checked_again_at_approval(town: Town) -> None:
    """What has become impossible since the request is not approved: the policy is gone, the time is over."""
    agreement = _requested(town)
    town.do(POLICE_STEWARD, ENDORSE)
    town.do(AUTHORITY, c.WithdrawPolicy("a mistake"))
    with fails(Refused, "no_active_policy"):
        town.do(AUTHORITY, c.ApproveAgreement(agreement))
    town.now_ns = NOW + 400 * DAY
    with fails(Invalid, "period_malformed"):
        town.do(AUTHORITY, c.ApproveAgreement(agreement))
