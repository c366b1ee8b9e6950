"""Copies of SQLite files that other processes write: all of one moment, while they go on."""

import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final

from exchange.errors import Tampered, Unavailable

_PATIENCE_S: Final = 30.0
_SECOND_LOCK_S: Final = 1.0  # who waits for the first one waits no longer than that for us
_TRIES: Final = 60
_PAUSE_S: Final = 0.05
_PAGES: Final = 512
_PORTION: Final = 1 << 20
_WAL_HEADER: Final = 32


@contextmanager
def snapshots(locked: Sequence[Path], more: Sequence[Path]) -> Iterator[Mapping[Path, sqlite3.Connection]]:
    """A connection on each file, in a read transaction; those of `locked` and `more` all see one moment.

    For some milliseconds this holds the write locks of `locked`, in that order: nobody commits to any of them between
    the first snapshot and the last. Files of `more` follow from those, so they are not ahead of them. SQLite's WAL
    keeps what each transaction sees, for as long as the block lasts, while others write.

    Raises:
        Unavailable: `backup_busy`: the locks were not to be had.
        Tampered: `backup_source_damaged`: not a SQLite file.
    """
    with ExitStack() as stack, _translated(locked[0]):
        readers = {path: stack.enter_context(closing(_connect(path, _PATIENCE_S))) for path in (*locked, *more)}
        with ExitStack() as locks:
            _lock(locked, locks)
            for path, reader in readers.items():
                with _translated(path):
                    reader.execute("BEGIN")
                    reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # here it fixes what it sees
        yield readers


def _lock(paths: Sequence[Path], locks: ExitStack) -> None:
    for _ in range(_TRIES):
        with ExitStack() as held:
            try:
                for path, patience_s in zip(paths, (_PATIENCE_S, *[_SECOND_LOCK_S] * len(paths)), strict=False):
                    held.enter_context(closing(_connect(path, patience_s))).execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            else:
                locks.push(held.pop_all())
                return
        time.sleep(_PAUSE_S)
    raise Unavailable("backup_busy", where=paths[-1].name)


def copied(reader: sqlite3.Connection, path: Path, folder: Path, on_page: Callable[[], None]) -> BinaryIO:
    """What the reader's transaction sees of the file `path`, checked, as a file that has no name in any folder.

    Raises:
        Tampered: `backup_source_damaged`: what would be copied is broken.
        OSError: no room in `folder`.
    """
    with _translated(path):
        for (said,) in reader.execute("PRAGMA quick_check(1)"):
            if said != "ok":
                raise Tampered("backup_source_damaged", where=path.name, detail=str(said)[:100])
        handle, name = tempfile.mkstemp(dir=folder, prefix=".backup-")
        with closing(sqlite3.connect(name, isolation_level=None)) as target:
            Path(name).unlink()  # from here on it goes with this process, however that ends
            target.execute("PRAGMA journal_mode = OFF").close()
            target.execute("PRAGMA synchronous = OFF").close()
            reader.backup(target, pages=_PAGES, progress=lambda *_: on_page())
    return os.fdopen(handle, "rb")


def copied_raw(path: Path, folder: Path) -> tuple[BinaryIO, BinaryIO | None] | None:
    """A SQLite file that its writer lets nobody open, and its WAL; None where it does not keep still long enough.

    The file itself changes only when the WAL is folded into it. It is read twice, the WAL in between: where both give
    the same and the WAL is still the one of before, the file stood still meanwhile, and the WAL's frames, up to the
    last whole transaction, are what SQLite would go on with after a crash.
    """
    wal = Path(f"{path}-wal")
    for _ in range(_TRIES):
        before = _head(wal)
        main, digest = _spooled(path, folder)
        frames = _spooled(wal, folder)[0] if before else None
        again, digest_again = _spooled(path, folder)
        again.close()
        if digest == digest_again and _head(wal) == before:
            return main, frames
        main.close()
        if frames is not None:
            frames.close()
        time.sleep(_PAUSE_S)
    return None


def _head(wal: Path) -> bytes:
    """A WAL's header, which changes each time that it begins anew; nothing where there is none."""
    try:
        with wal.open("rb") as file:
            return file.read(_WAL_HEADER)
    except FileNotFoundError:
        return b""


def _spooled(path: Path, folder: Path) -> tuple[BinaryIO, str]:
    spool: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - handed over
    state = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := file.read(_PORTION):
                state.update(data)
                spool.write(data)
    except FileNotFoundError:
        pass  # a WAL that is gone since: the header will say so
    spool.seek(0)
    return spool, state.hexdigest()  # type: ignore[return-value]  # a file of bytes


def _connect(path: Path, patience_s: float) -> sqlite3.Connection:
    return sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True, timeout=patience_s, isolation_level=None)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if isinstance(error, sqlite3.OperationalError):
            raise Unavailable("backup_busy", where=path.name) from None
        raise Tampered("backup_source_damaged", where=path.name, detail=name) from None
