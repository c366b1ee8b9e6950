"""Faults that are no process's end: a disk that is full, a clock that is set back."""

import http.client
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.torture.servers.drill import BACK_S, Struck, wait
from tests.torture.servers.stack import Stack
from tests.torture.servers.victims import Broker, Database
from tests.torture.servers.witness import Witness, need

_PATIENCE_S: Final = 60.0
_HOUR_NS: Final = 3_600 * 10**9
_PIECE: Final = bytes(1 << 16)


def full_disk(stack: Stack, name: str) -> Struck:
    """The disk of a server fills up under steady work: publishing is refused by name, and goes on when there is room
    (and the server, where that had ended, is started again). Nothing is lost, nothing released without its entry.
    """
    victim = stack.victims[name]
    assert isinstance(victim, Broker | Database)
    ballast, began = stack.folders[name] / "ballast", time.monotonic()
    with ballast.open("wb", buffering=0) as file:
        _fill(file.fileno(), began)
        told = _told_unavailable(stack, file.fileno())
    time.sleep(1.0)
    ballast.unlink()
    returned = time.monotonic()
    if isinstance(victim, Broker) or not victim.lives:  # Kafka uses a disk that has failed no more until its next start
        victim.kill()
        returned = victim.start()
    published, read = wait(stack, returned, f"with room again on the disk of {name}")
    fault, back = "full disk: " + ", ".join(sorted(told)), (published - returned, read - returned)
    done = Struck(name, fault, returned - began, *back)
    need(max(done.published_s, done.read_s) <= BACK_S, f"not back within {BACK_S:.0f} s: {done}")
    return done


def _fill(file: int, began: float) -> None:
    """Takes all the room there is, whatever the server frees meanwhile."""
    while time.monotonic() - began < _PATIENCE_S:
        try:
            os.write(file, _PIECE)
        except OSError:
            try:
                os.write(file, _PIECE[:512])
            except OSError:
                return


def _told_unavailable(stack: Stack, file: int) -> set[str]:
    """What a publisher is told while nothing fits on the disk: nothing but that something is not there."""
    told: set[str] = set()
    deadline = time.monotonic() + _PATIENCE_S
    while not told:
        _fill(file, time.monotonic())
        for line in stack.ledgers["publisher"].news():
            if line.get("status"):
                need(line["status"] == 503, f"a full disk is told as {line}")
                told.add(str(line["code"]))
        need(time.monotonic() < deadline, "a full disk is not noticed")
        time.sleep(0.05)
    return told


class Clock(threading.Thread):
    """Keeps a clock file, some time off the system's."""

    def __init__(self, file: Path) -> None:
        super().__init__(daemon=True)
        self.file, self.offset_ns, self.going = file, 0, True
        self.write()

    def write(self) -> None:
        """The time now, replacing the file whole."""
        draft = self.file.with_suffix(".new")
        draft.write_text(str(time.time_ns() + self.offset_ns), "ascii")
        draft.replace(self.file)

    def run(self) -> None:
        while self.going:
            self.write()
            time.sleep(0.005)


@contextmanager
def clock_file(file: Path) -> Iterator[Clock]:
    """A clock file that is kept until the end of the block."""
    clock = Clock(file)
    clock.start()
    try:
        yield clock
    finally:
        clock.going = False
        clock.join()


def clock_set_back(stack: Stack, clock: Clock, witness: Witness) -> Struck:
    """The site's clock is set back an hour: no checkpoint is signed, nothing is acknowledged or released, and /readyz,
    the metric, the log and `doctor` say so. Set forward again the service goes on by itself.
    """
    back = time.monotonic()
    clock.offset_ns = -_HOUR_NS
    deadline = back + _PATIENCE_S
    while (ready := json.loads(_get(stack, "/readyz")))["ready"]:
        need(time.monotonic() < deadline, "a clock that went back is not noticed")
        time.sleep(0.05)
    noticed = time.monotonic()
    need("audit_stopped" in {one["code"] for one in ready["missing"]}, f"/readyz: {ready}")
    need("exchange_audit_stopped 1.0" in _get(stack, "/metrics"), "the metric does not say that the audit log stopped")
    lines = [json.loads(line) for line in _lines(stack) if line.startswith("{")]
    need(any("clock" in str(line.get("cause")) for line in lines), "no line of the log names the clock")
    row = _doctor(stack)
    need(row["state"] == "wrong" and row["code"] == "clock_wrong", f"doctor: {row}")
    witness.look()
    size = len(witness.leaves)
    time.sleep(1.0)
    witness.look()
    need(len(witness.leaves) == size, "entries came into the log under a clock that went back")
    for name, what in (("publisher", "acknowledged"), ("reader", "index")):
        while not (told := _since(stack, name, noticed)):
            need(time.monotonic() < deadline, f"the {name} is told nothing under a clock that went back")
            time.sleep(0.05)
        need(not any(what in line for line in told), f"under a clock that went back: {told[:3]}")
        # `audit_unavailable` is told to one who waited already when the clock went back.
        codes = {line.get("code") for line in told}
        need(codes <= {"audit_stopped", "audit_unavailable"}, f"the {name} is told {told[:3]}")
    clock.offset_ns, returned = 0, time.monotonic()
    published, read = wait(stack, returned, "with the clock set forward")
    done = Struck("clock", "set back", returned - back, published - returned, read - returned)
    need(max(done.published_s, done.read_s) <= BACK_S, f"not back within {BACK_S:.0f} s: {done}")
    need("exchange_audit_stopped 0.0" in _get(stack, "/metrics"), "the metric still says that the audit log stopped")
    return done


def _since(stack: Stack, name: str, at: float) -> list[dict[str, Any]]:
    """What a client was told in answer to what it asked after this moment."""
    stack.ledgers[name].news()
    return [line for line in stack.ledgers[name].lines if line["began"] > at and "empty" not in line]


def _get(stack: Stack, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _lines(stack: Stack) -> list[str]:
    return [line for one in stack.programs for line in one.log.read_text("utf-8", "replace").splitlines()]


def _doctor(stack: Stack) -> dict[str, Any]:
    """What `doctor` says of the clock's file."""
    (program, *_) = stack.programs
    ran = stack.site.process("doctor", "--json", more=program.more)
    (row,) = [row for row in ran.json if row["check"] == "clock_file"]
    return dict(row)
