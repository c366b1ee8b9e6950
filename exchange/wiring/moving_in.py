"""A site from an export, on the engines that are named: `exchange import`. There whole and checked, or not there.

    1 file     its header, and the digest of all of it: nothing was made before this held
    2 begin    a hidden folder beside the site's, with a note of which file goes to which engines; those are empty
    3 load     plain files and settings; topics, records, marks; tables in one transaction; tiles; the checkpoint
    4 compare  the new site's stores give the very members of the file, digest by digest
    5 verify   the offline verifier over the log; every `record.commit` against records and seals, every control
               entry against its event
    6 open     as after a crash: there is nothing to recover, and the log's root at the old size is the old one
    7 name     the folder gets its own

Killed before 7, the same command goes on: what is a file of the folder begins anew, what is in Kafka goes on at each
partition's end, tables are all in or none is. The note of step 2 is how it knows that what it finds on the servers is
its own.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from exchange.audit.export import export
from exchange.audit.files import STAGING, DiskFiles, put
from exchange.audit.log import AuditLog
from exchange.audit.note import Checkpoint, open_checkpoint, vkey
from exchange.audit.sequencer import tile_hashes
from exchange.audit.tiles import root_at
from exchange.audit.verify import verify
from exchange.control.database import upgrade
from exchange.control.store import SqlEventStore
from exchange.errors import Invalid, Tampered
from exchange.log.portions import after, opened
from exchange.log.server import place
from exchange.names import canonical
from exchange.publish import recover
from exchange.settings import FILE, Settings, new_settings, read_settings, write_settings
from exchange.signing.keys import SigningKey
from exchange.site import VKEY, check_room, owned
from exchange.wiring.agreeing import check_commits, check_control
from exchange.wiring.archive import HEADER, Member, is_plain, read_members
from exchange.wiring.contents import CHECKPOINT, TOPICS, Stores, TableLoad, is_empty, lines_of, members
from exchange.wiring.engines import Engines, audit_store_of, database_of, record_log_of
from exchange.wiring.moving_out import SITE, header_of, trailer
from exchange.wiring.restoring import bring_keys, make_folders, store

NOTE: Final = "importing.json"
_ENGINES: Final = ("engines.control", "engines.log", "engines.state", "engines.audit")
_PORTION: Final = 1 << 20
_LARGEST_MEMBER: Final = 64 << 20
_TILES: Final = 200  # in one transaction
_MOST_EMPTY: Final = 1_000_000  # positions without a record at one place


@dataclass(frozen=True, slots=True)
class BroughtIn:
    """A site that was made of an export: its log's checkpoint (root in hex), its records, what was not in the file."""

    folder: Path
    origin: str
    size: int
    root: str
    records: int
    absent: tuple[str, ...]


@dataclass(slots=True)
class _Site:
    """The new site while it is made."""

    settings: Settings
    stores: Stores
    ends: Mapping[str, list[int]] = field(default_factory=dict)
    tables: TableLoad | None = None
    tiles: dict[str, bytes] = field(default_factory=dict)


def bring_in(
    file: Path,
    target: Path,
    *,
    given: Mapping[str, str],
    keys: Path | None,
    now_ns: Callable[[], int],
    random_bytes: Callable[[int], bytes],
    progress: Callable[[int], None],
) -> BroughtIn:
    """Makes a site of an export, in a folder that is not there or empty; `given` are settings of its own by name.

    Its engines are those given, else files in its folder; never those of the site that was exported.

    Raises:
        Invalid: `site_exists`, `import_not_empty`, `import_other`; `export_unreadable`, `export_format`,
            `backup_cut_off`, `backup_keys_needed`, `backup_key_differs`; wrong settings.
        Tampered: `backup_changed`; `import_differs`, `backup_unsound`, `audit_note_invalid`.
        Unavailable: an engine is down or the disk has no room: the same command goes on.
    """
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Invalid("site_exists", where=str(target))
    if named := [name for name in ("origin", "format") if name in given]:
        raise Invalid("command_line", where="--set", detail=named[0])
    new_settings(target, {"origin": "-", **given})  # what is wrong in them is told before anything is read
    header, digest = check_file(file, progress)  # 1
    work = target.with_name(f".{target.name[:100]}.importing")
    note = canonical({"file": digest, "settings": dict(given)})
    with _begun(work, note, now_ns()) as begun, ExitStack() as stack:  # 2
        moving = _Moving(begun, given, header, now_ns, random_bytes, stack)
        found = moving.load(file, keys, progress)  # 3
        moving.compare(found, progress)  # 4
        at = moving.verify()  # 5
        records = moving.open(at)  # 5, 6
    os.sync()
    if target.exists():
        target.rmdir()
    work.rename(target)  # 7
    # A crash here: the site is whole and in its place; the note in it says no more than from which file it came.
    (target / NOTE).unlink(missing_ok=True)
    absent = header["left_out"]
    left_out = tuple(str(one) for one in absent) if isinstance(absent, list) else ()
    return BroughtIn(target, at.origin, at.size, at.root.hex(), records, left_out)


