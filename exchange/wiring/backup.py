"""A backup: one file with all that a site is, of one moment, taken while other processes go on using it.

    1 cut      the write locks of control.db and records.db, for milliseconds; a snapshot of each and of state.db
    2 tree     the lock row of that snapshot, and the bundle staged for it, when there is one
    3 stores   control.db, records.db, state.db, each copied from its snapshot
    4 log      the tiles of exactly the lock row's tree, and its checkpoint as the published one
    5 rest     ledgers, settings, schemas, policies, adapters, keys, as they are now
    6 manifest the length and digest of everything

Why a site restored from it is whole:

- Steps 1 to 3 give what a power cut at step 1 would have left of the databases: no transaction of one lies between
  the snapshots of two. So every commit mark is covered by records, every record's seal and schema is there, and what
  was appended without its `record.commit` is committed by the next opening, as after any crash (`publish.recover`).
- state.db follows the record log, which stands still during the cut: it is not ahead of it.
- The sequencer stages a commit's files, then swaps the lock row, then puts the files in their place, and never changes
  or loses one of them after that. So at step 2 the files of the lock row's tree are all in place, or in the staged
  bundle, whose bytes we keep. A partial tile that is pruned meanwhile is the beginning of the full one.
- The log goes on growing during step 4; what is beyond the lock row's tree is left out, the published checkpoint too.
  The one put in its place was signed for that row. Entries that waited at step 1 are in the outbox, and get their
  index when the restored site opens: by then none of them was published under this checkpoint's size.
- A ledger is read after the cut and so is not behind the log's mark; what it knows above the mark it forgets.

Left out is what is made again from the rest (subjects.db, segments), the lock, and staging.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import BinaryIO, Final

from exchange import __version__
from exchange.audit import staging, tiles
from exchange.audit.files import STAGING, DiskFiles
from exchange.audit.note import Checkpoint, open_checkpoint
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log.server import SCHEME
from exchange.names import canonical
from exchange.settings import FORMAT, Settings, read_settings
from exchange.site import VKEY
from exchange.wiring.archive import HEADER, Writer, is_plain
from exchange.wiring.engines import KAFKA, behind
from exchange.wiring.plain_files import PlainFiles
from exchange.wiring.snapshots import copied, snapshots

FORM: Final = "exchange.backup/1"
_SERVERS: Final = frozenset({SCHEME, *KAFKA})


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that was taken: its log's checkpoint (root in hex), its files and bytes, and what is not in it."""

    origin: str
    size: int
    root: str
    revision: str
    files: int
    bytes: int
    keys: bool
    left_out: tuple[str, ...]


def take(
    root: Path,
    out: BinaryIO,
    scratch: Path,
    environment: Mapping[str, str],
    now_ns: int,
    *,
    keys: bool,
    compress: bool,
    progress: Callable[[int], None],
) -> Taken:
    """Writes a backup of the site at `root` to `out`; needs no lock and no token. `progress` is told the bytes so far.

    `scratch` is a folder with room for the largest database; what lies there for a while has no name.

    Raises:
        Invalid: no site, wrong settings; `backup_outside`: an engine's place is not inside the site, `backup_servers`:
            it is a server; `backup_name`: a file whose name no backup can hold.
        Unavailable: `control_database_missing`, `backup_busy`; OSError where something cannot be read or written.
        Tampered: `backup_source_damaged`, `audit_note_invalid`, `audit_log_damaged`, `log_behind_commits`.
    """
    settings = read_settings(root, environment)
    places = engine_places(settings)
    if not settings.path(places["control"]).is_file():
        raise Unavailable("control_database_missing", where=places["control"])
    stores = [name for name in ("control", "log", "state") if settings.path(places[name]).is_file()]
    locked = [settings.path(places[name]) for name in stores if name != "state"]
    more = [settings.path(places[name]) for name in stores if name == "state"]
    with Writer(out, now_ns, compress=compress) as writer:
        backup = _Backup(settings, places, writer, scratch, progress)
        with snapshots(locked, more) as readers:  # 1
            control = readers[locked[0]]
            tree = backup.tree(control)  # 2
            _check_marks(control, readers[locked[1]] if "log" in stores else None)
            plain = PlainFiles(settings, places, scratch)
            left_out, kept_back = plain.left_out(), [] if keys else plain.secrets()
            about = {"left_out": left_out, "keys_left_out": kept_back, "made_ns": now_ns}
            writer.add_bytes(HEADER, canonical({**backup.header(control, tree), **about}))
            for name in stores:  # 3
                backup.store(places[name], readers[settings.path(places[name])])
        backup.log(tree)  # 4
        plain.write(writer, "", progress, keys=keys)  # 5
        # 6: at the end of this block
    at, revision = tree.checkpoint, backup.revision
    return Taken(
        at.origin, at.size, at.root.hex(), revision, writer.count, writer.written, keys, (*kept_back, *left_out)
    )


def engine_places(settings: Settings) -> dict[str, str]:
    """Where the site's stores lie, relative to it.

    Raises:
        Invalid: `backup_servers`: a store on a server is not of this folder; `engine_unknown`;
            `backup_outside`: a restored site would open the store of the one it was copied from.
    """
    places = {}
    served = [name for name in ("control", "log", "state", "audit") if settings.engine(name)[0] in _SERVERS]
    if served:
        raise Invalid("backup_servers", where=f"engines.{served[0]}", url=settings.text(f"engines.{served[0]}"))
    for name, scheme in (("control", "sqlite"), ("log", "sqlite"), ("state", "sqlite"), ("audit", "file")):
        place = Path(behind(settings, name, scheme)).as_posix()
        if not is_plain(place) or not place.startswith("data/"):
            raise Invalid("backup_outside", where=f"engines.{name}", place=place)
        places[name] = place
    return places


