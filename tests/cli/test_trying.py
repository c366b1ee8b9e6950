"""One's own file: what is shown, what is kept, what is not, and that nothing in a cell does anything anywhere."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from adapters.draft import draft_file
from exchange.cli import trial
from exchange.cli.trial_masks import suggested
from tests.adapters.draft.ugly import LINK, QUICK, RUNS, UGLY, Ugly, person
from tests.adapters.files.books import book
from tests.simulator import Ran, run

PLAIN = {"PATH": os.environ["PATH"], "LANG": "zh_CN.UTF-8"}
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x9b31m"
PEOPLE = [person(number) for number in range(1, 8)]
ROWS = [
    "身份证号,姓名,手机号,银行卡号,补助金额,出生日期,说明",
    *(
        f"{who},张三,1380000000{number},6222020000001234509,{number}00.5,1950-01-0{number},{text}"
        for number, (who, text) in enumerate(
            zip(
                PEOPLE,
                [RUNS, f'"{LINK.replace(chr(34), chr(34) * 2)}"', HOSTILE, "+1", "-1", "@x", "平常"],
                strict=True,
            ),
            1,
        )
    ),
    f"{PEOPLE[0][:-1]}Z,李四,13800000009,,1,1950-01-01,x",
    "合计,,,,2800.5,,",
    "",
]
MASKED = {
    "id_number": f"{PEOPLE[0][:6]}********{PEOPLE[0][-4:]}",
    "name": "张*",
    "phone": "138****0001",
    "benefit_fen": "<20000",
    "birth_date": 1950,
    "remark": RUNS,
}


def attempt(*words: str, more: dict[str, str] | None = None) -> Ran:
    """Runs `exchange try` in this process, with nothing set."""
    return run(["try", *words], {**PLAIN, **(more or {})})


@dataclass(frozen=True)
class Saved:
    """One trial that was kept."""

    ran: Ran
    file: Path
    folder: Path
    page: str


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A trial of a file with all that is personal, and with cells that would do something elsewhere."""
    folder = tmp_path_factory.mktemp("try")
    file = folder / "own.csv"
    file.write_text("\n".join(ROWS), "utf-8")
    ran = attempt(str(file), "--save", str(folder / "kept"), "--html", str(folder / "page.html"))
    assert ran.code == 0, ran.stderr
    return Saved(ran, file, folder / "kept", (folder / "page.html").read_text("utf-8"))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders are made; empty again at the end of every test that uses it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def test_the_whole_is_shown_from_the_draft_to_the_proof(saved: Saved) -> None:
    """Draft with reasons, dead letters by cell, both views, the plan in sentences, the proof, the next commands."""
    shown = saved.ran.stdout
    for part in (
        "表头表明为居民身份号码",
        "100% 的值为通过 Luhn 校验的银行卡号",
        "合计、说明等非记录行不取：1 行（合计）",
        "已入库 7 条；未能入库 1 行",
        "前 5 条记录，双方所见",
        "（协议未列，不提供）",
        "允许读取 own.own。",
        "其包含证明在已签名的根",
        "全部叶子直至树根，签名有效",
    ):
        assert part in shown, part
    assert "9   身份证号  " in shown
    assert PEOPLE[0] in shown  # the owner's view
    assert "138****0001" in shown
    assert str(saved.folder / "trial.html") in saved.ran.stderr


def test_columns_of_a_terminal_stand_below_each_other(saved: Saved) -> None:
    """A Han character takes two: the third column of every record's lines begins at one place."""
    lines = saved.ran.stdout.splitlines()
    start = lines.index("  第 1 条")
    block = lines[start + 1 : start + 9]

    def at(line: str, cell: str) -> int:
        before = line[: line.rindex(cell)]
        return sum(2 if character > "\u2e80" else 1 for character in before)

    cells = ["对方所得", MASKED["id_number"], "张*", "138****0001", "（协议未列，不提供）", "<20000", "1950", RUNS]
    assert len({at(line, str(cell)) for line, cell in zip(block, cells, strict=True)}) == 1


