"""Bundles judged: what the exchange writes holds; each thing that can be wrong with one is found and named."""

import ast
import base64
import datetime as dt
import hashlib
import io
import json
import random
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from exchange.audit import tiles
from exchange.audit.note import vkey
from exchange.cli import lesson
from exchange.evidence import check as judge
from exchange.evidence import forms, report, words
from exchange.evidence.avro import decoded
from exchange.names import canonical
from exchange.wiring.evidence import archive
from tests.audit.building import KEY

ROOM = Path(judge.__file__).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lesson's files."""
    folder = tmp_path_factory.mktemp("lesson")
    lesson.write(folder)
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(folder / "bundle-2.zip") as sound:
        return {name: sound.read(name) for name in sound.namelist()}


def _judged(folder: Path, files: Mapping[str, bytes], *, kept: bool = False) -> list[tuple[str, str]]:
    """What is found in a bundle of these files."""
    (folder / "tried.zip").write_bytes(archive(files))
    notes = [(folder / "kept-checkpoint").read_bytes()] if kept else []
    result = judge.check(str(folder / "tried.zip"), (folder / "vkey").read_text(), notes)
    assert result.ok is not bool(result.findings)
    return [(one.code, one.place) for one in result.findings]


def test_the_judge_shares_no_code_with_what_it_judges() -> None:
    """The room imports the standard library and itself: nothing that is installed, nothing of the exchange."""
    for file in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").split(".")[0] in sys.stdlib_module_names, file
            if isinstance(node, ast.Import):
                assert all(one.name.split(".")[0] in sys.stdlib_module_names for one in node.names), file


def test_it_is_python_of_3_8() -> None:
    """Its syntax is that of the oldest version it runs on."""
    for file in ROOM.glob("*.py"):
        ast.parse(file.read_text("utf-8"), feature_version=(3, 8))


def test_a_sound_bundle(made: Path) -> None:
    """Nothing is found; what was proved and what was not is told in numbers, by the kept checkpoint too."""
    assert _judged(made, _files(made), kept=True) == []
    result = judge.check(str(made / "bundle-2.zip"), (made / "vkey").read_text(), [])
    assert set(result.proved) == {"signature", "entries", "question", "answer", "decisions"}
    assert set(result.unproved) == {"history", "completeness", "outside", "positions", "deliveries", "ended"}
    assert [one.kind for one in result.answer] == ["release", "release", "refusal"]
    assert json.loads(json.dumps(result.document()))["ok"] is True


def test_a_folder_is_a_bundle_too(made: Path, tmp_path: Path) -> None:
    """Unpacked, it is judged alike; a file beside the others is named."""
    with zipfile.ZipFile(made / "bundle-2.zip") as sound:
        sound.extractall(tmp_path)
    assert judge.check(str(tmp_path)).ok
    (tmp_path / "notes.txt").write_bytes(b"x")
    assert [(one.code, one.place) for one in judge.check(str(tmp_path)).findings] == [("file_stray", "notes.txt")]


def test_equal_files_give_equal_bytes(made: Path) -> None:
    """The archive that the exchange writes is byte for byte the one that the judge expects, written by other code."""
    data = (made / "bundle-2.zip").read_bytes()
    files, changed, exact = forms.unarchived(data)
    assert (files, changed, exact) == (_files(made), [], True)
    assert forms.archived(files) == archive(files) == data


@pytest.mark.parametrize(
    ("number", "alone", "with_key", "with_both"),
    [
        (1, ["entry_not_proved", "answer_missing"], ["entry_not_proved", "answer_missing"], None),
        (2, [], [], []),
        (3, ["question_differs"], ["question_differs"], None),
        (4, [], ["key_other", "checkpoint_invalid"], None),
        (5, [], [], ["history_rewritten"]),
        (6, ["agreement_not_in_force"], ["agreement_not_in_force"], None),
        (7, ["entry_left_out"], ["entry_left_out"], None),
    ],
)
def test_the_lesson(
    made: Path, number: int, alone: list[str], with_key: list[str], with_both: list[str] | None
) -> None:
    """What each bundle shows by itself, with the log's key, and with a kept checkpoint beside it."""
    file, key, kept = str(made / f"bundle-{number}.zip"), (made / "vkey").read_text(), made / "kept-checkpoint"
    found = [
        [one.code for one in judge.check(file, *given).findings]
        for given in ((), (key,), (key, [kept.read_bytes()]))
    ]  # fmt: skip
    assert found == [alone, with_key, with_key if with_both is None else with_both]


