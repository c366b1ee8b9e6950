"""One synthetic county: registry, pensions, receipts, applications, standards, and what is planted among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Final

from adapters.sample.applications import Application, Standard, applications, standards
from adapters.sample.benefits import Pension, Receipt, employers, pension, receipts
from adapters.sample.divisions import COUNTY, Division, children
from adapters.sample.households import household
from adapters.sample.people import Person, Registry
from adapters.sample.planted import plant
from adapters.sample.truth import Planted
from exchange.errors import Invalid

HOUSEHOLDS: Final = 20_000
AS_OF: Final = date(2026, 11, 1)
_FEWEST: Final = 100


@dataclass(frozen=True)
class County:
    """Everything made for one seed, scale and day; `correction` are registry records that are sent later."""

    seed: int
    scale: float
    as_of: date
    households: int
    persons: Sequence[Person]
    pensions: Sequence[Pension]
    receipts: Sequence[Receipt]
    applications: Sequence[Application]
    standards: Sequence[Standard]
    planted: Sequence[Planted]
    correction: Sequence[Person]


def check_scale(scale: float) -> None:
    """Raises `Invalid("sample_scale")` for what is no scale of a county."""
    if not 0.001 <= scale <= 50:
        raise Invalid("sample_scale", scale=scale)


def county(seed: int, scale: float = 1.0, as_of: date = AS_OF) -> County:
    """宁远县 431126: about 20,000 × `scale` households of 3 (at least 100). The same arguments give the same county.

    Raises:
        Invalid: `sample_scale` (0.001 to 50), `sample_data_missing`.
    """
    check_scale(scale)
    random = Random(seed)  # noqa: S311 - plausible, not secret: the same seed has to give the same county
    registry = Registry(random, as_of)
    made = plant(registry)  # first, so that the planted households are the same at every scale
    count = max(_FEWEST, round(HOUSEHOLDS * scale))
    persons = _persons(registry, count)
    firms = employers(random, max(8, round(60 * scale)))
    accounts = [pension(random, person, as_of, firms) for person in persons]
    applied = applications(random, persons, max(8, round(120 * scale)), as_of)
    return County(
        seed=seed,
        scale=scale,
        as_of=as_of,
        households=count + len({person.household for person in made.persons}),
        persons=tuple(persons + made.persons),
        pensions=tuple([account for account in accounts if account] + made.pensions),
        receipts=tuple(receipts(random, persons, as_of) + made.receipts),
        applications=tuple(applied + made.applications),
        standards=tuple(standards(random, as_of)),
        planted=tuple(made.planted),
        correction=tuple(made.correction),
    )


def _persons(registry: Registry, count: int) -> list[Person]:
    townships = children(COUNTY)
    away = [division.code for code in ("431181", "450325", "431122") for division in children(code)]
    persons: list[Person] = []
    for place, township in enumerate(townships):
        share = count // len(townships) + (place < count % len(townships))
        villages = _villages(registry.random, township)
        yao = 0.6 if "瑶族" in township.name else 0.02
        for serial in range(share):
            number = f"H{township.code}{serial + 1:06}"
            persons += household(registry, number, registry.random.choice(villages), yao, away)
    return persons


def _villages(random: Random, township: Division) -> list[str]:
    # 12 digits: below a sub-district residents' committees (001 on), below the others villages (200 on).
    first = 1 if township.name.endswith("街道") else 200
    return [f"{township.code}{first + number:03}" for number in range(random.randint(8, 24))]
