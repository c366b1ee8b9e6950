"""One byte changed anywhere, in any file of a log, of an evidence bundle, of its archive: found, and named. In a log
also a file that is missing, cut off, or one too many.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from exchange.audit.verify import verify
from exchange.cli import lesson
from exchange.evidence.check import check
from exchange.evidence.forms import unarchived
from tests.audit.building import VKEY, control, grounds, leaves_of, release, write_log

_OF_FILES = 0.1  # so often
ENTRIES = 300  # more than one full tile

Named = Callable[[str, int], bool]


def mutations(folder: Path, seed: str, share: tuple[int, int], most: int, seconds: float) -> dict[str, Any]:
    """Changes, a third each in the three; `failures` tells those that were not found or not named."""
    choice, until = Random(seed), time.monotonic() + seconds if seconds else float("inf")
    shapes = [_log(folder / "log", choice), _bundle(folder / "bundle"), _archive(folder / "archive")]
    counts = dict.fromkeys(("log", "bundle", "archive", "log's file"), 0)
    failures: list[str] = []
    for number in range(len(range(share[0], most, share[1]))):
        if time.monotonic() > until:
            break
        name, (place, named) = [*counts][number % 3], shapes[number % 3]
        if name == "log" and choice.random() < _OF_FILES:
            failures += _of_files(place, choice)
            counts["log's file"] += 1
            print("{}", flush=True)
            continue
        file = choice.choice(sorted(one for one in place.rglob("*") if one.is_file()))
        good = file.read_bytes()
        at, flip = choice.randrange(len(good)), choice.randrange(1, 256)
        file.write_bytes(good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :])
        if not named(file.relative_to(place).as_posix(), at):
            failures.append(f"{name}: {file.relative_to(place)}, byte {at} ^ {flip}")
        file.write_bytes(good)
        counts[name] += 1
        print("{}", flush=True)
    return {"mutations": counts, "failures": failures}


def _of_files(log: Path, choice: Random) -> list[str]:
    """A file of the log missing, cut off, or one too many: what was not found or not named."""
    size = int((log / "checkpoint").read_bytes().split(b"\n")[1])
    full, part = divmod(size, 256)
    needed = [f"tile/{level}/{n:03}" for level in ("entries", "0") for n in range(full)]
    needed += [f"tile/{level}/{full:03}.p/{part}" for level in ("entries", "0")] + [f"tile/1/000.p/{full}"]
    what, file = choice.choice(("missing", "cut off", "stray")), log / choice.choice(needed)
    good = file.read_bytes()
    if what == "missing":
        file.unlink()
    elif what == "cut off":
        file.write_bytes(good[: choice.randrange(len(good))])
    else:
        number = choice.randrange(100, 1_000)
        names = (f"tile/0/{number}", f"tile/entries/{number}.p/{part}", f"tile/{number % 60 + 2}/000", f"{number}.txt")
        file = log / choice.choice(names)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(good)
    name = file.relative_to(log).as_posix()
    found = [one for one in verify(log, VKEY).findings if name in (one.file, one.detail)]
    if what == "stray":
        file.unlink()
    else:
        file.write_bytes(good)
    return [] if found else [f"log: {name} {what}"]


def _log(folder: Path, choice: Random) -> tuple[Path, Named]:
    """A log with full and partial tiles, and the older partial ones that a running log leaves."""
    leaves = leaves_of([*grounds(committed=10_000), control(1), *(release(n) for n in range(1, ENTRIES))])
    for size in sorted({20, *(choice.randrange(30, len(leaves)) for _ in range(6)), len(leaves)}):
        write_log(folder, leaves[:size])
    newest = {f"tile/entries/{len(leaves) // 256:03}.p/{len(leaves) % 256}": len(leaves) // 256 * 256}
    newest |= {f"tile/entries/{n:03}": n * 256 for n in range(len(leaves) // 256)}

    def named(file: str, at: int) -> bool:
        findings = verify(folder, VKEY).findings
        if file in newest:
            index, inside = _entry(leaves, newest[file], at)
            if inside:
                return ("entry_changed", index) in [(one.code, one.index) for one in findings]
            return any(file == one.file or index == one.index for one in findings)
        return file in [one.file for one in findings]

    return folder, named


def _entry(leaves: list[bytes], first: int, at: int) -> tuple[int, bool]:
    """The entry that a byte of a bundle belongs to, and whether it lies behind its length."""
    start, index = 0, first
    while start + 2 + len(leaves[index]) <= at:
        start, index = start + 2 + len(leaves[index]), index + 1
    return index, at >= start + 2


def _lesson(folder: Path) -> tuple[str, list[bytes], bytes]:
    lesson.write(folder)
    data = (folder / "bundle-2.zip").read_bytes()
    return (folder / "vkey").read_text("utf-8"), [(folder / "kept-checkpoint").read_bytes()], data


def _bundle(folder: Path) -> tuple[Path, Named]:
    """A bundle that was unpacked."""
    vkey, kept, data = _lesson(folder)
    shutil.rmtree(folder)
    for name, content in unarchived(data)[0].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    places = {name: {name, name.rpartition("/")[2]} for name in unarchived(data)[0]}

    def named(file: str, _at: int) -> bool:
        return any(one.place in places[file] for one in check(str(folder), vkey, kept).findings)

    return folder, named


def _archive(folder: Path) -> tuple[Path, Named]:
    """The archive itself: a byte of a file in it names that file or entry, any other byte the archive."""
    vkey, kept, data = _lesson(folder)
    for file in folder.iterdir():
        file.unlink()
    (folder / "bundle.zip").write_bytes(data)

    def named(_file: str, at: int) -> bool:
        findings = check(str(folder / "bundle.zip"), vkey, kept).findings
        inside = _member(data, at)
        return any(one.place in inside for one in findings)

    return folder, named


def _member(data: bytes, at: int) -> set[str]:
    files, _, _ = unarchived(data)
    start = 0
    for name in sorted(files):
        start += 30 + len(name)
        if start <= at < start + len(files[name]):
            return {name, name.rpartition("/")[2]}
        start += len(files[name])
    return {"bundle.zip"}
