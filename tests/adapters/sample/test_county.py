"""The county is plausible, valid and the same for the same seed."""

from collections import Counter, defaultdict
from datetime import date

import pytest

from adapters.sample.benefits import month_before, organisation_check, uscc_check
from adapters.sample.county import County, county
from adapters.sample.divisions import TOWNSHIP, code_in
from adapters.sample.people import age_on, fifteen
from adapters.sample.truth import Planted
from exchange import names
from exchange.errors import Invalid


@pytest.fixture(scope="module")
def small() -> County:
    """A fiftieth of the county."""
    return county(3, 0.02)


def planted(made: County, role: str) -> Planted:
    """The one in this role."""
    return next(one for one in made.planted if one.role == role)


def test_ids_are_valid(small: County) -> None:
    """GB 11643: check digit right, 17th digit odd for men, date of birth and prefix as the person's; each id once."""
    corrected = planted(small, "corrected").person_id
    for person in small.persons:
        if len(person.person_id) == 15:
            continue
        assert names.check_character(person.person_id[:17]) == person.person_id[17]
        assert int(person.person_id[16]) % 2 == (person.sex == "男")
        if person.person_id != corrected:
            assert person.person_id[6:14] == person.birth.strftime("%Y%m%d")
        assert person.person_id[:6] in {
            code_in(max(person.birth.year, 1985), home) for home in ("431126", "431181", "450325")
        }
    assert len({person.person_id for person in small.persons}) == len(small.persons)


def test_check_characters_of_the_standards() -> None:
    """The examples that GB 32100-2015 and GB 11714-1997 give."""
    assert uscc_check("91350100M000100Y4") == "3"
    assert organisation_check("D2143569") == "X"


def test_households(small: County) -> None:
    """One head each, about three persons; parents are older than children; all of one place and number."""
    homes = defaultdict(list)
    for person in small.persons:
        homes[person.household].append(person)
    assert len(homes) == small.households
    assert 2.7 < len(small.persons) / len(homes) < 3.3
    for members in homes.values():
        relations = Counter(person.relation for person in members)
        assert relations["户主"] == 1
        assert max(relations["配偶"], relations["父亲"], relations["母亲"]) <= 1
        head = next(person for person in members if person.relation == "户主")
        for person in members:
            if person.relation in {"子", "女"} and age_on(small.as_of, person.birth) > 0:
                assert person.birth.year > head.birth.year
    assert {person.region[:9] for person in small.persons if person.status == "正常"} >= {TOWNSHIP, "431126001"}


def test_pensions_go_with_age_and_scheme(small: County) -> None:
    """One account a person; paid from 55 or 60 on; employees get far more; only the planted dead is paid."""
    persons = {person.person_id: person for person in small.persons} | {
        one.person_id: person
        for one in small.planted
        for person in small.persons
        if person.person_id == fifteen(one.person_id)
    }
    assert len({account.person_id for account in small.pensions}) == len(small.pensions)
    paid = [account for account in small.pensions if account.status == "领取待遇"]
    mean = {
        scheme: sum(a.benefit or 0 for a in paid if a.scheme == scheme) / sum(a.scheme == scheme for a in paid)
        for scheme in ("城镇职工", "城乡居民")
    }
    assert mean["城镇职工"] > 5 * mean["城乡居民"]
    dead = [a.person_id for a in paid if persons[a.person_id].status == "死亡"]
    assert dead == [planted(small, "dead_still_paid").person_id]
    roles = {one.person_id for one in small.planted}
    for account in paid:
        assert account.person_id in roles or age_on(small.as_of, persons[account.person_id].birth) >= 55
    for account in small.pensions:
        assert not account.employer or uscc_check(account.employer[:17]) == account.employer[17]


def test_hard_cases_are_there(small: County) -> None:
    """C1 a to g: each role's records say what the case is about."""
    persons = {person.person_id: person for person in small.persons}
    prefixes = {"applicant": "432930", "spouse": "452324"}
    for role, prefix in prefixes.items():
        person = persons[planted(small, role).person_id]
        assert (person.person_id[:6], person.region[:9]) == (prefix, TOWNSHIP)
    assert persons[planted(small, "member_elsewhere").person_id].region.startswith("431181")
    assert persons[planted(small, "member_elsewhere_old_code").person_id].region.startswith("431121")
    assert fifteen(planted(small, "grandmother").person_id) in persons
    twice = [one for one in small.applications if one.household == planted(small, "applicant_d").household_id]
    assert [one.township for one in twice] == [TOWNSHIP, "431126104"]
    assert {one.number for one in twice} == {
        planted(small, role).application_id for role in ("applicant_d", "applicant_d_again")
    }
    neighbour = planted(small, "neighbour").person_id
    assert not any(neighbour == member for one in small.applications for member, _ in one.members)
    expired = next(
        one for one in small.applications if one.members[0][0] == planted(small, "consent_expired").person_id
    )
    assert expired.consent_until
    assert expired.consent_until < small.as_of
    (right,) = small.correction
    assert right.person_id[6:14] == right.birth.strftime("%Y%m%d")
    assert persons[right.person_id].birth != right.birth
    assert {"䶮", "𠮷", "㛃", "·"} <= set("".join(one.name for one in small.planted))


def test_planted_are_the_same_at_every_scale(small: County) -> None:
    """The roles and ids do not depend on the scale; another seed gives others."""
    assert county(3, 0.001).planted == small.planted
    assert county(4, 0.001).planted != small.planted


@pytest.mark.parametrize("scale", [0, -1, 51, float("nan"), float("inf")])
def test_scale_has_bounds(scale: float) -> None:
    """A scale that makes no county is refused."""
    with pytest.raises(Invalid, match="sample_scale"):
        county(1, scale)


def test_months() -> None:
    """Months go back over the year."""
    assert [month_before(date(2026, 1, 31)), month_before(date(2026, 3, 1), 0)] == ["2025-12", "2026-03"]
