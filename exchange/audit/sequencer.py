"""The sequencer: gives entries their index and signs checkpoints, in the order of writes of audit-log.md.

There is one for a log. It keeps the right edge of the tree, the epochs and the known schemas in memory, all of which
come from storage at the start, and after any fault it is never used again: a new one recovers from storage.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from exchange.audit import staging, tiles
from exchange.audit.entries import decode, encode, schema_entry
from exchange.audit.note import Checkpoint, Signer, check_origin, open_checkpoint, sign_checkpoint, vkey
from exchange.audit.schemas import KINDS, PREFIX_BYTES, kind_of
from exchange.audit.store import AuditStore, Change, Head, Row
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.names import canonical
from exchange.signing.merkle import EMPTY_ROOT, leaf_hash, leaf_hashes

MAX_COMMIT: Final = 500  # entries
CLOCK_STANDS: Final = "the clock does not advance"
_CLOCK_PATIENCE: Final = 50  # milliseconds: a coarse clock may give the same time twice

Read = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit decided: index by entry id, the refused with the facts of their refusal."""

    indexes: Mapping[bytes, int]
    refused: Mapping[bytes, Mapping[str, object]]
    head: Head


@dataclass(slots=True)
class _Draft:
    """A commit in the making."""

    size: int
    epochs: dict[str, int]
    leaves: list[bytes] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    raised: dict[str, int] = field(default_factory=dict)
    schemas: dict[bytes, int] = field(default_factory=dict)
    indexes: dict[bytes, int] = field(default_factory=dict)
    refusals: dict[bytes, Mapping[str, object]] = field(default_factory=dict)


class Sequencer:
    """One log's only writer. Not for several threads at once.

    Raises, when made (recovery):
        Unavailable: `audit_missing`.
        Tampered: `audit_log_damaged`, `audit_note_invalid`: the lock row, the published checkpoint, the staged bundle
            and the tiles do not fit together.
    """

    def __init__(self, store: AuditStore, key: Signer, now_ns: Callable[[], int]) -> None:
        self._store, self._key, self._now_ns = store, key, now_ns
        self.head = _recover(store, key)
        self._edge = tiles.read_edge(self.head.size, *_readers(store.read, self.head.size))
        self._epochs = dict(store.epochs())
        self._schemas = set(store.schemas())
        store.unstage()
        # A crash here: what is published stands; the bundles removed were applied, or never committed.

    @property
    def epochs(self) -> Mapping[str, int]:
        """The epochs that entries of the log have raised."""
        return self._epochs

    def commit(self) -> Committed | None:
        """Takes what waits into the log, publishes its checkpoint, and only then returns; None when nothing waits.

        Raises:
            Unavailable, Tampered, OSError: fatal; make a new sequencer.
        """
        rows = self._store.pending(MAX_COMMIT - len(KINDS))  # each kind may need a schema entry before it
        if not rows:
            return None
        draft = self._draft(rows)
        if draft.leaves:
            self._write(draft)
        else:
            self._store.refuse(draft.refused)
        return Committed(draft.indexes, draft.refusals, self.head)

    def _draft(self, rows: Sequence[Row]) -> _Draft:
        """Step 1: which rows are taken, in their order; a release behind an entry before it is refused."""
        draft = _Draft(self.head.size, dict(self._epochs))
        for row in rows:
            leaf = _unchanged(row)
            behind = _behind(row, draft.epochs)
            if behind is not None:
                draft.refused.append((row.seq, canonical(behind).decode()))
                draft.refusals[row.id] = behind
                continue
            self._make_schema_known(row.kind, leaf[:8], draft)
            index = draft.size + len(draft.leaves)
            draft.leaves.append(leaf)
            draft.taken.append((row.seq, index))
            draft.indexes[row.id] = index
            for name, value in _epochs_of(row.raises).items():
                if value > draft.epochs.get(name, -1):
                    draft.epochs[name] = draft.raised[name] = value
        return draft

    def _make_schema_known(self, kind: str, prefix: bytes, draft: _Draft) -> None:
        for needed in ("schema", kind):
            known = kind_of(needed)
            if known.prefix in self._schemas or known.prefix in draft.schemas:
                continue
            draft.schemas[known.prefix] = draft.size + len(draft.leaves)
            draft.leaves.append(encode(schema_entry(known, self._now_ns())))
        if prefix not in self._schemas and prefix not in draft.schemas:
            raise Tampered("audit_log_damaged", where="audit_outbox", detail="an entry under a schema nobody knows")

    def _write(self, draft: _Draft) -> None:
        edge, files = self._edge.append(draft.leaves)
        root = edge.root()
        # 2. Stage every byte of this commit.
        self._store.stage(staging.name_of(edge.size, root), staging.pack(self.head.size, edge.size, files))
        # A crash here: nothing was committed; the entries still wait, and the next start removes the bundle.
        # 3. Sign, and swap the lock row: the commit point.
        at_ns = self._later()
        origin = self.head.origin
        signed = sign_checkpoint(Checkpoint(origin, edge.size, root), self._key)
        head = Head(origin, edge.size, root, signed, at_ns)
        self._store.swap(self.head.size, head, Change(draft.taken, draft.refused, draft.raised, draft.schemas))
        # A crash here: the entries are in the log and nobody was told; the next start applies the bundle.
        _apply(self._store, self.head.size, head)
        self._store.unstage()
        # A crash here: as before; without the bundle, for all that it held is durable in its place.
        self._store.prune(_filled(self.head.size, edge.size))
        self.head, self._edge, self._epochs = head, edge, draft.epochs
        self._schemas |= draft.schemas.keys()

    def _later(self) -> int:
        """A time after the last commit's. A clock that stands still or went back would keep expired rights alive."""
        for _ in range(_CLOCK_PATIENCE):
            now = self._now_ns()
            if now != self.head.committed_ns:
                break
            time.sleep(0.001)
        if now <= self.head.committed_ns:
            raise Unavailable("audit_stopped", cause=CLOCK_STANDS)
        return now