def test_a_byte_changed_anywhere_is_found(made: Path) -> None:
    """Of the archive and of each unpacked file, at random places: always found; an entry by its index."""
    choice = random.Random(20261125)
    data, key, tried = (made / "bundle-2.zip").read_bytes(), (made / "vkey").read_text(), made / "tried.zip"
    for _ in range(8):
        at = choice.randrange(len(data))
        tried.write_bytes(data[:at] + bytes([data[at] ^ choice.randrange(1, 256)]) + data[at + 1 :])
        assert not judge.check(str(tried), key).ok, at
    files = _files(made)
    for name in choice.sample(sorted(files), 8):
        good = files[name]
        at = choice.randrange(len(good))
        bad = good[:at] + bytes([good[at] ^ choice.randrange(1, 256)]) + good[at + 1 :]
        found = _judged(made, {**files, name: bad}, kept=True)
        number = name.rpartition("/")[2]
        assert any(place in (name, number) for _, place in found), (name, at, found)


@pytest.mark.parametrize(
    "name", ["vkey", "checkpoint", "question.json", "entries/3", "proofs/3", "kept/17", "consistency/17"]
)
def test_a_missing_file_is_named(made: Path, name: str) -> None:
    """Whatever is taken out."""
    files = _files(made)
    del files[name]
    found = _judged(made, files)
    assert ("file_missing", name) in found or ("history_not_shown", "kept/17") in found


def _question(files: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    return {**files, "question.json": canonical({**json.loads(files["question.json"]), **changes}) + b"\n"}


@pytest.mark.parametrize("changes", [{"tags": ["00" * 16]}, {"size": 3}, {"answer": []}, {"asked": 3}, {"asked": 99}])
def test_a_question_that_the_log_did_not_record(made: Path, changes: dict[str, object]) -> None:
    """Another subject, another answer, another entry as its record."""
    assert ("question_differs", "question.json") in _judged(made, _question(_files(made), **changes))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data.replace(b",", b", ", 1),
        lambda _: b"7\n",
        lambda _: b"\xff",
        lambda _: b"[" * 9_000,
        lambda data: data.replace(b'"who_saw"', b'"what"'),
        lambda data: data.replace(b'"size"', b'"sixe"'),
        lambda data: data.replace(b'"format"', b'"more":1,"format"'),
        lambda data: data.replace(b'"exchange.evidence/1"', b"1"),
    ],
)
def test_a_question_in_another_form(made: Path, change: Callable[[bytes], bytes]) -> None:
    """There is one form; everything else is a changed file."""
    files = _files(made)
    files["question.json"] = change(files["question.json"])
    assert ("file_changed", "question.json") in _judged(made, files)


def _resigned(leaves: list[bytes], drop: tuple[int, ...] = ()) -> dict[str, bytes]:
    """A bundle of a log of these leaves, signed with the lesson's own kind of key: what its owner could forge."""
    log = lesson.Log(leaves, KEY)
    note = log.checkpoint()
    files = {"vkey": vkey(lesson.ORIGIN, KEY.public).encode() + b"\n", "checkpoint": note}
    for index, leaf in enumerate(leaves):
        if index not in drop:
            files[f"entries/{index}"] = leaf
            proof = tiles.inclusion(index, len(leaves), log.tile)
            files[f"proofs/{index}"] = tiles.proof_text(index, proof, note)
    return files


def _forged(made: Path, change: Callable[[list[bytes]], None], drop: tuple[int, ...] = ()) -> list[tuple[str, str]]:
    files = _files(made)
    leaves = [files[f"entries/{index}"] for index in range(21)]
    change(leaves)
    forged = {**_resigned(leaves, drop), "question.json": files["question.json"]}
    (made / "tried.zip").write_bytes(archive(forged))
    return [(one.code, one.place) for one in judge.check(str(made / "tried.zip")).findings]


def _swap(index: int, old: bytes, new: bytes) -> Callable[[list[bytes]], None]:
    def change(leaves: list[bytes]) -> None:
        assert old in leaves[index]
        leaves[index] = leaves[index].replace(old, new)

    return change


