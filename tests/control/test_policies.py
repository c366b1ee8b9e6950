"""Policy revisions: tested, submitted by one person, made active by another, withdrawn at once."""

from typing import Any

import pytest

from exchange.control import commands as c
from exchange.control.policies import WAITING, may_approve, spread
from exchange.errors import Invalid, Refused
from exchange.names import canonical, digest
from exchange.policy import Bundle
from tests.control.failing import fails
from tests.control.town import (
    AUDITOR,
    AUTHORITY,
    BUNDLE,
    CIVIL_STEWARD,
    CIVIL_SYSTEM,
    CODES,
    OPERATOR,
    POLICE_STEWARD,
    SECOND_AUTHORITY,
    TESTS,
    Town,
)

OTHER = {**BUNDLE, "codes": {"purposes": {"audit": {}}}}


def _submitted(town: Town, bundle: dict[str, Any] = BUNDLE) -> str:
    return town.do(POLICE_STEWARD, c.SubmitPolicy(bundle, TESTS))


def test_a_revision_is_named_by_its_content(new_town: Town) -> None:
    """The digest is the policy room's, and the document of that digest is the bundle."""
    revision = _submitted(new_town)
    assert revision == Bundle(BUNDLE["modules"], BUNDLE["codes"]).revision == digest(BUNDLE)
    assert new_town.documents[revision] == canonical(BUNDLE)
    assert new_town.documents[new_town.model.policies[revision].report] == canonical(TESTS)
    assert (new_town.model.active_policy, new_town.model.codes) == (None, {})


@pytest.mark.parametrize("actor", [AUTHORITY, CIVIL_STEWARD])
def test_another_person_makes_it_active(new_town: Town, actor: str) -> None:
    """A second steward or the sharing authority; the epoch `policy` rises and its code tables count."""
    revision = _submitted(new_town)
    before = new_town.model.epochs["policy"]
    new_town.do(actor, c.ApprovePolicy(revision))
    policy = new_town.model.policies[revision]
    assert (policy.status, policy.submitted_by, policy.approved_by) == ("active", POLICE_STEWARD, actor)
    assert new_town.model.active_policy == revision
    assert new_town.model.codes == CODES
    assert new_town.model.epochs["policy"] > before


def test_nobody_approves_the_own_revision(new_town: Town) -> None:
    """Neither a steward nor the authority."""
    revision = _submitted(new_town)
    with fails(Refused, "same_person"):
        new_town.do(POLICE_STEWARD, c.ApprovePolicy(revision))
    other = new_town.do(AUTHORITY, c.SubmitPolicy(OTHER, TESTS))
    with fails(Refused, "same_person"):
        new_town.do(AUTHORITY, c.ApprovePolicy(other))
    new_town.do(SECOND_AUTHORITY, c.ApprovePolicy(other))


@pytest.mark.parametrize("actor", [AUDITOR, OPERATOR, CIVIL_SYSTEM])
def test_others_have_no_say_in_policy(new_town: Town, actor: str) -> None:
    """Auditors, operators and systems neither submit nor approve nor withdraw."""
    revision = _submitted(new_town)
    for command in (c.SubmitPolicy(OTHER, TESTS), c.ApprovePolicy(revision), c.WithdrawPolicy("no")):
        with fails(Refused, "role_missing"):
            new_town.do(actor, command)


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        ({}, "policy_untested"),
        (None, "policy_untested"),
        ({"a.test_x": True, "a.test_y": False}, "policy_tests_failed"),
        ({"a.test_x": 1}, "policy_tests_failed"),
        ({"a.test_x": None}, "policy_tests_failed"),
    ],
)
def test_an_untested_or_failing_revision_is_refused(new_town: Town, tests: Any, code: str) -> None:
    """Nothing but true counts as passed."""
    with fails(Refused, code):
        new_town.do(POLICE_STEWARD, c.SubmitPolicy(BUNDLE, tests))


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("bundle", "code"),
    [
        (None, "command_malformed"),
        ({}, "missing_key"),
        ({**BUNDLE, "modulse": {}}, "unknown_key"),
        ({**BUNDLE, "modules": {}}, "command_malformed"),
        ({**BUNDLE, "modules": {"a.rego": None}}, "command_malformed"),
        ({**BUNDLE, "codes": []}, "command_malformed"),
        ({**BUNDLE, "codes": {"purposes": ["audit"]}}, "command_malformed"),
        ({**BUNDLE, "codes": {"purposes": {"audit": True}}}, "command_malformed"),
        ({**BUNDLE, "codes": {"half": 0.5}}, "json_not_canonical"),
        ({**BUNDLE, "codes": {"deep": _deep(10_000)}}, "document_too_deep"),
        ({**BUNDLE, "codes": {"long": "x" * (8 * 2**20)}}, "event_too_large"),
    ],
)
def test_a_malformed_bundle_is_refused(new_town: Town, bundle: Any, code: str) -> None:
    """Rego by path and code tables, whole numbers only; hostile depth and size end in one error."""
    with fails(Invalid, code):
        new_town.do(POLICE_STEWARD, c.SubmitPolicy(bundle, TESTS))


