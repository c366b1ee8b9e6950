"""Households: who lives together, how old they are and where they came from."""

from collections.abc import Sequence
from datetime import date, timedelta
from random import Random

from adapters.sample.people import Person, Registry

_SIZES = ((1, 0.16), (2, 0.26), (3, 0.24), (4, 0.17), (5, 0.10), (6, 0.05), (7, 0.02))
_ELSEWHERE = ("431181", "431181", "450325")  # 祁阳市, 兴安县: where people marry in from and move to
Member = tuple[str, str, int]  # relation, sex, age


def household(registry: Registry, number: str, village: str, yao: float, away: Sequence[str]) -> list[Person]:
    """One household in this village (12 digits); `yao`: the share of Yao there, `away`: townships to move to."""
    random = registry.random
    ethnicity = "瑶族" if random.random() < yao else "汉族"
    made: list[Person] = []
    surnames: dict[str, str] = {}
    for relation, sex, age in _members(random):
        surname = _surname(registry, relation, sex, surnames, ethnicity)
        birth = registry.birth(age)
        home = _home(random, relation)
        status, status_date, region = _status(random, registry.as_of, birth, age, village, away)
        name, people = surname + registry.given(sex), ethnicity
        if random.random() < 0.0004:
            name, people = registry.dotted(), "维吾尔族"
        photo = f"ZP{random.getrandbits(40):010X}" if random.random() < 0.7 else ""
        identifier = registry.new_id(birth, sex, home=home)
        made.append(Person(identifier, name, sex, birth, number, relation, region, status, status_date, people, photo))
    return made


def _members(random: Random) -> list[Member]:
    chance = random.random()
    size = 7
    for count, share in _SIZES:
        if chance < share:
            size = count
            break
        chance -= share
    age = int(random.triangular(23, 90, 50))
    sex = "男" if random.random() < 0.8 else "女"
    members: list[Member] = [("户主", sex, age)]
    if size > 1 and random.random() < 0.85:
        members.append(("配偶", _other(sex), max(22, age + random.randint(-5, 4))))
    while len(members) < size:
        members.append(_relative(random, age, {relation for relation, _, _ in members}))
    return members


def _relative(random: Random, age: int, there: set[str]) -> Member:
    sex = "男" if random.random() < 0.52 else "女"
    chance = random.random()
    if age < 65 and chance < 0.25:
        relation = "父亲" if sex == "男" else "母亲"
        if relation not in there:
            return relation, sex, min(99, age + random.randint(20, 32))
    if age > 55 and chance > 0.6:
        return ("孙子" if sex == "男" else "孙女"), sex, max(0, age - random.randint(46, 66))
    return ("子" if sex == "男" else "女"), sex, max(0, age - random.randint(20, 38))


def _surname(registry: Registry, relation: str, sex: str, surnames: dict[str, str], ethnicity: str) -> str:
    if relation == "户主":
        surnames["户主"] = registry.surname(ethnicity)
        # Children bear the father's surname: the head's, or the husband's of a head who is a woman.
        surnames["子"] = surnames["户主"]
        return surnames["户主"]
    if relation in {"配偶", "母亲"}:
        own = registry.surname(ethnicity)
        if relation == "配偶" and sex == "男":
            surnames["子"] = own
        return own
    return surnames["户主"] if relation == "父亲" else surnames["子"]


def _home(random: Random, relation: str) -> str:
    if relation in {"配偶", "母亲"} and random.random() < 0.12:
        return random.choice(_ELSEWHERE)
    return "431126"


def _status(
    random: Random, as_of: date, birth: date, age: int, village: str, away: Sequence[str]
) -> tuple[str, date | None, str]:
    chance = random.random()
    day = max(birth, as_of - timedelta(days=random.randrange(30, 1000)))
    if chance < 0.004 + (0.08 if age > 80 else 0.02 if age > 65 else 0):
        return "死亡", day, village
    if chance > 0.982:
        return "迁出", day, random.choice(away) + "201"
    if chance > 0.981:
        return "注销", day, village
    return "正常", None, village


def _other(sex: str) -> str:
    return "女" if sex == "男" else "男"
