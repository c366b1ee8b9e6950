"""Runs the `console` blocks of a Markdown text as they stand there, and compares what they print."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

_END: Final = "\x1e"  # stands behind each command's output
_PATIENCE_S: Final = 110
_PORT: Final = re.compile(r"(127\.0\.0\.1:|--port )(84[3-9][0-9])\b")  # where texts have `exchange serve` listen
_SERVE: Final = re.compile(r"exchange serve(?! --port)")
ROOT: Final = Path(__file__).resolve().parents[2]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command of the console blocks, with the lines that it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> "):
                found[-1] = (found[-1][0] + "\n" + line[2:], [])
            else:
                found[-1][1].append(line)
    return found


def play(text: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Runs all commands of a text by one shell in this folder: each ends well and prints what stands there. Ports that
    the text names are replaced by free ones; whatever a command leaves running ends with it.
    """
    text = on_free_ports(text)
    given = commands(text)
    script = "\n".join(f"{command}\nprintf '{_END}%s\\n' $?" for command, _ in given)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("EXCHANGE_", "LC_"))}
    path = f"{Path(sys.executable).parent}:{plain['PATH']}"
    started = subprocess.Popen(
        ["bash", "-c", f"exec 2>&1\n{script}"],
        cwd=folder,
        env={**plain, "PATH": path, "LANG": "C.UTF-8", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        told, _ = started.communicate(timeout=_PATIENCE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)  # the shell, and what it left behind
        started.communicate()
    outputs = re.split(rf"{_END}(\d+)\n", told.decode())
    for (command, expected), output, code in zip(given, outputs[::2], outputs[1::2], strict=False):
        assert code == "0", f"{command}\n{output}"
        assert _matches(expected, output), f"{command}\n{output}"
    assert len(outputs) == 2 * len(given) + 1


def on_free_ports(text: str) -> str:
    """The text, each port of `exchange serve` in it replaced by one that is free, the same one everywhere."""
    text = _SERVE.sub("exchange serve --port 8431", text)
    ports = sorted({port for _, port in _PORT.findall(text)})
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in ports]
        free = {port: str(probe.getsockname()[1]) for port, probe in zip(ports, probes, strict=True)}
    return _PORT.sub(lambda found: found[1] + free[found[2]], text)


def _matches(expected: list[str], found: str) -> bool:
    """`…` stands for anything in a line, and alone in a line for any lines; runs of spaces are one."""
    lines = [re.escape(" ".join(line.split())).replace("…", ".*") for line in expected]
    pattern = "\n".join(r"(?s:.*?)" if line == ".*" else line for line in lines)
    plain = "\n".join(" ".join(line.split()) for line in found.splitlines())
    return re.fullmatch(pattern, plain) is not None
