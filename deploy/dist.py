"""`make dist`: the exchange as files that install it on a machine without a network.

`dist/` then holds the wheel, `wheels/` with what it requires for this platform and Python (each file one whose hash the
lock names), `requirements.txt` with these hashes, `install.sh`, `exchange-verify.pyz` for auditors and `lesson/` with
bundles to learn by, and `SHA256SUMS` over all of it. No file names an
index: whichever pip is set up with serves the wheels once, and the hashes decide.
"""

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements.txt"
CACHE: Final = ROOT / "build" / "wheels"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VIA: Final = re.compile(r"^    # +(?:via +)?(\S+)", re.MULTILINE)
_INSTALLER: Final = Path(__file__).with_name("install.sh")


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of the lock file: its lines as they stand there, and which packages it is there for."""

    name: str
    lines: str
    via: frozenset[str]


def locked(text: str) -> Iterator[Locked]:
    """The packages of a lock file as `uv pip compile` writes it."""
    for block in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
        kept = "\n".join(line for line in block.rstrip().splitlines() if not line.startswith("    #"))
        yield Locked(_name(block), kept, frozenset(map(_plain, _VIA.findall(block))))


def core(lock: str, project: Mapping[str, Any], extras: Collection[str] = ()) -> str:
    """The part of the lock that the exchange itself requires, without extras or with these: requirements with hashes.

    Raises:
        LookupError: the project requires something that the lock does not have, or has no such extra.
    """
    table = project["project"]
    optional = table.get("optional-dependencies", {})
    unknown = sorted(set(extras) - optional.keys())
    if unknown:
        raise LookupError(f"no such extra: {', '.join(unknown)}")
    return _closure(lock, [*table["dependencies"], *(one for extra in extras for one in optional[extra])])


def builder(lock: str, project: Mapping[str, Any]) -> str:
    """The part of the lock that makes the wheel."""
    return _closure(lock, project["build-system"]["requires"])


def _closure(lock: str, wanted: Sequence[str]) -> str:
    packages = {one.name: one for one in locked(lock)}
    found = {_name(one) for one in wanted}
    while more := {one.name for one in packages.values() if one.via & found} - found:
        found |= more
    missing = sorted(found - packages.keys())
    if missing:
        raise LookupError(f"not in the lock: {', '.join(missing)}")
    return "".join(f"{packages[name].lines}\n" for name in sorted(found))


def _name(requirement: str) -> str:
    match = _NAME.match(requirement)
    return _plain(match[0]) if match else ""


def _plain(name: str) -> str:
    """A name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wheels(requirements: str, cache: Path = CACHE) -> Path:
    """A folder with the wheels of these requirements for this platform and Python, fetched once."""
    machine = f"{sysconfig.get_platform()}-{_python()}"
    digest = hashlib.sha256(f"{machine}\n{requirements}".encode()).hexdigest()[:32]
    folder = cache / digest
    if not folder.is_dir():
        unfinished = cache / f"{digest}.{os.getpid()}"
        unfinished.mkdir(parents=True)
        wanted = unfinished / "requirements.txt"
        wanted.write_text(requirements, "utf-8")
        words = ["--quiet", "--require-hashes", "--only-binary", ":all:", "--no-deps", "--dest", str(unfinished)]
        _run(sys.executable, "-m", "pip", "download", *words, "-r", str(wanted))
        wanted.unlink()
        # A crash before this leaves a folder that nothing looks into; of two at once the first one's stays.
        if not folder.is_dir():
            unfinished.rename(folder)
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def build(out: Path, cache: Path = CACHE) -> Path:
    """Makes everything anew in `out`; the exchange's own wheel."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    requirements = core(LOCK.read_text("utf-8"), _project())
    (out / "requirements.txt").write_text(requirements, "utf-8")
    shutil.copytree(wheels(requirements, cache), out / "wheels")
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out), quiet=True)
    (wheel,) = out.glob("exchange-*.whl")
    script = _INSTALLER.read_text("utf-8")
    for word, value in {"PYTHON": _python(), "SYSTEM": sys.platform, "MACHINE": platform.machine()}.items():
        script = script.replace(f"@{word}@", value)
    (out / "install.sh").write_text(script, "utf-8")
    (out / "install.sh").chmod(0o755)
    # With what they import, which the image's first stage does not have.
    from exchange.cli import lesson
    from exchange.wiring.checker import NAME, checker

    (out / NAME).write_bytes(checker())
    lesson.write(out / "lesson")
    files = sorted(file for file in out.rglob("*") if file.is_file())
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(out).as_posix()}\n" for file in files]
    (out / "SHA256SUMS").write_text("".join(sums), "utf-8")
    return wheel


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _python() -> str:
    """The Python whose compiled wheels these are."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _run(*words: str, quiet: bool = False) -> None:
    subprocess.run(words, cwd=ROOT, check=True, stderr=subprocess.DEVNULL if quiet else None)


def main() -> int:
    """Builds into `--out`, and says what is there; or only prints requirements with hashes, as an image needs them."""
    parser = argparse.ArgumentParser(prog="python -m deploy.dist")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument(
        "--requirements", metavar="EXTRA,…", help="print these, or with `build` those that make the wheel"
    )
    parsed = parser.parse_args()
    if parsed.requirements is not None:
        lock, extras = LOCK.read_text("utf-8"), [one for one in parsed.requirements.split(",") if one]
        sys.stdout.write(builder(lock, _project()) if extras == ["build"] else core(lock, _project(), extras))
        return 0
    out = parsed.out.resolve()
    wheel = build(out)
    count = len(list((out / "wheels").iterdir()))
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    sys.stdout.write(
        f"{wheel.name} and {count} wheels for {sys.platform} {platform.machine()}, Python {_python()}, "
        f"{size / 1_000_000:.0f} MB\non the other machine: sh {out.name}/install.sh DIR\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
