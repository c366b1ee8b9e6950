"""Departments, accounts, roles and tokens: who may make and end them."""

from itertools import combinations
from typing import Any

import pytest

from exchange.control import commands as c
from exchange.control.people import ALONE
from exchange.errors import Invalid, Refused
from exchange.names import ROLES
from tests.control.failing import fails
from tests.control.town import (
    AUDITOR,
    AUTHORITY,
    CIVIL,
    CIVIL_SYSTEM,
    DAY,
    DIGEST,
    NOW,
    OFFICE,
    OPERATOR,
    POLICE,
    POLICE_STEWARD,
    SECOND_AUTHORITY,
    TOKEN,
    Town,
    department,
    first_command,
)

OTHER_TOKEN = "fedcba9876543210"
NOT_AUTHORITIES = [AUDITOR, OPERATOR, POLICE_STEWARD, CIVIL_SYSTEM]


def test_an_empty_site_gets_its_first_authority_and_no_other_site_does(new_town: Town) -> None:
    """Bootstrap makes one department, one sharing authority and its token; it works on nothing but an empty store."""
    town = Town()
    town.do(None, first_command())
    assert town.model.principals[AUTHORITY].roles == {"sharing_authority"}
    assert town.model.tokens[TOKEN].principal == AUTHORITY
    assert list(town.model.departments) == [OFFICE]
    with fails(Refused, "wrong_state"):
        new_town.do(None, first_command())


def test_nobody_acts_as_nobody(new_town: Town) -> None:
    """A command other than bootstrap without an actor is a mistake of the program."""
    with pytest.raises(TypeError):
        new_town.do(None, department("ny.x"))


@pytest.mark.parametrize("actor", NOT_AUTHORITIES)
@pytest.mark.parametrize(
    "command",
    [
        department("ny.x"),
        c.AddPrincipal("a.b", CIVIL, ["steward"]),
        c.ChangeRoles(CIVIL_SYSTEM, ["steward"]),
        c.SuspendPrincipal(SECOND_AUTHORITY, "left"),
        c.IssueToken(AUTHORITY, OTHER_TOKEN, DIGEST, NOW + DAY),
        c.RevokeToken(TOKEN),
    ],
)
def test_only_the_sharing_authority_makes_and_ends_accounts(new_town: Town, actor: str, command: c.Command) -> None:
    """Every such command of anyone else is refused, and changes nothing."""
    position = new_town.model.position
    with fails(Refused, "role_missing"):
        new_town.do(actor, command)
    assert new_town.model.position == position


def test_a_department_stands_in_both_trees(new_town: Town) -> None:
    """Parents in the region's tree and in the line of authority are kept apart, and exist already."""
    new_town.do(AUTHORITY, department("ny.x", region_parent=OFFICE, line_parent=POLICE))
    made = new_town.model.departments["ny.x"]
    assert (made.region_parent, made.line_parent) == (OFFICE, POLICE)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": POLICE}, "already_exists"),
        ({"id": "Ny"}, "name_malformed"),
        ({"region": "431126x"}, "name_malformed"),
        ({"region_parent": "ny.nowhere"}, "unknown_department"),
        ({"line_parent": ["ny.minzheng"]}, "unknown_department"),
        ({"zone": "internet"}, "unknown_word"),
        ({"zone": None}, "unknown_word"),
        ({"seal_key": "AB" * 32}, "command_malformed"),
        ({"seal_key": None}, "command_malformed"),
        ({"title_zh": " "}, "command_malformed"),
        ({"title_en": "line\nbreak"}, "command_malformed"),
        ({"title_en": 7}, "command_malformed"),
        ({"title_zh": "431126199003074514"}, "text_holds_id"),
        ({"title_zh": "号43112619900307451X。"}, "text_holds_id"),
        ({"title_zh": "431126900307451"}, "text_holds_id"),
    ],
)
def test_a_malformed_department_is_refused(new_town: Town, changes: dict[str, Any], code: str) -> None:
    """Each part has its form; a text with something like a citizen's id does not get into the log."""
    with fails(Invalid, code):
        new_town.do(AUTHORITY, department(**{"name": "ny.x", **_named(changes)}))


def _named(changes: dict[str, Any]) -> dict[str, Any]:
    return {"name" if key == "id" else key: value for key, value in changes.items()}


@pytest.mark.parametrize("roles", [set(pair) for pair in combinations(ROLES, 2)])
def test_auditor_operator_and_authority_go_with_no_other_role(new_town: Town, roles: set[str]) -> None:
    """GB/T 39477: one account cannot hold two of the separated roles, nor one of them beside another."""
    add, change = c.AddPrincipal("a.b", CIVIL, sorted(roles)), c.ChangeRoles(CIVIL_SYSTEM, sorted(roles))
    if roles & ALONE:
        for command in (add, change):
            with fails(Refused, "role_exclusive"):
                new_town.do(AUTHORITY, command)
    else:
        new_town.do(AUTHORITY, add)
        new_town.do(AUTHORITY, change)
        assert new_town.model.principals["a.b"].roles == new_town.model.principals[CIVIL_SYSTEM].roles == roles


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (c.AddPrincipal(CIVIL_SYSTEM, CIVIL, ["steward"]), "already_exists"),
        (c.AddPrincipal("nodot", CIVIL, ["steward"]), "name_malformed"),
        (c.AddPrincipal("a.b", "ny.nowhere", ["steward"]), "unknown_department"),
        (c.AddPrincipal("a.b", CIVIL, []), "command_malformed"),
        (c.AddPrincipal("a.b", CIVIL, "steward"), "command_malformed"),
        (c.AddPrincipal("a.b", CIVIL, ["steward", "steward"]), "command_malformed"),
        (c.AddPrincipal("a.b", CIVIL, ["boss"]), "unknown_word"),
        (c.ChangeRoles("a.nobody", ["steward"]), "unknown_principal"),
        (c.SuspendPrincipal(CIVIL_SYSTEM, ""), "command_malformed"),
    ],
)
def test_a_malformed_account_is_refused(new_town: Town, command: c.Command, code: str) -> None:
    """An account has a new id, a department that exists, and at least one role of the list, each once."""
    with fails(Invalid, code):
        new_town.do(AUTHORITY, command)


