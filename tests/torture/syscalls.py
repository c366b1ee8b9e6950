"""One operation, ended or failed at each of its system calls on files, by strace's fault injection.

A process opens the site, warms up and waits; strace attaches to one of its two threads (the caller's, the sequencer's)
and kills it before, or has fail with EIO or ENOSPC, the i-th call of one kind; or that one and all after it, as on a
disk that stays full. Calls that only read fail with EIO. Then the same oracle as after any kill.
"""

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from exchange.errors import ExchangeError
from tests.torture import site
from tests.torture.judge import Broken
from tests.torture.oracle import UNREADABLE, check_disk
from tests.torture.rounds import Prepared, recover, start_child, until_end
from tests.torture.told import Ledger, Tell
from tests.torture.work import Work

OPERATIONS: Final = {"release": "one", "publish": "publish", "command": "opening"}
FAULTS: Final = ("signal=KILL", "error=EIO", "error=ENOSPC")
_FULL: Final = "error=ENOSPC from then on"
_READING: Final = ("read", "pread64", "close")
_CALLS: Final = (
    *("write", "writev", "pwrite64", "fsync", "fdatasync", "ftruncate", "openat", "fallocate"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "link", "linkat"),
    *_READING,
)
_TRACE: Final = "trace=" + ",".join(f"?{call}" for call in _CALLS)  # not every machine has every one
_LINE: Final = re.compile(r"(?:(\d+) +)?(\w+)\((\d+|)")
_PR_SET_PTRACER: Final = 0x59616D61
_ATTACH_S: Final = 10.0


@dataclass(frozen=True)
class Point:
    """The `number`-th call of this kind on this thread ("caller" or "sequencer") during an operation."""

    operation: str
    thread: str
    call: str
    number: int
    fault: str


@dataclass(frozen=True)
class _Ready:
    """A child that waits for the go: its process, its pipes, its threads' ids, and the pipe that it tells on."""

    process: int
    told: int
    go: int
    threads: dict[str, int]
    quiet: int


def missing() -> str:
    """Why system calls cannot be injected here; empty when they can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    command = ["strace", "-o", os.devnull, "-e", "inject=fsync:error=EIO", "true"]
    done = subprocess.run(command, capture_output=True, check=False)
    return "" if done.returncode == 0 else "strace may not trace here"


def points(prepared: Prepared) -> list[Point]:
    """Every point of every operation, each with every fault, by one run of each operation."""
    found = []
    for operation in OPERATIONS:
        root = site.copy(prepared.site, prepared.folder / "counted")
        ready = _ready(root, operation, Random(1))
        with tempfile.NamedTemporaryFile("r") as trace:
            attached = [word for one in ready.threads.values() for word in ("-p", str(one))]
            _traced(ready, ["-o", trace.name, *attached])
            calls = list(_calls(trace.read().splitlines(), ready))
        found += [Point(operation, *call, fault) for call in calls for fault in _faults(*call[:2])]
    return found


def _faults(thread: str, call: str) -> tuple[str, ...]:
    """What can go wrong with a call. The caller's own writes tell the test, and must not fail for ever."""
    if call in _READING:
        return ("error=EIO",)
    return (*FAULTS, _FULL) if thread == "sequencer" or call == "pwrite64" else FAULTS


def _calls(lines: Sequence[str], ready: _Ready) -> Iterator[tuple[str, str, int]]:
    """Thread, call and number of each line of a trace, without what the test itself writes."""
    names = {identity: name for name, identity in ready.threads.items()}
    numbers: Counter[tuple[str, str]] = Counter()
    for line in lines:
        match = _LINE.match(line)
        if match is None or match[2] not in _CALLS:
            continue
        place = (names[int(match[1])], match[2])
        numbers[place] += 1
        waiting = place == ("caller", "read")  # for the go, which comes by a pipe
        if match[3] != str(ready.quiet) and not waiting:
            yield *place, numbers[place]


