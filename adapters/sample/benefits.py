"""Pensions and receipts that go with the persons, and the firms that employ them."""

from collections.abc import Sequence
from datetime import date, timedelta
from random import Random
from typing import Final, NamedTuple

from adapters.sample.divisions import COUNTY
from adapters.sample.people import Person, age_on, tables

_USCC: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_ORGANISATION: Final = (3, 7, 9, 10, 5, 8, 4, 2)


class Pension(NamedTuple):
    """One account; amounts in fen, None where nothing is paid."""

    person_id: str
    region: str
    scheme: str
    status: str
    benefit: int | None
    last_paid: str
    employer: str
    bank: str


class Receipt(NamedTuple):
    """One receipt; the amount in fen."""

    number: str
    region: str
    kind: str
    party_id: str
    item: str
    amount: int
    issuer: str
    issued_at: date


def uscc_check(seventeen: str) -> str:
    """GB 32100-2015, 5.3: the 18th character of a credit code (weights 3^i mod 31)."""
    total = sum(_USCC.index(character) * pow(3, place, 31) for place, character in enumerate(seventeen))
    return _USCC[-total % 31]


def organisation_check(eight: str) -> str:
    """GB 11714-1997: the 9th character of an organisation's code (letters count from A = 10)."""
    total = sum(int(digit, 36) * weight for digit, weight in zip(eight, _ORGANISATION, strict=True))
    return "0123456789X0"[11 - total % 11]


def employers(random: Random, count: int) -> tuple[str, ...]:
    """Credit codes of firms registered in the county."""
    codes = []
    for _ in range(count):
        organisation = f"{random.randrange(10**8):08}"
        stem = f"91{COUNTY}{organisation}{organisation_check(organisation)}"
        codes.append(stem + uscc_check(stem))
    return tuple(codes)


def month_before(day: date, months: int = 1) -> str:
    """The month this many months before the day's, as 2026-01."""
    index = day.year * 12 + day.month - 1 - months
    return f"{index // 12:04}-{index % 12 + 1:02}"


def pension(random: Random, person: Person, as_of: date, firms: Sequence[str]) -> Pension | None:
    """The account of this person, if there is one: scheme, status and benefit go with age, sex and status."""
    age = age_on(as_of, person.birth)
    chance = random.random()
    if age < 16 or person.status in {"迁出", "注销"} or chance > 0.85:
        return None
    urban = chance < (0.12 if age >= 60 else 0.24)
    retired = age >= (60 if person.sex == "男" or not urban else 55)
    scheme = "城镇职工" if urban else "城乡居民"
    bank = f"6217{random.randrange(10**15):015}" if retired or urban else ""
    if not retired:
        status = "终止" if person.status == "死亡" else "参保缴费"
        firm = random.choice(firms) if urban and status == "参保缴费" else ""
        return Pension(person.person_id, COUNTY, scheme, status, None, "", firm, bank)
    benefit = _urban_benefit(random, age) if urban else _resident_benefit(random, age)
    if person.status == "死亡" and person.status_date:
        last = month_before(person.status_date, 0)
        return Pension(person.person_id, COUNTY, scheme, "终止", None, last, "", bank)
    if random.random() < 0.02:
        return Pension(person.person_id, COUNTY, scheme, "暂停", benefit, month_before(as_of, 5), "", bank)
    return Pension(person.person_id, COUNTY, scheme, "领取待遇", benefit, month_before(as_of), "", bank)


def receipts(random: Random, persons: Sequence[Person], as_of: date) -> list[Receipt]:
    """The last year's receipts: subsidies mostly to heads of rural households, refunds and fees to adults."""
    made: list[Receipt] = []
    for person in persons:
        if person.status != "正常" or (as_of.year - person.birth.year) < 18:
            continue
        if person.relation == "户主" and random.random() < 0.6:
            made.append(receipt(random, len(made), "补贴发放", person.person_id, as_of))
        if (chance := random.random()) < 0.22:
            kind = "非税收入" if chance < 0.12 else "退付"
            made.append(receipt(random, len(made), kind, person.person_id, as_of))
    return made


def receipt(random: Random, number: int, kind: str, party: str, as_of: date) -> Receipt:
    """One receipt of this kind for this person, within the year before `as_of`."""
    table, issuers = _KINDS[kind]
    item, _, low, high = random.choice(tables()[table])
    amount = random.randrange(low, high + 1, 10)
    issued = as_of - timedelta(days=random.randrange(1, 365))
    issuer = random.choice(tables()["issuers"][issuers])
    return Receipt(f"NY{issued.year}{number:08}", COUNTY, kind, party, item, amount, issuer, issued)


_KINDS: Final = {
    "非税收入": ("non_tax", "NON_TAX"),
    "补贴发放": ("subsidies", "SUBSIDY"),
    "退付": ("refunds", "REFUND"),
}


def _urban_benefit(random: Random, age: int) -> int:
    return max(90_000, min(900_000, int(random.gauss(285_000 - (age - 55) * 900, 60_000)) // 10 * 10))


def _resident_benefit(random: Random, age: int) -> int:
    # A basic part for all, more from 65 and 75 on, and what was paid in.
    return 14_300 + (500 if age >= 65 else 0) + (1_000 if age >= 75 else 0) + random.randrange(0, 12_000, 10)
