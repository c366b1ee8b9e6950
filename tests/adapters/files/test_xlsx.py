"""Workbooks: rows and faults as those of a CSV; what a spreadsheet hides or spoils is said; hostile ones end."""

import csv
import io
import struct
import zipfile
import zlib
from copy import deepcopy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.files import unpacking
from adapters.files.rows import is_summary
from adapters.files.unpacking import look_into
from adapters.files.workbook import text_of
from exchange.errors import Invalid
from tests.adapters.files.books import BOOK, book, parts, run_book
from tests.adapters.files.site import ID, OTHER, PERSONS, run
from tests.profiles import examples

HEADER = ["公民身份号码", "姓名", "月待遇"]
TWO = [[ID, "王䶮", 12.5], [OTHER, "李𠮷", 0]]


def refused(file: Path, document: dict[str, Any] | None = None) -> Invalid:
    """The error that the file ends in."""
    with pytest.raises(Invalid) as found:
        run_book(file, document)
    assert found.value.where.startswith(file.name)
    return found.value


def test_a_workbook_is_read_as_a_csv_is(tmp_path: Path) -> None:
    """Rows, numbers, rare characters; sent again it changes nothing; the file's first bytes say what it is."""
    file = book(tmp_path / "persons.csv", [HEADER, *TWO])
    found = run_book(file)
    assert [value["name"] for value in found.values.values()] == ["王䶮", "李𠮷"]
    assert [value["benefit"] for value in found.values.values()] == [1250, 0]
    assert run_book(file, mark=found.mark).batches == []
    assert run_book(book(tmp_path / "set.xlsx", [HEADER, *TWO]), PERSONS | {"format": "xlsx"}).values == found.values
    assert refused(file, PERSONS | {"format": "csv"}).code == "file_not_csv"


def test_bad_rows_are_listed_by_cell_and_the_good_go_in(tmp_path: Path) -> None:
    """Three bad rows of five: each has its row, its column, why, and its shape; an id that lost its digits is one."""
    rows = [[ID, "张三", 1], [float(ID), "张三", 1], ["x", "李四", 1], [], [OTHER, "李四", 12.345], [OTHER, "李四", 3]]
    found = run_book(book(tmp_path / "t.xlsx", [HEADER, *rows]))
    assert [value["benefit"] for value in found.values.values()] == [100, 300]
    assert [(one.code, one.place.row, one.place.column) for one in found.rejected] == [
        ("cell_id_damaged", 3, "公民身份号码"),
        ("cell_id_malformed", 4, "公民身份号码"),
        ("cell_money_malformed", 6, "月待遇"),
    ]
    assert found.rejected[0].shape == {"person_id": "9.99999999999999A+99"}


_CELLS = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters="  ·x"), max_size=12
) | st.sampled_from([ID, OTHER, "4.31E+17", "12.50", "-3", "1,234.5", "=1+1", "", "#N/A"])


@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(_CELLS, _CELLS, _CELLS), max_size=6))
def test_the_same_texts_give_the_same_in_both_forms(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    """Against the reader of CSV: the same values, the same faults in the same rows and columns."""
    for file in tmp_path.iterdir():
        file.unlink()
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *rows])
    plain, spread = run(tmp_path, text.getvalue()), run_book(book(tmp_path / "persons.xlsx", [HEADER, *rows]))
    assert list(spread.values.items()) == list(plain.values.items())
    assert [(one.code, one.place.row, one.place.column, one.shape) for one in spread.rejected] == [
        (one.code, one.place.row, one.place.column, one.shape) for one in plain.rejected
    ]


@given(number=st.decimals(allow_nan=False, min_value=-(10**12), max_value=10**12, places=2))
def test_numbers_are_written_as_a_spreadsheet_shows_them(number: Decimal) -> None:
    """An amount that went through a float comes out as it was, without an exponent or a trail of nines."""
    text = text_of(float(number))
    assert Decimal(text) == number
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (1e-7, "0.0000001"),
        (999999999999999.0, "999999999999999"),
        (1e15, "1.00000000000000E+15"),
        (4.31126198001011e17, "4.31126198001011E+17"),
        (12, "12"),
        (True, "true"),
        (False, "false"),
        (date(2026, 1, 3), "2026-01-03"),
        (datetime.fromisoformat("2026-01-03 00:00:00"), "2026-01-03"),
        (datetime.fromisoformat("2026-01-03 08:00:01"), "2026-01-03 08:00:01"),
        (time(8), "08:00:00"),
        (timedelta(hours=30), "1 day, 6:00:00"),
        ("x", "x"),
    ],
)
def test_values_become_texts(value: Any, text: str) -> None:
    """Each kind of cell has one text; from 10^15 on a number is one that lost digits."""
    assert text_of(value) == text


