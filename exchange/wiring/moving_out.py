"""A whole site as one file that another one is made of, on whatever engines: `exchange export`.

    1 own      the site's folder, so that nobody here writes; on a server, the audit log's sequencer too
    2 settle   what a crash left appended is committed, what waits gets its index
    3 look     how far everything stands
    4 write    header, plain files, stores (`exchange.wiring.contents`)
    5 again    everything stands where it stood, else nothing was exported
    6 manifest the length and digest of every member; then a line with the digest of the whole file

The site must not be in use. Other folders whose settings name the same servers must be stopped by hand: one that has
the sequencer's place is found at step 1, one that wrote anything at step 5.

The file is a tar as backups are (`exchange.wiring.archive`), uncompressed, and after its end one line,
`exchange.export/1 sha256 DIGEST`, over everything before it. What is made again from the rest is not in it: state,
index of subjects, staged bundles (there are none), locks.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from exchange import __version__
from exchange.audit.log import AuditLog
from exchange.audit.note import Checkpoint, open_checkpoint
from exchange.control.database import check_revision, head_revision
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.names import canonical
from exchange.publish import recover
from exchange.settings import FORMAT, Settings, read_settings
from exchange.signing.keys import SigningKey
from exchange.site import VKEY, check_room, owned
from exchange.wiring.archive import HEADER, Writer
from exchange.wiring.contents import Stores, members
from exchange.wiring.engines import Engines, audit_store_of, database_of
from exchange.wiring.plain_files import PlainFiles

FORM: Final = "exchange.export/1"
SITE: Final = "site/"
_EMBEDDED: Final = {"control": "sqlite", "log": "sqlite", "state": "sqlite", "audit": "file"}
_SETTLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class TakenOut:
    """An export: its log's checkpoint (root in hex), its records, members and bytes, and what is not in it."""

    origin: str
    size: int
    root: str
    records: int
    files: int
    bytes: int
    keys: bool
    left_out: tuple[str, ...]


def take_out(
    root: Path,
    out: BinaryIO,
    scratch: Path,
    environment: Mapping[str, str],
    now_ns: Callable[[], int],
    random_bytes: Callable[[int], bytes],
    *,
    keys: bool,
    progress: Callable[[int], None],
) -> TakenOut:
    """Writes an export of the site at `root` to `out`; needs no token, and nobody who uses the site.

    `scratch` is a folder on the disk that `out` is on; where it is the data's, that disk keeps its reserve.

    Raises:
        Invalid: no site, wrong settings; `origin_differs`; `backup_name`: a file whose name no archive can hold.
        Unavailable: `site_in_use`, `export_in_use`: a gateway elsewhere has the same log; `export_moved`: one wrote;
            an engine is down; `disk_reserve`; OSError where something cannot be read or written.
        Tampered: a store is not what was written.
    """
    settings = read_settings(root, environment)
    with ExitStack() as stack:
        stack.enter_context(owned(settings.root, "exchange export", now_ns()))  # 1
        stores = _settled(settings, stack, now_ns, random_bytes)  # 2
        stood = stores.standing()  # 3
        head = stores.head()
        at = open_checkpoint(head.checkpoint, settings.path(VKEY).read_text("utf-8").strip())
        if at != Checkpoint(head.origin, head.size, head.root):
            raise Tampered("audit_log_damaged", where="audit_lock", detail="not what its checkpoint says")
        hashing = _Hashing(out)
        with Writer(cast("BinaryIO", hashing), now_ns(), compress=False) as writer:  # 4
            plain = PlainFiles(settings, _places(settings), scratch)
            left_out, kept_back = plain.left_out(), [] if keys else plain.secrets()
            header = _header(head.checkpoint, now_ns())
            writer.add_bytes(HEADER, canonical({**header, "left_out": left_out, "keys_left_out": kept_back}))
            plain.write(writer, SITE, progress, keys=keys)
            records = _write(writer, stores, _room(settings, scratch), progress)
            if stores.standing() != stood:  # 5
                raise Unavailable("export_moved")
        out.write(trailer(hashing.digest))  # 6
    files, size = writer.count, writer.written
    return TakenOut(at.origin, at.size, at.root.hex(), records, files, size, keys, (*kept_back, *left_out))


