"""Drafts: where the records stand, what columns are read as, which class they get, and that a draft always works."""

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.draft import draft_file
from adapters.draft.kinds import KINDS
from adapters.draft.table import look_at
from adapters.files.headers import joined
from exchange.names import CLASSES
from tests.adapters.draft.drafting import Drafted, drafted
from tests.adapters.draft.ugly import person
from tests.adapters.files.books import book
from tests.profiles import examples


def made(folder: Path, text: str, name: str = "t.csv") -> Drafted:
    """The draft of a CSV of this text."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    return drafted(folder / name, folder / "out")


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
_CELL = _TEXT | st.sampled_from(
    [
        "",
        "合计",
        "张三",
        "1",
        "1.5",
        "2026-01-03",
        "2026年1月",
        "46025",
        "是",
        "13800000000",
        person(3),
        "=1+1",
        "-",
        "#1",
    ]
)


@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 5).flatmap(lambda width: st.lists(st.lists(_CELL, min_size=width, max_size=width), max_size=7))
)
def test_whatever_the_table_the_draft_loads_and_all_rows_are_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    """The contract, the schema and the configuration load; each row is a record, a dead letter, or said to be left out.

    Records that the adapter gives always fit the schema: no dead letter is the draft's own fault.
    """
    import csv

    from exchange.errors import Invalid

    folder = tmp_path_factory.mktemp("draft")
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    try:
        done = drafted(folder / "t.csv", folder / "out")
    except Invalid as error:
        assert error.code in {"draft_no_records", "file_empty", "file_utf16", "file_quotes_open"}  # noqa: PT017
        return
    assert len(done.values) + len(done.letters) == done.draft.rows
    assert {one.code for one in done.letters} <= {
        *("cell_date_malformed", "cell_money_malformed", "cell_id_malformed", "cell_id_damaged", "row_key_missing"),
        *("cell_control_character", "cell_number_damaged", "row_width", "value_missing"),
    }
    failing = sum(one.failing for one in done.draft.fields)
    empty = done.draft.rows - min(one.filled for one in done.draft.fields)
    misfits = sum(one.code == "row_width" for one in done.letters)
    assert len(done.letters) <= failing + empty + misfits
    assert ("draft_misfits" in done.said) == (misfits > 0)


@pytest.mark.parametrize(
    ("lines", "header"),
    [
        (["姓名,年龄", "张三,3"], (1, 1)),
        (["某县表,", "姓名,年龄", "张三,3"], (2, 1)),
        (["单位：民政局,,单位：元", "姓名,年龄,金额", "张三,3,1"], (2, 1)),
        (["人员,,待遇", "姓名,年龄,金额", "张三,3,1"], (1, 2)),
        (["序号,人员,,备注", ",姓名,年龄,", "1,张三,3,x"], (1, 2)),
        (["项,甲组,,乙组,", ",x,y,u,v", "a,1,2,3,4"], (1, 2)),
        (["姓名,,备注", "张三,男,无", "李四,女,无"], (1, 1)),
        (["张三,3", "李四,4"], (0, 1)),
        (["姓名,2025年,2026年1月", "张三,1,2"], (1, 1)),
        (["", "姓名,年龄", "张三,3"], (2, 1)),
        (["人员,,待遇", "", "姓名,年龄,金额", "张三,3,1"], (1, 1)),
        (["甲,,乙,,,", "", "姓名,年龄,金额,a,b,c", "张三,3,1,2,3,4"], (3, 1)),
    ],
)
def test_the_header_is_found(tmp_path: Path, lines: list[str], header: tuple[int, int]) -> None:
    """Below titles and units, of one line or two, or none; a gap in it does not make a record part of it."""
    (tmp_path / "t.csv").write_text("\n".join([*lines, ""]), "utf-8")
    config = look_at(tmp_path / "t.csv").config
    assert (config.header, config.header_lines) == header


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    """The one that cuts the lines alike, whatever else stands in the cells."""
    rows = [["编号", "说明"], ["1", "甲，乙;丙"], ["2", "x|y" if delimiter != "|" else "x;y"], ["3", "z"]]
    text = "\n".join(delimiter.join(row) for row in rows) + "\n"
    if delimiter == ";":
        text = text.replace("甲，乙;丙", "甲，乙")
    (tmp_path / "t.csv").write_text(text, "utf-8")
    assert look_at(tmp_path / "t.csv").config.delimiter == delimiter


def test_texts_above_several_columns_go_before_each() -> None:
    """As far as there is something below them and nothing beside them."""
    assert joined([["项", "甲组", "", "乙组", ""], ["", "x", "y", "u", "v"]]) == [
        "项",
        "甲组x",
        "甲组y",
        "乙组u",
        "乙组v",
    ]
    assert joined([["项", "甲", "", ""], ["", "x", "", "v"]]) == ["项", "甲x", "", "v"]
    assert joined([["a b", "c"]]) == ["ab", "c"]


def test_headers_that_stand_twice_and_columns_without_one(tmp_path: Path) -> None:
    """They are named by their place; each field has a name of its own; labels stay as they are."""
    done = made(tmp_path, "编号,姓名,姓名,\nA1,张三,李四,7\nA2,王五,赵六,8\n")
    assert [(one.key, one.field, one.label_zh) for one in done.draft.fields] == [
        ("编号", "code", "编号"),
        ("#2", "name", "姓名"),
        ("#3", "name_2", "姓名"),
        ("#4", "column_4", "第4列"),
    ]
    assert len(done.values) == 2


def test_the_class_is_never_below_what_is_recognised(tmp_path: Path) -> None:
    """By header, by values, and by what one cell of a thousand hides: the gravest holds, with every tag."""
    card = "6222020000001234509"
    rows = [f"{person(n)},L{n},普通" for n in range(2_100)]
    rows[-1] = f"{person(2_099)},L2099,卡{card} 电话13800000000"
    done = made(tmp_path, "\n".join(["编号,批次,备注", *rows, ""]))
    fields = {one.field: one for one in done.draft.fields}
    assert (fields["code"].security_class, fields["code"].tags, fields["code"].kind) == ("L3", ("id",), "id_number")
    assert (fields["remark"].security_class, set(fields["remark"].tags)) == ("L4", {"bank"})
    assert done.said >= {"draft_by_values_id_number", "draft_inside_bank_card", "draft_not_recognised"}
    wrong = made(
        tmp_path / "wrong", "\n".join(["编号,姓名", *(f"A{n},{person(n)}" for n in range(20)), ""])
    ).draft.fields[1]
    assert (wrong.field, wrong.kind, wrong.security_class, set(wrong.tags)) == (
        "name",
        "id_number",
        "L3",
        {"name", "id"},
    )
    for one in done.draft.fields:
        if one.kind:
            assert CLASSES.index(one.security_class) >= CLASSES.index(KINDS[one.kind].security_class)


@pytest.mark.parametrize(
    ("header", "values", "field"),
    [
        ("金额", ["1", "2.50", "1,000"], ("amount_fen", "fen", "L3")),
        ("金额（万元）", ["1", "2.50"], ("amount", "text", "L3")),
        ("金额", ["一百", "若干"], ("amount", "text", "L3")),
        ("面积", ["1.5", "2"], ("column_2", "text", "L2")),
        ("数量", ["1", "20"], ("count", "int", "L2")),
        ("批次", ["007", "008"], ("column_2", "text", "L2")),
        ("性别", ["男", "女"], ("sex", "enum", "L1")),
        ("性别", ["1", "2"], ("sex", "enum", "L1")),
        ("性别", ["男", "其他"], ("sex", "text", "L1")),
        ("已办", ["是", "否"], ("column_2", "bool", "L2")),
        ("已办", ["1", "0"], ("column_2", "int", "L2")),
        ("民族", ["汉族", "瑶族"], ("ethnicity", "text", "L3")),
        ("疾病", ["无病", "有病"], ("health", "text", "L4")),
        ("出生日期", ["1980-01-01", "1980.1.2"], ("birth_date", "date", "L2")),
        ("注册日", ["20200101", "20200102"], ("column_2", "date", "L2")),
        ("代码", ["20200101", "20200102"], ("code_2", "id", "L2")),
        ("月份", ["2026-01", "二〇二六年一月"], ("month", "month", "L2")),
        ("邮编", ["425600", "425601"], ("column_2", "int", "L2")),
        ("经办", ["张三", "李四"], ("name", "name", "L2")),
        ("领款人证件号", [person(1), person(2)], ("id_number", "id", "L3")),
        ("票据号码", ["NY1", "NY2"], ("receipt_number", "id", "L2")),
        ("最近发放月", ["2026-01", "2026-02"], ("month", "month", "L2")),
        ("1月", ["3", "4"], ("column_2", "int", "L2")),
        ("单价（元）", ["3", "4.5"], ("price_fen", "fen", "L3")),
        ("Contact E-mail", ["a@b.test", "c@d.test"], ("email", "text", "L3")),
        ("Project No", ["x", "y"], ("project_no", "text", "L2")),
        ("经 办 处", ["x", "y"], ("column_2", "text", "L2")),
    ],
)
def test_what_a_column_is_read_as(tmp_path: Path, header: str, values: list[str], field: tuple[str, str, str]) -> None:
    """By its header and its values together; all of them get in."""
    rows = [f'A{number},"{value}",x' for number, value in enumerate(values)]
    done = made(tmp_path, "\n".join([f"案件编号,{header},事由", *rows, ""]))
    one = done.draft.fields[1]
    assert (one.field, one.type, one.security_class) == field
    assert (len(done.values), done.letters) == (len(values), [])
    label = header if header.isascii() else header.replace(" ", "")
    assert one.label_zh == (label.replace("（元）", "") + "（分）" if one.type == "fen" else label)


@pytest.mark.parametrize(
    ("text", "subject", "key"),
    [
        (f"身份证号,金额\n{person(1)},1\n{person(1)},2\n", ("person", "id_number"), ()),
        (f"单号,身份证号\nA1,{person(1)}\nA2,{person(1)}\n", ("person", "id_number"), ("code",)),
        (f"单号,身份证号\nA1,\nA2,{person(1)}\nA3,\n", ("record", "code"), ("code",)),
        ("序号,事项\n1,甲\n2,甲\n", ("record", "column_2"), ()),
        ("序号,数\n1,3\n2,3\n", ("record", "serial_number"), ("serial_number",)),
        ("批号,数\n11,3\n12,3\n", ("record", "column_1"), ("column_1",)),
        ("统一社会信用代码,数\n91350100M000100Y43,1\n91350100M000100Y43,2\n", ("firm", "credit_code"), ()),
    ],
)
def test_subject_and_key(tmp_path: Path, text: str, subject: tuple[str, str], key: tuple[str, ...]) -> None:
    """The person before the firm before whatever tells records apart; the key only where it does; always a text."""
    done = made(tmp_path, text)
    assert (done.draft.subject_type, done.draft.subject_path) == subject
    assert done.draft.key == key
    assert all(isinstance(value[subject[1]], str) for value in done.values)
    assert len(done.values) == done.draft.rows


def test_no_number_of_a_person_gets_into_names_or_titles(tmp_path: Path) -> None:
    """Neither from the file's name nor from a title or header: contracts are read by everybody."""
    who = person(9)
    text = f"填表人{who}的表,,\n编号,备注{who},事\nA1,x,y\nA2,z,u\n"
    done = made(tmp_path, text, f"{who}.csv")
    written = [
        file.read_text("utf-8") for file in (tmp_path / "out").rglob("*") if file.suffix in {".yaml", ".avsc", ".toml"}
    ]
    assert len(written) == 3
    assert not any(who in content for content in written)
    assert done.draft.dataset == "own.table"
    assert len(done.values) == 2


