"""Files that are whole or not there: temporary name, write, fsync, rename, fsync of the folder.

After a failed fsync the kernel may forget the written pages and report success the next time. So whoever gets an
`OSError` from here stops, and starts again from what it reads on disk.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

STAGING: Final = "staging"


class Files(Protocol):
    """The few operations on a log's folder, each small enough to fail in a test. Names are relative, with `/`.

    Every operation raises `OSError` when it fails; whether its effect is on disk is then unknown.
    """

    def write(self, name: str, data: bytes) -> None:
        """Writes a file anew and makes its bytes durable (not its name)."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Gives the file another name in one step, replacing what had it."""
        ...

    def sync_folder(self, name: str) -> None:
        """Makes the names in this folder durable."""
        ...

    def make_folder(self, name: str) -> None:
        """Makes a folder unless it is there, and its name durable."""
        ...

    def remove(self, name: str) -> None:
        """Removes a file; one that is not there is no error."""
        ...

    def remove_folder(self, name: str) -> None:
        """Removes a folder and the files in it; one that is not there is no error."""
        ...

    def read(self, name: str) -> bytes | None:
        """The file's bytes; None when there is no such file."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none when there is no such folder."""
        ...


class DiskFiles:
    """`Files` on a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, data: bytes) -> None:
        """See `Files.write`."""
        handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            view = memoryview(data)
            while view:  # a full disk shows as a short write first
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: str, new: str) -> None:
        """See `Files.rename`."""
        (self._folder / old).replace(self._folder / new)

    def sync_folder(self, name: str) -> None:
        """See `Files.sync_folder`."""
        _sync(self._folder / name)

    def make_folder(self, name: str) -> None:
        """See `Files.make_folder`."""
        path = self._folder / name
        if path.is_dir():
            return
        missing = [path, *(parent for parent in path.parents if not parent.is_dir())]
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            _sync(one.parent)

    def remove(self, name: str) -> None:
        """See `Files.remove`."""
        (self._folder / name).unlink(missing_ok=True)

    def remove_folder(self, name: str) -> None:
        """See `Files.remove_folder`."""
        for one in self.names(name):
            self.remove(f"{name}/{one}")
        if (self._folder / name).is_dir():
            (self._folder / name).rmdir()

    def read(self, name: str) -> bytes | None:
        """See `Files.read`."""
        try:
            return (self._folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        """See `Files.names`."""
        path = self._folder / folder
        return sorted(one.name for one in path.iterdir()) if path.is_dir() else []


def _sync(folder: Path) -> None:
    if os.name == "nt":  # it has no handle on a folder; NTFS journals names
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put(files: Files, items: Iterable[tuple[str, bytes]]) -> None:
    """Writes files whole, through `staging/`, and makes bytes and names durable. What was there is replaced."""
    folders: dict[str, None] = {}
    for name, data in items:
        folder = name.rpartition("/")[0]
        files.make_folder(folder)
        temporary = f"{STAGING}/.{name.replace('/', '-')}"
        files.write(temporary, data)
        # A crash here leaves a temporary file in staging, which the next start removes.
        files.rename(temporary, name)
        folders[folder] = None
    for folder in folders:
        files.sync_folder(folder)
    # A crash before this line may keep or lose any of the new names, never a half-written file.
