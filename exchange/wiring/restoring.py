"""A site from a backup, in a folder of its own: there whole and checked, or not there at all.

    1 header     what the backup is of
    2 members    into a hidden folder beside the site's; then the manifest is compared
    3 keys       those that the backup left out, from a folder; the log's key fits the checkpoint
    4 kept       checkpoints that auditors kept: the backup has each, or is older and the restore is forced
    5 verify     the offline verifier over the whole log, every page of the databases
    6 open       as after a crash: what was appended or waited is committed; the log's root at the backup's size
    7 force      an entry that says so, where it was forced
    8 name       the folder gets its own

A crash before 8 leaves a hidden folder and no site.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from exchange import __version__
from exchange.audit import tiles
from exchange.audit.entries import make
from exchange.audit.note import Checkpoint, open_checkpoint, vkey
from exchange.audit.sequencer import tile_hashes
from exchange.audit.verify import verify
from exchange.control.database import found_revision, upgrade
from exchange.control.model import Principal
from exchange.errors import Invalid, Tampered
from exchange.settings import FILE, Settings, read_settings
from exchange.signing.keys import SigningKey
from exchange.site import FOLDERS, VKEY, check_room
from exchange.wiring.archive import HEADER, Member, is_plain, read_members
from exchange.wiring.backup import engine_places, header_of
from exchange.wiring.engines import audit_store_of, database_of
from exchange.wiring.exchange import Exchange, open_exchange

_PRIVATE: Final = frozenset({"data", "keys"})
_LARGEST_KEY: Final = 4_096
_LONGEST_REASON: Final = 1_000
Who = Callable[[Exchange], Principal | None]


@dataclass(frozen=True, slots=True)
class Force:
    """Why an older state is wanted all the same, and whose token said so."""

    reason: str
    who: Who


@dataclass(frozen=True, slots=True)
class Restored:
    """A site that was restored: its log's checkpoint in the backup (root in hex), its size now, whether forced."""

    folder: Path
    origin: str
    size: int
    root: str
    now_size: int
    forced: bool
    absent: tuple[str, ...]


def restore(
    stream: BinaryIO,
    target: Path,
    *,
    kept: Sequence[bytes],
    keys: Path | None,
    force: Force | None,
    environment: Mapping[str, str],
    now_ns: Callable[[], int],
    random_bytes: Callable[[int], bytes],
    progress: Callable[[int], None],
) -> Restored:
    """Makes a site of a backup in a folder that is not there or empty. `kept` are notes that auditors kept.

    Raises:
        Invalid: `site_exists`; `backup_unreadable`, `backup_cut_off`, `backup_format`; `backup_keys_needed`;
            `backup_older`: a kept checkpoint is newer, and nothing forces; what `open_exchange` raises.
        Tampered: `backup_changed`, `backup_unsound`, `audit_note_invalid`.
        Unavailable: the disk has no room.
    """
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Invalid("site_exists", where=str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:100]}.restoring-"))
    try:
        restoring = _Restoring(work, environment, now_ns, random_bytes)
        header = restoring.unpack(stream, progress)  # 1, 2
        bring_keys(work, header["keys_left_out"], keys)  # 3
        settings = read_settings(work, environment)
        at = restoring.checkpoint(header, settings)
        ahead, level = restoring.compare(kept, at, force)  # 4
        restoring.verify(settings, at, [str(header["checkpoint"]).encode(), *level])  # 5
        forced = force if ahead is not None else None
        now_size = restoring.open(settings, at, ahead, int(str(header["made_ns"])), forced)  # 6, 7
        os.sync()
        if target.exists():
            target.rmdir()
        work.rename(target)  # 8
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return Restored(target, at.origin, at.size, at.root.hex(), now_size, forced is not None, _texts(header["left_out"]))