def strike(prepared: Prepared, point: Point, seed: str) -> tuple[bool, str]:
    """Runs the operation on a fresh copy with the fault at that point, recovers, judges.

    Returns whether the point was met (runs differ by a call now and then), and what is broken, or nothing.
    """
    name = f"{point.operation}-{point.thread}-{point.call}-{point.number}-{point.fault.partition('=')[2]}"
    root = site.copy(prepared.site, prepared.folder / name)
    ledger, random, met = Ledger(prepared.key), Random(seed), False
    try:
        ready = _ready(root, point.operation, random)
        fault, lasting, _ = point.fault.partition(" ")
        inject = f"inject={point.call}:{fault}:when={point.number}{'+' if lasting else ''}"
        thread = str(ready.threads[point.thread])
        with tempfile.NamedTemporaryFile("r") as trace:
            told = _traced(ready, ["-o", trace.name, "-e", inject, "-p", thread])
            met = re.search(r"INJECTED|killed by SIGKILL", trace.read()) is not None
        _judge(ledger, told)
        check_disk(root, ledger)
        reading, writing = os.pipe()
        child = start_child(lambda tell: recover(root, ledger, random, tell), reading, writing)
        _judge(ledger, _ended(child, reading))
        check_disk(root, ledger)
    except (Broken, *UNREADABLE) as error:
        return met, f"{point}: {error}; the site is kept in {root}"
    shutil.rmtree(root)
    return met, ""


def _judge(ledger: Ledger, told: bytes) -> None:
    ledger.take(told)
    if ledger.error:
        raise Broken(ledger.error)


def _ready(root: Path, operation: str, random: Random) -> _Ready:
    """Starts the child and waits until it is warm."""
    (reading, writing), (waiting, go) = os.pipe(), os.pipe()
    child = start_child(partial(_operate, root, operation, random, waiting), reading, writing)
    os.close(waiting)
    first = b""
    while not first.endswith(b"\n"):
        part = os.read(reading, 1)
        if not part:
            raise Broken("the child ended before its operation")
        first += part
    if b"ready" not in first:
        raise Broken((first + until_end(reading, child)).decode())
    caller, sequencer = (int(number) for number in first.split(b'"')[3].split())
    return _Ready(child, reading, go, {"caller": caller, "sequencer": sequencer}, writing)


def _operate(root: Path, operation: str, random: Random, waiting: int, tell: Tell) -> None:
    """The child: opens, warms up, waits for the go, does the one thing; an error of ours is an answer, too."""
    _allow_tracing()
    with site.opened(root) as exchange:
        doing = Work(exchange, random, lambda *_: None)
        getattr(doing, OPERATIONS[operation])()
        sequencer = next(one for one in threading.enumerate() if one.name == "audit-sequencer")
        tell("ready", f"{threading.get_native_id()} {sequencer.native_id}")
        os.read(waiting, 1)
        try:
            getattr(Work(exchange, random, tell), OPERATIONS[operation])()
        except ExchangeError:
            tell("doing", "refused")
        os._exit(0)  # nothing of closing is part of the operation


def _allow_tracing() -> None:
    """Where only a parent may trace (Yama), the child lets anyone."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, -1, 0, 0, 0)


def _traced(ready: _Ready, words: Sequence[str]) -> bytes:
    """Lets the child go under strace: what it told."""
    strace = subprocess.Popen(["strace", "-e", _TRACE, *words], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert strace.stderr is not None
    expected = words.count("-p")
    for line in strace.stderr:
        expected -= b"attached" in line
        if not expected:
            break
    else:
        os.kill(ready.process, 9)
    os.write(ready.go, b".")
    os.close(ready.go)
    told = _ended(ready.process, ready.told)
    strace.stderr.close()
    strace.wait(_ATTACH_S)
    if expected:
        raise Broken("strace could not attach")
    return told


def _ended(child: int, reading: int) -> bytes:
    told = until_end(reading, child)
    os.close(reading)
    os.waitpid(child, 0)
    return told