def dated(*types: dict[str, Any]) -> dict[str, Any]:
    """A configuration of dates: a column 日期 and a column 月份."""
    columns = {"日期": {"field": "day", "type": "date"}, "月份": {"field": "month", "type": "month"}}
    for name, more in zip(("日期", "月份"), types, strict=False):
        columns[name] |= more
    return {"source": "a/b", "dataset": "a.b", "columns": columns}


def test_dates_of_all_spellings_that_are_set(tmp_path: Path) -> None:
    """A cell's date, serial numbers, Han numerals, midnights: as far as `also` names them; else they are refused."""
    days = [
        date(2026, 1, 3),
        46025,
        "46025",
        "二〇二六年一月三日",
        "二○二六年十二月三十一日",
        "2026/1/3 0:00:00",
        "20260103",
    ]
    months = ["2026年1月", date(2026, 1, 1), "二〇二六年十月", 46025, "2026-01-03 00:00", "202601", "2026-01"]
    file = book(tmp_path / "t.xlsx", [("日期", "月份"), *zip(days, months, strict=True)])
    also = ["serial", "han", "midnight"]
    found = run_book(file, dated({"also": also}, {"also": [*also, "day"]}))
    assert found.rejected == []
    assert [str(value["day"]) for value in found.values.values()] == [
        "2026-01-03", "2026-01-03", "2026-01-03", "2026-01-03", "2026-12-31", "2026-01-03", "2026-01-03"
    ]  # fmt: skip
    assert [value["month"] for value in found.values.values()] == [
        "2026-01", "2026-01", "2026-10", "2026-01", "2026-01", "2026-01", "2026-01"
    ]  # fmt: skip
    (tmp_path / "t.xlsx.ledger").unlink()
    plain = run_book(file, dated())
    assert [one.place.row for one in plain.rejected] == [3, 4, 5, 6, 7]
    assert {one.code for one in plain.rejected} == {"cell_date_malformed"}


@pytest.mark.parametrize(
    "text",
    [
        *("二〇二六年十三月一日", "二〇二六年一月三十二日", "二〇二六年一二月三日", "二六年一月三日", "二〇二六年月日"),
        *("00000", "4602", "460250", "2026-01-03 08:00", "二〇二六年一月"),
    ],
)
def test_what_is_no_date_in_any_spelling(tmp_path: Path, text: str) -> None:
    """Days that never were, and texts that only look like one, stay refused."""
    also = ["serial", "serial_1904", "han", "midnight"]
    found = run_book(book(tmp_path / "t.xlsx", [["日期", "月份"], [text, "2026-01"]]), dated({"also": also}))
    assert [one.code for one in found.rejected] == ["cell_date_malformed"]


def test_serials_of_a_workbook_that_counts_from_1904(tmp_path: Path) -> None:
    """Four years and a day later than the usual ones; named by a spelling of its own."""
    found = run_book(
        book(tmp_path / "t.xlsx", [["日期", "月份"], ["44563", "2026-01"]]), dated({"also": ["serial_1904"]})
    )
    assert [str(value["day"]) for value in found.values.values()] == ["2026-01-03"]


def test_a_sheet_is_chosen_by_name_else_the_first_that_is_seen(tmp_path: Path) -> None:
    """Hidden sheets are passed over, others named; a sheet that is not there is an error with the nearest name."""
    made = openpyxl.Workbook()
    hidden, first, second = made.active, made.create_sheet("一月"), made.create_sheet("二月")
    assert hidden is not None
    hidden.title, hidden.sheet_state = "底稿", "hidden"
    for page, name in ((hidden, "甲"), (first, "乙"), (second, "丙")):
        page.append(HEADER)
        page.append([ID, name, 1])
    file = tmp_path / "t.xlsx"
    made.save(file)
    names = {}
    for sheet in ("", "二月", "底稿"):
        (tmp_path / "t.xlsx.ledger").unlink(missing_ok=True)
        found = run_book(file, PERSONS | {"sheet": sheet})
        names[sheet] = [value["name"] for value in found.values.values()]
        assert any("二月" in note for note in found.notes) == (sheet == "")
    assert names == {"": ["乙"], "二月": ["丙"], "底稿": ["甲"]}
    error = refused(file, PERSONS | {"sheet": "二 月"})
    assert (error.code, error.facts["nearest"]) == ("file_sheet_missing", "二月")


