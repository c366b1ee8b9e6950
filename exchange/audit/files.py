"""Files that are whole or not there: temporary name, write, fsync, rename, fsync of the folder.

After a failed fsync the kernel may forget the written pages and report success the next time. So whoever gets an
`OSError` from here stops, and starts again from what it reads on disk.
"""

import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, Protocol, TypeVar

STAGING: Final = "staging"
_MANY: Final = 4  # below, another thread costs more than it saves
_SIDE_BY_SIDE: Final = 8

_Item = TypeVar("_Item")


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
    """`Files` on a folder of this machine. Each call to the system gives up the interpreter and waits, behind all who
    serve, to get it back: so as few as will do.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: set[str] = set()  # folders that are there

    def write(self, name: str, data: bytes) -> None:
        """See `Files.write`."""
        handle = os.open(f"{self._folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            view = memoryview(data)
            while view:  # a full disk shows as a short write first
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: str, new: str) -> None:
        """See `Files.rename`."""
        os.replace(f"{self._folder}/{old}", f"{self._folder}/{new}")  # noqa: PTH105  # no path is taken apart

    def sync_folder(self, name: str) -> None:
        """See `Files.sync_folder`."""
        _sync(self._folder / name)

    def make_folder(self, name: str) -> None:
        """See `Files.make_folder`."""
        if name in self._made:
            return
        path = self._folder / name
        missing = [one for one in (path, *path.parents) if not one.is_dir()]
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            _sync(one.parent)
        self._made.add(name)

    def remove(self, name: str) -> None:
        """See `Files.remove`."""
        (self._folder / name).unlink(missing_ok=True)

    def remove_folder(self, name: str) -> None:
        """See `Files.remove_folder`."""
        self._made.discard(name)
        with suppress(FileNotFoundError):
            for one in os.listdir(f"{self._folder}/{name}"):  # noqa: PTH208  # as above
                self.remove(f"{name}/{one}")
            os.rmdir(f"{self._folder}/{name}")  # noqa: PTH106  # as above

    def read(self, name: str) -> bytes | None:
        """See `Files.read`."""
        try:
            handle = os.open(f"{self._folder}/{name}", os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            left, parts = os.fstat(handle).st_size, []
            while left and (part := os.read(handle, left)):
                parts.append(part)
                left -= len(part)
        finally:
            os.close(handle)
        if left:
            raise OSError(errno.EIO, "it became shorter while it was read")
        return b"".join(parts)

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


def put(files: Files, items: Sequence[tuple[str, bytes]]) -> None:
    """Writes files whole, through `staging/`, and makes bytes and names durable. What was there is replaced.

    Many are made durable side by side: a disk does several at the price of one.
    """
    folders = {name: name.rpartition("/")[0] for name, _ in items}
    temporary = {name: f"{STAGING}/.{name.replace('/', '-')}" for name in folders}
    for folder in dict.fromkeys(folders.values()):
        files.make_folder(folder)
    each = _side_by_side if isinstance(files, DiskFiles) and len(items) >= _MANY else _in_turn
    each(lambda item: files.write(temporary[item[0]], item[1]), items)
    # A crash here leaves temporary files in staging, which the next start removes.
    for name in folders:
        files.rename(temporary[name], name)
    each(files.sync_folder, list(dict.fromkeys(folders.values())))
    # A crash before this line may keep or lose any of the new names, never a half-written file.


def _in_turn(work: Callable[[_Item], None], items: Sequence[_Item]) -> None:
    for item in items:
        work(item)


def _side_by_side(work: Callable[[_Item], None], items: Sequence[_Item]) -> None:
    """Does this for each at once; where one fails the error is raised when all others have ended, too."""
    begun = [_pool().submit(work, item) for item in items]
    wait(begun)
    for one in begun:
        one.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="audit-disk")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # its threads are not in the child