def test_nothing_of_a_cell_reaches_the_terminal_but_its_text(saved: Saved) -> None:
    """No control character, no mark that turns a line round; what a spreadsheet would run stands there as it is."""
    assert all(character.isprintable() or character == "\n" for character in saved.ran.stdout)
    assert RUNS in saved.ran.stdout
    assert "<img src=x onerror=alert(1)>··31m" in saved.ran.stdout


class Seen(HTMLParser):
    """The elements and attributes of a page, and the texts between."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_shows_the_same_and_does_nothing(saved: Saved) -> None:
    """No script, link, image, form or style of a cell's; every cell is a text; the same page lies in the folder."""
    seen = Seen(saved.page)
    assert seen.tags == {
        *(
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "main",
            "section",
            "h1",
            "h2",
            "h3",
            "p",
            "ul",
            "li",
            "pre",
        ),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    assert seen.attributes == {"lang", "charset", "name", "content", "http-equiv", "class", "scope"}
    assert "default-src 'none'" in saved.page
    for cell in (RUNS, LINK, HOSTILE, PEOPLE[0], *map(str, MASKED.values())):
        assert cell in seen.texts, cell
    assert "url(" not in saved.page
    assert "@import" not in saved.page
    assert (saved.folder / "trial.html").read_text("utf-8") == saved.page
    assert (saved.folder / "trial.html").stat().st_mode & 0o777 == 0o600


@pytest.mark.whole
def test_the_page_speaks_english_too(saved: Saved, tmp_path: Path, nowhere: Path) -> None:
    """By the language of the command; without `--save` it lies only where it was asked for."""
    assert nowhere.is_dir()
    file = tmp_path / "page.html"
    ran = attempt(str(saved.file), "--html", str(file), "--lang", "en")
    assert ran.code == 0
    assert '<html lang="en">' in (page := file.read_text("utf-8"))
    assert "What each side sees, of the first 5 records" in page
    assert "nothing of it is left" in ran.stderr
    again = attempt(str(saved.file), "--html", str(file), "--lang", "en")
    assert (again.code, again.error_code, file.read_text("utf-8")) == (2, "file_exists", page)


def test_the_next_commands_work_as_they_are_printed(saved: Saved) -> None:
    """On the site that was kept: the consumer reads, the file is published again (nothing is new), the log holds."""
    commands = [line.split("$ ", 1)[1] for line in saved.ran.stdout.splitlines() if line.startswith("  $ ")]
    assert len(commands) == 3
    read, publish, verify = (run(shlex.split(command)[1:], PLAIN) for command in commands)
    assert read.code == publish.code == verify.code == 0, read.stderr + publish.stderr + verify.stderr
    assert read.records[0] == MASKED
    assert len(read.records) == 7
    assert "taken: 0" in publish.stdout
    assert "签名有效" in verify.stdout
    assert "试用" in (saved.folder / "exchange.toml").read_text("utf-8")


def test_csv_of_the_saved_site_is_inert_in_a_spreadsheet_and_json_is_true(saved: Saved) -> None:
    """In CSV a cell that would be run begins with an apostrophe; JSON lines hold the value itself."""
    words = ["read", "own.own", "--purpose", "trial", "--site", str(saved.folder)]
    words += ["--token", f"file:{saved.folder}/tokens/reader.other.department.token"]
    cells = run([*words, "--field", "remark", "--format", "csv"], PLAIN).stdout.splitlines()
    assert cells[1] == f"'{RUNS}"
    assert all(not cell.startswith(("=", "+", "-", "@", '"=')) for cell in cells)
    assert [one["remark"] for one in run([*words, "--field", "remark"], PLAIN).records][:2] == [RUNS, LINK]


def test_three_people_made_the_one_agreement(saved: Saved) -> None:
    """Requested, reviewed and approved, each by somebody else; L4 is not in it, and what is L3 is never kept whole."""
    words = ["--site", str(saved.folder), "--token", f"file:{saved.folder}/tokens/authority.trial.token", "--json"]
    shown = run(["agreement", "show", "agr-1", *words], PLAIN).json
    people = {shown[key] for key in ("requested_by", "reviewed_by", "approved_by")}
    assert people == {"steward.other.department", "steward.own.department", "authority.trial"}
    assert "bank_account" not in {one["path"] for one in shown["terms"]["fields"]}
    for token in (saved.folder / "tokens").iterdir():
        assert token.stat().st_mode & 0o777 == 0o600


def test_the_answer_as_json_and_nothing_left_behind(tmp_path: Path, nowhere: Path) -> None:
    """One document; the variables of somebody's own site change nothing; a workbook does as well as a CSV."""
    file = book(
        tmp_path / f"表{PEOPLE[0]}.xlsx", [["姓名", "身份证号"], ["张三", PEOPLE[0]], ["李四", float(PEOPLE[1])]]
    )
    ran = attempt(str(file), "--json", more={"EXCHANGE_SITE": str(nowhere / "none"), "EXCHANGE_ENGINES_LOG": "none:x"})
    assert ran.code == 0, ran.stderr
    answer = ran.json
    assert (answer["dataset"], answer["form"], answer["key"]) == ("own.table", "xlsx", ["id_number"])
    assert (answer["taken"], answer["dead_letters"], answer["letters"][0]["code"]) == (1, 1, "cell_id_damaged")
    assert answer["owner"] == [{"name": "张三", "id_number": PEOPLE[0]}]
    assert answer["consumer"] == [{"name": "张*", "id_number": MASKED["id_number"]}]
    assert answer["audit"]["included"] is answer["audit"]["verified"] is True
    assert PEOPLE[1] not in ran.stdout
    assert "3   B3 身份证号  " in attempt(str(file)).stdout


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "source_unreadable"),
        ("folder", "draft_no_file"),
        (b"", "file_empty"),
        (b"\xff\xfea\0", "file_utf16"),
        ("姓名,年龄\n".encode(), "draft_no_records"),
        ("姓名,年龄\n,\n".encode(), "draft_no_records"),
        ("姓名,年龄\n合计,3\n".encode(), "draft_no_records"),
        (
            (",".join(f"列{n}" for n in range(501)) + "\n" + ",".join("x" * 501) + "\n").encode(),
            "draft_too_many_columns",
        ),
        (b"PK\x03\x04", "file_damaged"),
    ],
)
def test_what_is_no_table_is_refused_politely(
    tmp_path: Path, nowhere: Path, content: bytes | str | None, code: str
) -> None:
    """One clear error with what to do; nothing is made, and nothing kept."""
    assert nowhere.is_dir()
    file = tmp_path / "t.csv"
    if content == "folder":
        file.mkdir()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    ran = attempt(str(file), "--save", str(tmp_path / "kept"))
    assert (ran.code, ran.error_code, ran.out) == (2, code, b"")
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(
        {"temporary", *([file.name] if content is not None else [])}
    )