def test_the_sheet_is_named_where_there_are_several(tmp_path: Path) -> None:
    """The first that is seen is drafted, and its name stands in the configuration."""
    import openpyxl

    file = book(tmp_path / "t.xlsx", [["编号", "数"], ["A1", 1], ["A2", 2]], sheet="一")
    made_ = openpyxl.load_workbook(file)
    made_.create_sheet("二").append(["x"])
    made_.save(file)
    done = drafted(file, tmp_path / "out")
    assert 'sheet = "一"' in (tmp_path / "out" / "adapters" / "own.t.toml").read_text("utf-8")
    assert "draft_sheets" in done.said
    assert len(done.values) == 2


@settings(max_examples=examples(10))
@given(cell=st.text(string.printable, min_size=1, max_size=30))
def test_quoting_survives_any_header(tmp_path_factory: pytest.TempPathFactory, cell: str) -> None:
    """Quotation marks, backslashes, hashes, braces in a header: YAML, JSON and TOML are well formed, rows get in."""
    import csv

    folder = tmp_path_factory.mktemp("quoted")
    header = f"列{''.join(character for character in cell if character.isprintable())}"
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["编号", header], ["A1", "x"], ["A2", "y"]])
    assert len(drafted(folder / "t.csv", folder / "out").values) == 2
    assert draft_file(folder / "t.csv").rows == 2
