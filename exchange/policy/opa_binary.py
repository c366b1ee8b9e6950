"""OPA as policy engine: a local `opa run --server` on a Unix socket that only we can reach (OPA's REST API, v1).

For platforms without a wheel of regorus. No TCP port, no bundles from afar, no decision log, no environment.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from exchange.errors import Invalid, Refused
from exchange.names import canonical
from exchange.policy.supervised import UNDEFINED, Lost, SupervisedEngine, missing, open_still, parsed

START_S: Final = 10.0  # for checking, starting and loading, which no question's deadline counts
MAX_ANSWER: Final = 1 << 20
_ENTRY: Final = "data.exchange.plan"
# OPA does not notice its parent's death, the shell does: end of input ends both and takes their folder away.
_LEASH: Final = '"$@" </dev/null >/dev/null 2>&1 & read -r _; kill -9 $!; wait $!; rm -rf -- "$EXCHANGE_POLICY_FOLDER"'


class OpaBinaryEngine(SupervisedEngine):
    """A `PolicyEngine` on the OPA binary at `path`. The first `load` starts the server; `close` ends it."""

    def __init__(self, path: Path, deadline_s: float = 0.1) -> None:
        super().__init__(lambda texts, codes: _Server(path, texts, codes), deadline_s)


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket, every step of it within what is left until `until` (`time.monotonic`)."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path
        self.until = 0.0

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.allow(self.until)
        self.sock.connect(str(self._path))

    def allow(self, until: float) -> None:
        """Moves the deadline."""
        self.until = until
        if self.sock is not None:
            self.sock.settimeout(max(until - monotonic(), 0.000_001))


class _Server:
    """One server process with one bundle."""

    def __init__(self, path: Path, texts: Mapping[str, str], codes: Mapping[str, Any]) -> None:
        self._folder = folder = Path(tempfile.mkdtemp(prefix="exchange-policy-"))  # mode 0700
        sources = folder / "bundle"
        sources.mkdir()
        for name, text in texts.items():
            (sources / name).write_text(text, "utf-8")
        (sources / "data.json").write_bytes(canonical({"codes": codes}))
        self._connection = _UnixConnection(folder / "socket")
        self._shell = _leashed(path, folder)
        try:
            _check(path, sources)
            self._connect()
        except BaseException:
            self.stop()
            raise

    def alive(self) -> bool:
        """Whether the server was still there a moment ago. A closed connection counts as its end."""
        return self._connection.sock is not None and open_still(self._connection.sock)

    def ask(self, question: bytes, deadline_s: float) -> object:
        """The JSON answer, or `UNDEFINED`."""
        return self._post(_ENTRY, b'{"input":' + question + b"}", deadline_s)

    def rule(self, name: str, deadline_s: float) -> object:
        """The same for a rule by its full name."""
        return self._post(name, b'{"input":{}}', deadline_s)

    def stop(self) -> None:
        """Kills the server, through its shell, and waits for the end of both."""
        self._connection.close()
        if self._shell.stdin is not None:
            self._shell.stdin.close()
        self._shell.wait()
        shutil.rmtree(self._folder, ignore_errors=True)  # the shell has done so, unless somebody killed it

    def _connect(self) -> None:
        until = monotonic() + START_S
        while True:
            self._connection.until = until
            try:
                self._connection.connect()
            except OSError:
                self._connection.close()
                if monotonic() > until:
                    raise missing("opa", "start") from None
                sleep(0.002)
            else:
                return

    def _post(self, rule: str, body: bytes, deadline_s: float) -> object:
        self._connection.allow(monotonic() + deadline_s)
        path = f"/v1/{rule.replace('.', '/')}?strict-builtin-errors=true"
        try:
            self._connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            answer = self._read(response)
        except TimeoutError:
            raise Lost("deadline") from None
        except (OSError, HTTPException):
            raise Lost("crashed") from None
        return _result(response.status, answer)

    def _read(self, response: HTTPResponse) -> bytes:
        data = response.read(MAX_ANSWER + 32)
        if len(data) > MAX_ANSWER:
            raise Lost("answer_too_large")
        response.close()
        return data


def _leashed(path: Path, folder: Path) -> "subprocess.Popen[bytes]":
    options = ["--addr", f"unix://{folder / 'socket'}", "--unix-socket-perm", "600", "--log-level", "error"]
    server = [str(path), "run", "--server", *options, "--skip-version-check", str(folder / "bundle")]
    quiet = subprocess.DEVNULL
    environment = {"EXCHANGE_POLICY_FOLDER": str(folder), "PATH": os.defpath, "GOMEMLIMIT": "768MiB"}
    command = ["/bin/sh", "-c", _LEASH, "sh", *server]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, env=environment, cwd=folder)


def _check(path: Path, sources: Path) -> None:
    """Has OPA compile the bundle, for errors with a place.

    Raises:
        Invalid: `policy_unparsable` with file and line. Unavailable: `policy_engine_missing`.
    """
    command = [str(path), "check", "--format", "json", str(sources)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=START_S, env={}, cwd=sources, check=False)
        said = json.loads(done.stderr or b"{}") if done.returncode else {}
    except subprocess.TimeoutExpired:
        raise Lost("deadline") from None
    except OSError as error:
        raise missing("opa", error.strerror or type(error).__name__) from None
    except ValueError:
        raise missing("opa", "check") from None
    for fault in said.get("errors", ()):
        raise Invalid("policy_unparsable", where=place_of(said), detail=str(fault.get("message"))[:200])
    if done.returncode:
        raise missing("opa", "check")


def _result(status: int, answer: bytes) -> object:
    document = parsed(answer)
    if not isinstance(document, dict) or status != 200:
        raise Refused("policy_error", where=place_of(document), detail="evaluation")
    return document.get("result", UNDEFINED)


def place_of(document: object) -> str:
    """File and line of the first error. At evaluation its message is left out: it may show values of the question."""
    for fault in document.get("errors", ()) if isinstance(document, dict) else ():
        location = fault.get("location") or {}
        return f"{Path(location.get('file', '')).name}:{location.get('row', 0)}"
    return ""
