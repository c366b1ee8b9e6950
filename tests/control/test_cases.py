"""Cases: opened, changed and closed by the department that handles them; used by those it names."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.control import commands as c
from exchange.control.cases import _members
from exchange.errors import Invalid, Refused
from exchange.names import canonical, digest_bytes, set_digest
from tests.control.failing import fails
from tests.control.town import (
    AUDITOR,
    AUTHORITY,
    CIVIL,
    CIVIL_STEWARD,
    CIVIL_SYSTEM,
    FINANCE,
    FINANCE_STEWARD,
    OPERATOR,
    POLICE,
    POLICE_STEWARD,
    Town,
)

TAGS = ["0" * 32, "f" * 32]


def _open(**changes: Any) -> c.OpenCase:
    plain = {"id": "case-1", "subject_type": "person", "title": "低保复核", "members": TAGS, "departments": [POLICE]}
    return c.OpenCase(**{**plain, **changes})


def test_a_case_is_used_by_its_department_and_those_named(new_town: Town) -> None:
    """Others are told that there is no such case."""
    new_town.do(CIVIL_SYSTEM, _open())
    case = new_town.model.case("case-1", CIVIL)
    assert new_town.model.case("case-1", POLICE) == case
    assert (case.status, case.member_count, case.epoch) == ("open", 2, 1)
    for department in (FINANCE, ""):
        with fails(Invalid, "unknown_case"):
            new_town.model.case("case-1", department)
    with fails(Invalid, "unknown_case"):
        new_town.model.case(None, CIVIL)


def test_members_stand_in_a_document_named_as_a_set_of_tags(new_town: Town) -> None:
    """The sorted list of hex tags, each once: its digest is the set's name in plans."""
    new_town.do(CIVIL_SYSTEM, _open(members=[*reversed(TAGS), TAGS[0]]))
    name = new_town.model.cases["case-1"].members
    assert name == set_digest(bytes.fromhex(tag) for tag in TAGS)
    assert new_town.documents[name] == canonical(TAGS)


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20))
def test_a_sets_name_is_that_of_names(tags: list[bytes]) -> None:
    """The same name as `exchange.names.set_digest` gives, whatever the order."""
    digest, body, count = _members([tag.hex() for tag in tags])
    assert digest == set_digest(tags) == digest_bytes(body)
    assert count == len(set(tags))


@pytest.mark.parametrize("actor", [AUDITOR, AUTHORITY, OPERATOR])
def test_only_those_who_handle_matters_open_cases(new_town: Town, actor: str) -> None:
    """A steward or a system of a department, nobody else."""
    with fails(Refused, "role_missing"):
        new_town.do(actor, _open())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": "431126199003074514"}, "name_malformed"),
        ({"subject_type": "Person"}, "name_malformed"),
        ({"members": ["431126199003074514"]}, "name_malformed"),
        ({"members": "0" * 32}, "command_malformed"),
        ({"members": None}, "command_malformed"),
        ({"members": ["0" * 32] * 100_001}, "command_malformed"),
        ({"departments": ["ny.nowhere"]}, "unknown_department"),
        ({"departments": POLICE}, "command_malformed"),
        ({"title": "431126199003074514 的申请"}, "text_holds_id"),
    ],
)
def test_a_malformed_case_is_refused(new_town: Town, changes: dict[str, Any], code: str) -> None:
    """Members are tags, and no citizen's id gets in by another way."""
    with fails(Invalid, code):
        new_town.do(CIVIL_SYSTEM, _open(**changes))


def test_an_id_is_never_given_again(new_town: Town) -> None:
    """Not even after the case is closed."""
    new_town.do(CIVIL_SYSTEM, _open())
    new_town.do(CIVIL_STEWARD, c.CloseCase("case-1", "decided"))
    with fails(Invalid, "already_exists"):
        new_town.do(CIVIL_SYSTEM, _open())


def test_each_change_raises_the_cases_epoch(new_town: Town) -> None:
    """Other members and the end may end a right to read; after the end nothing changes."""
    new_town.do(CIVIL_SYSTEM, _open())
    new_town.do(CIVIL_STEWARD, c.ChangeCaseMembers("case-1", TAGS[:1]))
    changed = new_town.model.cases["case-1"]
    assert (changed.epoch, changed.member_count, new_town.model.epochs["case/case-1"]) == (2, 1, 2)
    new_town.do(CIVIL_STEWARD, c.CloseCase("case-1", "decided"))
    assert (new_town.model.cases["case-1"].epoch, new_town.model.cases["case-1"].status) == (3, "closed")
    for command in (c.ChangeCaseMembers("case-1", TAGS), c.CloseCase("case-1", "again")):
        with fails(Refused, "wrong_state"):
            new_town.do(CIVIL_SYSTEM, command)


@pytest.mark.parametrize("command", [c.ChangeCaseMembers("case-1", []), c.CloseCase("case-1", "enough")])
def test_only_its_own_department_changes_and_closes_a_case(new_town: Town, command: c.Command) -> None:
    """Who may merely use it is refused; who may not even do that is told of no such case."""
    new_town.do(CIVIL_SYSTEM, _open())
    with fails(Refused, "other_department"):
        new_town.do(POLICE_STEWARD, command)
    with fails(Invalid, "unknown_case"):
        new_town.do(FINANCE_STEWARD, command)
