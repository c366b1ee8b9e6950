"""What auditors hand in or are handed, and what is wrong with it: each with its exact answer in both languages.

Of nine kinds the last five, by the command line and by the judge of evidence; the others: `test_auditors_input.py`.
"""

import random
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from exchange.audit.schemas import kind_of
from exchange.cli import lesson
from exchange.evidence import forms, tables
from exchange.evidence.check import check
from exchange.evidence.report import findings
from exchange.evidence.words import said
from exchange.wiring.evidence import archive
from tests.audit.test_verify import VECTOR
from tests.cli.auditors import LANGUAGES, NOBODY, told_by, verified
from tests.evidence.answers import Bundle
from tests.simulator import AUDITOR, Site


@pytest.fixture(scope="module", name="town")
def _town(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site that these tests ask and never publish to."""
    return made.copy(tmp_path_factory.mktemp("auditors") / "exchange")


# 5: a bundle of another log

OTHER_KEY = {
    "zh": "key_other: vkey：证据包用的是另一个日志的公钥，与您给出的不同",
    "en": "key_other: vkey: the bundle is of another key than the one you gave",
}
OTHER_KEPT = {
    "zh": "kept_invalid: --checkpoint 1：不是该日志签名的检查点：not a signed checkpoint of this log",
    "en": "kept_invalid: --checkpoint 1: not a checkpoint that this log signed: not a signed checkpoint of this log",
}
NOT_SIGNED = {
    "zh": "检查点未由本日志的密钥签名或格式有误：no signature by this key | → 请与审计人员保存的公钥和检查点核对",
    "en": (
        "the checkpoint is not signed by the key of this log, or is malformed: no signature by this key | "
        "→ compare the key and the checkpoint with the copies that the auditor keeps"
    ),
}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_bundle_of_another_log(town: Site, tmp_path: Path, lang: str) -> None:
    """By the key that the auditor has, by a checkpoint that he kept; and a checkpoint of another log that is handed to
    this one to continue.
    """
    lesson.write(tmp_path)
    bundle, key = tmp_path / "bundle-2.zip", town.root / "keys" / "audit.vkey"
    ran = verified(bundle, "--key", key, lang=lang)
    assert (ran.code, OTHER_KEY[lang] in ran.stdout.splitlines()) == (4, True)
    kept = town.folder / "kept"
    assert town.run("audit", "checkpoint", "--out", str(kept), who=AUDITOR).code == 0
    ran = verified(bundle, "--checkpoint", kept, lang=lang)
    assert (ran.code, OTHER_KEPT[lang] in ran.stdout.splitlines()) == (4, True)
    foreign = str(tmp_path / "kept-checkpoint")
    for words, stdin in ((("bundle", "/dev/null/no.zip"), NOBODY), (("keys", "--bundle", "/dev/null/no.zip"), "")):
        ran = town.run("audit", *words, "--checkpoint", foreign, "--lang", lang, who=AUDITOR, stdin=stdin)
        assert told_by(ran, 4, "audit_note_invalid") == NOT_SIGNED[lang]


# 6: a checkpoint from the future

SHORTER = {
    "zh": (
        "您留存的检查点有 {kept} 条，本日志仅有 {size} 条：日志末尾被截去，或应答的是旧副本 | "
        "→ 请保管好您的检查点，并用它核验日志（exchange audit verify --checkpoint）"
    ),
    "en": (
        "the checkpoint that you kept has {kept} entries and this log only {size}: its end was cut off, or an older "
        "copy answers | → keep your checkpoint, and verify the log with it (`exchange audit verify --checkpoint`)"
    ),
}
CUT_OFF = {
    "zh": "log_cut_off: {place}：日志比您留存的检查点短，末尾被截去：{kept} > {size}",
    "en": "log_cut_off: {place}: the log is shorter than this checkpoint, its end was cut off: {kept} > {size}",
}
CUT_LOG = {
    "zh": "log_cut_off: 日志止于第 {size} 条，末尾的条目被截去：the kept checkpoint has {kept} entries",
    "en": (
        "log_cut_off: the log ends at entry {size}, entries at its end were cut off: "
        "the kept checkpoint has {kept} entries"
    ),
}


@pytest.mark.whole
@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_checkpoint_from_the_future(site: Site, tmp_path: Path, lang: str) -> None:
    """Kept, or the state of a verification, and larger than the log that is asked or judged now: its end is gone."""
    old = site.copy(tmp_path / "old")
    key, kept, state = site.root / "keys" / "audit.vkey", tmp_path / "kept", tmp_path / "state"
    for _ in range(5):
        assert site.run("audit", "policy", who=AUDITOR).code == 0
    assert site.run("audit", "checkpoint", "--out", str(kept), who=AUDITOR).code == 0
    assert verified(site.data / "audit", "--key", key, "--state", state).code == 0
    size, now, bundle = int(kept.read_bytes().split(b"\n")[1]), len(old.entries()), tmp_path / "b.zip"
    for word, file in (("--checkpoint", kept), ("--state", state)):
        for words, stdin in (
            (("bundle", "/dev/null/no.zip"), NOBODY),
            (("keys", "--bundle", "/dev/null/no.zip", "--complete"), ""),
        ):
            ran = old.run("audit", *words, word, str(file), "--lang", lang, who=AUDITOR, stdin=stdin)
            assert told_by(ran, 4, "audit_log_shorter") == SHORTER[lang].format(kept=size, size=now)
    ran = verified(old.data / "audit", "--key", key, "--checkpoint", kept, lang=lang)
    assert CUT_LOG[lang].format(size=now, kept=size) in ran.stdout.splitlines()
    assert old.run("audit", "keys", "--bundle", str(bundle), who=AUDITOR).code == 0
    held = check(str(bundle)).size
    for word, file in (("--checkpoint", kept), ("--state", state)):
        ran = verified(bundle, "--key", key, word, file, lang=lang)
        expected = CUT_OFF[lang].format(place=f"{word} 1", kept=size, size=held)
        assert (ran.code, expected in ran.stdout.splitlines()) == (4, True)


FUTURE = {
    "zh": "  - {count} 条所载时间晚于本机时钟：两者之中必有一个时钟不准",
    "en": "  - {count} entries state a time after the clock of this machine: one of the two clocks is wrong",
}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_time_after_now(site: Site, lang: str) -> None:
    """Entries that a clock wrote which is ahead of the judge's: counted, and not called proved; a period in the future
    has an empty answer.
    """
    out = site.folder / "b.zip"
    hour = 3_600 * 10**9
    assert site.run("audit", "keys", who=AUDITOR).code == 0  # so that the schema of questions is there
    ran = site.run("audit", "keys", "--bundle", str(out), "--from", "2999-01-01", who=AUDITOR, later_ns=hour)
    assert ran.code == 0, ran.stderr
    ran = verified(out, lang=lang)
    assert (ran.code, FUTURE[lang].format(count=1) in ran.stdout.splitlines()) == (0, True)
    assert check(str(out)).answer == []


# 7: a log, a bundle and a state of another format

HOLDS = {
    "zh": "日志完好：306 条记录，全部叶子直至树根，签名有效",
    "en": "the log holds: 306 entries, all leaves to the root, signature valid",
}
FORMAT = {
    "zh": (
        "format_unknown: question.json：证据包的格式为 exchange.evidence/0，本程序只认 exchange.evidence/1，"
        "请使用制作该包的版本所附的 exchange-verify.pyz"
    ),
    "en": (
        "format_unknown: question.json: the bundle has the format exchange.evidence/0, this checker knows "
        "exchange.evidence/1: take the exchange-verify.pyz of the version that made it"
    ),
}
STATE = {
    "zh": "上次验证的状态文件已损坏或不是状态文件 | → 请删除该文件，系统将从第一条起重新验证全部日志",
    "en": (
        "the file of the last verification is damaged or is none | "
        "→ delete it: the whole log is then verified from its first entry"
    ),
}


@pytest.mark.whole
@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_log_of_an_older_format(tmp_path: Path, lang: str) -> None:
    """The first version's log is read for ever, and so are its entries in a bundle, by the schemas that stand in it; a
    bundle or a state of a format that nobody here knows is said to be one.
    """
    leaves = [leaf for name in ("000", "001.p/50") for leaf in _leaves(VECTOR / "log/tile/entries" / name)]
    answer = [index for index, leaf in enumerate(leaves) if leaf[:8] == kind_of("release").prefix]
    (tmp_path / "first.zip").write_bytes(archive(Bundle(leaves, "releases", {}, answer, (0, len(leaves))).files()))
    ran = verified(tmp_path / "first.zip", "--json")
    assert (ran.code, ran.json["answer"], len(answer) > 9) == (0, answer, True)
    ran = verified(VECTOR / "log", "--key", VECTOR / "vkey", lang=lang)
    assert (ran.code, ran.stdout.splitlines()[0]) == (0, HOLDS[lang])
    lesson.write(tmp_path)
    with zipfile.ZipFile(tmp_path / "bundle-2.zip") as sound:
        files = {name: sound.read(name) for name in sound.namelist()}
    files["question.json"] = files["question.json"].replace(b"evidence/1", b"evidence/0")
    (tmp_path / "old.zip").write_bytes(archive(files))
    ran = verified(tmp_path / "old.zip", lang=lang)
    assert (ran.code, FORMAT[lang] in ran.stdout.splitlines()) == (4, True)
    (tmp_path / "state").write_text('{"format": "exchange.verification/0", "digest": ""}', "utf-8")
    ran = verified(VECTOR / "log", "--key", VECTOR / "vkey", "--state", tmp_path / "state", lang=lang)
    assert told_by(ran, 2, "audit_state_damaged").partition("：" if lang == "zh" else ": ")[2] == STATE[lang]


def _leaves(file: Path) -> list[bytes]:
    data, leaves = file.read_bytes(), []
    while data:
        end = 2 + int.from_bytes(data[:2], "big")
        leaves.append(data[2:end])
        data = data[end:]
    return leaves


# 8: a folder that is not a log

NO_LOG = {
    "checkpoint_missing": {"zh": "checkpoint：日志缺少检查点", "en": "checkpoint: the log has no checkpoint"},
    "folder_missing": {"zh": "{place}：目录不存在", "en": "{place}: there is no such folder"},
    "checkpoint_invalid": {
        "zh": "checkpoint：检查点未由该公钥对应的密钥签名：not a signed checkpoint of this log",
        "en": "checkpoint: the checkpoint is not signed by this key: not a signed checkpoint of this log",
    },
}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("code", list(NO_LOG))
def test_a_folder_that_is_not_a_log(tmp_path: Path, code: str, lang: str) -> None:
    """Somebody's documents, nothing, a file called `checkpoint` that is none: one finding, exit status 4."""
    place = tmp_path / "documents"
    if code != "folder_missing":
        shutil.copytree(VECTOR.parent / VECTOR.name / "log" / "tile", place / "pictures")
    if code == "checkpoint_invalid":
        (place / "checkpoint").write_bytes(b"remember the milk\n")
    ran = verified(place, "--key", VECTOR / "vkey", lang=lang)
    expected = f"{code}: {NO_LOG[code][lang].format(place=place)}"
    assert (ran.code, ran.stdout.splitlines()[1], ran.err) == (4, expected, b"")
    assert ran.stdout.splitlines()[0] == {"zh": "日志不可信（检查点称有 0 条记录）"}.get(
        lang, "the log does NOT hold (0 entries by its checkpoint)"
    )


def test_a_folder_that_is_not_a_bundle(tmp_path: Path) -> None:
    """To the judge by itself: what it lacks is named."""
    (tmp_path / "notes.txt").write_bytes(b"x")
    found = check(str(tmp_path))
    assert [line for lang in LANGUAGES for line in findings(found, lang)][:3] == [
        "file_missing: vkey：文件缺失",
        "file_missing: checkpoint：文件缺失",
        "file_missing: question.json：文件缺失",
    ]


# 9: what was cut off on the way


@pytest.mark.whole
def test_a_bundle_cut_off_at_any_byte(town: Site) -> None:
    """The judge says that the archive is cut off, or which bytes of it are not as they were; never that it holds."""
    out = town.folder / "whole.zip"
    assert town.run("audit", "keys", "--bundle", str(out), "--complete", who=AUDITOR).code == 0
    data = out.read_bytes()
    places = [*range(0, 40, 3), *random.Random(9).sample(range(len(data)), 20), *range(len(data) - 30, len(data), 4)]
    cut, ends = out.with_name("cut.zip"), list(_ends(data))
    for at in places:
        cut.write_bytes(data[:at])
        result = check(str(cut))
        told = [next(findings(result, lang)) for lang in LANGUAGES]
        if at < _HEAD:
            why = "no archive without compression"
        elif at >= ends[-1] or any(end <= at < end + _HEAD for end in ends):
            why = ""  # whole files, and then not what follows them
        else:
            why = "cut off, or a name that stands twice"
        assert told == (
            [
                f"bundle_unreadable: cut.zip：无法作为证据包读取：{why}",
                f"bundle_unreadable: cut.zip: cannot be read as a bundle: {why}",
            ]
            if why
            else [
                "archive_changed: cut.zip：压缩包自身的字节被改动",
                "archive_changed: cut.zip: bytes of the archive itself were changed",
            ]
        ), at
    assert verified(cut).code == 4
    assert check(str(out)).ok


_HEAD: Final = forms._LOCAL.size


def _ends(data: bytes) -> Iterator[int]:
    """Where the files of an archive end."""
    at = 0
    while data[at : at + 4] == b"PK\x03\x04":
        head = forms._LOCAL.unpack_from(data, at)
        at += forms._LOCAL.size + head[9] + head[10] + head[7]
        yield at


@pytest.mark.whole
def test_a_table_cut_off_at_any_byte(town: Site) -> None:
    """Behind the last whole line too, where a spreadsheet shows nothing missing: held against its bundle it is named by
    its line. A table of another question differs; a whole one is what the bundle has.
    """
    table, bundle = town.folder / "keys.csv", town.folder / "keys.zip"
    assert town.run("audit", "keys", "--out", str(table), who=AUDITOR).code == 0
    assert town.run("audit", "keys", "--bundle", str(bundle), who=AUDITOR).code == 0
    data, whole = table.read_bytes(), check(str(bundle))
    answer = [one.index for one in whole.answer]
    assert len(answer) > 2
    for at in range(len(data)):
        found: list[tuple[Any, ...]] = []
        assert not tables.judged(data[:at], answer, _into(found))
        lines = data[:at].count(b"\r\n")
        assert [one[0] for one in found] == ["table_cut_off"], at
        assert found[0][1] in (max(lines, 1), lines + 1), at
    table.write_bytes(data[: data.rindex(b"\r\n", 0, -2) + 2])
    last = len(answer) + 1
    for lang, told in (
        ("zh", f"表格第 {last} 行：表格在此被截断"),
        ("en", f"line {last} of the table: the table is cut off here"),
    ):
        ran = verified(bundle, "--table", table, lang=lang)
        assert (ran.code, f"table_cut_off: {told}" in ran.stdout.splitlines()) == (4, True)
    for changed in (data.replace(b"\r\n%d," % answer[1], b"\r\n999,"), data + data.split(b"\r\n")[1] + b"\r\n"):
        table.write_bytes(changed)
        assert "table_differs: line" in verified(bundle, "--table", table).stdout
    table.write_bytes(data)
    ran = verified(bundle, "--table", table, "--json")
    assert (ran.code, ran.json["proved"]["table"]) == (0, len(answer))
    assert said("finding_table_differs", "zh", place=3, detail=7) == "表格第 3 行：与答复不符：7"
    assert verified(bundle, "--table", town.folder / "no.csv").error_code == "file_unreadable"
    assert verified(town.data / "audit", "--table", table).error_code == "command_line"  # of a bundle alone


def _into(found: list[tuple[Any, ...]]) -> Any:
    return lambda *one: found.append(one)


def test_an_answer_cut_off_on_its_way_is_not_written(town: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever cut it: the command judges what came before it writes it down."""
    from exchange.wiring.desk import LocalDesk

    out, whole = town.folder / "part.zip", LocalDesk.search_bundle
    sentences = {
        "zh": "收到的内容不是完整的证据包（bundle_unreadable -），未写入任何文件",
        "en": "what came is no whole evidence bundle (bundle_unreadable -); nothing was written",
    }
    monkeypatch.setattr(LocalDesk, "search_bundle", lambda *given, **more: whole(*given, **more)[:-5_000])
    for lang in LANGUAGES:
        ran = town.run("audit", "keys", "--bundle", str(out), "--complete", "--lang", lang, who=AUDITOR)
        assert re.sub(r"\(\w+ [-\w./]*\)|（\w+ [-\w./]*）", "", told_by(ran, 4, "bundle_unsound")).startswith(str(out))
        assert sentences[lang].partition("(" if lang == "en" else "（")[0] in ran.stderr
    assert not out.exists()
