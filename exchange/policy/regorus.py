"""The embedded policy engine: regorus in a worker process (`worker.py`)."""

import json
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import clock_gettime, monotonic
from typing import Any, Final

from exchange.errors import Invalid, Refused
from exchange.names import canonical
from exchange.policy.supervised import UNDEFINED, Lost, SupervisedEngine, missing, open_still, parsed

START_S: Final = 10.0  # for starting and loading, which no question's deadline counts
MAX_FRAME: Final = 2 << 20
_WORKER: Final = Path(__file__).with_name("worker.py")
# regorus's allocator (mimalloc) reserves 1 GiB at once unless told otherwise, which the worker's limit would refuse.
_ENVIRONMENT: Final = {"MIMALLOC_ARENA_RESERVE": "64MiB"}
_HEAD: Final = struct.Struct(">I1s")


class RegorusEngine(SupervisedEngine):
    """A `PolicyEngine` on regorus. The first `load` starts the worker; `close` ends it."""

    def __init__(self, deadline_s: float = 0.1) -> None:
        super().__init__(_Worker, deadline_s)


class Patience:
    """How long a worker is waited for: until it has computed for so many seconds. On a machine with more to do than it
    can, a worker that has not had its turn is waited for longer, ten times as long at the most (and 9 s at the most).

    Only Linux tells how long another process has computed (clock_getcpuclockid(3)); elsewhere the wall clock counts.
    """

    def __init__(self, pid: int, seconds: float) -> None:
        self._clock = (~pid << 3) | 2 if sys.platform == "linux" else None
        self._seconds, self._computed = seconds, self._cpu()
        self._until = monotonic() + seconds + (0 if self._clock is None else 9 * min(seconds, 1.0))

    def left(self) -> float:
        """Seconds to wait now, before it is asked again.

        Raises:
            TimeoutError: there is no patience left.
        """
        left = min(self._seconds - (self._cpu() - self._computed), self._until - monotonic())
        if left <= 0:
            raise TimeoutError
        return left

    def _cpu(self) -> float:
        if self._clock is None:
            return 0.0
        try:
            return clock_gettime(self._clock)
        except OSError:  # it has ended, which its socket tells
            return 0.0


class _Worker:
    """One worker process. A socket pair, unlike a pipe, lets every send and receive have a deadline."""

    def __init__(self, texts: Mapping[str, str], codes: Mapping[str, Any]) -> None:
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:  # closed here, so that the worker's end is the end of the connection
                self._process = _spawn(theirs)
            kind, body = self._call(b"L", canonical({"modules": texts, "codes": codes}), START_S)
        except OSError as error:
            self._socket.close()
            raise missing("regorus", error.strerror or type(error).__name__) from None
        except Lost as lost:
            self._abandon(lost)
            raise
        if kind == b"E":
            self.stop()
            said = json.loads(body)
            raise Invalid("policy_unparsable", where=said["where"], detail=said["detail"])

    def alive(self) -> bool:
        """Whether the worker was still there a moment ago."""
        return open_still(self._socket)

    def ask(self, question: bytes, deadline_s: float) -> object:
        """The JSON answer, or `UNDEFINED`."""
        return _answer(*self._call(b"Q", question, deadline_s))

    def rule(self, name: str, deadline_s: float) -> object:
        """The same for a rule by its full name."""
        return _answer(*self._call(b"R", name.encode("ascii"), deadline_s))

    def stop(self) -> None:
        """Kills the process and waits for its end."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _abandon(self, lost: Lost) -> None:
        """After a failed start: where Python itself ended the worker, regorus or `worker.py` is not to be had."""
        if lost.cause == "crashed":
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
        ended = self._process.poll()
        self.stop()
        if ended in {1, 2}:
            raise missing("regorus", "import") from None

    def _call(self, kind: bytes, body: bytes, deadline_s: float) -> tuple[bytes, bytes]:
        patience = Patience(self._process.pid, deadline_s)
        try:
            self._socket.settimeout(patience.left())
            self._socket.sendall(_HEAD.pack(len(body), kind) + body)
            length, answer = _HEAD.unpack(self._receive(_HEAD.size, patience))
            if length > MAX_FRAME:
                raise Lost("answer_too_large")
            return answer, self._receive(length, patience)
        except TimeoutError:
            raise Lost("deadline") from None
        except OSError:
            raise Lost("crashed") from None

    def _receive(self, length: int, patience: "Patience") -> bytes:
        data = bytearray()
        while len(data) < length:
            self._socket.settimeout(patience.left())
            try:
                part = self._socket.recv(length - len(data))
            except TimeoutError:
                continue  # it is asked again whether there is any patience left
            if not part:
                raise Lost("crashed")
            data += part
        return bytes(data)


def _spawn(theirs: socket.socket) -> "subprocess.Popen[bytes]":
    """The worker, with nothing of our environment. What it prints may show a question: it goes nowhere."""
    command = [sys.executable, "-I", str(_WORKER)]
    end, nowhere = theirs.fileno(), subprocess.DEVNULL
    return subprocess.Popen(command, stdin=end, stdout=end, stderr=nowhere, env=_ENVIRONMENT, cwd="/")


def _answer(kind: bytes, body: bytes) -> object:
    if kind == b"E":
        said = json.loads(body)
        raise Refused("policy_error", where=said["where"], detail=said["detail"])
    return UNDEFINED if kind == b"U" else parsed(body)
