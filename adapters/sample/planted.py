"""The hard cases of C1, planted in 湾井镇 431126103 as a few whole households with known roles."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from adapters.sample.applications import Application, application
from adapters.sample.benefits import Pension, Receipt, month_before, receipt
from adapters.sample.divisions import COUNTY, TOWNSHIP
from adapters.sample.people import Person, Registry, fifteen
from adapters.sample.truth import Planted

_VILLAGE = f"{TOWNSHIP}205"
_OTHER_TOWNSHIP = "431126104"  # 冷水镇
_QIYANG, _QIYANG_UNTIL_2021, _XINGAN = "431181", "431121", "450325"
_GIVEN = {"daughter": "䶮", "applicant_c": "㛃", "spouse_d": "𠮷"}  # rare, one outside the basic plane
_DOTTED = {"consent_expired": "买买提•艾力"}  # as typed; as published it has U+00B7
Spec = tuple[str, str, str, int, str]  # role, relation, sex, age, today's code of the county that gave the id


@dataclass
class Plant:
    """What is planted; `correction` are the records that are sent later, in a file of their own."""

    registry: Registry
    persons: list[Person] = field(default_factory=list)
    pensions: list[Pension] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    applications: list[Application] = field(default_factory=list)
    planted: list[Planted] = field(default_factory=list)
    correction: list[Person] = field(default_factory=list)

    def home(self, case: str, serial: int, note: str, specs: Sequence[Spec]) -> list[Person]:
        """A household of these members, known by their roles; it has an application's number unless `case` is g."""
        surname = self.registry.surname("汉族")
        number = f"H{TOWNSHIP}{900_000 + serial}"
        applied = "" if case == "g" else f"DB{self.registry.as_of.year}{TOWNSHIP}{9000 + serial}"
        members = []
        for role, relation, sex, age, issued_in in specs:
            birth = self.registry.birth(age)
            own = relation in {"配偶", "母亲"}
            given = _GIVEN.get(role) or self.registry.given(sex)
            name = _DOTTED.get(role) or (self.registry.surname("汉族") if own else surname) + given
            people = "维吾尔族" if role in _DOTTED else "汉族"
            identifier = self.registry.new_id(birth, sex, home=issued_in)
            members.append(Person(identifier, name, sex, birth, number, relation, _VILLAGE, "正常", None, people, ""))
            shown = name.replace("•", "·")
            self.planted.append(Planted(case, role, identifier, shown, number, applied, note))
        self.persons += members
        return members

    def apply(self, members: Sequence[Person], *, status: str = "审核中", days: int = 365) -> Application:
        """The application of these members under the number that `home` gave; consent for so many days from now."""
        number = next(p.application_id for p in self.planted if p.person_id == members[0].person_id)
        until = self.registry.as_of + timedelta(days=days)
        made = application(number, members, _VILLAGE, status, 42_000, until)
        self.applications.append(made)
        return made

    def pay(self, person: Person, scheme: str, benefit: int, *, region: str = COUNTY) -> None:
        """A pension that is being paid."""
        bank = f"6217{self.registry.random.randrange(10**15):015}"
        paid = month_before(self.registry.as_of)
        account = Pension(person.person_id, region, scheme, "领取待遇", benefit, paid, "", bank)
        self.pensions.append(account)

    def grant(self, person: Person, kind: str) -> None:
        """A receipt for this person."""
        number = 90_000_000 + len(self.receipts)
        self.receipts.append(receipt(self.registry.random, number, kind, person.person_id, self.registry.as_of))

    def hold(self, person: Person, changed: Person) -> None:
        """What the registry holds of this person instead; the planted role keeps the id it has."""
        self.persons[self.persons.index(person)] = changed


def plant(registry: Registry) -> Plant:
    """All planted households (C1: a, b, c, d, e, f, g), the same roles whatever the scale."""
    made = Plant(registry)
    for case in (_old_prefixes, _elsewhere, _dead_still_paid, _applied_twice, _no_consent, _corrected):
        case(made)
    (neighbour,) = made.home(
        "g", 7, "no application: asking for this person is not_in_case", [("neighbour", "户主", "男", 67, COUNTY)]
    )
    made.pay(neighbour, "城乡居民", 19_800)
    return made