@dataclass(frozen=True, slots=True)
class _Tree:
    """The audit log of the snapshot: what its lock row signs, and files that may not be in their place yet."""

    note: bytes
    checkpoint: Checkpoint
    staged: Mapping[str, bytes]


class _Backup:
    """One run: what each step needs of the others."""

    def __init__(
        self,
        settings: Settings,
        places: Mapping[str, str],
        writer: Writer,
        scratch: Path,
        progress: Callable[[int], None],
    ) -> None:
        self._settings, self._places, self._writer = settings, places, writer
        self._scratch, self._progress = scratch, progress
        self._files = DiskFiles(settings.path(places["audit"]))
        self.revision = "-"

    def tree(self, control: Connection) -> _Tree:
        """Step 2."""
        rows = control.execute("SELECT origin, size, root, checkpoint FROM audit_lock").fetchall()
        if len(rows) != 1:
            raise Unavailable("audit_missing")
        origin, size, root, note = rows[0]
        at = open_checkpoint(note, self._settings.path(VKEY).read_text("utf-8").strip())
        if at != Checkpoint(origin, size, root):
            raise Tampered(
                "audit_log_damaged", where="audit_lock", detail="the lock row is not what its checkpoint says"
            )
        name = staging.name_of(size, root)
        bundle = self._files.read(f"{STAGING}/{name}")
        return _Tree(note, at, staging.unpack(bundle, name) if bundle is not None else {})

    def header(self, control: Connection, tree: _Tree) -> dict[str, object]:
        """What the backup is of: the first thing that a restore reads."""
        (self.revision,) = control.execute("SELECT version_num FROM alembic_version").fetchone()
        return {
            "format": FORM,
            "version": __version__,
            "site_format": FORMAT,
            "revision": self.revision,
            "checkpoint": tree.note.decode(),
        }

    def store(self, place: str, reader: Connection) -> None:
        """Step 3 for one database."""
        path = self._settings.path(place)
        with copied(reader, path, self._scratch, self._told) as copy:
            self._writer.add(place, copy, copy.seek(0, 2) - copy.seek(0))
        self._told()

    def log(self, tree: _Tree) -> None:
        """Step 4."""
        folder, size = self._places["audit"], tree.checkpoint.size
        for level, n, width in _files_of(size):
            self._writer.add_bytes(f"{folder}/{tiles.path(level, n, width)}", self._tile(tree, level, n, width))
            self._told()
        edge = tiles.read_edge(
            size,
            lambda level, n: _hashes(self._tile(tree, level, n, tiles.width_at(level, n, size))),
            lambda n: self._tile(tree, None, n, tiles.width_at(None, n, size)),
        )
        if edge.root() != tree.checkpoint.root:
            raise Tampered("audit_log_damaged", where="tile", detail="the tiles do not give the committed root")
        self._writer.add_bytes(f"{folder}/checkpoint", tree.note)

    def _tile(self, tree: _Tree, level: int | None, n: int, width: int) -> bytes:
        """A tile or bundle as it is in the tree of this size, from wherever it is by now."""
        partial, full = tiles.path(level, n, width), tiles.path(level, n)
        data = tree.staged.get(partial) or self._files.read(partial)
        if data is not None:
            return data
        data = self._files.read(full)
        if data is None:
            raise Tampered("audit_log_damaged", where=partial, detail="a tile is missing")
        if level is None:
            return b"".join(map(tiles.frame, tiles.unframe(data, width, full)))
        return data[: width * tiles.HASH]

    def _told(self) -> None:
        self._progress(self._writer.written)


def _check_marks(control: Connection, log: Connection | None) -> None:
    """That every commit mark is covered by records: else the site is broken, and so would be its copy."""
    ends = dict(log.execute("SELECT topic || '/' || number, stop FROM part")) if log is not None else {}
    tables = {name for (name,) in control.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    marks = control.execute("SELECT topic || '/' || partition, hi FROM committed") if "committed" in tables else ()
    for where, committed in marks:
        end = ends.get(where, 0)
        if end < committed:
            raise Tampered("log_behind_commits", where=where, end=end, committed=committed)


def _files_of(size: int) -> Iterator[tuple[int | None, int, int]]:
    """Level, number and width of every tile and bundle of a tree."""
    for level in (None, *range(8)):
        for n in range(((size >> 8 * (level or 0)) + tiles.WIDTH - 1) // tiles.WIDTH):
            yield level, n, tiles.width_at(level, n, size)


def _hashes(tile: bytes) -> list[bytes]:
    return [tile[at : at + tiles.HASH] for at in range(0, len(tile), tiles.HASH)]


def header_of(document: object) -> dict[str, object]:
    """A header that was read, its form checked.

    Raises:
        Invalid: `backup_format`: made by a later version; `backup_unreadable`.
    """
    if not isinstance(document, dict) or not str(document.get("format", "")).startswith("exchange.backup/"):
        raise Invalid("backup_unreadable", where=HEADER, detail="no header of a backup")
    if document["format"] != FORM:
        raise Invalid("backup_format", where=HEADER, found=str(document["format"])[:40], needed=FORM)
    kinds = {
        "version": str,
        "revision": str,
        "made_ns": int,
        "checkpoint": str,
        "left_out": list,
        "keys_left_out": list,
    }
    for name, kind in kinds.items():
        if not isinstance(document.get(name), kind):
            raise Invalid("backup_unreadable", where=HEADER, detail=name)
    return document
