"""A site's folder: what lies where in it, and the lock that gives its data to one process at a time."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from exchange.errors import Unavailable

FOLDERS: Final = ("schemas", "policies", "adapters", "data", "keys")
VKEY: Final = "keys/audit.vkey"  # the audit log's public key, for auditors
BUNDLE_KEY: Final = "keys/bundle.key"  # signs the bundle that OPA servers pull; only where there are some
BUNDLE_TOKEN: Final = "keys/bundle.token"  # noqa: S105 - a file: what they show for it
LEDGERS: Final = "data/ledgers"
_LOCK: Final = "data/lock"


def seal_key(root: Path, department: str) -> Path:
    """Where the site keeps a department's seal key when it signs as the department's delegate."""
    return root / "keys" / f"seal-{department}.key"


def free_bytes(folder: Path) -> int:
    """How much of the folder's disk this process may still fill."""
    return shutil.disk_usage(folder).free


def check_room(folder: Path, reserve: int, free: Callable[[Path], int] = free_bytes) -> None:
    """Whether the folder's disk has its reserve of so many bytes free; 0 asks for none and looks at nothing.

    Whoever is about to store what can wait asks this first, once a batch. What ends a right, and refusals, do not ask:
    the reserve is kept for them.

    Raises:
        Unavailable: `disk_reserve`; `system` where the folder cannot be looked at.
    """
    if not reserve:
        return
    try:
        left = free(folder)
    except OSError as error:
        raise Unavailable("system", where=folder.name, detail=error.strerror) from error
    if left < reserve:
        raise Unavailable("disk_reserve", where=str(folder), free=left >> 20, reserve=reserve >> 20)


def no_reserve() -> None:
    """The check where no reserve is kept."""


def ledger(folder: Path, source: str) -> Path:
    """Where the files adapter of a source keeps what it has handed over, in a folder of ledgers."""
    return folder / (source.replace("/", "--") + ".db")


@contextmanager
def owned(root: Path, command: str, now_ns: int) -> Iterator[Callable[[str], None]]:
    """Holds the site's data for this process. It gets a function that tells others at which Unix socket it serves.

    Where engines are on servers the lock protects the files of this folder and no more: its keys, ledgers, index of
    subjects and whatever engine is a file. Another folder may open the same control database at the same time; what
    happens there the database orders itself (the head of the events, the sequencer's place).

    The lock is the operating system's, so it ends with the process however that dies; the text in the file only
    says who holds it.

    Raises:
        Unavailable: `site_in_use`, with the process that holds it and the `socket` where it serves, if it does;
            `system` where the folder cannot be used.
    """
    with _lock_file(root) as file:
        if not _try_lock(file):
            raise Unavailable("site_in_use", where=str(root), **_holder(file))

        def tell(socket: str) -> None:
            file.seek(0)
            file.truncate()
            json.dump({"pid": os.getpid(), "command": command, "since_ns": now_ns, "socket": socket}, file)
            file.flush()

        tell("")
        yield tell


def holder(root: Path) -> dict[str, object] | None:
    """Who holds the site's data just now: its process and command; None when nobody does. Nothing is changed.

    Raises:
        OSError: the lock's file cannot be opened.
    """
    try:
        file = (root / _LOCK).open(encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        return None if _try_lock(file, shared=True) else _holder(file)


def serving_at(root: Path) -> str:
    """The Unix socket at which somebody serves the site just now; empty where nobody does. Nothing is changed.

    The lock itself is only tried where its text names a socket: no other command finds it taken by a look.
    """
    try:
        named = json.loads((root / _LOCK).read_text("utf-8")).get("socket")
        found = holder(root) if named else None
    except (OSError, ValueError, AttributeError):
        return ""
    return str(found["socket"]) if found else ""


def _lock_file(root: Path) -> IO[str]:
    try:
        return (root / _LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise Unavailable("system", where=_LOCK, detail=error.strerror) from error


def _holder(file: IO[str]) -> dict[str, object]:
    file.seek(0)
    try:
        holder = json.loads(file.read(4096))
        return {name: str(holder[name]) for name in ("pid", "command", "socket")}
    except (ValueError, KeyError, TypeError, OSError):
        return {"pid": "?", "command": "?", "socket": ""}


def _try_lock(file: IO[str], *, shared: bool = False) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            # A byte far behind the text, so that a second process can still read who holds it.
            file.seek(1 << 20)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # Windows only
        else:
            import fcntl

            fcntl.flock(file.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