def test_headers_further_down_of_two_lines_and_by_place(tmp_path: Path) -> None:
    """Merged cells of a header's first line go before what stands below; `#3` is the third column; B1 is column B."""
    rows: list[list[Any]] = [
        [None, "某县", None, None],
        [None, "人员", None, "待遇"],
        [None, "公民身份号码", "姓名", "月"],
        [None, ID, "张三", 1],
    ]
    file = book(tmp_path / "t.xlsx", rows, merged=["B1:D1", "B2:C2"])
    document = deepcopy(PERSONS) | {"header": 2, "header_lines": 2}
    columns = PERSONS["columns"].values()
    document["columns"] = dict(zip(("人员公民身份号码", "#3", "待遇月"), columns, strict=True))
    found = run_book(file, document)
    assert list(found.values.values()) == [{"person_id": ID, "name": "张三", "benefit": 100}]
    document["columns"] = dict(zip(("人员公民身份号码", "#3", "#5"), columns, strict=True))
    assert refused(file, document).code == "file_column_missing"
    assert refused(file, PERSONS | {"header": 9}).code == "file_header_missing"
    numbered = deepcopy(PERSONS) | {"header": 0, "columns": dict(zip("234", columns, strict=True))}
    (tmp_path / "t.xlsx.ledger").unlink()
    assert [value["name"] for value in run_book(file, numbered).values.values()] == ["张三"]


def test_cells_merged_over_several_records_are_said(tmp_path: Path) -> None:
    """Only the first row has the value, as in a CSV of the same sheet; merged cells of a header are no matter."""
    rows: list[list[Any]] = [["表", None, None], HEADER, [ID, "张三", 1], [OTHER, None, 2], [ID, "李四", 3]]
    document = PERSONS | {"header": 2}
    found = run_book(book(tmp_path / "t.xlsx", rows, merged=["A1:C1", "B3:B4"]), document)
    assert [value["name"] for value in found.values.values()] == ["张三", None, "李四"]
    assert [note for note in found.notes if "合并" in note] == [
        "t.xlsx: 1 cells merged over several rows: only the first row has the value | 处跨行合并的单元格，仅首行有值"
    ]


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_totals_and_signatures_are_no_records(tmp_path: Path, form: str) -> None:
    """A row that begins with one of the words of `skip` is left out and counted; a name that begins so is not."""
    rows = [[ID, "张三", "1"], ["小 计", "", "1"], [OTHER, "合计平", "2"], ["", "合计", "3"], ["制表人：甲", "", ""]]
    document = PERSONS | {"skip": ["合计", "小计", "制表人"]}
    if form == "csv":
        found = run(tmp_path, "\n".join(",".join(row) for row in [HEADER, *rows]) + "\n", document)
    else:
        found = run_book(book(tmp_path / "t.xlsx", [HEADER, *rows]), document)
    assert [value["name"] for value in found.values.values()] == ["张三", "合计平"]
    assert found.rejected == []
    assert any("未取: 3" in note for note in found.notes)
    (tmp_path / "again").mkdir()
    plain = run_book(book(tmp_path / "again" / "t.xlsx", [HEADER, *rows]))
    assert len(plain.rejected) == 3


@pytest.mark.parametrize(
    ("cells", "summary"),
    [
        (["合计"], True),
        (["", " 合 计 ", "3"], True),
        (["合计：3", ""], True),
        (["合计:3"], True),
        (["合计平", "3"], False),
        (["张三", "合计"], False),
        (["", ""], False),
    ],
)
def test_what_begins_a_row_that_is_no_record(cells: list[str], summary: bool) -> None:
    """The word alone or with a colon, in the first filled cell; not a name that begins alike."""
    assert is_summary(cells, ["总计", "合计"]) is summary


