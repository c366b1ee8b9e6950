"""What an engine does when its process cannot be had, and what a worker may use."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from exchange.errors import Refused, Unavailable
from exchange.names import canonical
from exchange.policy import regorus
from exchange.policy.opa_binary import OpaBinaryEngine
from exchange.policy.regorus import RegorusEngine
from tests.policy.engines import bundle, question

SOUND = bundle('plan := {"a": 1}')
WORKER = Path(regorus.__file__).with_name("worker.py")


def test_opa_that_is_not_there(tmp_path: Path) -> None:
    """A path without a binary, or with something else: the engine is missing, nothing is in force, nothing left."""
    wrong = tmp_path / "opa"
    wrong.write_text("#!/bin/sh\nexit 1\n")
    wrong.chmod(0o700)
    for path in (tmp_path / "nowhere", wrong):
        engine = OpaBinaryEngine(path)
        with pytest.raises(Unavailable, match="policy_engine_missing"):
            engine.load(SOUND)
        with pytest.raises(Refused, match="policy_unavailable"):
            engine.evaluate(canonical(question()))


def test_platform_without_regorus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot import regorus: the engine is missing."""
    broken = tmp_path / "worker.py"
    broken.write_text("import regorus_for_another_platform\n")
    monkeypatch.setattr(regorus, "_WORKER", broken)
    with pytest.raises(Unavailable, match="policy_engine_missing"):
        RegorusEngine().load(SOUND)


def test_engine_that_cannot_start_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the worker died and no other can be had, questions are refused; when it can again, they are answered."""
    others = _workers_of_this_process()
    with closing(RegorusEngine(2.0)) as engine:
        engine.load(bundle('plan := {"id": input.id}'))
        monkeypatch.setattr(regorus, "_WORKER", tmp_path / "nowhere.py")
        (worker,) = _workers_of_this_process() - others
        os.kill(worker, signal.SIGKILL)
        os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                engine.evaluate(canonical(question()))
            assert (refused.value.code, refused.value.facts["detail"]) == ("policy_unavailable", "engine")
        monkeypatch.undo()
        assert engine.evaluate(canonical(question())) == {"id": "q-1"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long another process has computed")
def test_a_worker_that_has_not_had_its_turn_is_waited_for() -> None:
    """The deadline is of computing: on a machine that is too busy the same question has the same answer, later; one
    whose worker never gets its turn is refused.
    """
    others = _workers_of_this_process()
    with closing(RegorusEngine(0.2)) as engine:
        engine.load(bundle('plan := {"id": input.id}'))
        (worker,) = _workers_of_this_process() - others
        os.kill(worker, signal.SIGSTOP)
        threading.Timer(0.5, os.kill, (worker, signal.SIGCONT)).start()
        assert engine.evaluate(canonical(question())) == {"id": "q-1"}
        os.kill(worker, signal.SIGSTOP)
        with pytest.raises(Refused) as refused:
            engine.evaluate(canonical(question()))
        assert (refused.value.code, refused.value.facts["detail"]) == ("policy_error", "deadline")


def _workers_of_this_process() -> set[int]:
    # -ww: else a line ends at the width of some terminal, and a checkout in a deeper folder has longer lines.
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())]
    listing = subprocess.run(command, capture_output=True, check=True)
    return {int(line.split()[0]) for line in listing.stdout.splitlines() if str(WORKER).encode() in line}


def test_worker_is_bounded_in_memory() -> None:
    """Where the platform can, a worker gets no more than its bound: the machine outlives a hungry policy."""
    script = "import runpy, sys; runpy.run_path(sys.argv[1])['limit_memory'](); bytearray(1 << 30)"
    done = subprocess.run([sys.executable, "-I", "-c", script, str(WORKER)], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(b"MemoryError")


def test_worker_imports_nothing_of_ours() -> None:
    """The worker starts fast because it knows only the standard library and regorus."""
    script = "import runpy, sys; runpy.run_path(sys.argv[1]); print([m for m in sys.modules if 'exchange' in m])"
    done = subprocess.run([sys.executable, "-I", "-c", script, str(WORKER)], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
