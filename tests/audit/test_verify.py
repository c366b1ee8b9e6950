"""Rules of the offline verifier: it finds every change, names its place, and never fails on what it reads."""

import ast
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from exchange import messages
from exchange.audit import tiles, verify_rules
from exchange.audit.entries import encode, make
from exchange.audit.note import Checkpoint, sign_checkpoint
from exchange.audit.schemas import kind_of
from exchange.audit.verify import verify
from exchange.audit.verify_verdict import Verdict
from exchange.errors import Invalid
from tests.audit.building import (
    FIRST_KINDS,
    KEY,
    ORIGIN,
    START_NS,
    VKEY,
    control,
    copy_of,
    leaves_of,
    write_log,
)

VECTOR = Path(__file__).parents[1] / "vectors" / "audit-log-1"
KEPT = (VECTOR / "kept-checkpoint").read_bytes()
BUNDLE, TILE = "tile/entries/001.p/50", "tile/0/001.p/50"


def _codes(verdict: Verdict) -> list[str]:
    assert verdict.ok is not bool(verdict.findings)
    return [one.code for one in verdict.findings]


def _leaves() -> list[bytes]:
    log = VECTOR / "log"
    first = tiles.unframe((log / "tile/entries/000").read_bytes(), 256)
    return first + tiles.unframe((log / BUNDLE).read_bytes(), 50)


def test_the_log_of_the_first_version_is_sound() -> None:
    """A log written by version 1 verifies for ever, with every kind in it, under its key and a kept checkpoint."""
    done: list[tuple[int, int]] = []
    verdict = verify(VECTOR / "log", (VECTOR / "vkey").read_text(), [KEPT], lambda *at: done.append(at))
    assert verdict.ok
    assert (verdict.origin, verdict.size, set(verdict.entries)) == (ORIGIN, 306, FIRST_KINDS)
    assert sum(verdict.entries.values()) == 306
    assert done == [(256, 306), (306, 306)]
    assert verdict.to_document()["findings"] == []


def test_the_verifier_shares_no_code_with_what_it_judges() -> None:
    """Its modules import no other module of the audit room and none of signing."""
    room = Path(verify_rules.__file__).parent
    for file in sorted(room.glob("verify*.py")):
        nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
        found = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        found |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        ours = {name for name in found if name.startswith("exchange.")}
        assert {name for name in ours if not name.startswith("exchange.audit.verify")} <= {"exchange.errors"}


@pytest.mark.parametrize(("size", "rounds"), [(20, 200), (306, 33)])
def test_any_flipped_byte_of_any_file_is_found(tmp_path: Path, size: int, rounds: int) -> None:
    """Seeded changes of one byte, over all files of a small log and of the kept one: each is found."""
    log = copy_of(VECTOR / "log", tmp_path / "log") if size == 306 else write_log(tmp_path / "log", _leaves()[:size])
    files = sorted(path for path in log.rglob("*") if path.is_file())
    choice = random.Random(20261123)
    for number in range(rounds):
        file = files[number % len(files)]
        good = file.read_bytes()
        at = choice.randrange(len(good))
        file.write_bytes(good[:at] + bytes([good[at] ^ choice.randrange(1, 256)]) + good[at + 1 :])
        assert not verify(log, VKEY).ok, f"byte {at} of {file.relative_to(log)}"
        file.write_bytes(good)
    assert verify(log, VKEY).ok


@pytest.mark.parametrize("index", [0, 100, 255, 256, 305])
def test_a_changed_entry_names_its_index(tmp_path: Path, index: int) -> None:
    """One byte inside a leaf: that entry, and nothing else, is named."""
    log = copy_of(VECTOR / "log", tmp_path / "log")
    file = log / ("tile/entries/000" if index < 256 else BUNDLE)
    leaf = _leaves()[index]
    data = file.read_bytes()
    at = data.index(leaf)
    file.write_bytes(data[: at + 60] + bytes([data[at + 60] ^ 1]) + data[at + 61 :])
    changed = [one for one in verify(log, VKEY).findings if one.code == "entry_changed"]
    assert [one.index for one in changed] == [index]
    assert {one.code for one in verify(log, VKEY).findings} <= {"entry_changed", "schema_unknown", "tile_changed"}


@pytest.mark.parametrize("name", ["tile/0/000", TILE, "tile/1/000.p/1", "tile/0/001.p/49", "tile/entries/001.p/49"])
def test_a_changed_tile_names_its_file(tmp_path: Path, name: str) -> None:
    """One byte of a tile: that file, and nothing else, is named."""
    log = copy_of(VECTOR / "log", tmp_path / "log")
    data = bytearray((log / name).read_bytes())
    data[7] ^= 1
    (log / name).write_bytes(data)
    assert [(one.code, one.file) for one in verify(log, VKEY).findings] == [("tile_changed", name)]


