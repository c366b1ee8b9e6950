"""aics-tlog's judgements of our log, and a witness of aics-witness in a process of its own."""

import http.client
import json
import re
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.independent.tools import HERE, aics

_READY_S: Final = 30.0


def judged(**asked: Any) -> Any:
    """What `aics_judge.py` answers."""
    done = subprocess.run(
        [str(aics() / "python"), str(HERE / "aics_judge.py")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def command(*words: str) -> tuple[int, dict[str, Any]]:
    """`aics-tlog WORDS`: exit code and its one JSON object."""
    done = subprocess.run([str(aics() / "aics-tlog"), *words], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@dataclass(frozen=True)
class Witness:
    """A running witness, and its verifier key (signature type 4)."""

    port: int
    vkey: str
    config: Path

    def add(self, old: int, proof: Sequence[bytes], checkpoint: bytes) -> tuple[int, str]:
        """C2SP tlog-witness `add-checkpoint`: the size that it should know, the proof from there, the checkpoint."""
        head = "".join(f"{line}\n" for line in (f"old {old}", *(b64encode(one).decode() for one in proof), ""))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_READY_S)
        try:
            connection.request("POST", "/add-checkpoint", head.encode() + checkpoint)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def evidence(self) -> list[dict[str, Any]]:
        """The requests that it kept because the log contradicted itself in them."""
        words = [str(aics() / "aics-witness"), "evidence", "-c", str(self.config)]
        found: list[dict[str, Any]] = json.loads(subprocess.check_output(words))
        return found


@contextmanager
def witnessing(folder: Path, origin: str, vkey: str) -> Iterator[Witness]:
    """A new witness of this log, until the end of the block."""
    config, binary = folder / "witness.json", str(aics() / "aics-witness")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = subprocess.check_output([binary, "init", "-c", str(config), "--name", "witness.example/w1"], text=True)
    subprocess.check_output([binary, "add-log", "-c", str(config), "--origin", origin, "--vkey", vkey])
    own = re.search(r"witness\.example/w1\+[0-9a-f]{8}\+\S+", made)
    assert own is not None, made
    process = subprocess.Popen(
        [binary, "serve", "-c", str(config), "--listen", f"127.0.0.1:{port}", "--log-level", "ERROR"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield Witness(port, own[0], config)
    finally:
        process.terminate()
        process.wait(_READY_S)


def _wait_for(port: int) -> None:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(port)
