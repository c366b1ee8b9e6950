"""An engine in a process of its own, under a deadline: what both engines have in common.

A question that is past its deadline, or whose evaluation ends the process, costs that question a refusal; a successor
is started in the background and the next question waits for it. Starting is not counted against a deadline.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any, Final, Protocol

from exchange.errors import ExchangeError, Invalid, Refused, Unavailable
from exchange.policy import Bundle, modules

MAX_QUESTION: Final = 64 << 20
UNDEFINED: Final = object()


class Lost(Exception):
    """The process did not answer, and is to be killed: `cause` is deadline, crashed or answer_too_large."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Process(Protocol):
    """One running process with one bundle loaded. It is used by one thread at a time."""

    def alive(self) -> bool:
        """Whether it was still there a moment ago."""
        ...

    def ask(self, question: bytes, deadline_s: float) -> object:
        """The JSON answer, or `UNDEFINED`. `Refused("policy_error")`, or `Lost` when the process is of no more use."""
        ...

    def rule(self, name: str, deadline_s: float) -> object:
        """The same for a rule by its full name, without a question."""
        ...

    def stop(self) -> None:
        """Kills the process and waits for its end; may be called again."""
        ...


class Starter(Protocol):
    """Starts a process with a bundle: `Invalid("policy_unparsable")`, `Unavailable("policy_engine_missing")`."""

    def __call__(self, texts: Mapping[str, str], codes: Mapping[str, Any]) -> Process:
        """The process, ready to be asked."""
        ...


class SupervisedEngine:
    """A `PolicyEngine` (its guarantees stand there) over processes of one kind; `deadline_s` is for one evaluation."""

    def __init__(self, start: Starter, deadline_s: float) -> None:
        self._start = start
        self._deadline_s = deadline_s
        self._lock = Lock()
        self._bundle: Bundle | None = None
        self._process: Process | None = None
        self._successor: Thread | None = None

    def load(self, bundle: Bundle | None) -> None:
        """Makes this the bundle that questions are asked of, in a new process; None takes the policy away.

        Raises:
            Invalid: `policy_unparsable` with file and line, and what `modules.check` raises; the former bundle stays.
            Unavailable: `policy_engine_missing`; the former bundle stays.
        """
        process = None if bundle is None else self._started(bundle, modules.running(bundle.modules))
        with self._lock:
            self._settle()
            former, self._process, self._bundle = self._process, process, bundle
        if former is not None:
            former.stop()

    @contextmanager
    def offering(self, bundle: Bundle, patience_s: float) -> Iterator[None]:  # noqa: ARG002 - its process is ours
        """Whether a process starts with this bundle, tried in one apart.

        Raises:
            Invalid, Unavailable: as `load` does.
        """
        self._started(bundle, modules.running(bundle.modules)).stop()
        yield

    def evaluate(self, question: bytes) -> Mapping[str, Any]:
        """The document that the policy gives for a question in canonical JSON.

        Raises:
            Refused: `policy_unavailable` (no bundle, or no process to be had), `policy_undefined`, `policy_error`.
        """
        if len(question) > MAX_QUESTION:
            raise Refused("policy_error", detail="question_too_large")
        with self._lock:
            process = self._ready()
            try:
                answer = process.ask(question, self._deadline_s)
            except Lost as lost:
                self._replace(process)
                raise Refused("policy_error", detail=lost.cause) from None
        if answer is UNDEFINED:
            raise Refused("policy_undefined")
        if not isinstance(answer, dict):
            raise Refused("policy_error", detail="answer_no_object")
        return answer

    def test(self, bundle: Bundle) -> Mapping[str, bool]:
        """Runs the rules named `test_…`, each by its full name, in a process apart: whether it held.

        Raises:
            Invalid, Unavailable: as `load` does.
        """
        process = self._started(bundle, bundle.modules)
        results: dict[str, bool] = {}
        try:
            for name in modules.names_of_tests(bundle.modules):
                try:
                    results[name] = process.rule(name, self._deadline_s) is True
                except Refused:
                    results[name] = False
                except Lost:
                    results[name] = False
                    process.stop()
                    process = self._started(bundle, bundle.modules)
        finally:
            process.stop()
        return results

    def close(self) -> None:
        """Ends the engine's process and leaves no policy in force; it may be called again."""
        self.load(None)

    def _started(self, bundle: Bundle, texts: Mapping[str, str]) -> Process:
        modules.check(bundle.modules, bundle.codes)
        try:
            return self._start(texts, bundle.codes)
        except Lost as lost:
            raise Invalid("policy_unparsable", detail=lost.cause) from None

    def _ready(self) -> Process:
        self._settle()
        if self._bundle is None:
            raise Refused("policy_unavailable", detail="no_policy")
        if self._process is not None and not self._process.alive():
            self._process.stop()
            self._process = None
        if self._process is None:
            self._succeed(self._bundle)
        if self._process is None:
            raise Refused("policy_unavailable", detail="engine")
        return self._process

    def _replace(self, process: Process) -> None:
        """Kills the process; its successor is started meanwhile, for the next question to wait on."""
        process.stop()
        self._process = None
        self._successor = Thread(target=self._succeed, args=(self._bundle,), name="policy-successor", daemon=True)
        self._successor.start()

    def _settle(self) -> None:
        if self._successor is not None:
            self._successor.join()
            self._successor = None

    def _succeed(self, bundle: Bundle) -> None:
        try:
            self._process = self._start(modules.running(bundle.modules), bundle.codes)
        except (Lost, ExchangeError):
            self._process = None  # the next question tries again and is refused if it still cannot be


def parsed(answer: bytes) -> object:
    """The value of an engine's JSON; `Refused("policy_error")` for what canonical JSON does not know."""
    try:
        return json.loads(answer, parse_float=_no_fraction, parse_constant=_no_fraction)
    except (ValueError, RecursionError):
        raise Refused("policy_error", detail="answer_not_canonical") from None


def open_still(connection: socket.socket) -> bool:
    """Whether the other side of an idle connection has neither closed it nor said anything unasked."""
    try:
        connection.settimeout(0)
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _no_fraction(_text: str) -> object:
    raise ValueError


def missing(engine: str, detail: str) -> Unavailable:
    """The error for an engine that cannot be started here."""
    return Unavailable("policy_engine_missing", engine=engine, detail=detail)