@pytest.mark.parametrize("name", ["tile/entries/000", BUNDLE, "tile/0/000", TILE, "tile/1/000.p/1"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    """A tile or bundle that the checkpoint's size needs and that is not there."""
    log = copy_of(VECTOR / "log", tmp_path / "log")
    (log / name).unlink()
    assert ("file_missing", name) in [(one.code, one.file) for one in verify(log, VKEY).findings]


@pytest.mark.parametrize(
    "name", ["notes.txt", "tile/0/002", "tile/0/001.p/51", "tile/entries/001", "tile/9/000", "tile/0/0", "staging/x"]
)
def test_a_stray_file_is_named(tmp_path: Path, name: str) -> None:
    """A file that the log does not need, tiles beyond its size too."""
    log = copy_of(VECTOR / "log", tmp_path / "log")
    (log / name).parent.mkdir(parents=True, exist_ok=True)
    (log / name).write_bytes(b"x")
    assert [(one.code, one.file) for one in verify(log, VKEY).findings] == [("file_stray", name)]


def test_what_a_running_sequencer_leaves_is_no_stray(tmp_path: Path) -> None:
    """Tiles of a commit that is under way (its bundle is staged) are not held against the log."""
    log = copy_of(VECTOR / "log", tmp_path / "log")
    (log / "tile/0/001.p/51").write_bytes(b"x")
    (log / "staging").mkdir()
    (log / "staging" / f"307-{'0' * 64}").write_bytes(b"x")
    (log / "staging" / ".tile-0-001.p-52").write_bytes(b"x")
    assert verify(log, VKEY).ok


def test_a_bundle_cut_off_or_overlong(tmp_path: Path) -> None:
    """The entries must fill their file exactly."""
    log = copy_of(VECTOR / "log", tmp_path / "log")
    good = (log / BUNDLE).read_bytes()
    for bad in (good[:-1], good[:100], b"", good + b"\x00", good + good):
        (log / BUNDLE).write_bytes(bad)
        assert ("entries_damaged", BUNDLE) in [(one.code, one.file) for one in verify(log, VKEY).findings]


def test_a_log_cut_off_is_found_by_a_kept_checkpoint(tmp_path: Path) -> None:
    """The last entries taken away and the rest re-signed with the real key: sound, but for the kept checkpoint."""
    log = write_log(tmp_path / "log", _leaves()[:90])
    assert verify(log, VKEY).ok
    assert _codes(verify(log, VKEY, [KEPT])) == ["log_cut_off"]


def test_a_rewritten_history_is_found_by_a_kept_checkpoint_only(tmp_path: Path) -> None:
    """One early release rewritten, all re-signed with the real key: it passes without the kept checkpoint."""
    leaves = _leaves()
    at = next(n for n, leaf in enumerate(leaves) if leaf == _first_release(leaves))
    body = leaves[at].index(b"jsonl")
    leaves[at] = leaves[at][:body] + b"other" + leaves[at][body + 5 :]
    log = write_log(tmp_path / "log", leaves)
    assert verify(log, VKEY).ok
    verdict = verify(log, VKEY, [KEPT])
    assert _codes(verdict) == ["history_rewritten"]
    assert verdict.findings[0].index == int(KEPT.split(b"\n")[1])


def _first_release(leaves: Sequence[bytes]) -> bytes:
    return next(leaf for leaf in leaves if leaf[:8] == kind_of("release").prefix)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 306])
def test_a_kept_checkpoint_of_any_size(size: int) -> None:
    """A true older checkpoint of every size is accepted; one with another root is not."""
    edge, _ = tiles.Edge().append(_leaves()[:size])
    true = sign_checkpoint(Checkpoint(ORIGIN, size, edge.root()), KEY)
    false = sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), KEY)
    assert verify(VECTOR / "log", VKEY, [KEPT, true]).ok
    assert _codes(verify(VECTOR / "log", VKEY, [true, false])) == ["history_rewritten"]


@pytest.mark.parametrize("kept", [b"", b"garbage", KEPT.replace(b"\n1", b"\n2", 1), KEPT[:-9], b"\xff" * 99])
def test_a_kept_checkpoint_must_be_signed(kept: bytes) -> None:
    """What is not signed by the log's key proves nothing and is said to be so."""
    assert _codes(verify(VECTOR / "log", VKEY, [kept])) == ["kept_invalid"]


def _schema(text: str, kind: str = "control") -> bytes:
    return encode(make("schema", bytes(16), START_NS, kind=kind, text=text))


ODD = kind_of("control").text