def _old_prefixes(made: Plant) -> None:
    note = "prefix of the id is not the county of registration; the registry holds the grandmother's 15-digit id"
    members = made.home(
        "a",
        1,
        note,
        [
            ("applicant", "户主", "女", 44, _QIYANG),
            ("spouse", "配偶", "男", 61, _XINGAN),
            ("daughter", "女", "女", 16, COUNTY),
            ("grandmother", "母亲", "女", 78, COUNTY),
        ],
    )
    made.apply(members)
    applicant, spouse, _, grandmother = members
    made.pay(spouse, "城镇职工", 205_000)
    made.pay(grandmother, "城乡居民", 19_300)
    made.grant(applicant, "补贴发放")
    made.grant(spouse, "退付")
    made.grant(spouse, "非税收入")
    made.hold(grandmother, grandmother._replace(person_id=fifteen(grandmother.person_id)))


def _elsewhere(made: Plant) -> None:
    note = "registered in 祁阳, one under its code before 2021 (431121)"
    members = made.home(
        "b",
        2,
        note,
        [
            ("applicant_b", "户主", "男", 50, COUNTY),
            ("member_elsewhere", "母亲", "女", 74, COUNTY),
            ("member_elsewhere_old_code", "子", "男", 29, COUNTY),
        ],
    )
    made.apply(members)
    _, mother, son = members
    made.pay(mother, "城乡居民", 17_600, region=_QIYANG)
    made.pay(son, "城镇职工", 310_000, region=_QIYANG_UNTIL_2021)
    moved = mother._replace(region=f"{_QIYANG}103201", status="迁出", status_date=date(2023, 5, 16))
    made.hold(mother, moved)
    earlier = son._replace(region=f"{_QIYANG_UNTIL_2021}103201", status="迁出", status_date=date(2018, 9, 3))
    made.hold(son, earlier)


def _dead_still_paid(made: Plant) -> None:
    members = made.home(
        "c",
        3,
        "dead by the registry, paid by the pension account up to last month",
        [("applicant_c", "户主", "女", 66, COUNTY), ("dead_still_paid", "配偶", "男", 70, COUNTY)],
    )
    made.apply(members)
    _, dead = members
    made.pay(dead, "城乡居民", 20_400)
    died = made.registry.as_of - timedelta(days=240)
    made.hold(dead, dead._replace(status="死亡", status_date=died))


def _applied_twice(made: Plant) -> None:
    members = made.home(
        "d",
        4,
        "the household applied in 冷水镇 431126104 too",
        [("applicant_d", "户主", "男", 58, COUNTY), ("spouse_d", "配偶", "女", 55, COUNTY)],
    )
    first = made.apply(members)
    number = first.number.replace(TOWNSHIP, _OTHER_TOWNSHIP)
    again = first._replace(number=number, township=_OTHER_TOWNSHIP, village=f"{_OTHER_TOWNSHIP}201")
    made.applications.append(again._replace(consent=f"SQ{number[2:]}", status="已受理"))
    applicant = next(one for one in made.planted if one.role == "applicant_d")
    made.planted.append(replace(applicant, role="applicant_d_again", application_id=number))


def _no_consent(made: Plant) -> None:
    members = made.home("e", 5, "consent ran out", [("consent_expired", "户主", "男", 63, COUNTY)])
    made.apply(members, days=-30)
    made.pay(members[0], "城乡居民", 16_900)


def _corrected(made: Plant) -> None:
    members = made.home("f", 6, "date of birth corrected later", [("corrected", "户主", "女", 60, COUNTY)])
    made.apply(members, status="已确认")
    (person,) = members
    made.pay(person, "城乡居民", 15_500)
    made.hold(person, person._replace(birth=person.birth - timedelta(days=365)))
    made.correction.append(person)
