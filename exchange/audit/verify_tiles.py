"""Full tiles of a log, hashed as fast as Python can: here, or in processes of their own for ranges of tiles.

Part of `verify`: standard library only, so that a process starts soon. What is unusual in a tile is left to `verify`,
which looks again and says what it is.
"""

import hashlib
import marshal
import multiprocessing
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

WIDTH: Final = 256
_MAX_FILE: Final = WIDTH * (2 + 65_535)
_CHUNK: Final = 64  # tiles of one task
_CHUNK_READ: Final = 16  # the same where their entries come with them
_AHEAD: Final = 4  # tasks for each process
_sha256 = hashlib.sha256


@dataclass(frozen=True, slots=True)
class Hashed:
    """A tile that is sound: its root, the SHA-256 of its bundle, and its entries (prefix, kind, body), marshalled;
    None where they were not asked for, or one of them is not to be read.
    """

    root: bytes
    digest: bytes
    entries: bytes | None


def split(bundle: bytes, width: int = WIDTH) -> list[bytes] | None:
    """The leaves of a bundle that holds exactly `width` of them."""
    leaves, at, end = [], 0, len(bundle)
    for _ in range(width):
        if at + 2 > end:
            return None
        stop = at + 2 + (bundle[at] << 8 | bundle[at + 1])
        leaves.append(bundle[at + 2 : stop])
        at = stop
    return leaves if at == end else None


def leaf_hashes(leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962 hashes of leaves."""
    return [_sha256(b"\x00" + leaf).digest() for leaf in leaves]


def perfect(hashes: Sequence[bytes]) -> bytes:
    """The root over 2^n hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = [_sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def checked(leaves: Sequence[bytes] | None, tile: bytes) -> bytes | None:
    """The root of a full tile whose hashes are those of its leaves; None where they are not."""
    if leaves is None:
        return None
    hashes = leaf_hashes(leaves)
    return perfect(hashes) if b"".join(hashes) == tile else None


def hash_range(folder: str, files: Sequence[tuple[str, str]], texts: Sequence[str] = ()) -> list[Hashed | None]:
    """For each pair of bundle and tile of a folder, None: look yourself. Entries are read by the schemas of `texts`."""
    found: list[Hashed | None] = []
    for bundle_file, tile_file in files:
        try:
            bundle, tile = (_read(Path(folder, file)) for file in (bundle_file, tile_file))
        except OSError:
            found.append(None)
            continue
        leaves = split(bundle)
        root = checked(leaves, tile)
        if root is None or leaves is None:
            found.append(None)
        else:
            found.append(Hashed(root, _sha256(bundle).digest(), _entries(leaves, texts)))
    return found


def _entries(leaves: Sequence[bytes], texts: Sequence[str]) -> bytes | None:
    if not texts:
        return None
    from exchange.audit.verify_rules import decoded_all  # only where it is needed: it is not the standard library's

    decoded = decoded_all(leaves, texts)
    return None if decoded is None else marshal.dumps(decoded)


def _read(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE:
        raise OSError
    return path.read_bytes()


class Workers:
    """Processes that hash ranges of full tiles, and read their entries by the schemas of `texts`, ahead of who takes
    them in order. Without processes it gives None.
    """

    def __init__(self, folder: Path, files: Iterable[tuple[str, str]], jobs: int, texts: Sequence[str] = ()) -> None:
        self._folder, self._files, self._jobs, self._texts = str(folder), iter(files), jobs, tuple(texts)
        self._at_once = _CHUNK_READ if texts else _CHUNK
        # A fork of a process with threads may hang; a new one imports this module alone.
        self._pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
        self._waiting: deque[Future[list[Hashed | None]]] = deque()
        self._ready: deque[Hashed | None] = deque()

    def next(self) -> Hashed | None:
        """The next tile, None: look yourself."""
        if not self._ready:
            while len(self._waiting) < self._jobs * _AHEAD and (chunk := self._chunk()):
                self._waiting.append(self._pool.submit(hash_range, self._folder, chunk, self._texts))
            try:
                self._ready.extend(self._waiting.popleft().result() if self._waiting else (None,))
            except BrokenProcessPool:  # somebody killed one: whoever asks hashes alone
                self._waiting.clear()
                self._files = iter(())
                return None
        return self._ready.popleft()

    def _chunk(self) -> list[tuple[str, str]]:
        return list(islice(self._files, self._at_once))

    def close(self) -> None:
        """Ends the processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
