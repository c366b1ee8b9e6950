"""Ways to verify: over HTTP, in several processes, from where the last run ended, the structure alone."""

import functools
import http.server
import json
import marshal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exchange.audit import verify as verifier
from exchange.audit import verify_sources, verify_tiles
from exchange.audit.entries import Entry, decode, encode, make, schema_entry
from exchange.audit.schemas import kind_of
from exchange.audit.verify import verify
from exchange.errors import Invalid
from tests.audit.building import (
    FIRST_KINDS,
    START_NS,
    VKEY,
    control,
    copy_of,
    decision,
    grounds,
    leaves_of,
    refusal,
    release,
    write_log,
)

VECTOR = Path(__file__).parents[1] / "vectors" / "audit-log-1"


def _entries(count: int) -> list[Entry]:
    many = [release(n, lo=n % 900, hi=n % 900 + 10) for n in range(1, count + 1)]
    return [*grounds(), control(1), *many]


def _log(folder: Path, count: int) -> Path:
    return write_log(folder, leaves_of(_entries(count)))


class _Files(http.server.SimpleHTTPRequestHandler):
    """A plain static file server; `busy` answers come first, as a loaded one gives them."""

    busy: dict[str, int] = {}  # noqa: RUF012  # of the class, as the server makes one object for each request

    def do_GET(self) -> None:
        if self.busy.get(self.path, 0):
            self.busy[self.path] -= 1
            self.send_error(503)
            return
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.enable_socket
def test_a_served_log_is_verified_as_its_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the C2SP paths below an address; the same counts, the same findings; a busy server is asked again."""
    log = _log(tmp_path / "log", 1_000)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with _served(log) as address:
        monkeypatch.setitem(_Files.busy, "/tile/entries/001", 2)
        there, here = verify(f"{address}/", VKEY), verify(log, VKEY)
        assert (there.ok, there.size, there.entries) == (True, here.size, here.entries)
        assert set(there.unchecked) - set(here.unchecked) == {"files"}
        data = bytearray((log / "tile/entries/002").read_bytes())
        data[200] ^= 1
        (log / "tile/entries/002").write_bytes(data)
        found = [(one.code, one.index) for one in verify(address, VKEY).findings]
        assert found == [(one.code, one.index) for one in verify(log, VKEY).findings]
        assert found[0][0] == "entry_changed"
        (log / "tile/0/001").unlink()
        assert ("file_missing", "tile/0/001") in [(one.code, one.file) for one in verify(address, VKEY).findings]
        monkeypatch.setitem(_Files.busy, "/checkpoint", 9)
        assert [(one.code, one.detail) for one in verify(address, VKEY).findings] == [("file_unreadable", "HTTP 503")]


@pytest.mark.enable_socket
def test_an_address_where_nothing_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, no log there, a body without end: a finding each."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert [one.code for one in verify("http://127.0.0.1:1", VKEY).findings] == ["file_unreadable"]
    monkeypatch.setattr(verify_sources, "MAX_FILE", 100)
    (tmp_path / "checkpoint").write_bytes(bytes(101))
    with _served(tmp_path) as address:
        assert [one.code for one in verify(f"{address}/no", VKEY).findings] == ["checkpoint_missing"]
        assert [one.code for one in verify(address, VKEY).findings] == ["file_too_large"]


def test_ranges_of_tiles_are_hashed_anywhere(tmp_path: Path) -> None:
    """What a process gives for a pair of files: root and digest; nothing where they do not fit or are not there."""
    log = _log(tmp_path / "log", 600)
    pairs = [(f"tile/entries/{n:03}", f"tile/0/{n:03}") for n in (0, 1, 9)]
    first, second, missing = verify_tiles.hash_range(str(log), pairs)
    assert first is not None
    assert second is not None
    assert missing is None
    assert first.root + second.root == (log / "tile/1/000.p/2").read_bytes()
    assert first.entries is second.entries is None
    assert verify_tiles.hash_range(str(log), [(pairs[0][0], pairs[1][1])]) == [None]


def test_entries_are_read_anywhere(tmp_path: Path) -> None:
    """With the schemas of the log a process gives a tile's entries; where one of them is of another, the tile alone."""
    log = _log(tmp_path / "log", 600)
    pairs = [(f"tile/entries/{n:03}", f"tile/0/{n:03}") for n in (0, 1)]
    texts = [kind_of(kind).text for kind in ("schema", *FIRST_KINDS)]
    read = verify_tiles.hash_range(str(log), pairs, texts)
    leaves = [leaf for file, _ in pairs for leaf in verify_tiles.split((log / file).read_bytes()) or ()]
    schemas = {kind_of(kind).prefix: kind_of(kind).parsed for kind in FIRST_KINDS}
    found = [entry for tile in read if tile and tile.entries for entry in marshal.loads(tile.entries)]  # just made
    assert found == [(leaf[:8], *decode(leaf, schemas)) for leaf in leaves]
    without = verify_tiles.hash_range(str(log), pairs, [text for text in texts if '"name":"release"' not in text])
    assert [tile is not None and tile.entries is None for tile in without] == [True, True]


