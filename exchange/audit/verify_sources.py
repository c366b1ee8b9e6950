"""Where the offline verifier reads a log from: a folder, or an address that serves it (C2SP tlog-tiles over HTTP).

Part of `verify`, and like it written without the code that it judges.
"""

import errno
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

MAX_FILE: Final = 256 * (2 + 65_535)  # an entry bundle; nothing in a log is larger
_ATTEMPTS: Final = 4
_PATIENCE_S: Final = 30
_AHEAD: Final = 8  # requests at once


class Source(Protocol):
    """Files of a log, by their C2SP paths."""

    @property
    def folder(self) -> Path | None:
        """The folder, when it is one: then other processes may read it too."""
        ...

    def read(self, file: str) -> bytes:
        """The whole file. FileNotFoundError when there is none, `TooLargeError` when no file of a log is as large,
        OSError when it cannot be read.
        """
        ...

    def has(self, file: str) -> bool:
        """Whether there is such a file, asked after `read`."""
        ...

    def expect(self, files: Iterable[str]) -> None:
        """These files are read soon."""
        ...

    def files(self) -> Iterator[str]:
        """Every file that is there; none where nobody can list them."""
        ...


class TooLargeError(OSError):
    """Not a file of a log."""


def source_of(place: Path | str) -> Source:
    """The source at this place: `http://…` and `https://…` are served logs, all else is a folder."""
    text = str(place)
    return Served(text) if text.startswith(("http://", "https://")) else Folder(Path(place))


class Folder:
    """A log's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder: Path | None = folder
        self._folder = folder

    def read(self, file: str) -> bytes:
        """See `Source.read`."""
        path = self._folder / file
        try:
            found = path.stat()
            if found.st_size > MAX_FILE or not path.is_file():
                raise TooLargeError
            return path.read_bytes()
        except NotADirectoryError as error:
            raise FileNotFoundError(errno.ENOENT, "no such file") from error

    def has(self, file: str) -> bool:
        """See `Source.has`."""
        return (self._folder / file).exists()

    def expect(self, files: Iterable[str]) -> None:
        """See `Source.expect`: a disk reads ahead by itself."""

    def files(self) -> Iterator[str]:
        """Every file below the folder; a link to a folder counts as a file."""
        for where, folders, names in os.walk(self._folder):
            folders.sort()
            place = Path(where).relative_to(self._folder).as_posix()
            linked = [name for name in folders if (Path(where) / name).is_symlink()]
            for name in sorted([*names, *linked]):
                yield name if place == "." else f"{place}/{name}"


class Served:
    """A log below an address. Several files are fetched at once; a request that failed is tried again."""

    def __init__(self, address: str) -> None:
        self.folder: Path | None = None
        self._address = address.rstrip("/")
        self._pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="fetch")
        self._expected: dict[str, Future[bytes]] = {}
        self._missing: set[str] = set()

    def read(self, file: str) -> bytes:
        """See `Source.read`."""
        future = self._expected.pop(file, None)
        try:
            return future.result() if future is not None else self._fetch(file)
        except FileNotFoundError:
            self._missing.add(file)
            raise

    def has(self, file: str) -> bool:
        """See `Source.has`."""
        return file not in self._missing

    def expect(self, files: Iterable[str]) -> None:
        """See `Source.expect`."""
        for file in files:
            if file not in self._expected and len(self._expected) < 4 * _AHEAD:
                self._expected[file] = self._pool.submit(self._fetch, file)

    def files(self) -> Iterator[str]:
        """See `Source.files`."""
        yield from ()

    def _fetch(self, file: str) -> bytes:
        # The scheme was checked by `source_of`; a log is public to whoever may ask for it.
        request = urllib.request.Request(f"{self._address}/{file}", headers={"User-Agent": "exchange-audit-verify"})  # noqa: S310
        for attempt in range(_ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310  # as above
                    return _bounded(answer.read(MAX_FILE + 1))
            except urllib.error.HTTPError as error:
                with error:
                    if error.code in (404, 410):
                        raise FileNotFoundError(errno.ENOENT, "not served") from None
                    if error.code < 500 and error.code != 429:  # asked again it says the same
                        raise OSError(errno.EIO, f"HTTP {error.code}") from None
                    failure = f"HTTP {error.code}"
            except TooLargeError:
                raise
            except (OSError, ValueError) as error:
                failure = type(error).__name__ if not isinstance(error, urllib.error.URLError) else str(error.reason)
            if attempt + 1 < _ATTEMPTS:
                time.sleep(0.2 * 4**attempt)
        raise OSError(errno.EIO, failure)

    def close(self) -> None:
        """Ends the requests."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_FILE:
        raise TooLargeError
    return data
