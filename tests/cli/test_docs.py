"""`exchange docs` shows the manual, and nothing else of the machine."""

import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from exchange.manual import files
from tests.simulator import run


def test_the_manual_as_files(tmp_path: Path) -> None:
    """`--out` writes every page, and says where the first one is in the reader's language."""
    ran = run(["docs", "--out", str(tmp_path / "m"), "--lang", "zh"], {})
    assert (ran.code, ran.stdout) == (0, f"{tmp_path}/m/zh/index.html\n")
    assert {path.relative_to(tmp_path / "m").as_posix() for path in (tmp_path / "m").rglob("*.*")} == set(files())


def test_a_folder_that_cannot_be_written() -> None:
    """It is one clear error, not a traceback."""
    assert run(["docs", "--out", "/proc/1/none"], {}).error_code == "system"


@pytest.mark.enable_socket
def test_a_port_that_is_taken() -> None:
    """The error says which; a port that is no port is the same error."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = run(["docs", "--port", port, "--json"], {})
    assert (ran.code, ran.error_code) == (3, "serve_address_taken")
    assert port in ran.error["what"]
    assert run(["docs", "--port", "70000"], {}).error_code == "serve_address_taken"


@pytest.mark.whole
@pytest.mark.enable_socket
def test_the_manual_is_served() -> None:
    """Pages come from memory: an address with dots in it finds nothing."""
    command = [sys.executable, "-m", "exchange", "docs", "--port", "0", "--lang", "en"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r"http://[\d.:]+", process.stderr.readline())
        assert found is not None
        with urllib.request.urlopen(f"{found[0]}/", timeout=10) as answer:
            assert b"The manual of the exchange" in answer.read()
        for path in ("/../../etc/passwd", "/%2e%2e/keys", "/en/none.html"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(found[0] + path, timeout=10)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
