"""Files as they come: encodings, quotation marks, wrong rows; each fault has its place, the others go on."""

from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.files import csvfile
from adapters.files.encoding import encoding_of
from adapters.files.rows import MAX_CELL
from exchange.errors import ExchangeError, Invalid
from tests.adapters.files.site import HEADER, ID, OTHER, PERSONS, run
from tests.profiles import examples

ROWS = f"{ID},王䶮,12.50\n{OTHER},李𠮷,0\n"


@pytest.mark.parametrize(
    ("codec", "note"),
    [("utf-8", ""), ("utf-8-sig", ""), ("gb18030", "GB18030")],
)
def test_encodings_are_told_apart(tmp_path: Path, codec: str, note: str) -> None:
    """UTF-8 with and without the mark, GB18030: all give the same names, rare ones too; a guess is said."""
    found = run(tmp_path, (HEADER + ROWS).encode(codec))
    assert [value["name"] for value in found.values.values()] == ["王䶮", "李𠮷"]
    assert [value["benefit"] for value in found.values.values()] == [1250, 0]
    assert any(note in text for text in found.notes) if note else found.notes == ()


def test_gb18030_with_a_mark_and_a_set_encoding(tmp_path: Path) -> None:
    """A mark in GB18030 is one too; a set encoding is not guessed about, and a wrong one is said."""
    assert len(run(tmp_path, ("\ufeff" + HEADER + ROWS).encode("gb18030")).values) == 2
    assert run(tmp_path, (HEADER + ROWS).encode("gb18030"), PERSONS | {"encoding": "gb18030"}).notes == ()
    with pytest.raises(Invalid) as found:
        run(tmp_path, (HEADER + ROWS).encode("gb18030"), PERSONS | {"encoding": "utf-8"})
    assert (found.value.code, found.value.where) == ("file_encoding", "persons.csv:1")


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_a_wrong_byte_costs_only_its_row(tmp_path: Path, codec: str) -> None:
    """One byte that is no text: that row is refused with its column, the file's encoding is still known."""
    more = "".join(f"{number:015},张三丰,1\n" for number in range(20))
    broken = (HEADER + ROWS + more).encode(codec).replace("李𠮷".encode(codec), "李".encode(codec) + b"\xff")
    found = run(tmp_path, broken)
    assert len(found.values) == 21
    assert {value["name"] for value in found.values.values()} == {"王䶮", "张三丰"}
    assert found.codes == ["cell_undecodable"]
    assert (found.rejected[0].place.row, found.rejected[0].place.column) == (3, "姓名")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "file_empty"),
        ((HEADER + ROWS).encode("utf-16"), "file_utf16"),
        ((HEADER + ROWS).encode("utf-16-le"), "file_utf16"),
        (b"PK\x03\x04workbook", "file_damaged"),
        (b"\n", "file_header_missing"),
        (f"{ID},x,1\n".encode(), "file_column_missing"),
        ("公民身份号码,姓名\n".encode(), "file_column_missing"),
        ("公民身份号码,姓名,月待遇,姓 名\n".encode(), "file_column_repeated"),
        ('公民身份号码,"姓名,月待遇\n'.encode(), "file_quotes_open"),
    ],
)
def test_file_without_a_use(tmp_path: Path, content: bytes, code: str) -> None:
    """A file that is no such CSV is one error that names the file, and nothing of a record."""
    with pytest.raises(Invalid) as found:
        run(tmp_path, content)
    assert found.value.code == code
    assert found.value.where.startswith("persons.csv")
    assert ID not in str(found.value)


def test_no_file_and_header_further_down(tmp_path: Path) -> None:
    """A missing file is said; a title above the header is passed over; beyond the end there is no header."""
    with pytest.raises(Invalid, match="source_unreadable"):
        encoding_of(tmp_path / "none.csv", "guess")
    assert len(run(tmp_path, "某县人员表\n" + HEADER + ROWS, PERSONS | {"header": 2}).values) == 2
    with pytest.raises(Invalid, match="file_header_missing"):
        run(tmp_path, "某县人员表\n", PERSONS | {"header": 3})


def test_columns_without_names(tmp_path: Path) -> None:
    """With `header = 0` columns are named by number; the first line is a record."""
    columns = dict(zip("123", PERSONS["columns"].values(), strict=True))
    found = run(tmp_path, ROWS, PERSONS | {"header": 0, "columns": columns})
    assert [value["name"] for value in found.values.values()] == ["王䶮", "李𠮷"]


def test_headers_with_spaces_and_columns_of_no_use(tmp_path: Path) -> None:
    """Spaces in a header do not matter; a column without a field is left out and said."""
    found = run(tmp_path, f"备注, 姓 名,公民身份号码,月待遇\nx,张三,{ID},1\n")
    assert list(found.values.values()) == [{"person_id": ID, "name": "张三", "benefit": 100}]
    assert "备注" in found.notes[0]


