"""What a command talks through: tables, files, ids, times; each input read strictly and within bounds."""

import io
import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exchange.cli.terminal import Terminal, new_file, read_json, read_text, replaced
from exchange.errors import Invalid, Refused
from exchange.messages import Language


def _terminal(*, as_json: bool = False, language: Language = "en", stdin: str = "") -> Terminal:
    return Terminal(
        language, as_json, {}, io.TextIOWrapper(io.BytesIO(stdin.encode())), io.StringIO(), io.StringIO(), lambda: 0
    )


def _out(terminal: Terminal) -> str:
    assert isinstance(terminal.stdout, io.StringIO)
    return terminal.stdout.getvalue()


def _err(terminal: Terminal) -> str:
    assert isinstance(terminal.stderr, io.StringIO)
    return terminal.stderr.getvalue()


def test_columns_stand_under_one_another_also_with_han_characters() -> None:
    """A Han character takes two places; None is a dash; a list is told with commas."""
    terminal = _terminal()
    terminal.table([{"a": "姓名", "b": [1, 2], "c": None}, {"a": "x", "b": True}], ["a", "b", "c"])
    assert _out(terminal) == "a     b     c\n姓名  1,2   -\nx     True  -\n"


@pytest.mark.parametrize("open_files", ["/proc/self/fd", "/no/such"])
def test_a_replaced_file_is_whole_or_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_files: str
) -> None:
    """With files that have no name until they are whole, and where the system has none: nothing else is left."""
    monkeypatch.setattr("exchange.cli.terminal._OPEN_FILES", open_files)
    file = tmp_path / "x"
    for content in (b"1", b"2"):
        with replaced(file) as out:
            out.write(content)
            assert file.exists() == (content == b"2")
        assert (file.read_bytes(), file.stat().st_mode & 0o777) == (content, 0o600)
    with pytest.raises(ZeroDivisionError), replaced(file) as out:  # noqa: PT012 - written, then lost
        out.write(b"3")
        raise ZeroDivisionError
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("x", b"2")]


def test_the_same_rows_as_json() -> None:
    """With `--json` the rows as they are, one document on one line."""
    terminal = _terminal(as_json=True)
    terminal.table([{"a": "姓名", "b": [1, 2]}], ["a"])
    assert _out(terminal) == '[{"a": "姓名", "b": [1, 2]}]\n'


def test_a_time_is_told_with_its_offset() -> None:
    """In the site's zone; a dash where there is none."""
    zone = ZoneInfo("Asia/Shanghai")
    assert _terminal().time(1_795_420_800_000_000_000, zone) == "2026-11-23 16:00:00+08:00"
    assert _terminal().time(None, zone) == "-"


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("431126199001010013", "…"),
        ("a/43112619900101001X.csv", "a/….csv"),
        ("4311 2619 9001 010 013", "…"),
        ("４３１１２６１９９００１０１００１３", "…"),
        ("431126900101001", "…"),
        ("sha256:12345678901234567890abc", "sha256:12345678901234567890abc"),
        ("case-2026-000123", "case-2026-000123"),
        ("row 1234567890", "row 1234567890"),
    ],
)
def test_what_looks_like_an_id_is_not_told(where: str, shown: str) -> None:
    """The last net: an id that slipped into an error's place or facts is covered, digests and numbers are not."""
    for as_json in (False, True):
        terminal = _terminal(as_json=as_json)
        terminal.error(Invalid("command_line", where=where, detail=where))
        text = _err(terminal)
        assert shown in text
        assert where == shown or where not in text
    document = json.loads(text)
    assert document["where"] == shown


def test_reasons_are_told_one_by_one() -> None:
    """Each reason of a refusal with its sentence, in the asked language."""
    terminal = _terminal(language="zh")
    terminal.error(Refused("question_refused", where="ds", purpose="p", reasons="not_in_case, zone"))
    lines = _err(terminal).splitlines()
    assert [line.split(":")[0] for line in lines[1:3]] == ["  not_in_case", "  zone"]


def test_ids_are_prompted_for_without_showing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal one id is asked for, its text not shown; the prompt goes to standard error."""

    class Keyboard(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    terminal = Terminal("zh", False, {}, Keyboard(io.BytesIO()), io.StringIO(), io.StringIO())
    asked: list[object] = []

    def typed(prompt: str, stream: object) -> str:
        asked.append((prompt, stream))
        return " 42 "

    monkeypatch.setattr("getpass.getpass", typed)
    assert terminal.ids(None) == ["42"]
    assert asked == [("编号（不显示）： ", terminal.stderr)]


def test_a_new_file_is_there_first_and_gone_when_what_follows_fails(tmp_path: Path) -> None:
    """So nothing is done whose result could not be kept, and no empty file tells of something that did not happen."""
    seen: list[int] = []

    def fail() -> None:
        with new_file(tmp_path / "t"):
            seen.append((tmp_path / "t").stat().st_mode & 0o777)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (seen, list(tmp_path.iterdir())) == ([0o600], [])
    with new_file(None) as stream:
        assert stream is None


def test_a_text_file_is_utf8_and_of_bounded_size(tmp_path: Path) -> None:
    """A BOM is taken off; anything else is one error that names the file, not its folders."""
    file = tmp_path / "f"
    file.write_bytes("\ufeff中".encode())
    assert read_text(file) == "中"
    file.write_bytes(b"\xd6\xd0")
    with pytest.raises(Invalid, match="file_unreadable at f UTF-8".replace(" UTF", " detail=UTF")):
        read_text(file)
    with file.open("wb") as stream:
        stream.truncate((16 << 20) + 1)
    with pytest.raises(Invalid, match="16 MiB"):
        read_text(file)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,]", '{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 1}}', "NaN", "[Infinity]", "[" * 100_000, "1" * 5_000],
)
def test_a_json_file_says_one_thing(tmp_path: Path, text: str) -> None:
    """Cut off, too deep, a key that stands twice, no number: one error that names the file."""
    (tmp_path / "f.json").write_text(text, "utf-8")
    with pytest.raises(Invalid, match=r"file_unparsable at f\.json"):
        read_json(tmp_path / "f.json")