def test_what_an_owner_of_a_key_could_forge(made: Path) -> None:
    """Signed and proved, and still wrong: each by its own code."""
    assert _forged(made, lambda _: None) == []
    assert _forged(made, _swap(18, b"ny.weijian", b"ny.weijiam")) == [("decision_differs", "18")]
    assert _forged(made, _swap(18, b"dibao.initial_check", b"dibao.initial_chexk")) == [("decision_differs", "18")]
    assert _forged(made, _swap(15, b"allow", b"alloW")) == [("decision_differs", "16")]
    assert _forged(made, lambda _: None, drop=(15,)) == [("decision_missing", "16")]
    assert _forged(made, lambda _: None, drop=(12,)) == [
        ("agreement_not_in_force", "16"),
        ("agreement_not_in_force", "18"),
    ]
    assert _forged(made, _swap(9, b"activated", b"withdrawn")) == [
        ("policy_not_active", "16"),
        ("policy_not_active", "18"),
    ]
    assert ("answer_foreign", "19") in _forged(made, _swap(19, lesson._TAG, bytes(16)))
    assert ("answer_missing", "19") in _forged(made, lambda _: None, drop=(19,))
    assert ("schema_missing", "19") in _forged(made, lambda _: None, drop=(7,))
    assert ("entry_undecodable", "19") in _forged(made, lambda leaves: leaves.__setitem__(19, leaves[19] + b"x"))
    assert _forged(made, _early) == [("release_expired", "18")]


def _early(leaves: list[bytes]) -> None:
    """Decision and release that expire an hour earlier, that is before the release."""
    old, new = (_varint(2 * (lesson._START + hours * lesson._HOUR)) for hours in (3, 2))
    for at in (17, 18):
        assert old in leaves[at]
        leaves[at] = leaves[at].replace(old, new)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def test_a_log_that_signs_entries_of_its_own_making(made: Path) -> None:
    """A schema without the fields of its kind, signed and proved: a finding, not a crash, in the report too."""
    for old, new in ((b'"consumer"', b'"consomer"'), (b'"reasons"', b'"raisons"'), (b'"tags"', b'"togs"')):
        for at in range(9):
            files = _files(made)
            leaves = [files[f"entries/{index}"] for index in range(21)]
            if old not in leaves[at]:
                continue
            text = decoded(judge._SCHEMA_OF_SCHEMAS, leaves[at][8:])["text"]
            leaves[at] = leaves[at].replace(old, new)
            before, after = (
                hashlib.sha256(one).digest()[:8] for one in (text.encode(), text.encode().replace(old, new))
            )
            leaves[9:] = [after + leaf[8:] if leaf[:8] == before else leaf for leaf in leaves[9:]]
            forged = {**_resigned(leaves), "question.json": files["question.json"]}
            (made / "tried.zip").write_bytes(archive(forged))
            result = judge.check(str(made / "tried.zip"))
            report.page(result, "x", "-", dt.datetime(2026, 11, 25, tzinfo=dt.UTC))
            assert result.ok or "entry_undecodable" in [one.code for one in result.findings]


def test_a_history_cut_off(made: Path) -> None:
    """A kept checkpoint that is longer than the bundle's log; one that is no checkpoint; one under another name."""
    files = _files(made)
    leaves = [files[f"entries/{index}"] for index in range(21)]
    longer = lesson.Log([*leaves, leaves[0]], KEY).checkpoint()
    short = {**_resigned(leaves), "question.json": files["question.json"]}
    for more, code in (
        ({"kept/22": longer}, "log_cut_off"),
        ({"kept/9": b"x"}, "kept_invalid"),
        ({"kept/9": lesson.Log(leaves, KEY).checkpoint(17)}, "kept_invalid"),
        ({"kept/17": lesson.Log(leaves, KEY).checkpoint(17)}, "history_not_shown"),
        ({"kept/17": lesson.Log(leaves, KEY).checkpoint(17), "consistency/17": b"old 17\n"}, "file_changed"),
        ({"kept/21": lesson.Log(leaves, KEY).checkpoint()}, None),
        ({"kept/0": lesson.Log(leaves, KEY).checkpoint(0)}, None),
    ):
        (made / "tried.zip").write_bytes(archive({**short, **more}))
        codes = [one.code for one in judge.check(str(made / "tried.zip")).findings]
        assert codes == ([code] if code else []), more.keys()