@pytest.mark.parametrize(
    ("leaf", "code"),
    [
        (b"", "schema_unknown"),
        (b"12345678", "schema_unknown"),
        (encode(control(1))[:-1], "entry_undecodable"),
        (encode(control(1)) + b"x", "entry_undecodable"),
        (encode(control(1))[:8] + b"\xff" * 60_000, "entry_undecodable"),
        (_schema("{"), "schema_malformed"),
        (_schema("[" * 60_000), "schema_malformed"),
        (_schema("7"), "schema_malformed"),
        (_schema(ODD.replace('"name":"control"', '"name":"release"')), "schema_malformed"),
        (_schema(ODD.replace('"type":"map","values":"long"', '"items":"null","type":"array"')), "schema_malformed"),
        (_schema(ODD.replace('"name":"id"', '"name":"no"')), "schema_malformed"),
        (_schema(ODD, "colour"), "kind_unknown"),
    ],
)
def test_a_leaf_that_cannot_be_read(tmp_path: Path, leaf: bytes, code: str) -> None:
    """Signed or not, an entry must decode under a schema entry before it; hostile schemas are not unfolded."""
    log = write_log(tmp_path / "log", [*leaves_of([]), leaf])
    assert [(one.code, one.index) for one in verify(log, VKEY).findings] == [(code, 13)]


def test_a_field_that_changed_its_type(tmp_path: Path) -> None:
    """A later schema of a known kind with a field of another type: a finding, not a crash."""
    text = ODD.replace('{"type":"map","values":"long"}', '"string"')
    prefix = verify_rules._prefix(text)
    body = encode(control(1))[8:-1] + b"\x02x"
    log = write_log(tmp_path / "log", [*leaves_of([]), _schema(text), prefix + body])
    assert [(one.code, one.index) for one in verify(log, VKEY).findings] == [("entry_undecodable", 14)]


def test_schemas_come_before_their_use(tmp_path: Path) -> None:
    """An entry before its schema, and a log that does not begin with the schema of schemas."""
    log = write_log(tmp_path / "log", [encode(control(1)), *leaves_of([])])
    assert [(one.code, one.index) for one in verify(log, VKEY).findings] == [("schema_unknown", 0)]
    shutil.rmtree(log)
    log = write_log(log, leaves_of([])[1:])
    assert "schema_unknown" in _codes(verify(log, VKEY))


def _none(folder: Path) -> None:
    assert not folder.exists()


def _empty(folder: Path) -> None:
    folder.mkdir()


def _garbage(folder: Path) -> None:
    folder.mkdir()
    (folder / "checkpoint").write_bytes(b"\xff\x00" * 50)


def _other_key(folder: Path) -> None:
    copy_of(VECTOR / "log", folder)
    note = (folder / "checkpoint").read_bytes()
    (folder / "checkpoint").write_bytes(note.replace(b"\n306\n", b"\n305\n"))


def _folder_as_checkpoint(folder: Path) -> None:
    (folder / "checkpoint").mkdir(parents=True)


def _huge(folder: Path) -> None:
    folder.mkdir()
    with (folder / "checkpoint").open("wb") as file:
        file.truncate(1 << 40)  # sparse


@pytest.mark.parametrize(
    ("make_folder", "code"),
    [
        (_none, "folder_missing"),
        (_empty, "checkpoint_missing"),
        (_garbage, "checkpoint_invalid"),
        (_other_key, "checkpoint_invalid"),
        (_folder_as_checkpoint, "file_too_large"),
        (_huge, "file_too_large"),
    ],
)
def test_a_folder_that_is_no_log(tmp_path: Path, make_folder: Callable[[Path], None], code: str) -> None:
    """Missing, empty, garbage, unsigned, huge: one clear finding, with a sentence in both languages."""
    make_folder(tmp_path / "log")
    verdict = verify(tmp_path / "log", VKEY)
    assert _codes(verdict) == [code]
    assert verdict.size == 0
    for language in ("zh", "en"):
        assert verdict.findings[0].sentence(language)


def test_a_signed_size_without_a_log(tmp_path: Path) -> None:
    """A checkpoint over more entries than any disk holds ends in findings, soon, and not in a loop."""
    tmp_path.joinpath("checkpoint").write_bytes(sign_checkpoint(Checkpoint(ORIGIN, 10**18, bytes(32)), KEY))
    verdict = verify(tmp_path, VKEY)
    assert set(_codes(verdict)) == {"file_missing"}
    assert len(verdict.findings) == 200


def test_an_empty_log_is_sound(tmp_path: Path) -> None:
    """A log just made has a checkpoint of size 0 and no tile."""
    assert verify(write_log(tmp_path, []), VKEY).ok


def test_a_key_that_is_none() -> None:
    """The one thing that is an error: without a key nothing can be verified."""
    for key in ("", "x", VKEY.replace("+A", "+B"), "other" + VKEY, VKEY[:-4]):
        with pytest.raises(Invalid, match="audit_key_malformed"):
            verify(VECTOR / "log", key)


def test_every_finding_has_its_sentence() -> None:
    """Each code that the verifier's source names is said in both languages."""
    room = Path(verify_rules.__file__).parent
    nodes = [node for file in room.glob("verify*.py") for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    firsts = [one.args[0] for one in calls if getattr(one.func, "attr", "") in ("_find", "_report") and one.args]
    codes = {str(first.value) for first in firsts if isinstance(first, ast.Constant)}
    codes |= {"checkpoint_missing", "file_missing"}
    assert len(codes) == 46
    for code in codes:
        assert messages.text(f"finding_{code}", "zh", place="1", detail="d")
