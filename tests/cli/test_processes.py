"""The command as real processes: exit codes, the lock, the pipe that breaks, the interrupt, the arguments."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulator import ASKED, AUDITOR, CHECKER, DATASET, MEMBERS, NEIGHBOUR, Site

pytestmark = [pytest.mark.processes, pytest.mark.torture]  # they are killed and interrupted


def _started(site: Site, *words: str, who: str, **more: object) -> "subprocess.Popen[bytes]":
    environment = site.environment(who)
    environment.pop("PYTHONUNBUFFERED", None)  # as on most machines, output waits in a buffer
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]  # streams as each test wants them
        [sys.executable, "-m", "exchange", *words], env=environment, cwd=site.folder, **more
    )


def test_a_process_ends_as_the_same_command_here(site: Site) -> None:
    """Streams and exit code of a release and of a refusal are those that the tests in one process see."""
    read = site.process("read", DATASET, *ASKED, who=CHECKER)
    here = site.read()
    assert (read.code, read.out) == (here.code, here.out)
    refused = site.process("lookup", DATASET, *ASKED, "--json", who=CHECKER, stdin=NEIGHBOUR, more={"LANG": "zh_CN"})
    assert (refused.code, refused.out, refused.error["reasons"]) == (1, b"", ["not_in_case"])


def test_a_second_process_is_told_who_holds_the_site(site: Site) -> None:
    """It exits 3 and names command and process; when the first one dies, however, the site is free."""
    with site.opened():
        held = site.process("read", DATASET, *ASKED, who=CHECKER)
    assert (held.code, held.error_code) == (3, "site_in_use")
    assert f"test (pid {os.getpid()})" in held.stderr.replace("：", ":")
    killed = _started(site, "case", "members", "case-1", who=CHECKER, stdin=subprocess.PIPE)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert site.read().code == 0


def test_output_that_nobody_reads_ends_quietly(site: Site) -> None:
    """A reader that goes away (`| head`) gets no traceback; what was released is in the log."""
    for words, who in ((["read", DATASET, *ASKED], CHECKER), (["audit", "checkpoint"], AUDITOR)):
        read, write = os.pipe()
        process = _started(site, *words, who=who, stdout=write, stderr=subprocess.PIPE)
        os.close(read)
        os.close(write)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 3
        assert b"Traceback" not in err
        assert b"Exception ignored" not in err
    assert len(site.entries("release")) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full to be full")
def test_output_that_cannot_be_written_is_said(site: Site) -> None:
    """A full disk behind standard output: 3 and one error."""
    with Path("/dev/full").open("wb") as full:
        process = _started(site, "read", DATASET, *ASKED, who=CHECKER, stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 3, err
    assert err.decode().splitlines()[0].endswith("No space left on device")
    assert len(err.splitlines()) == 2


def test_an_interrupt_ends_with_130(site: Site) -> None:
    """While ids are waited for the site is nobody's; an interrupt says that what was acknowledged stays."""
    # Who starts tests in the background of a shell has interrupts ignored, and so have all that they start.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import sys; "
    code += "from exchange.cli.main import main; print('up', flush=True); sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "lookup", DATASET, *ASKED],
        env=site.environment(CHECKER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    time.sleep(0.5)
    assert site.read().code == 0
    process.send_signal(signal.SIGINT)
    process.wait(30)  # before its input is closed, which would end it too
    _, err = process.communicate()
    assert (process.returncode, err) == (130, b"interrupted; what was acknowledged stays\n")


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc to see arguments in")
def test_no_process_has_an_id_among_its_arguments(site: Site) -> None:
    """Neither the command nor the policy engine that it starts: ids are on standard input only."""
    process = _started(
        site,
        "lookup",
        DATASET,
        *ASKED,
        who=CHECKER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    seen: set[bytes] = set()
    assert process.stdin is not None
    process.stdin.write("\n".join(MEMBERS).encode())
    process.stdin.close()
    process.stdin = None
    while process.poll() is None:
        seen |= set(_arguments_below(process.pid))
        time.sleep(0.01)
    assert process.communicate()[0].count(b"\n") == 2
    assert any(b"worker.py" in one for one in seen)
    assert not [one for one in seen for person in MEMBERS if person.encode() in one]


def _arguments_below(pid: int) -> list[bytes]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if pid in {int(folder.name), parent}:
                    found.append((folder / "cmdline").read_bytes() + (folder / "environ").read_bytes())
            except (OSError, ValueError):
                continue
    return found
