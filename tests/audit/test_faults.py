"""The fault table: whatever fails, persisted or not, the log stays whole and nothing resolves that is not in it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.audit import tiles
from exchange.audit.files import DiskFiles, put
from exchange.audit.log import AuditLog
from exchange.audit.note import open_checkpoint
from exchange.audit.verify import verify
from exchange.errors import Tampered, Unavailable
from tests.audit.building import KEY, START_NS, VKEY, clock, control, log_at, store_at

pytestmark = pytest.mark.torture  # steps that fail: the second part of `make test`

CHANGING = ("stage", "swap", "write", "publish", "unstage", "prune")
WRITING = ("write", "rename", "sync_folder", "make_folder", "remove", "remove_folder")


class Failing:
    """An object of which the nth call of one method fails, before or after it had its effect."""

    def __init__(self, inner: Any, method: str, nth: int, *, persisted: bool) -> None:
        self._inner, self._method, self._left, self._persisted = inner, method, nth, persisted
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._inner, name)
        return self._wrapped(plain) if name == self._method else plain

    def _wrapped(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left != 0:
                return plain(*arguments)
            self.failed = True
            if self._persisted:
                plain(*arguments)
            raise OSError(5, "Input/output error")

        return call


def _attempt(log: AuditLog, numbers: range) -> dict[int, int]:
    """Appends these, one after another; the indexes of those that resolved. After a fault, all are refused."""
    resolved: dict[int, int] = {}
    faults = 0
    for number in numbers:
        if faults:
            with pytest.raises(Unavailable, match="audit_stopped"):
                log.append(control(number))
            continue
        try:
            resolved[number] = log.append(control(number)).index
        except Unavailable:
            faults += 1
    log.close()
    return resolved


def _check(folder: Path, kept: bytes, resolved: dict[int, int], numbers: range) -> None:
    """After reopening: the old prefix stands, what resolved is there, all is appended once, the verifier is content."""
    log = AuditLog(store_at(folder), KEY, clock(START_NS + 10**15))
    for number in numbers:
        index = log.append(control(number)).index
        assert resolved.get(number, index) == index
    log.append(control(77))
    versions = [body["version"] for _, kind, body in log.entries(0, log.size) if kind == "control"]
    log.close()
    assert sorted(versions) == sorted([1, *numbers, 77])
    verdict = verify(folder / "audit", VKEY, [kept], rules=False)  # its entries are numbers, not a story
    assert verdict.ok, verdict.findings
    old = open_checkpoint(kept, VKEY)
    assert tiles.root_at(old.size, log._tile) == old.root


def _begun(folder: Path) -> bytes:
    with log_at(folder) as log:
        return log.append(control(1)).checkpoint


@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("call", CHANGING)
def test_a_store_call_that_fails(tmp_path: Path, call: str, persisted: bool) -> None:
    """Each changing call of the store, failed before or after its effect: stopped at once, whole after reopening."""
    kept = _begun(tmp_path)
    store = Failing(store_at(tmp_path), call, 2 if call == "unstage" else 1, persisted=persisted)
    log = AuditLog(store, KEY, clock(START_NS + 10**12))
    resolved = _attempt(log, range(2, 4))
    assert store.failed
    assert not resolved
    _check(tmp_path, kept, resolved, range(2, 4))


@pytest.mark.parametrize("persisted", [False, True])
def test_a_submit_that_fails(tmp_path: Path, persisted: bool) -> None:
    """Whether the row is durable or not is unknown: sending it again gives one entry."""
    kept = _begun(tmp_path)
    log = AuditLog(Failing(store_at(tmp_path), "submit", 1, persisted=persisted), KEY, clock(START_NS + 10**12))
    with pytest.raises(OSError, match="Input/output"):
        log.submit([control(2)])
    log.append(control(2))
    log.close()
    _check(tmp_path, kept, {}, range(2, 3))


@pytest.mark.parametrize(
    ("operation", "persisted"),
    [*((one, after) for one in WRITING for after in (False, True)), ("read", False), ("names", False)],
)
def test_a_file_operation_that_fails(tmp_path: Path, operation: str, persisted: bool) -> None:
    """Each file operation of an append, at its first, second, … call: as for a store call."""
    kept = _begun(tmp_path)
    first = 2
    for nth in range(1, 99):
        files = Failing(DiskFiles(tmp_path / "audit"), operation, nth, persisted=persisted)
        try:
            log = AuditLog(store_at(tmp_path, files), KEY, clock(START_NS + 10**12 + nth * 10**10))
        except Unavailable:
            assert files.failed
            continue
        numbers = range(first, first + 1)
        resolved = _attempt(log, numbers)
        first += 1
        if not files.failed:
            break
    plain = AuditLog(store_at(tmp_path), KEY, clock(START_NS + 10**14))
    plain.close()
    _check(tmp_path, kept, resolved, range(2, first))


@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize(("operation", "nth"), [("write", 3), ("write", 6), ("rename", 3), ("sync_folder", 4)])
def test_a_file_operation_that_fails_beside_others(tmp_path: Path, operation: str, nth: int, persisted: bool) -> None:
    """The files of a large commit are made durable side by side: one that fails is as for a small one."""
    kept = _begun(tmp_path)
    files = Failing(DiskFiles(tmp_path / "audit"), operation, nth, persisted=persisted)
    log = AuditLog(store_at(tmp_path, files), KEY, clock(START_NS + 10**12))
    log.submit([control(number) for number in range(100, 400)])
    with pytest.raises(Unavailable, match="audit_stopped"):
        log.wait(control(399).id)
    assert files.failed
    log.close()
    _check(tmp_path, kept, {}, range(100, 400))


def test_what_fails_ends_when_all_have_ended(tmp_path: Path) -> None:
    """Of files written side by side one fails: none is written any more when that is told, and none has its name."""
    started, going = threading.Barrier(3), threading.Event()

    class Slow(DiskFiles):
        ended = 0

        def write(self, name: str, data: bytes) -> None:
            if data == b"fails":
                started.wait(5)
                raise OSError(5, "Input/output error")
            if data == b"slow":
                started.wait(5)
                going.wait(0.05)
            super().write(name, data)
            Slow.ended += 1

    (tmp_path / "staging").mkdir()
    files = Slow(tmp_path)
    with pytest.raises(OSError, match="Input/output"):
        put(files, [("a/1", b"fails"), ("a/2", b"slow"), ("a/3", b"slow"), ("b/4", b"plain"), ("b/5", b"plain")])
    assert Slow.ended == 4
    assert files.names("a") == files.names("b") == []


def test_a_fault_while_recovering(tmp_path: Path) -> None:
    """Recovery that fails half-way is done again by the next start, to the same end."""
    kept = _begun(tmp_path)
    store = Failing(store_at(tmp_path), "write", 1, persisted=False)
    assert not _attempt(AuditLog(store, KEY, clock(START_NS + 10**12)), range(2, 3))
    for call in ("write", "publish", "unstage"):
        for persisted in (False, True):
            failing = Failing(store_at(tmp_path), call, 1, persisted=persisted)
            with pytest.raises(Unavailable, match=r"audit_stopped.*Input/output"):
                AuditLog(failing, KEY, clock(START_NS + 10**13))
            if call == "publish" and persisted:
                break  # now it is published, and what comes after has nothing to write
    _check(tmp_path, kept, {}, range(2, 3))


def test_a_file_that_cannot_be_read_is_not_missing(tmp_path: Path) -> None:
    """Only what is not there is absent; a failing disk never passes for a shorter log, and says so in our words."""
    with log_at(tmp_path) as log:
        log.append(control(1))
        bundle = tmp_path / "audit/tile/entries/000.p/3"
        bundle.unlink()
        bundle.mkdir()
        with pytest.raises(Unavailable, match="audit_stopped"):
            log.entry(0)
    with pytest.raises(Unavailable, match="audit_stopped"):
        AuditLog(store_at(tmp_path), KEY, clock(START_NS + 10**12))
    bundle.rmdir()
    with pytest.raises(Tampered, match="audit_log_damaged"):
        AuditLog(store_at(tmp_path), KEY, clock(START_NS + 10**12))