def test_a_revision_is_approved_once(new_town: Town) -> None:
    """One that was never submitted is unknown; one that is active, superseded or withdrawn must be submitted again."""
    with fails(Invalid, "unknown_policy"):
        new_town.do(AUTHORITY, c.ApprovePolicy(digest("nothing")))
    first, second = _submitted(new_town), _submitted(new_town, OTHER)
    with fails(Refused, "wrong_state"):
        _submitted(new_town)
    for revision in (first, second):
        new_town.do(AUTHORITY, c.ApprovePolicy(revision))
    assert [new_town.model.policies[one].status for one in (first, second)] == ["superseded", "active"]
    for revision in (first, second):
        with fails(Refused, "wrong_state"):
            new_town.do(AUTHORITY, c.ApprovePolicy(revision))
    _submitted(new_town)
    new_town.do(AUTHORITY, c.ApprovePolicy(first))
    assert new_town.model.active_policy == first


def test_what_opa_is_given(new_town: Town) -> None:
    """The active revision, the one before it, and of those that wait the newest: never more, whatever was submitted."""
    assert spread(new_town.model) == []
    made = [_submitted(new_town, {**BUNDLE, "codes": {"purposes": {}, "n": number}}) for number in range(WAITING + 3)]
    assert spread(new_town.model) == made[-WAITING:]
    for revision in made[:3]:
        new_town.do(AUTHORITY, c.ApprovePolicy(revision))
    assert spread(new_town.model) == [made[2], made[1], *made[-WAITING:]]
    new_town.do(AUTHORITY, c.WithdrawPolicy("a mistake"))
    assert spread(new_town.model) == [made[1], *made[-WAITING:]]


def test_who_may_approve(new_town: Town) -> None:
    """As `approve` itself decides it."""
    revision = _submitted(new_town)
    policy = new_town.model.policies[revision]
    for who in (AUTHORITY, SECOND_AUTHORITY, CIVIL_STEWARD, POLICE_STEWARD, CIVIL_SYSTEM, AUDITOR, OPERATOR):
        may = may_approve(new_town.model.principals[who], policy)
        assert may == (who in {AUTHORITY, SECOND_AUTHORITY, CIVIL_STEWARD}), who
    assert not may_approve(new_town.model.principals[AUTHORITY], None)
    new_town.do(AUTHORITY, c.ApprovePolicy(revision))
    assert not may_approve(new_town.model.principals[SECOND_AUTHORITY], new_town.model.policies[revision])


def test_a_withdrawn_policy_leaves_none(new_town: Town) -> None:
    """One person is enough to take it away; the epoch rises; without one there is nothing to withdraw."""
    with fails(Refused, "no_active_policy"):
        new_town.do(AUTHORITY, c.WithdrawPolicy("a mistake"))
    revision = _submitted(new_town)
    new_town.do(AUTHORITY, c.ApprovePolicy(revision))
    before = new_town.model.epochs["policy"]
    new_town.do(AUTHORITY, c.WithdrawPolicy("a mistake"))
    assert (new_town.model.active_policy, new_town.model.codes) == (None, {})
    assert new_town.model.policies[revision].status == "withdrawn"
    assert new_town.model.epochs["policy"] > before