def test_nobody_changes_or_suspends_the_own_account(new_town: Town) -> None:
    """A site always keeps an authority, and nobody gives roles to themselves."""
    for command in (c.ChangeRoles(AUTHORITY, ["operator"]), c.SuspendPrincipal(AUTHORITY, "tired")):
        with fails(Refused, "own_account"):
            new_town.do(AUTHORITY, command)


def test_a_suspended_account_is_over(new_town: Town) -> None:
    """It can neither act, nor get roles or tokens, nor be suspended again."""
    actor = new_town.model.principals[POLICE_STEWARD]
    new_town.do(AUTHORITY, c.SuspendPrincipal(POLICE_STEWARD, "left"))
    assert new_town.model.principals[POLICE_STEWARD].status == "suspended"
    with fails(Refused, "principal_suspended"):
        new_town.do(actor.id, c.OpenCase("case-1", "person", "a", [], []))
    for command in (
        c.ChangeRoles(POLICE_STEWARD, ["auditor"]),
        c.IssueToken(POLICE_STEWARD, OTHER_TOKEN, DIGEST, NOW + DAY),
        c.SuspendPrincipal(POLICE_STEWARD, "left"),
    ):
        with fails(Refused, "wrong_state"):
            new_town.do(AUTHORITY, command)


def test_each_account_renews_and_ends_its_own_tokens(new_town: Town) -> None:
    """For itself an account needs no authority."""
    new_town.do(CIVIL_SYSTEM, c.IssueToken(CIVIL_SYSTEM, OTHER_TOKEN, DIGEST, NOW + DAY))
    assert not new_town.model.tokens[OTHER_TOKEN].revoked
    new_town.do(CIVIL_SYSTEM, c.RevokeToken(OTHER_TOKEN))
    assert new_town.model.tokens[OTHER_TOKEN].revoked
    with fails(Refused, "wrong_state"):
        new_town.do(AUTHORITY, c.RevokeToken(OTHER_TOKEN))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (c.IssueToken(CIVIL_SYSTEM, TOKEN, DIGEST, NOW + DAY), "already_exists"),
        (c.IssueToken(CIVIL_SYSTEM, "short", DIGEST, NOW + DAY), "command_malformed"),
        (c.IssueToken(CIVIL_SYSTEM, OTHER_TOKEN, "md5", NOW + DAY), "name_malformed"),
        (c.IssueToken(CIVIL_SYSTEM, OTHER_TOKEN, DIGEST, NOW), "period_malformed"),
        (c.IssueToken(CIVIL_SYSTEM, OTHER_TOKEN, DIGEST, NOW + 3_654 * DAY), "period_malformed"),
        (c.IssueToken(CIVIL_SYSTEM, OTHER_TOKEN, DIGEST, True), "command_malformed"),
        (c.IssueToken(CIVIL_SYSTEM, OTHER_TOKEN, DIGEST, 2**63), "command_malformed"),
        (c.RevokeToken("ffffffffffffffff"), "unknown_token"),
        (c.RevokeToken(["a", "list"]), "unknown_token"),  # type: ignore[arg-type]  # from outside anything comes
    ],
)
def test_a_malformed_token_is_refused(new_town: Town, command: c.Command, code: str) -> None:
    """Ids are never given twice, only digests are stored, and a token has an end in the future."""
    with fails(Invalid, code):
        new_town.do(AUTHORITY, command)


def test_what_can_end_a_right_raises_the_accounts_epoch(new_town: Town) -> None:
    """Changed roles, a revoked token and a suspension raise it; a new token does not."""
    name = f"principal/{CIVIL_SYSTEM}"
    assert new_town.model.epochs[name] == new_town.model.principals[CIVIL_SYSTEM].epoch == 1
    new_town.do(CIVIL_SYSTEM, c.IssueToken(CIVIL_SYSTEM, OTHER_TOKEN, DIGEST, NOW + DAY))
    seen = [new_town.model.epochs[name]]
    for command in (
        c.ChangeRoles(CIVIL_SYSTEM, ["department_system"]),
        c.RevokeToken(OTHER_TOKEN),
        c.SuspendPrincipal(CIVIL_SYSTEM, "left"),
    ):
        new_town.do(AUTHORITY, command)
        seen.append(new_town.model.epochs[name])
        assert new_town.model.principals[CIVIL_SYSTEM].epoch == seen[-1]
    assert seen[0] == 1
    assert seen == sorted(set(seen))
