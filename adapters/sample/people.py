"""Synthetic persons: ids that are valid (GB 11643-1999), names that are plausible, and households."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from importlib import resources
from random import Random
from typing import Any, NamedTuple

from adapters.sample.divisions import COUNTY, code_in
from exchange import names


class Person(NamedTuple):
    """One person of the registry; words are as the police's system writes them (户主, 男, 正常, …)."""

    person_id: str
    name: str
    sex: str
    birth: date
    household: str
    relation: str
    region: str
    status: str
    status_date: date | None
    ethnicity: str
    photo_ref: str


@cache
def tables() -> Mapping[str, Any]:
    """Characters and words to make names and receipts of."""
    found: Mapping[str, Any] = json.loads(resources.files(__package__).joinpath("tables.json").read_text("utf-8"))
    return found


@dataclass
class Registry:
    """Makes ids and names; remembers the ids given, so that each is given once."""

    random: Random
    as_of: date
    _given: set[str] = field(default_factory=set)

    def new_id(self, birth: date, sex: str, *, home: str = COUNTY) -> str:
        """An id as issued in the county `home` (today's code): the prefix is that of the year of birth, but none
        is older than 1985, when ids were first given out.
        """
        prefix = code_in(max(birth.year, 1985), home)
        stem = f"{prefix}{birth.year:04}{birth.month:02}{birth.day:02}"
        while True:
            # Odd for men, even for women; 000 is not given out.
            order = self.random.randrange(1, 500) * 2 - (sex == "男")
            seventeen = f"{stem}{order:03}"
            if seventeen not in self._given:
                self._given.add(seventeen)
                return seventeen + names.check_character(seventeen)

    def birth(self, age: int) -> date:
        """A day of birth for someone of this age."""
        return self.as_of - timedelta(days=age * 365 + age // 4 + self.random.randrange(1, 364))

    def surname(self, ethnicity: str) -> str:
        """A surname as it is common there."""
        if ethnicity != "瑶族" and self.random.random() < 0.02:
            return str(self.random.choice(tables()["double_surnames"]))
        return str(self.random.choice(tables()["yao_surnames" if ethnicity == "瑶族" else "surnames"]))

    def given(self, sex: str) -> str:
        """A given name of one or two characters; about one in a thousand has a rare one."""
        pool = tables()["male" if sex == "男" else "female"]
        chance = self.random.random()
        if chance < 0.001:
            return str(self.random.choice(tables()["rare"]))
        if chance < 0.15:
            return str(self.random.choice(pool))
        first = tables()["both"] if chance < 0.5 else pool
        return str(self.random.choice(first) + self.random.choice(pool))

    def dotted(self) -> str:
        """A name of two parts, with one of the five middle dots that people type."""
        first, second = self.random.sample(tables()["dotted_given"], 2)
        return f"{first}{self.random.choice(tables()['dots'])}{second}"


def fifteen(identifier: str) -> str:
    """The id of 15 digits that a person born in the 1900s had before 1999."""
    return identifier[:6] + identifier[8:17]


def age_on(day: date, birth: date) -> int:
    """Completed years."""
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))