def first_head(origin: str, key: Signer, now_ns: int) -> Head:
    """The lock row of an empty log."""
    root = tiles.Edge().root()
    return Head(origin, 0, root, sign_checkpoint(Checkpoint(origin, 0, root), key), now_ns)


def published_head(store: AuditStore, key: Signer | str) -> Head:
    """What the log's sequencer has published, seen by whoever is not the sequencer; the time is its last commit's.
    `key` is the log's signer, or its verifier key.

    Raises:
        Unavailable: `audit_missing`, also while the first checkpoint of a log is not published yet.
        Tampered: `audit_note_invalid`.
    """
    note, head = store.published(), store.head()
    if head is None or note is None:
        raise Unavailable("audit_missing")
    shown = open_checkpoint(note, key if isinstance(key, str) else _verifier(head, key))
    return Head(head.origin, shown.size, shown.root, note, head.committed_ns)


def _apply(store: AuditStore, old: int, head: Head) -> None:
    """Steps 4 and 5, the same for a commit and for recovery: the committed head's staged bundle becomes the log, which
    had `old` entries before it.
    """
    name = staging.name_of(head.size, head.root)
    staged = store.staged(name)  # from storage, never from memory
    if staged is None:
        raise Tampered("audit_log_damaged", where=f"staging/{name}", detail="a committed bundle is missing")
    files = staging.unpack(staged, name, old)
    # 4. Tiles and entry bundles.
    store.write(files)
    # A crash here: the published checkpoint is the old one and still fits; the next start comes here again.
    for path, data in files.items():
        if store.read(path) != data:
            raise Tampered("audit_log_damaged", where=path, detail="what was written reads back differently")
    read_tile, read_bundle = _readers(lambda path: files.get(path) or store.read(path), head.size)
    if tiles.read_edge(head.size, read_tile, read_bundle).root() != head.root:
        raise Tampered("audit_log_damaged", where=name, detail="the tiles do not give the committed root")
    # 5. The checkpoint; who waits may be told when this returns.
    store.publish(head.checkpoint)
    # A crash here: the entries are public, who waited was not told; asking again with the same id gives the receipt.


def _recover(store: AuditStore, key: Signer) -> Head:
    head = store.head()
    if head is None:
        raise Unavailable("audit_missing")
    verifier = _verifier(head, key)
    if open_checkpoint(head.checkpoint, verifier) != Checkpoint(head.origin, head.size, head.root):
        raise Tampered("audit_log_damaged", where="audit_lock", detail="the lock row is not what its checkpoint says")
    published = store.published()
    shown = Checkpoint(head.origin, 0, EMPTY_ROOT)
    if published is not None:
        shown = open_checkpoint(published, verifier)
    if shown.size > head.size or (shown.size == head.size and shown.root != head.root):
        raise Tampered("audit_log_damaged", where="checkpoint", detail="published, but never committed here")
    if shown.size < head.size:
        _apply(store, shown.size, head)
    elif published is None:
        store.publish(head.checkpoint)
    read_tile, read_bundle = _readers(store.read, head.size)
    _check_edge(tiles.read_edge(head.size, read_tile, read_bundle), head)
    if shown.size and tiles.root_at(shown.size, read_tile) != shown.root:
        raise Tampered("audit_log_damaged", where="tile", detail="the published checkpoint is not a prefix of the log")
    return head