def trailer(digest: str) -> bytes:
    """The last line of an export."""
    return f"{FORM} sha256 {digest}\n".encode()


def header_of(document: object) -> Mapping[str, object]:
    """A header that was read, its form checked.

    Raises:
        Invalid: `export_unreadable`; `export_format`: of a later version, or of another kind.
    """
    form = document.get("format") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(form, str):
        raise Invalid("export_unreadable", where=HEADER, detail="no header of an export")
    if form != FORM:
        raise Invalid("export_format", where=HEADER, found=form[:40], needed=FORM)
    kinds = {"revision": str, "checkpoint": str, "left_out": list, "keys_left_out": list}
    for name, kind in kinds.items():
        if not isinstance(document.get(name), kind):
            raise Invalid("export_unreadable", where=HEADER, detail=name)
    if document["revision"] != head_revision():
        raise Invalid("export_format", where=HEADER, found=str(document["revision"])[:40], needed=head_revision())
    return document


def _settled(
    settings: Settings, stack: ExitStack, now_ns: Callable[[], int], random_bytes: Callable[[int], bytes]
) -> Stores:
    """The stores, with nothing left that waits, and nobody else who gives entries their index."""
    database = database_of(settings, stack)
    check_revision(database)
    signer = SigningKey.load(settings.secret_file("keys.audit"))
    audit = AuditLog(audit_store_of(settings, database), signer, now_ns)
    try:
        if settings.text("origin") != audit.origin:
            raise Invalid("origin_differs", where=settings.origins["origin"], log=audit.origin)
        engines = Engines(settings, database, audit, now_ns, random_bytes, stack)
        recover(engines.publish_parts)
        audit.settle(_SETTLE_S)
    finally:
        audit.close()
    store = audit_store_of(settings, database)
    stack.callback(store.close)
    if not store.lead():
        raise Unavailable("export_in_use", where=settings.text("engines.audit"))
    return Stores(database, engines.log, store)


def _write(writer: Writer, stores: Stores, room: Callable[[], None], progress: Callable[[int], None]) -> int:
    """Every member of the stores; the number of records."""
    records = 0
    for name, data in members(stores):
        room()
        writer.add_bytes(name, data)
        progress(writer.written)
        if name.startswith("log/records/"):
            records += _count(data)
    return records


def _count(portion: bytes) -> int:
    return sum(int(run[1]) for run in json.loads(portion.partition(b"\n")[0])["runs"])


def _places(settings: Settings) -> dict[str, str]:
    """Where those stores lie that are files of the site's folder."""
    engines = {name: settings.engine(name) for name in _EMBEDDED}
    return {name: Path(rest).as_posix() for name, (scheme, rest) in engines.items() if scheme == _EMBEDDED[name]}


def _room(settings: Settings, folder: Path) -> Callable[[], None]:
    """Keeps the reserve of the data's disk, where that is what the export fills."""
    reserve = settings.number("storage.reserve_mb") << 20
    same = folder.stat().st_dev == settings.path("data").stat().st_dev
    return (lambda: check_room(folder, reserve)) if same else (lambda: None)


def _header(checkpoint: bytes, made_ns: int) -> dict[str, object]:
    """What the export is of: the first thing that an import reads."""
    return {
        "format": FORM,
        "version": __version__,
        "site_format": FORMAT,
        "revision": head_revision(),
        "checkpoint": checkpoint.decode(),
        "made_ns": made_ns,
    }


class _Hashing:
    """Hashes what goes through to the file."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._state = out, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._state.update(data)
        return self._out.write(data)

    def tell(self) -> int:
        return self._out.tell()

    @property
    def digest(self) -> str:
        return self._state.hexdigest()
