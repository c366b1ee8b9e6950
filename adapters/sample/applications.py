"""Applications for the minimum living allowance in 湾井镇, with members and consent; and the city's standards."""

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import groupby
from random import Random
from typing import NamedTuple

from adapters.sample.divisions import TOWNSHIP, children
from adapters.sample.people import Person

_STATES = ("已受理", "审核中", "审核中", "审核中", "已确认", "已撤回", "草稿")


class Application(NamedTuple):
    """One application; `members` are ids with the relation to the applicant, who is first; income in fen a month."""

    number: str
    household: str
    members: tuple[tuple[str, str], ...]
    income: int | None
    consent: str
    consent_until: date | None
    township: str
    village: str
    status: str


class Standard(NamedTuple):
    """The standard of one county from a day on, in fen a month."""

    region: str
    amount: int
    valid_from: date


def application(
    number: str, members: Sequence[Person], village: str, status: str, income: int | None, until: date | None
) -> Application:
    """The application of these persons, the first of them as applicant."""
    relations = tuple((person.person_id, person.relation if place else "本人") for place, person in enumerate(members))
    consent = f"SQ{number[2:]}" if until else ""
    return Application(number, members[0].household, relations, income, consent, until, village[:9], village, status)


def applications(random: Random, persons: Sequence[Person], count: int, as_of: date) -> list[Application]:
    """As many applications of households of the township, whose living members apply together."""
    there = [person for person in persons if person.region.startswith(TOWNSHIP) and person.status == "正常"]
    homes = [list(home) for _, home in groupby(there, key=lambda person: person.household)]
    made = []
    for serial, members in enumerate(random.sample(homes, min(count, len(homes)))):
        status = random.choice(_STATES)
        until = None if status == "草稿" else as_of + timedelta(days=random.randrange(60, 365))
        income = random.randrange(0, 90_000 * len(members), 100)
        number = f"DB{as_of.year}{TOWNSHIP}{serial + 1:04}"
        made.append(application(number, members, members[0].region, status, income, until))
    return made


def standards(random: Random, as_of: date) -> list[Standard]:
    """The standards of the counties of 永州市 for the last three years, oldest first."""
    made = []
    counties = children("431100")
    first = {county.code: random.randrange(54_000, 60_000, 1_000) for county in counties}
    for year in range(as_of.year - 2, as_of.year + 1):
        for county in counties:
            amount = first[county.code] + 2_500 * (year - as_of.year + 2)
            made.append(Standard(county.code, amount, date(year, 1, 1)))
    return made