def _verifier(head: Head, key: Signer) -> str:
    try:
        return vkey(check_origin(head.origin), key.public)
    except Invalid:
        raise Tampered("audit_log_damaged", where="audit_lock", detail="its origin is no log's name") from None


def _check_edge(edge: tiles.Edge, head: Head) -> None:
    last = tiles.unframe(edge.bundle, head.size % tiles.WIDTH, "tile/entries")
    if edge.root() != head.root:
        raise Tampered("audit_log_damaged", where="tile", detail="the tiles do not give the committed root")
    if edge.levels and tuple(leaf_hashes(last)) != edge.levels[0]:
        raise Tampered("audit_log_damaged", where="tile/entries", detail="the last entries are not those of the tree")


def _readers(read: Read, size: int) -> tuple[tiles.ReadTile, Callable[[int], bytes]]:
    def read_tile(level: int, n: int) -> list[bytes]:
        return tile_hashes(read, level, n, size)

    return read_tile, lambda n: read_file(read, None, n, size)


def tile_hashes(read: Read, level: int, n: int, size: int) -> list[bytes]:
    """The hashes of a tile in the tree of this size; `Tampered("audit_log_damaged")` when it is missing or cut off."""
    width = tiles.width_at(level, n, size)
    data = read_file(read, level, n, size)
    if len(data) < width * tiles.HASH:
        raise Tampered("audit_log_damaged", where=tiles.path(level, n, width), detail="a tile is cut off")
    return [data[at : at + tiles.HASH] for at in range(0, width * tiles.HASH, tiles.HASH)]


def read_file(read: Read, level: int | None, n: int, size: int) -> bytes:
    """A tile's or bundle's bytes in the tree of this size; the full one does when the partial one is pruned."""
    width = tiles.width_at(level, n, size)
    data = read(tiles.path(level, n, width))
    if data is None and width < tiles.WIDTH:
        data = read(tiles.path(level, n))
    if data is None:
        raise Tampered("audit_log_damaged", where=tiles.path(level, n, width), detail="a tile is missing")
    return data


def _filled(old: int, new: int) -> list[str]:
    """The tiles and bundles that were partial before and are full now: their partial ones are no longer needed."""
    full = []
    for level in (None, *range(8)):
        first, last = (size >> 8 * ((level or 0) + 1) for size in (old, new))
        full += [tiles.path(level, n) for n in range(first, last)]
    return full


def _unchanged(row: Row) -> bytes:
    """The row's leaf: one that was changed between its insertion and now is not signed, nor is one beside which the
    row says something else than it: by the row's id callers ask for it, by the row's epochs it is let in or refused.
    """
    if row.leaf is None or leaf_hash(row.leaf) != row.digest or row.kind not in KINDS or not _fits(row, row.leaf):
        raise Tampered("audit_log_damaged", where="audit_outbox", detail="a waiting entry was changed")
    return row.leaf


def _fits(row: Row, leaf: bytes) -> bool:
    kind = kind_of(row.kind)
    if leaf[:PREFIX_BYTES] != kind.prefix:
        return True  # of an older version of this program: whether the log knows its schema is looked at later
    _, body = decode(leaf, {kind.prefix: kind.parsed})
    rests_on = body["epochs"] if row.kind == "release" else {}
    said = (row.id, _epochs_of(row.raises), _epochs_of(row.rests_on))
    return said == (body["id"], body.get("raises", {}), rests_on)


@lru_cache(1_000)  # releases under one plan rest on the same
def _epochs_of(text: str | None) -> Mapping[str, int]:
    try:
        epochs = json.loads(text) if text else {}
    except ValueError:
        epochs = None
    if not isinstance(epochs, dict) or not all(type(value) is int for value in epochs.values()):
        raise Tampered("audit_log_damaged", where="audit_outbox", detail="a waiting entry's epochs were changed")
    return epochs


def _behind(row: Row, epochs: Mapping[str, int]) -> Mapping[str, object] | None:
    """The first epoch that the row rests on and that is not the current one; a name nobody ever raised is none."""
    for name, rested in _epochs_of(row.rests_on).items():
        current = epochs.get(name)
        if current != rested:
            return {"epoch": name, "rested": rested, "current": "-" if current is None else current}
    return None