def check_file(file: Path, progress: Callable[[int], None]) -> tuple[Mapping[str, object], str]:
    """Step 1: the header and the digest of a whole export."""
    with file.open("rb") as stream:
        header = header_of(_first(stream).document())
        size, last = stream.seek(0, os.SEEK_END), len(trailer("0" * 64))
        stream.seek(0)
        state, left = hashlib.sha256(), size - last
        while left > 0 and (data := stream.read(min(left, _PORTION))):
            state.update(data)
            left -= len(data)
            progress(stream.tell())
        found = stream.read(last + 1)
    if found == trailer(state.hexdigest()):
        return header, state.hexdigest()
    if found[: len(trailer("")) - 1] != trailer("")[:-1]:
        raise Invalid("backup_cut_off", where=file.name)
    raise Tampered("backup_changed", where=file.name)


def _first(stream: BinaryIO) -> Member:
    try:
        first = next(read_members(stream), None)
    except Invalid as error:
        raise Invalid("export_unreadable", where=error.where, detail=error.facts.get("detail", error.code)) from None
    if first is not None and first.name == HEADER:
        return first
    raise Invalid("export_unreadable", where=HEADER, detail="no header of an export")


@dataclass(slots=True)
class _Begun:
    """The hidden folder; `again`: this import was begun before, `noted`: it can be gone on with."""

    folder: Path
    note: bytes
    again: bool
    noted: bool

    def remember(self) -> None:
        """Notes that from here on what stands in the engines is this import's."""
        if not self.noted:
            put(DiskFiles(self.folder), [(NOTE, self.note)])
            self.noted = True


@contextmanager
def _begun(work: Path, note: bytes, now_ns: int) -> Iterator[_Begun]:
    """Step 2: the hidden folder, empty but for the note, for this process alone."""
    file = work / NOTE
    again = file.is_file()
    if again and file.read_bytes() != note:
        raise Invalid("import_other", where=str(work))
    work.mkdir(mode=0o755, parents=True, exist_ok=True)
    (work / "data").mkdir(mode=0o700, exist_ok=True)
    begun = _Begun(work, note, again, again)
    with owned(work, "exchange import", now_ns):
        for path in (*work.iterdir(), *(work / "data").iterdir()):
            if path.name not in {"data", "lock", NOTE}:
                _removed(path)
        DiskFiles(work).make_folder(STAGING)
        try:
            yield begun
        except BaseException:
            if not begun.noted:  # nothing of it is anywhere else
                shutil.rmtree(work, ignore_errors=True)
            raise
        (work / STAGING).rmdir()