def test_proofs_for_every_size() -> None:
    """Inclusion and consistency as the log's own code makes them are accepted, and not with another hash."""
    leaves = [bytes([n]) for n in range(20)]
    for size in range(1, 21):
        log = lesson.Log(leaves[:size], KEY)
        new = forms.Checkpoint(size, tiles.root_at(size, log.tile), "")
        for index in range(size):
            proof = tiles.inclusion(index, size, log.tile)
            assert forms.included(forms.leaf_hash(leaves[index]), index, size, proof, new.root)
            assert not forms.included(forms.leaf_hash(b"x"), index, size, proof, new.root)
            old = forms.Checkpoint(index, tiles.root_at(index, log.tile), "")
            shown = tiles.consistency(index, size, log.tile)
            assert forms.continued(old, new, shown)
            assert not forms.continued(old, new, [*shown, bytes(32)])
            assert not forms.continued(old._replace(root=bytes(32)), new, shown)
            assert not forms.continued(new._replace(size=size + 1), new, [])


def test_what_is_no_bundle(made: Path, tmp_path: Path) -> None:
    """Missing, empty, garbage, compressed, huge, a name twice: one clear finding."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archived:
        for name, data in _files(made).items():
            archived.writestr(name, data)
    twice = (made / "bundle-2.zip").read_bytes()
    tries: list[bytes | None] = [None, b"", b"garbage", twice[:500], stream.getvalue()]
    for tried in tries:
        if tried is not None:
            (tmp_path / "x").write_bytes(tried)
        found = judge.check(str(tmp_path / "x")).findings
        assert found
        assert found[0].code in ("bundle_unreadable", "archive_changed", "file_changed")
    with (tmp_path / "x").open("wb") as file:
        file.truncate(forms.MAX_BUNDLE + 1)
    first = (made / "bundle-2.zip").read_bytes().split(b"PK\x03\x04")[1]
    (tmp_path / "y").write_bytes(b"PK\x03\x04" + first + b"PK\x03\x04" + first)
    assert [one.code for one in judge.check(str(tmp_path / "y")).findings] == ["bundle_unreadable"]


@pytest.mark.parametrize("key", ["", "x", "a+b+c", "lesson.exchange.invalid/log+00000000+AAAA"])
def test_a_key_that_is_none(made: Path, key: str) -> None:
    """Named as what was given, not as a fault of the bundle."""
    assert ("key_malformed", "--key") in [
        (one.code, one.place) for one in judge.check(str(made / "bundle-2.zip"), key).findings
    ]


def test_every_finding_and_number_has_its_sentence() -> None:
    """In both languages, and no sentence is there for nothing."""
    source = "".join(file.read_text("utf-8") for file in ROOM.glob("*.py"))
    codes = {f"finding_{code}" for code in _calls(source, r"find(?:ings)?") | _calls(source, "LeftOut")}
    known = words.keys()
    assert codes == {key for key in known if key.startswith("finding_")}
    for key in known:
        _, _, name = key.partition("_")
        assert f'"{name}"' in source or f'"{key}"' in source, key
        for language in words.LANGUAGES:
            assert words.said(key, language, place=1, detail=2, count=3)


def _calls(source: str, name: str) -> set[str]:
    import re

    return set(re.findall(rf'{name}\(\s*"([a-z_]+)"', source))


def test_the_report_is_one_page_that_needs_nothing(made: Path) -> None:
    """Both languages, no script, nothing from outside; hostile text of a bundle stays text."""
    files = _files(made)
    leaves = [files[f"entries/{index}"] for index in range(21)]
    leaves[19] = leaves[19].replace(b"tax.check", b"<script>1")
    (made / "tried.zip").write_bytes(archive({**_resigned(leaves), "question.json": files["question.json"]}))
    result = judge.check(str(made / "tried.zip"))
    page = report.page(result, "<b>.zip", "00", dt.datetime(2026, 11, 25, tzinfo=dt.UTC))
    assert "<script" not in page
    assert "&lt;script&gt;1" in page
    assert "<b>" not in page
    for text in ("http:", "https:", "src=", "@import"):
        assert text not in page
    assert result.checkpoint_fingerprint in page
    assert page.count('lang="zh"') >= page.count('lang="en"') > 20


def test_base64_has_one_form() -> None:
    """Spare bits are not free."""
    good = base64.b64encode(bytes(32)).decode()
    for bad in (good[:-2] + "B=", good + "\n", "*" + good[1:], good[:-4]):
        with pytest.raises(forms.Wrong):
            forms._base64(bad, 32)