def test_formulas_count_as_their_value_and_lost_ones_are_faults(tmp_path: Path) -> None:
    """A calculated one gives its value; an error, or one never calculated, refuses its row, if its column is mapped."""
    cells = zip("ABCD", [*HEADER, "注"], strict=True)
    header = "".join(f'<c r="{place}1" t="inlineStr"><is><t>{text}</t></is></c>' for place, text in cells)

    def row(number: int, *cells: str) -> str:
        texts = (
            f'<c r="A{number}" t="inlineStr"><is><t>{ID}</t></is></c><c r="B{number}" t="str"><f>x</f><v>张三</v></c>'
        )
        return f'<row r="{number}">{texts}{"".join(cells)}</row>'

    sheet = "".join(
        [
            f'<sheetData><row r="1">{header}</row>',
            row(2, '<c r="C2"><f>1+1</f><v>2</v></c>', '<c r="D2" t="e"><v>#N/A</v></c>'),
            row(3, '<c r="C3" t="e"><f>1/0</f><v>#DIV/0!</v></c>'),
            row(4, "<c r=\"C4\"><f>cmd|' /C calc'!A0</f><v></v></c>"),
            row(5, '<c r="C5"><f>A1</f></c>'),
            row(6, '<c r="C6" t="str"><f>""</f><v></v></c>'),
            "</sheetData>",
        ]
    )
    found = run_book(parts(tmp_path / "t.xlsx", sheet))
    assert [value["benefit"] for value in found.values.values()] == [200, None]
    assert [(one.code, one.place.row, one.place.column) for one in found.rejected] == [
        ("cell_formula_error", 3, "月待遇"),
        ("cell_formula_uncalculated", 4, "月待遇"),
        ("cell_formula_uncalculated", 5, "月待遇"),
    ]
    assert any("10 formulas" in note for note in found.notes)


def test_characters_that_no_text_has_and_cells_too_large(tmp_path: Path) -> None:
    """They cost their row, and the others go on."""
    long = "张" * (1 << 20)
    sheet = (
        "<sheetData><row>"
        + "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in HEADER)
        + "</row><row>"
        + "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in (ID, "张_x0001_", "1"))
        + "</row><row>"
        + "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in (ID, long + "x", "1"))
        + "</row><row>"
        + "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in (ID, "张三", "1"))
        + "</row></sheetData>"
    )
    found = run_book(parts(tmp_path / "t.xlsx", sheet))
    assert [value["name"] for value in found.values.values()] == ["张三"]
    assert [(one.code, one.place.row) for one in found.rejected] == [
        ("cell_control_character", 2),
        ("cell_too_large", 3),
    ]


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"PK\x03\x04junk", "file_damaged"),
        (OLE + b"\0" * 600, "file_old_workbook"),
        (OLE + b"\0" * ((1 << 18) - 20) + "EncryptedPackage".encode("utf-16-le"), "file_protected"),
    ],
)
def test_what_is_no_workbook_of_today(tmp_path: Path, content: bytes, code: str) -> None:
    """An .xls, a workbook under a password, junk: each is told for what it is."""
    file = tmp_path / "t.xlsx"
    file.write_bytes(content)
    assert refused(file).code == code


def test_an_archive_that_is_no_workbook_and_one_that_is_cut_off(tmp_path: Path) -> None:
    """A document of another program, a file of which the end is missing, one with a byte changed, an empty one."""
    file = tmp_path / "t.xlsx"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    assert refused(file).code == "file_not_workbook"
    whole = book(file, [HEADER, *TWO]).read_bytes()
    for size in (30, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert refused(file).code == "file_damaged", size
    file.write_bytes(b"")
    assert refused(file, PERSONS | {"format": "xlsx"}).code == "file_empty"
    with pytest.raises(Invalid, match="source_unreadable"):
        look_into(tmp_path / "none.xlsx")


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_changed_byte_never_ends_in_anything_but_rows_or_an_error(tmp_path: Path, place: float, byte: int) -> None:
    """Whatever is damaged in the archive: rows as they are, or one clear error."""
    original = tmp_path / "whole"
    if not original.exists():
        book(original, [HEADER, *TWO])
    data = bytearray(original.read_bytes())
    data[int(place * len(data))] = byte
    file = tmp_path / "t.xlsx"
    file.write_bytes(data)
    (tmp_path / "t.xlsx.ledger").unlink(missing_ok=True)
    code = ""
    try:
        run_book(file)
    except Invalid as error:
        code = error.code
    assert not code or code.startswith("file_")


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("book", '<!DOCTYPE x [<!ENTITY a "b">]>' + BOOK),
        ("book", "<workbook"),
        ("relations", "<Relationships/>"),
        ("root", "<Relationships/>"),
    ],
)
def test_parts_that_do_not_fit_together(tmp_path: Path, part: str, content: str) -> None:
    """Broken or dangling parts, and any with entities: at most an error."""
    file = parts(tmp_path / "t.xlsx", "<sheetData/>", **{part: content})
    assert refused(file).code in {"file_damaged", "file_header_missing", "file_sheet_missing"}