def test_rows_are_counted_by_lines(tmp_path: Path) -> None:
    """A cell may hold line ends: a record's row is the line it begins in. Empty rows are none."""
    content = f'{HEADER}{ID},"张\n三",1\n\n,,\n{OTHER},李四,x\n431126800101001,a\n'
    found = run(tmp_path, content)
    assert [batch.places[0].row for batch in found.batches] == [2]
    assert [(r.code, r.place.row, r.place.column) for r in found.rejected] == [
        ("cell_money_malformed", 6, "月待遇"),
        ("row_width", 7, ""),
    ]
    assert found.rejected[0].shape == {"benefit": "A"}
    assert found.rejected[1].shape == {"columns": "2, not 3"}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f'{ID},"张"三",1', "row_width"),
        (f'{ID},"张"三,1', "row_quotes"),
        (f"{ID},张\0三,1", "cell_control_character"),
        (f"{ID},{'张' * (MAX_CELL + 1)},1", "cell_too_large"),
        (f"{ID},张三,1,", "row_width"),
        (",张三,1", "row_key_missing"),
        ("4.31E+17,张三,1", "cell_id_damaged"),
        ("４.31126Ｅ+17,张三,1", "cell_id_damaged"),
    ],
)
def test_a_wrong_row_is_one_dead_letter(tmp_path: Path, line: str, code: str) -> None:
    """A row with a fault is refused with its code; the rows before and after it are taken."""
    if code == "row_width" and line.count('"') % 2:
        line = line.replace('"', "").replace(",1", ",1,1")
    found = run(tmp_path, f"{HEADER}{OTHER},李四,1\n{line}\n431126800101001,王五,2\n")
    assert found.codes == [code]
    assert found.rejected[0].place.row == 3
    assert [value["name"] for value in found.values.values()] == ["李四", "王五"]
    assert ID not in repr(found.rejected)


@pytest.mark.parametrize(
    "wrong", [f'{ID},"张三,1\n', f'{ID},"张"三",1\n', f'{ID},"a\nb"c,1\n', f'{ID},"{"x" * (MAX_CELL + 1)}\n']
)
def test_an_open_quotation_mark_ends_the_run(tmp_path: Path, wrong: str) -> None:
    """When the next line may be text or a row, nothing is guessed: the place where it began is named."""
    with pytest.raises(Invalid) as found:
        run(tmp_path, f"{HEADER}{OTHER},李四,1\n{wrong}431126800101001,王五,2\n")
    assert (found.value.code, found.value.where) == ("file_quotes_open", "persons.csv:3")


def test_a_row_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row over the limit ends the run at its place, so that memory stays bounded."""
    monkeypatch.setattr(csvfile, "MAX_ROW", 200)
    with pytest.raises(Invalid) as found:
        run(tmp_path, f"{HEADER}{OTHER},李四,1\n{'x' * 200}")
    assert (found.value.code, found.value.where) == ("file_row_too_long", "persons.csv:3")
    with pytest.raises(Invalid, match="file_row_too_long"):
        run(tmp_path, f'{HEADER}{OTHER},"' + "x\n" * 200)


@pytest.mark.parametrize(("last", "code"), [(f'{ID},"张', "row_quotes"), (f"{ID},张", "row_width")])
def test_a_file_cut_off(tmp_path: Path, last: str, code: str) -> None:
    """The last line of a file that was cut off is refused, the rest taken, and the missing line end said."""
    found = run(tmp_path, f"{HEADER}{OTHER},李四,1\n{last}")
    assert found.codes == [code]
    assert len(found.values) == 1
    assert "complete?" in found.notes[-1]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    """The delimiter is the one that was set, in GB18030 too (where | may be half of a character)."""
    document = PERSONS | {"delimiter": delimiter, "encoding": "gb18030"}
    content = (HEADER + ROWS.replace("王", "亅")).replace(",", delimiter).encode("gb18030")
    assert [value["name"] for value in run(tmp_path, content, document).values.values()] == ["亅䶮", "李𠮷"]


def test_constants_absences_and_nulls(tmp_path: Path) -> None:
    """Fixed fields are in every record, absent ones null, and so is a text that means nothing."""
    document = deepcopy(PERSONS) | {"constants": {"region": "431126"}, "absent": ["photo"], "nulls": ["", "无"]}
    found = run(tmp_path, f"{HEADER}{ID}, 无 ,\n", document)
    assert list(found.values.values()) == [
        {"person_id": ID, "name": None, "benefit": None, "region": "431126", "photo": None}
    ]


@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_give_another_error(tmp_path: Path, content: bytes, header: bool) -> None:
    """Whatever a file holds, there are records, dead letters, or one of our errors."""
    (tmp_path / "ledger.db").unlink(missing_ok=True)
    try:
        found = run(tmp_path, (HEADER.encode() if header else b"") + content)
    except ExchangeError as error:
        found = None
        code = error.code
        assert code.startswith("file_")
    if found:
        assert not any(set(found.values) & {rejected.sequence} for rejected in found.rejected)