class _Restoring:
    """One run, in its hidden folder."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        now_ns: Callable[[], int],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._folder, self._environment = folder, environment
        self._now_ns, self._random = now_ns, random_bytes

    def unpack(self, stream: BinaryIO, progress: Callable[[int], None]) -> Mapping[str, object]:
        """Steps 1 and 2."""
        header: Mapping[str, object] | None = None
        done = 0
        make_folders(self._folder)
        for member in read_members(stream):
            if header is None:
                if member.name != HEADER:
                    raise Invalid(
                        "backup_unreadable",
                        where=member.name.encode("ascii", "replace").decode()[:100],
                        detail="no header",
                    )
                header = header_of(member.document())
                continue
            store(self._folder, member, member.name)
            done += member.size
            progress(done)
        if header is None:
            raise Invalid("backup_cut_off", where=HEADER)
        return header

    def checkpoint(self, header: Mapping[str, object], settings: Settings) -> Checkpoint:
        """Step 3: the backup's checkpoint, signed by the key that the site has."""
        engine_places(settings)
        try:
            verifier = (self._folder / VKEY).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise Invalid("backup_unreadable", where=VKEY, detail="missing") from None
        at = open_checkpoint(str(header["checkpoint"]).encode(), verifier)
        if vkey(at.origin, SigningKey.load(settings.secret_file("keys.audit")).public) != verifier:
            raise Invalid("backup_key_differs", where="keys.audit")
        return at

    def compare(
        self, kept: Sequence[bytes], at: Checkpoint, force: Force | None
    ) -> tuple[Checkpoint | None, list[bytes]]:
        """Step 4: the newest kept checkpoint that is ahead of the backup, and the notes of those that it must have."""
        verifier = (self._folder / VKEY).read_text("utf-8").strip()
        ahead: Checkpoint | None = None
        level = []
        for note in kept:
            one = open_checkpoint(note, verifier)
            if one.size <= at.size:
                level.append(note)
            elif ahead is None or one.size > ahead.size:
                ahead = one
        if ahead is not None and force is None:
            raise Invalid("backup_older", size=at.size, kept=ahead.size)
        return ahead, level

    def verify(self, settings: Settings, at: Checkpoint, notes: Sequence[bytes]) -> None:
        """Step 5."""
        places = engine_places(settings)
        verdict = verify(self._folder / places["audit"], (self._folder / VKEY).read_text("utf-8").strip(), notes)
        codes = sorted({one.code for one in verdict.findings})
        if verdict.size != at.size and not codes:
            codes = ["root_differs"]
        if codes:
            raise Tampered("backup_unsound", where=places["audit"], findings=", ".join(codes))
        for name in ("control", "log", "state"):
            path = self._folder / places[name]
            if path.is_file() and (said := _damage(path)):
                raise Tampered("backup_unsound", where=places[name], findings=said)

    def open(
        self, settings: Settings, at: Checkpoint, ahead: Checkpoint | None, taken_ns: int, force: Force | None
    ) -> int:
        """Steps 6 and 7; the size of the log afterwards."""
        with ExitStack() as stack:
            database = database_of(settings, stack)
            found_revision(database)
            upgrade(database)  # a copy that nobody has used yet needs no question
        with open_exchange(self._folder, "exchange restore", self._environment, self._now_ns, self._random) as exchange:
            self._check_root(exchange, at)
            if force is not None and ahead is not None:
                who = force.who(exchange)
                exchange.audit.append(
                    make(
                        "restore",
                        self._random(16),
                        self._now_ns(),
                        size=at.size,
                        root=at.root,
                        taken_ns=taken_ns,
                        kept_size=ahead.size,
                        kept_root=ahead.root,
                        actor=exchange.actors.name(who.id) if who else None,
                        department=who.department if who else None,
                        reason=force.reason[:_LONGEST_REASON],
                        version=__version__,
                    )
                )
            return exchange.audit.size

    def _check_root(self, exchange: Exchange, at: Checkpoint) -> None:
        """That the open log's tree had the backup's root at the backup's size."""
        size = exchange.audit.size
        with ExitStack() as stack:
            store = audit_store_of(exchange.settings, database_of(exchange.settings, stack))
            root = tiles.root_at(at.size, lambda level, n: tile_hashes(store.read, level, n, size))
        if root != at.root:
            raise Tampered("backup_unsound", where="checkpoint", findings="root_differs")


def store(folder: Path, member: Member, name: str, reserve: int = 0) -> None:
    """Puts a file of a site into its folder, under this name, private where it must be.

    Raises:
        Invalid: `backup_unreadable`, `backup_cut_off`.
        Unavailable: `disk_reserve`: no room for it.
    """
    path = folder / name
    top = name.partition("/")[0]
    if name != FILE and top not in FOLDERS:
        raise Invalid("backup_unreadable", where=name[:100], detail="a file that belongs to no site")
    check_room(folder, member.size + reserve)
    mode = 0o600 if top in _PRIVATE else 0o644
    try:
        path.parent.mkdir(mode=0o700 if top in _PRIVATE else 0o755, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            for portion in member.portions():
                file.write(portion)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise Invalid("backup_unreadable", where=name[:100], detail="a file in another one's place") from None


def make_folders(folder: Path) -> None:
    """The folders of a site, private where they must be."""
    for name in FOLDERS:
        (folder / name).mkdir(mode=0o700 if name in _PRIVATE else 0o755, exist_ok=True)


def bring_keys(folder: Path, left_out: object, keys: Path | None) -> None:
    """The keys that an archive left out, by their names from one folder.

    Raises:
        Invalid: `backup_keys_needed`, `key_unreadable`.
    """
    missing = [place for place in _texts(left_out) if is_plain(place) and place.partition("/")[0] in FOLDERS]
    if missing and keys is None:
        raise Invalid("backup_keys_needed", names=", ".join(missing)[:500])
    for place in missing:
        source, path = (keys or Path()) / place.rpartition("/")[2], folder / place
        try:
            with source.open("rb") as file:
                content = file.read(_LARGEST_KEY)
        except OSError as error:
            raise Invalid("key_unreadable", where=str(source), detail=error.strerror) from None
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            target.write(content)


def _texts(listed: object) -> tuple[str, ...]:
    """A list of texts from a header, whatever is in it."""
    return tuple(one for one in listed if isinstance(one, str)) if isinstance(listed, list) else ()


def _damage(path: Path) -> str:
    """What SQLite says of a broken file; nothing of a whole one."""
    try:
        with closing(sqlite3.connect(path.as_uri() + "?mode=rw", uri=True)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return type(error).__name__
    return "" if said == "ok" else str(said)[:100]
