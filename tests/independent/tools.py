"""Where the other implementations come from: made once below `.tools/`, found there afterwards, also without a network.

Who has no Go (or no registry to install from) skips these tests by name, unless `REQUIRE` lists `go` or `aics`.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from tests.services import ROOT, unavailable

HERE: Final = Path(__file__).parent
SOURCES: Final = HERE / "follower"
_TOOLS: Final = ROOT / ".tools"
_LOCKED: Final = HERE / "aics.txt"
_S: Final = 300.0


@cache
def follower() -> Path:
    """The Go program `follower`, built from its sources as they are; Go checks every module against `go.sum`."""
    digest = _digest(*sorted(SOURCES.glob("*.go")), SOURCES / "go.mod", SOURCES / "go.sum")
    with _one_at_a_time(f"follower-{digest}", _TOOLS / "bin") as binary:
        if not binary.is_file():
            made = binary.with_suffix(".new")
            _ran("go", ["go", "build", "-mod=readonly", "-trimpath", "-o", str(made), "."], SOURCES)
            made.replace(binary)
    return binary


@cache
def tessera() -> Path:
    """The sources of Tessera, whose tests have a log of fifteen entries (Apache-2.0), in Go's module cache."""
    found = _ran("go", ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "github.com/transparency-dev/tessera"])
    if not found.strip():
        _ran("go", ["go", "mod", "download", "github.com/transparency-dev/tessera"])
        return tessera.__wrapped__()
    return Path(found.strip())


@cache
def aics() -> Path:
    """The `bin` of an environment with aics-tlog and aics-witness, pinned by hash.

    They ask for Python 3.12. Where only an older one is to be had they are installed all the same, and run.
    """
    python = _python()
    version = _ran("aics", [python, "-c", "import sys; print(*sys.version_info[:2], sep='.', end='')"])
    with _one_at_a_time(f"aics-{_digest(_LOCKED)}-{version}", _TOOLS) as folder:
        if not (folder / "ready").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            _ran("aics", [python, "-m", "venv", str(folder)])
            quiet = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--ignore-requires-python"]
            _ran("aics", [str(folder / "bin" / "python"), "-m", "pip", "install", *quiet, "-r", str(_LOCKED)])
            (folder / "ready").touch()
    return folder / "bin"


def _python() -> str:
    """A Python of 3.12 or newer: by its name, or of pyenv; else our own."""
    for minor in ("12", "13", "14"):
        here = sorted((Path.home() / ".pyenv" / "versions").glob(f"3.{minor}.*/bin/python3"))
        found = shutil.which(f"python3.{minor}")
        if here or found:
            return str(here[-1]) if here else str(found)
    return sys.executable


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _ran(name: str, command: list[str], folder: Path = SOURCES) -> str:
    if shutil.which(command[0]) is None:
        unavailable(name, f"{command[0]} is not installed")
    quiet = {**os.environ, "GOWORK": "off", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_S, check=False, env=quiet)
    if done.returncode:
        unavailable(name, f"{' '.join(command[:3])}: {done.stderr.strip()[-500:]}")
    return done.stdout


@contextmanager
def _one_at_a_time(name: str, folder: Path) -> Iterator[Path]:
    """What is to be made, while no other worker makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (_TOOLS / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder / name
