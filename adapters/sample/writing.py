"""The files as each department's system gives them, the configuration to read each, and the truth about them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from random import Random
from typing import Final

from adapters.sample import damage
from adapters.sample.applications import Application
from adapters.sample.county import County
from adapters.sample.damage import WRONG_BYTE, Damage, Row
from adapters.sample.divisions import divisions
from adapters.sample.people import Person
from adapters.sample.truth import LABEL, FileTruth, Truth

TRUTH: Final = "truth.json"
CONFIGS: Final = "adapters"


@dataclass(frozen=True)
class _Form:
    """How one department's system writes: its configuration's name, dataset, encoding and line ends."""

    config: str
    source: str
    dataset: str
    header: str
    encoding: str = "utf-8"
    delimiter: str = ","
    ending: str = "\n"
    labelled: bool = True


_DIVISIONS: Final = _Form("division", "cn.mca/division", "mz.division", "code,name,level,parent", labelled=False)
_REGISTRY: Final = _Form(
    "hukou",
    "ny.gongan/hukou",
    "ps.hukou_person",
    "公民身份号码,姓名,性别,出生日期,户号,与户主关系,户籍地区划,状态,状态日期,民族,照片编号",
    encoding="gb18030",
    ending="\r\n",
)
_PENSIONS: Final = _Form(
    "pension",
    "ny.renshe/pension",
    "hrss.pension_account",
    "社会保障号码,经办机构区划,险种,参保状态,月待遇（元）,最近发放月,单位统一社会信用代码,银行账号",
    encoding="utf-8-sig",
    ending="\r\n",
)
_RECEIPTS: Final = _Form(
    "receipt",
    "ny.caizheng/receipt",
    "fin.receipt",
    "票据号码;开票机构区划;票据类型;交款人或收款人证件号;项目编码;金额（元）;开票单位;开票日期",
    delimiter=";",
)
_APPLICATIONS: Final = _Form(
    "application",
    "ny.wanjing/application",
    "ca.dibao_application",
    "申请编号,户号,共同生活成员,申报月收入（元）,核查授权书,授权有效期,乡镇区划,村区划,状态",
    encoding="gb18030",
    ending="\r\n",
)
_STANDARDS: Final = _Form("standard", "yz.minzheng/standard", "ca.dibao_standard", "区划代码,月标准（元）,生效日期")


def write(county: County, folder: Path) -> Truth:
    """Write all files, their configurations (`adapters/*.toml`) and `truth.json`; the folder is made if missing.

    The same county gives the same bytes. Raises OSError where the folder cannot be written.
    """
    (folder / CONFIGS).mkdir(parents=True, exist_ok=True)
    random = Random(county.seed + 1)  # noqa: S311 - which rows are damaged is no secret
    homes = {one.household_id for one in county.planted}
    persons = frozenset(person.person_id for person in county.persons if person.household in homes)
    persons |= {one.person_id for one in county.planted}
    applied = frozenset(one.number for one in county.applications if one.household in homes)
    receipts = frozenset(one.number for one in county.receipts if one.party_id in persons)
    out = _Out(folder, county, random)
    files = {
        "divisions.csv": out.file("divisions.csv", _DIVISIONS, _division_rows()),
        "hukou.csv": out.file("hukou.csv", _REGISTRY, _registry_rows(county.persons), damage.damage_registry, persons),
        "hukou-correction.csv": out.file("hukou-correction.csv", _REGISTRY, _registry_rows(county.correction)),
        "pension.csv": out.file("pension.csv", _PENSIONS, _pension_rows(county), damage.damage_pensions, persons),
        "receipts.csv": out.file("receipts.csv", _RECEIPTS, _receipt_rows(county), damage.damage_receipts, receipts),
        "applications.csv": out.file(
            "applications.csv",
            _APPLICATIONS,
            _application_rows(county.applications),
            damage.damage_applications,
            applied,
        ),
        "standards.csv": out.file("standards.csv", _STANDARDS, _standard_rows(county)),
    }
    truth = Truth(
        seed=county.seed,
        scale=county.scale,
        as_of=county.as_of.isoformat(),
        persons=len(county.persons),
        households=county.households,
        files=files,
        planted=tuple(county.planted),
    )
    truth.save(folder / TRUTH)
    return truth


@dataclass(frozen=True)
class _Out:
    """Writes one file after another and counts what is in it."""

    folder: Path
    county: County
    random: Random

    def file(
        self,
        name: str,
        form: _Form,
        rows: Iterable[Row],
        spoil: Callable[[Damage], None] | None = None,
        spared: frozenset[str] = frozenset(),
    ) -> FileTruth:
        made = Damage(self.random, list(rows), spared)
        if spoil:
            spoil(made)
        lines = [form.header, *(form.delimiter.join(row) for row in made.rows)]
        if form.labelled:
            lines.insert(0, f"{LABEL}（seed {self.county.seed}）")
        text = form.ending.join(lines) + form.ending
        wrong = WRONG_BYTE.encode(form.encoding.removesuffix("-sig"))
        (self.folder / name).write_bytes(text.encode(form.encoding).replace(wrong, b"\xff"))
        config = f"{form.config}.toml"
        shipped = resources.files(__package__).joinpath("configs", config).read_bytes()
        (self.folder / CONFIGS / config).write_bytes(shipped)
        return FileTruth(
            dataset=form.dataset,
            source=form.source,
            config=f"{CONFIGS}/{config}",
            rows=len(made.rows),
            good=len(made.rows) - made.rejected.total(),
            rejected=dict(sorted(made.rejected.items())),
            wrong_check=made.wrong_check,
        )


def _division_rows() -> Iterable[Row]:
    for division in divisions():
        yield [division.code, division.name, str(division.level), division.parent]


def _registry_rows(persons: Sequence[Person]) -> Iterable[Row]:
    for p in persons:
        changed = p.status_date.isoformat() if p.status_date else ""
        # The registry writes a birth as 20260103, a change of status as 2026-01-03.
        birth = f"{p.birth.year:04}{p.birth.month:02}{p.birth.day:02}"
        home = [p.household, p.relation, p.region]
        yield [p.person_id, p.name, p.sex, birth, *home, p.status, changed, p.ethnicity, p.photo_ref]


def _pension_rows(county: County) -> Iterable[Row]:
    for a in county.pensions:
        yield [a.person_id, a.region, a.scheme, a.status, _yuan(a.benefit), a.last_paid, a.employer, a.bank]


def _receipt_rows(county: County) -> Iterable[Row]:
    for r in county.receipts:
        day = f"{r.issued_at.year}/{r.issued_at.month}/{r.issued_at.day}"
        yield [r.number, r.region, r.kind, r.party_id, r.item, _yuan(r.amount), r.issuer, day]


def _application_rows(applications: Sequence[Application]) -> Iterable[Row]:
    for a in applications:
        members = ";".join(f"{identifier}:{relation}" for identifier, relation in a.members)
        until = a.consent_until.strftime("%Y.%m.%d") if a.consent_until else ""
        income = _yuan(a.income)
        yield [a.number, a.household, members, income, a.consent, until, a.township, a.village, a.status]


def _standard_rows(county: County) -> Iterable[Row]:
    for standard in county.standards:
        yield [standard.region, _yuan(standard.amount), standard.valid_from.isoformat()]


def _yuan(fen: int | None) -> str:
    return "" if fen is None else f"{fen // 100}.{fen % 100:02}"
