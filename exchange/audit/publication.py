"""The published log as the resources of C2SP tlog-tiles, by their paths, from whatever store holds it.

What may be read is what the published checkpoint covers, and nothing beyond it, written though it may be. It is read
from the store at each request, so that of several processes over one log none shows an older state than another.
"""

import re
from dataclasses import dataclass
from typing import Final

from exchange.audit import tiles
from exchange.audit.note import Checkpoint, open_checkpoint
from exchange.audit.sequencer import read_file
from exchange.audit.store import AuditStore
from exchange.errors import Invalid, Tampered, Unavailable

ENTRIES: Final = "entries"
# Seven groups of three digits hold every index of a tree of 2^63 leaves.
_NUMBER: Final = re.compile(r"((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_LEVEL: Final = re.compile(r"[1-5]?[0-9]|6[0-3]")


@dataclass(frozen=True, slots=True)
class Place:
    """A tile, or an entry bundle where `level` is None, and how many hashes or entries of it: 1 … 256."""

    level: int | None
    n: int
    width: int


def place_of(level: str, number: str) -> Place:
    """The place that `tile/<level>/<number>` names; `Invalid("audit_tile_unknown")` for what is not of the grammar,
    to the letter: no other zeros, no width of 0 or 256.
    """
    found = _NUMBER.fullmatch(number)
    if found is None or not (level == ENTRIES or _LEVEL.fullmatch(level)):
        raise Invalid("audit_tile_unknown")
    n = int(found[1].replace("x", "").replace("/", ""))
    width = int(found[2]) if found[2] else tiles.WIDTH
    place = Place(None if level == ENTRIES else int(level), n, width)
    if tiles.path(place.level, n, width) != f"tile/{level}/{number}":
        raise Invalid("audit_tile_unknown")
    return place


class Publication:
    """The published log of a store, for whoever has its verifier key. Any thread may use it."""

    def __init__(self, store: AuditStore, vkey: str) -> None:
        self._store, self._vkey = store, vkey

    def checkpoint(self) -> bytes:
        """The published checkpoint, a signed note.

        Raises:
            Unavailable: `audit_missing`. Tampered: `audit_note_invalid`.
        """
        return self._published()[0]

    @property
    def size(self) -> int:
        """The number of entries under it."""
        return self._published()[1].size

    def read(self, place: Place) -> bytes:
        """The bytes of a tile or an entry bundle; the same for ever, also when a partial one is stored no more.

        Raises:
            Invalid: `audit_tile_unknown`: the published log does not reach so far.
            Unavailable: `audit_missing`.
            Tampered: `audit_log_damaged`, `audit_note_invalid`.
        """
        size = self.size
        if place.width > tiles.width_at(place.level, place.n, size):
            raise Invalid("audit_tile_unknown")
        return read_first(self._store, place, size)

    def _published(self) -> tuple[bytes, Checkpoint]:
        note = self._store.published()
        if note is None:
            raise Unavailable("audit_missing")
        return note, open_checkpoint(note, self._vkey)


def read_first(store: AuditStore, place: Place, size: int) -> bytes:
    """The first hashes or entries of a tile in the tree of this size, which may have more of them.

    The log may have outgrown that tree: then the full tile is there, and the partial ones are not.
    """
    data, where = read_file(store.read, place.level, place.n, size), tiles.path(place.level, place.n, place.width)
    if place.level is None:
        return b"".join(map(tiles.frame, tiles.unframe(data, place.width, where)))
    if len(data) < place.width * tiles.HASH:
        raise Tampered("audit_log_damaged", where=where, detail="a tile is cut off")
    return data[: place.width * tiles.HASH]
