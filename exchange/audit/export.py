"""A published log as a folder of C2SP tiles, from whatever store holds it: what the offline verifier reads."""

from collections.abc import Callable, Iterator
from pathlib import Path

from exchange.audit import tiles
from exchange.audit.files import STAGING, DiskFiles, put
from exchange.audit.note import Checkpoint, open_checkpoint
from exchange.audit.publication import Place, read_first
from exchange.audit.store import AuditStore
from exchange.errors import Unavailable


def export(store: AuditStore, folder: Path, vkey: str, done: Callable[[int], None] = lambda _: None) -> Checkpoint:
    """Writes the published log into the folder, each file whole, its checkpoint last; `done` gets the entries so far.

    The log may grow meanwhile. Into a folder with an earlier export only what is new is written: a full tile never
    changes, and one that did is what `verify` finds. A broken-off export goes on where it stopped.

    Raises:
        Unavailable: `audit_missing`.
        Tampered: `audit_note_invalid`; `audit_log_damaged`: a tile is missing or cut off.
    """
    note = store.published()
    if note is None:
        raise Unavailable("audit_missing")
    checkpoint = open_checkpoint(note, vkey)
    files = DiskFiles(folder)
    files.make_folder(STAGING)
    for path, data, entries in tiles_of(store, checkpoint.size, lambda path: files.read(path) is None):
        put(files, [(path, data)])
        done(entries)
    # A crash here: the folder's checkpoint is the old one and still fits; its tiles are all there.
    put(files, [("checkpoint", note)])
    return checkpoint


def tiles_of(
    store: AuditStore, size: int, wanted: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, bytes, int]]:
    """Path and bytes of every tile of the tree of this size that is wanted, and the entries up to it."""
    for level in (None, *range(8)):
        for n in range(-(-(size >> 8 * (level or 0)) // tiles.WIDTH)):
            width = tiles.width_at(level, n, size)
            path = tiles.path(level, n, width)
            if wanted(path):
                known = min(size, (n + 1) * tiles.WIDTH) if level is None else size
                yield path, read_first(store, Place(level, n, width), size), known