@pytest.mark.whole
def test_several_processes_judge_entries_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What entries must not say is found wherever they were read, also where their schema comes late."""
    monkeypatch.setattr(verifier, "_SMALL", 1)
    some = [refusal(number) for number in range(900)]
    log = write_log(tmp_path / "log", leaves_of([*_entries(3_000), release(3_002, lo=0, hi=10), *some]))
    found = verify(log, VKEY, jobs=2)
    assert found == verify(log, VKEY)
    assert [one.code for one in found.findings] == ["counter_gap"]
    leaves = leaves_of([*_entries(3_000), *some])
    numbers = {"size": 1, "root": bytes(32), "taken_ns": 1, "kept_size": 2, "kept_root": bytes(32), "reason": "test"}
    restore = make("restore", b"R" * 16, START_NS, **numbers)
    late = [encode(one) for one in (schema_entry(kind_of("restore"), START_NS), restore)]
    log = write_log(tmp_path / "late", [*leaves[:2_500], *late, *leaves[2_500:]])
    found = verify(log, VKEY, jobs=2)
    assert (found.ok, found.entries["restore"]) == (True, 1)
    assert found == verify(log, VKEY)


@pytest.mark.whole
def test_several_processes_say_what_one_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same verdict to the letter, for a sound log and a damaged one."""
    monkeypatch.setattr(verifier, "_SMALL", 1)
    log = _log(tmp_path / "log", 5_000)
    assert verify(log, VKEY, jobs=2) == verify(log, VKEY)
    for name, at in (("tile/entries/007", 100), ("tile/0/011", 40), ("tile/1/000.p/19", 3)):
        data = bytearray((log / name).read_bytes())
        data[at] ^= 1
        (log / name).write_bytes(data)
    found = verify(log, VKEY, jobs=2)
    assert found == verify(log, VKEY)
    assert {one.code for one in found.findings} >= {"entry_changed", "tile_changed"}


def test_the_structure_alone(tmp_path: Path) -> None:
    """Without the rules a log that says what it must not is sound in its structure, and that is said."""
    log = write_log(tmp_path / "log", leaves_of([*_entries(600), release(602, lo=0, hi=10)]))
    assert [one.code for one in verify(log, VKEY).findings] == ["counter_gap"]
    verdict = verify(log, VKEY, rules=False)
    assert (verdict.ok, verdict.unchecked["rules"], verdict.entries) == (True, verdict.size, {})
    data = bytearray((log / "tile/entries/001").read_bytes())
    data[-9] ^= 1
    (log / "tile/entries/001").write_bytes(data)
    assert "entry_changed" in [one.code for one in verify(log, VKEY, rules=False).findings]


@pytest.mark.parametrize("first", [200, 238, 700])
def test_a_run_goes_on_where_the_last_one_ended(tmp_path: Path, first: int) -> None:
    """From within a tile, from its end, from a later one: new entries are judged by all that was before."""
    state, log = tmp_path / "state", _log(tmp_path / "log", first)
    once = verify(log, VKEY, state=state)
    assert (once.ok, once.resumed_at) == (True, 0)
    again = verify(log, VKEY, state=state)
    assert (again.ok, again.resumed_at, again.entries) == (True, once.size, once.entries)
    grown = _log(tmp_path / "log", 1_000)
    later = verify(grown, VKEY, state=state)
    assert (later.ok, later.resumed_at, later.size) == (True, once.size, 1_018)
    assert later.unchecked["resumed"] == once.size
    assert later.entries == verify(grown, VKEY).entries
    assert json.loads(state.read_bytes())["size"] == 1_018


