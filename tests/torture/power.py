"""A folder that forgets at a power cut what was not synced: SIGKILL alone does not test fsync, for the kernel lives on.

`PowerFiles` stands in the `Files` seam of the audit log. A file's bytes are durable when it was synced after the last
of them, a name when its folder was synced; of what is not, any part may survive, in any mixture: a file whose name is
durable and whose bytes are not comes back whole, cut off or empty.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from exchange.audit import files
from exchange.audit.files import DiskFiles


class PowerFiles:
    """`Files` on a folder until the `last`-th operation, which ends in a power cut, as all later ones do.

    `forgotten` are folders whose sync does nothing: a mutant of ours that forgets it there.
    """

    def __init__(self, folder: Path, last: int, forgotten: frozenset[str] = frozenset()) -> None:
        self._folder, self._left, self._forgotten = folder, last, forgotten
        self._live = DiskFiles(folder)
        self._durable = dict(_files(folder))
        self._folders = [one.relative_to(folder) for one in folder.rglob("*") if one.is_dir()]
        self._pending: list[tuple[str, bytes | None]] = []
        self._loose: set[str] = set()  # files whose bytes were not synced

    @property
    def cut(self) -> bool:
        """Whether the power has failed."""
        return self._left <= 0

    def write(self, name: str, data: bytes) -> None:
        self._tick()
        with _Watched() as watched:
            self._live.write(name, data)
        self._keep(name, data, synced=watched.synced)

    def tear(self, name: str, data: bytes) -> None:
        """A write that the power cut ends: these bytes are all that came, and they are not synced."""
        self._live.write(name, data)
        self._keep(name, data, synced=False)

    def rename(self, old: str, new: str) -> None:
        self._tick()
        data = self._live.read(old)
        self._live.rename(old, new)
        self._pending += [(new, data), (old, None)]
        self._loose.discard(new)
        if old in self._loose:
            self._loose = (self._loose - {old}) | {new}

    def sync_folder(self, name: str) -> None:
        self._tick()
        if name in self._forgotten:
            return
        for file, data in self._pending:
            if file.rpartition("/")[0] == name:
                _change(self._durable, file, data)
        self._pending = [one for one in self._pending if one[0].rpartition("/")[0] != name]

    def make_folder(self, name: str) -> None:
        self._tick()
        self._live.make_folder(name)

    def remove(self, name: str) -> None:
        self._tick()
        self._live.remove(name)
        self._pending.append((name, None))

    def remove_folder(self, name: str) -> None:
        self._tick()
        self._pending += [(f"{name}/{one}", None) for one in self._live.names(name)]
        self._live.remove_folder(name)

    def read(self, name: str) -> bytes | None:
        return self._live.read(name)

    def names(self, folder: str) -> list[str]:
        return self._live.names(folder)

    def lose(self, random: Random, folder: Path | None = None) -> None:
        """The folder as the power cut leaves it; `folder` where what is left shall lie elsewhere."""
        for file, data in self._pending:
            if random.random() < 0.5:
                _change(self._durable, file, data)
        shutil.rmtree(folder or self._folder)
        (folder or self._folder).mkdir()
        for one in self._folders:
            ((folder or self._folder) / one).mkdir(parents=True, exist_ok=True)
        for file, data in self._durable.items():
            left = data[: random.choice((len(data), random.randint(0, len(data)), 0))] if file in self._loose else data
            ((folder or self._folder) / file).parent.mkdir(parents=True, exist_ok=True)
            ((folder or self._folder) / file).write_bytes(left)

    def _keep(self, name: str, data: bytes, *, synced: bool) -> None:
        self._pending.append((name, data))
        self._loose = self._loose - {name} if synced else self._loose | {name}

    def _tick(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise OSError(errno.EIO, "the power failed")


class _Watched:
    """The module `os` for `exchange.audit.files`, which notes whether a file is synced after its last byte."""

    def __init__(self) -> None:
        self.synced = False

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def __enter__(self) -> "_Watched":
        files.__dict__["os"] = self  # for as long as one file is written
        return self

    def __exit__(self, *_: object) -> None:
        files.__dict__["os"] = os

    def write(self, handle: int, data: memoryview) -> int:
        self.synced = False
        return os.write(handle, data)

    def fsync(self, handle: int) -> None:
        os.fsync(handle)
        self.synced = True


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _change(files: dict[str, bytes], name: str, data: bytes | None) -> None:
    if data is None:
        files.pop(name, None)
    else:
        files[name] = data