def bomb(path: Path, size: int, declared: int | None = None) -> Path:
    """A workbook with a part that unpacks to so many zeros, and declares what it likes."""
    parts(path, "<sheetData/>")
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("xl/media/x.bin", "w", force_zip64=False) as part,
    ):
        for _ in range(size >> 20):
            part.write(bytes(1 << 20))
    if declared is not None:
        data = path.read_bytes()
        path.write_bytes(data.replace(struct.pack("<I", size), struct.pack("<I", declared)))
    return path


@pytest.mark.parametrize("declared", [None, 10])
def test_a_zip_bomb_is_refused_whatever_it_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: int | None
) -> None:
    """Its declared size is looked at first; one that lies is unpacked no further than the bound."""
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", 1 << 20)
    file = bomb(tmp_path / "t.xlsx", 3 << 20, declared)
    assert file.stat().st_size < 10_000
    error = refused(file)
    assert (error.code, error.facts["limit"]) == ("file_unpacks_too_large", 1)


def test_a_part_that_declares_too_much_is_not_unpacked_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its word is enough to refuse it."""
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", 8 << 20)
    assert refused(bomb(tmp_path / "t.xlsx", 3 << 20, 1 << 30)).code == "file_unpacks_too_large"


def test_more_parts_than_any_workbook_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number has a bound too; an archive under a password is said to be so."""
    monkeypatch.setattr(unpacking, "MAX_PARTS", 3)
    file = parts(tmp_path / "t.xlsx", "<sheetData/>")
    assert refused(file).code == "file_unpacks_too_large"
    monkeypatch.undo()
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(data)
    assert refused(file).code == "file_protected"
    data[data.index(b"PK\x01\x02") + 8] &= 0xFE
    data[data.index(b"PK\x01\x02") + 10] = 12
    file.write_bytes(data)
    assert refused(file).code == "file_damaged"


@pytest.mark.parametrize(
    "sheet",
    [
        '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        "<row>" + "<c/>" * 4_000 + "</row>" + "<row/>" * 4_000,
        "<row r='9999999'><c r='AA9999999'/></row>",
        "<x:row r='9999999'><x:c r='AA9999999'/></x:row>",
    ],
)
def test_two_cells_in_opposite_corners_make_no_huge_table(tmp_path: Path, sheet: str) -> None:
    """A sheet's extent, empty cells included, has a bound: the reader would lay all of it out in memory."""
    assert refused(parts(tmp_path / "t.xlsx", f"<sheetData>{sheet}</sheetData>")).code == "file_sheet_too_large"


def test_cells_are_found_where_a_piece_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the part is cut into pieces, what is noted of it is the same."""
    cells = "".join(
        f'<row r="{n}"><c r="B{n}" t="e"><v>#N/A</v></c><c r="C{n}"><f>A{n}</f></c></row>' for n in range(1, 60)
    )
    file = parts(tmp_path / "t.xlsx", f"<sheetData>{cells}</sheetData>")
    whole = look_into(file)["表"]
    assert (whole.rows, whole.columns, whole.formulas, len(whole.lost)) == (59, 3, 59, 118)
    for size in (97, 64, 151):
        monkeypatch.setattr(unpacking, "_PIECE", size)
        assert look_into(file)["表"] == whole


def test_the_sizes_are_those_of_the_archive(tmp_path: Path) -> None:
    """What is unpacked here is what the archive's own reader unpacks."""
    file = book(tmp_path / "t.xlsx", [HEADER, *TWO])
    with zipfile.ZipFile(file) as archive, file.open("rb") as stream:
        for info in archive.infolist():
            data = b"".join(unpacking._unpacked(stream, info))
            assert (len(data), zlib.crc32(data)) == (info.file_size, info.CRC)