def test_a_resumed_run_finds_what_a_whole_one_finds(tmp_path: Path) -> None:
    """A gap and a repeated number across the place where it went on; the state stays where it was."""
    for more, code in ((release(302, lo=0, hi=10), "counter_gap"), (release(9, attempt=1), "counter_repeated")):
        state, log = tmp_path / "state", _log(tmp_path / code, 300)
        verify(log, VKEY, state=state)
        kept = state.read_bytes()
        write_log(log, leaves_of([*_entries(300), more]))
        found = verify(log, VKEY, state=state)
        assert [one.code for one in found.findings] == [code]
        assert found.resumed_at == 318
        assert state.read_bytes() == kept
        state.unlink()


def test_a_state_that_does_not_fit_the_log_is_not_trusted(tmp_path: Path) -> None:
    """A history rewritten or cut off since: the whole log is read, and the state is a kept checkpoint like any."""
    state, log = tmp_path / "state", _log(tmp_path / "log", 300)
    verify(log, VKEY, state=state)
    other = write_log(tmp_path / "other", leaves_of([*_entries(299), refusal(7), *_entries(900)[305:]]))
    found = verify(other, VKEY, state=state)
    assert ("history_rewritten", 318) in [(one.code, one.index) for one in found.findings]
    assert found.resumed_at == 0
    short = _log(tmp_path / "short", 100)
    assert [one.code for one in verify(short, VKEY, state=state).findings] == ["log_cut_off"]
    within = write_log(tmp_path / "within", leaves_of([*_entries(299), refusal(7)]))
    assert [one.code for one in verify(within, VKEY, state=state).findings] == ["history_rewritten"]


def test_a_resumed_run_reads_all_where_it_must(tmp_path: Path) -> None:
    """A decision older than the state remembers; a kept checkpoint older than where it would begin."""
    state = tmp_path / "state"
    many = [decision(n.to_bytes(2, "big") * 8) for n in range(1, 2_100)]
    entries = [*grounds(), control(1), *many]
    log = write_log(tmp_path / "log", leaves_of(entries))
    assert verify(log, VKEY, state=state).ok
    write_log(log, leaves_of([*entries, release(1, decision=b"\x00\x01" * 8)]))
    assert [verify(log, VKEY, state=state).resumed_at for _ in range(2)] == [0, 2_118]
    older = write_log(tmp_path / "older", leaves_of(entries[:50]))
    kept = (older / "checkpoint").read_bytes()
    assert [verify(log, VKEY, [kept], state=state).resumed_at for _ in range(2)] == [0, 2_118]


def test_a_long_run_keeps_how_far_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off, it goes on from the last tiles that were sound."""
    monkeypatch.setattr(verifier, "_SAVED", 2)
    state, log = tmp_path / "state", _log(tmp_path / "log", 1_200)

    def stop(done: int, _size: int) -> None:
        if done > 700:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(log, VKEY, progress=stop, state=state)
    verdict = verify(log, VKEY, state=state)
    assert (verdict.ok, verdict.resumed_at) == (True, 512)
    assert verdict.entries == verify(log, VKEY).entries


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_a_damaged_state_is_said(tmp_path: Path, damage: bytes) -> None:
    """No state, half of one, one digit changed, one of another log: an error that names the file, not a verdict."""
    state = tmp_path / "state"
    verify(VECTOR / "log", VKEY, state=state)
    good = state.read_bytes()
    for bad in (damage, good[:-9], good.replace(b'"size": 306', b'"size": 305')):
        state.write_bytes(bad)
        with pytest.raises(Invalid, match="audit_state_damaged"):
            verify(VECTOR / "log", VKEY, state=state)


def test_a_state_of_another_log_is_said(tmp_path: Path) -> None:
    """One file for each log."""
    state = tmp_path / "state"
    verify(copy_of(VECTOR / "log", tmp_path / "log"), VKEY, state=state)
    document = json.loads(state.read_bytes())
    del document["digest"]
    document["key"] = "other"
    from exchange.audit.verify_state import _digest

    state.write_text(json.dumps({**document, "digest": _digest(document)}))
    with pytest.raises(Invalid, match="audit_state_foreign"):
        verify(VECTOR / "log", VKEY, state=state)
