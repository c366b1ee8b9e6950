"""`deploy/local/kafka.sh`: what it starts, what it leaves alone, and what it says when it cannot."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests import services

RUN = services.ROOT / "deploy" / "local" / "kafka" / "run.py"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script, with nothing in its environment but this."""
    command = [sys.executable, str(RUN), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_without_java_it_says_so(tmp_path: Path) -> None:
    """Exit code 3 and one line that names what to install; nothing was made."""
    made = run("start", "--folder", str(tmp_path / "kafka"), PATH=str(tmp_path))
    assert (made.returncode, made.stdout) == (3, "")
    assert "Java" in made.stderr
    assert len(made.stderr.splitlines()) == 1
    assert [path.name for path in (tmp_path / "kafka").iterdir()] == ["lock"]


def test_another_programs_process_is_never_stopped(tmp_path: Path) -> None:
    """A process id that was given to somebody else since is no broker: `stop` and `status` see none."""
    place = tmp_path / "kafka" / "broker-1"
    place.mkdir(parents=True)
    (place / "pid").write_text(str(os.getpid()), "utf-8")
    assert run("stop", "--folder", str(tmp_path / "kafka")).stdout == "kafka: stopped\n"
    assert run("status", "--folder", str(tmp_path / "kafka")).returncode == 1


@pytest.mark.kafka
def test_started_again_it_is_left_alone() -> None:
    """The same brokers at the same address; what only their owner may read is so, and in no list of processes."""
    folder = services.kafka().folder
    if folder is None:
        pytest.skip("no kafka of our own: another one was found first")
    before = (folder / "broker-1" / "pid").read_text("utf-8")
    again = services.local("start", folder)
    assert again.stdout.strip() == services.kafka().url
    assert (folder / "broker-1" / "pid").read_text("utf-8") == before
    assert services.local("status", folder).stdout.strip() == services.kafka().url
    assert len(json.loads((folder / "nodes.json").read_text("utf-8"))) == 1
    for file in (*(folder / "secrets").iterdir(), folder / "broker-1" / "server.properties"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shown = Path(f"/proc/{before}/cmdline")
    if shown.exists():
        assert not any(password in shown.read_text("utf-8") for password in services.kafka().passwords.values())