def test_a_folder_with_something_in_it_is_not_touched(saved: Saved, tmp_path: Path) -> None:
    """`--save` takes a new or an empty folder; any other is refused before anything is made."""
    (tmp_path / "mine").write_text("x", "utf-8")
    for folder in (tmp_path, tmp_path / "mine"):
        ran = attempt(str(saved.file), "--save", str(folder))
        assert (ran.code, ran.error_code) == (2, "site_exists")
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


def test_what_ends_halfway_leaves_nothing(
    saved: Saved, tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted when the records are in and the agreement is not: no site, no page, no hidden folder."""
    assert nowhere.is_dir()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "_agree", interrupted)
    for words in ([], ["--save", str(tmp_path / "kept")]):
        ran = attempt(str(saved.file), "--html", str(tmp_path / "page.html"), *words)
        assert ran.code == 130
    assert [one.name for one in tmp_path.iterdir()] == ["temporary"]


@pytest.mark.parametrize("ugly", QUICK, ids=lambda ugly: ugly.name)
def test_masks_follow_the_classes(tmp_path: Path, ugly: Ugly) -> None:
    """Of L4 nothing is named, of L3 nothing is kept as it is, a name keeps its first character alone."""
    ugly.make(tmp_path / ugly.name)
    draft = draft_file(tmp_path / ugly.name)
    masks = suggested(draft)
    for one in draft.fields:
        assert (one.field in masks) == (one.security_class != "L4")
        if one.security_class == "L3":
            assert masks[one.field]["kind"] != "keep"
        if one.kind == "name":
            assert masks[one.field] == {"kind": "partial", "first": 1, "last": 0}


@pytest.mark.whole
@pytest.mark.timeout(600)
@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.name)
def test_every_ugly_file_goes_the_whole_way(tmp_path: Path, ugly: Ugly) -> None:
    """Through site, agreement and gateway: as many records, as many dead letters, and the log holds."""
    file = tmp_path / ugly.name
    ugly.make(file)
    ran = attempt(str(file), "--json")
    if ugly.error:
        assert (ran.code, ran.error_code) == (2, ugly.error)
        return
    assert ran.code == 0, ran.stderr
    answer = ran.json
    assert (answer["taken"], answer["dead_letters"], answer["released"]) == (ugly.taken, len(ugly.letters), ugly.taken)
    fields = {one["field"]: (one["type"], one["class"], one["nullable"]) for one in answer["fields"]}
    assert fields == ugly.fields
    found = [(one["code"], one["row"], one["column"]) for one in answer["letters"]]
    assert found == list(ugly.letters)
    assert answer["audit"]["verified"] is True
    assert len(answer["owner"]) == len(answer["consumer"]) == min(5, ugly.taken)


@pytest.mark.whole
def test_a_file_of_nothing_but_secrets_and_one_of_nothing_that_gets_in(tmp_path: Path) -> None:
    """Of cards alone the consumer sees that there are records; where no row gets in there is nothing to see."""
    cards = tmp_path / "cards.csv"
    cards.write_text("银行卡号\n6222020000001234509\n6222020000001234517\n", "utf-8")
    answer = attempt(str(cards), "--json").json
    assert answer["consumer"] == [{"bank_account": "***"}, {"bank_account": "***"}]
    ids = tmp_path / "ids.csv"
    ids.write_text("身份证号\n4.31126E+17\n4.31127E+17\n", "utf-8")
    ran = attempt(str(ids))
    assert ran.code == 0
    assert "没有记录入库，双方均无所见" in ran.stdout
    assert "未提供任何记录" in ran.stdout


@pytest.mark.whole
@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_is_told_to_end_leaves_nothing_of_the_file(tmp_path: Path, number: signal.Signals) -> None:
    """The throw-away site is removed first; the exit code is that of an interruption."""
    many = next(one for one in UGLY if one.name == "many.csv")
    many.make(tmp_path / many.name)
    folder = tmp_path / "temporary"
    folder.mkdir()
    started = subprocess.Popen(
        [sys.executable, "-m", "exchange", "try", str(tmp_path / many.name)],
        env={**PLAIN, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 60
    while not list(folder.glob("exchange-try-*/site/data/records.db")):
        assert started.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    started.send_signal(number)
    out, _ = started.communicate(timeout=60)
    assert (started.returncode, out, list(folder.iterdir())) == (130, b"", [])


def test_the_help_names_every_option() -> None:
    """In both languages."""
    for language in ("zh", "en"):
        shown = run(["try", "--help", "--lang", language], PLAIN).stdout
        assert all(option in shown for option in ("--save DIR", "--html FILE"))