def _removed(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _whole(member: Member) -> bytes:
    if member.size > _LARGEST_MEMBER:
        raise Invalid("export_unreadable", where=member.name[:100], detail="too large")
    return b"".join(member.portions())


class _Moving:
    """One run, in its hidden folder."""

    def __init__(
        self,
        begun: _Begun,
        given: Mapping[str, str],
        header: Mapping[str, object],
        now_ns: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        stack: ExitStack,
    ) -> None:
        self._begun, self._given, self._header = begun, given, header
        self._checkpoint = str(header["checkpoint"]).encode()
        self._now_ns, self._random, self._stack = now_ns, random_bytes, stack
        self._made: _Site | None = None

    @property
    def site(self) -> _Site:
        """The new site; made when its settings were there, the last of the plain files."""
        if self._made is None:
            raise Invalid("export_unreadable", where=SITE + FILE, detail="missing")
        return self._made

    def load(self, file: Path, keys: Path | None, progress: Callable[[int], None]) -> dict[str, tuple[int, str]]:
        """Step 3; length and digest of every member of the stores."""
        found: dict[str, tuple[int, str]] = {}
        make_folders(self._begun.folder)
        with file.open("rb") as stream:
            for member in read_members(stream):
                if member.name == HEADER:
                    _whole(member)
                elif member.name.startswith(SITE):
                    store(self._begun.folder, member, member.name.removeprefix(SITE))
                    if member.name == SITE + FILE:
                        bring_keys(self._begun.folder, self._header["keys_left_out"], keys)
                        self._made = self._engines()
                else:
                    self._member(member.name, _whole(member))
                    found[member.name] = member.found
                progress(stream.tell())
        self._finish()
        return found

    def _engines(self) -> _Site:
        """The new site's settings and engines, which hold nothing but what this import has put there."""
        folder = self._begun.folder
        old = read_settings(folder, {})
        own = {name: str(old.values[name]) for name, origin in old.origins.items() if origin == FILE}
        kept = {name: value for name, value in own.items() if name not in {*_ENGINES, "format"}}
        settings = new_settings(folder, {**kept, **self._given})
        (folder / FILE).unlink()
        write_settings(settings)
        verifier = settings.path(VKEY).read_text("utf-8").strip()
        at = open_checkpoint(self._checkpoint, verifier)
        signer = SigningKey.load(settings.secret_file("keys.audit"))
        if vkey(at.origin, signer.public) != verifier or at.origin != settings.text("origin"):
            raise Invalid("backup_key_differs", where="keys.audit")
        database = database_of(settings, self._stack)
        audit = audit_store_of(settings, database)
        self._stack.callback(audit.close)
        log = record_log_of(settings)
        self._stack.callback(log.close)
        upgrade(database)
        site = _Site(settings, Stores(database, log, audit))
        self._check_empty(site)
        if _elsewhere(settings):
            self._begun.remember()
        # A crash from here on: the same command goes on with what is in engines elsewhere, and begins anew here.
        scheme, rest = settings.engine("audit")
        if scheme == "file":
            DiskFiles(settings.path(rest)).make_folder(STAGING)
        return site

    def _check_empty(self, site: _Site) -> None:
        stores, again = site.stores, self._begun.again
        head = stores.audit.head()
        if head is None:
            if not is_empty(stores.database) or stores.audit.published() is not None:
                raise Invalid("import_not_empty", where=place(stores.database))
            site.tables = TableLoad(stores.database)
            self._stack.callback(site.tables.close)
        elif not again or head.checkpoint != self._checkpoint:
            raise Invalid("import_not_empty", where=place(stores.database))
        if not again and (stores.log.topics() or stores.log.marks()):
            raise Invalid("import_not_empty", where=site.settings.text("engines.log"))

    def _member(self, name: str, data: bytes) -> None:
        """One member of the stores, durable on return but for tables and tiles, which `_finish` ends."""
        site = self.site
        check_room(self._begun.folder, len(data) + (site.settings.number("storage.reserve_mb") << 20))
        kind, _, rest = name.partition("/")
        if name == TOPICS:
            site.ends = _ends(data)
            for topic, ends in site.ends.items():
                site.stores.log.create(topic, len(ends))
        elif name.startswith("log/marks/"):
            for source, mark in _marks(data, name):
                if site.stores.log.mark(source) < mark:
                    site.stores.log.append(source, mark, [])
        elif name.startswith("log/records/"):
            self._records(name, data)
        elif kind == "control":
            if site.tables is not None:
                site.tables.rows(rest.partition("/")[0], data, name)
        elif kind == "audit" and name != CHECKPOINT:
            site.tiles[rest] = data
            if len(site.tiles) >= _TILES:
                self._write_tiles()
        elif name != CHECKPOINT:
            raise Invalid("export_unreadable", where=name[:100], detail="a member that there is not")

    def _records(self, name: str, data: bytes) -> None:
        topic, partition = _place_of(name, self.site.ends)
        placed = opened(topic, partition, data, name)
        log, end = self.site.stores.log, placed[-1][0] + len(placed[-1][1].sequences)
        at = log.end(topic, partition)
        stops = [at, *(first + len(batch.sequences) for first, batch in placed)]
        empty = max(first - stop for (first, _), stop in zip(placed, stops, strict=False))
        if end > self.site.ends[topic][partition] or empty > _MOST_EMPTY:
            raise Invalid("export_unreadable", where=name, detail="positions")
        if at < end:  # else it was stored before this process began
            log.place(topic, partition, after(placed, at), end)

    def _write_tiles(self) -> None:
        self.site.stores.audit.write(self.site.tiles)
        self.site.tiles.clear()

    def _finish(self) -> None:
        """What ends each store: the partitions' ends, the tables' one transaction, the published checkpoint."""
        site = self.site
        for topic, ends in site.ends.items():
            for partition, end in enumerate(ends):
                at = site.stores.log.end(topic, partition)
                if end - at > _MOST_EMPTY:
                    raise Invalid("export_unreadable", where=TOPICS, detail="positions")
                if at < end:
                    site.stores.log.place(topic, partition, [], end)
        if site.tables is not None:
            site.tables.commit()
        # A crash here: the tables are all in; tiles and checkpoint are written again, with the same bytes.
        self._write_tiles()
        site.stores.audit.publish(self._checkpoint)

    def compare(self, found: dict[str, tuple[int, str]], progress: Callable[[int], None]) -> None:
        """Step 4."""
        done = 0
        for name, data in members(self.site.stores):
            if found.pop(name, None) != (len(data), hashlib.sha256(data).hexdigest()):
                raise Tampered("import_differs", where=name)
            done += len(data)
            progress(done)
        for name in found:
            raise Tampered("import_differs", where=name[:100])

    def verify(self) -> Checkpoint:
        """Step 5, the log alone: what an auditor does with it."""
        settings = self.site.settings
        verifier = settings.path(VKEY).read_text("utf-8").strip()
        scheme, rest = settings.engine("audit")
        with TemporaryDirectory(dir=self._begun.folder) as scratch:
            folder = settings.path(rest) if scheme == "file" else Path(scratch)
            if scheme != "file":
                export(self.site.stores.audit, folder, verifier)
            verdict = verify(folder, verifier, [self._checkpoint])
        at = open_checkpoint(self._checkpoint, verifier)
        codes = sorted({one.code for one in verdict.findings})
        if verdict.size != at.size and not codes:
            codes = ["root_differs"]
        if codes:
            raise Tampered("backup_unsound", where="audit", findings=", ".join(codes))
        return at

    def open(self, at: Checkpoint) -> int:
        """Step 5, the stores against the log, and step 6; the number of records."""
        site = self.site
        signer = SigningKey.load(site.settings.secret_file("keys.audit"))
        with ExitStack() as stack:
            store = audit_store_of(site.settings, site.stores.database)
            audit = AuditLog(store, signer, self._now_ns)
            stack.callback(audit.close)
            engines = Engines(site.settings, site.stores.database, audit, self._now_ns, self._random, stack)
            engines.log = site.stores.log
            made, size = recover(engines.publish_parts), audit.size
            if made or size != at.size:
                raise Tampered("import_differs", where="record.commit")
            if root_at(at.size, lambda level, n: tile_hashes(store.read, level, n, size)) != at.root:
                raise Tampered("backup_unsound", where="audit", findings="root_differs")
            check_control(SqlEventStore(site.stores.database), audit, engines.actors)
            return check_commits(engines.publish_parts)


def _elsewhere(settings: Settings) -> bool:
    """Whether any of the stores does not lie in the site's folder."""
    engines = [settings.engine(name.removeprefix("engines.")) for name in _ENGINES]
    return any(scheme not in {"sqlite", "file"} or not is_plain(Path(rest).as_posix()) for scheme, rest in engines)


def _ends(data: bytes) -> dict[str, list[int]]:
    broken = Invalid("export_unreadable", where=TOPICS, detail="topics")
    try:
        document = json.loads(data)
        found = {str(topic): [*ends] for topic, ends in document.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise broken from None
    if not all(type(end) is int and 0 <= end < 1 << 62 for ends in found.values() for end in ends):
        raise broken
    return found


def _marks(data: bytes, where: str) -> Iterator[tuple[str, int]]:
    for row in lines_of(data, where):
        if tuple(map(type, row)) != (str, int):
            raise Invalid("export_unreadable", where=where, detail="marks")
        yield row[0], row[1]


def _place_of(name: str, ends: Mapping[str, list[int]]) -> tuple[str, int]:
    """Topic and partition of a member `log/records/TOPIC/PARTITION/N.records`."""
    parts = name.split("/")
    if len(parts) == 5 and parts[3].isdecimal() and int(parts[3]) < len(ends.get(parts[2], ())):
        return parts[2], int(parts[3])
    raise Invalid("export_unreadable", where=name[:100], detail="a partition that there is not")
