"""Reading what of the audit log is published: entries, their bytes, proofs."""

from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from exchange.audit import tiles
from exchange.audit.entries import decode, kind_name
from exchange.audit.schemas import KINDS, PREFIX_BYTES, kind_of, parse_schema
from exchange.audit.sequencer import read_file, tile_hashes
from exchange.audit.store import AuditStore, Head
from exchange.errors import Invalid, Tampered, Unavailable

_TILES: Final = 64  # kept while many proofs are made


class LogReader:
    """The part of an `AuditLog` that reads; any thread may use it. Every method raises as `AuditLog.checkpoint`."""

    _published: Head

    def __init__(self, store: AuditStore) -> None:
        self._store = store
        self._schemas = {kind_of(kind).prefix: kind_of(kind).parsed for kind in KINDS}

    def check_running(self) -> None:
        """Raises where the log is closed or stopped."""
        raise NotImplementedError

    def _looked(self) -> Head:
        """What is published now."""
        raise NotImplementedError

    def _reaching(self, size: int) -> int:
        """The size that is published, as far as it is known; asked for where it is less than this."""
        self.check_running()
        return self._published.size if size <= self._published.size else self._looked().size

    def entry(self, index: int) -> tuple[str, dict[str, Any]]:
        """Kind and body of a published entry; `Invalid("audit_entry_unknown")` beyond the published size."""
        for _, kind, body in self.entries(index, index + 1):
            return kind, body
        raise Invalid("audit_entry_unknown", entry=index)

    def entries(
        self, start: int, stop: int, kinds: Container[str] | None = None
    ) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Published entries from `start` to before `stop`, in order: (index, kind, body); those of these kinds alone
        where they are given, and no other is decoded.
        """
        for index, leaf in self._leaves(max(start, 0), min(stop, self._reaching(stop))):
            if kinds is None or self._kind(leaf) in kinds:
                yield index, *self._decoded(leaf)

    def root(self, size: int) -> bytes:
        """The root that the log had at this size; `Invalid("audit_entry_unknown")` beyond the published one."""
        if not 0 <= size <= self._reaching(size):
            raise Invalid("audit_entry_unknown", entry=size)
        return tiles.root_at(size, self._tile)

    def leaf(self, index: int) -> bytes:
        """The bytes of a published entry, as they are hashed; `Invalid("audit_entry_unknown")` beyond the size."""
        for _, leaf in self._leaves(index, min(index + 1, self._reaching(index + 1))):
            return leaf
        raise Invalid("audit_entry_unknown", entry=index)

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of published entries from `start` to before `stop`, in order."""
        for _, leaf in self._leaves(max(start, 0), min(stop, self._reaching(stop))):
            yield leaf

    def schema_entries(self, leaves: Iterable[bytes]) -> set[int]:
        """Where the schemas of these leaves stand in the log."""
        known, wanted = self._store.schemas(), {leaf[:PREFIX_BYTES] for leaf in leaves}
        return {index for prefix, index in known.items() if prefix in wanted}

    def range_proof(self, start: int, stop: int, size: int) -> list[bytes]:
        """The hashes that lead from the entries [start, stop) to the root of the tree of `size`."""
        if not 0 <= start < stop <= size <= self._reaching(size):
            raise Invalid("audit_entry_unknown", entry=stop - 1)
        return tiles.range_proof(start, stop, size, self._tile)

    def proof(self, index: int, size: int | None = None) -> list[bytes]:
        """The inclusion proof of an entry in the tree of `size` (default: the published one)."""
        size = self._looked().size if size is None else size
        if not 0 <= index < size <= self._reaching(size):
            raise Invalid("audit_entry_unknown", entry=index)
        return tiles.inclusion(index, size, self._tile)

    def proved(self, indexes: Iterable[int], size: int) -> Iterator[tuple[int, bytes, list[bytes]]]:
        """Of each entry in the tree of `size`, in order: index, bytes, inclusion proof. Many cost little more than the
        tiles that they lie in.
        """
        tile = lru_cache(_TILES)(self._tile)
        bundle: tuple[int, list[bytes]] = (-1, [])
        for index in sorted(indexes):
            if not 0 <= index < size <= self._reaching(size):
                raise Invalid("audit_entry_unknown", entry=index)
            n = index // tiles.WIDTH
            if bundle[0] != n:
                bundle = n, list(self.leaves(n * tiles.WIDTH, min((n + 1) * tiles.WIDTH, size)))
            yield index, bundle[1][index % tiles.WIDTH], tiles.inclusion(index, size, tile)

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """The consistency proof between two sizes of the log (default: to the published one)."""
        new = self._looked().size if new is None else new
        if not 0 <= old <= new <= self._reaching(new):
            raise Invalid("audit_entry_unknown", entry=old)
        return tiles.consistency(old, new, self._tile)

    def evidence(self, index: int) -> bytes:
        """The C2SP tlog-proof of one entry under the published checkpoint: what an auditor keeps."""
        head = self._looked()
        return tiles.proof_text(index, self.proof(index, head.size), head.checkpoint)

    def _tile(self, level: int, n: int) -> list[bytes]:
        with disk_faults():
            return tile_hashes(self._store.read, level, n, self._published.size)

    def _leaves(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        while start < stop:
            n = start // tiles.WIDTH
            size = self._published.size
            width = tiles.width_at(None, n, size)
            with disk_faults():
                bundle = read_file(self._store.read, None, n, size)
            leaves = tiles.unframe(bundle, width, tiles.path(None, n, width))
            until = min(stop, n * tiles.WIDTH + width)
            yield from zip(range(start, until), leaves[start % tiles.WIDTH :], strict=False)
            start = until

    def _decoded(self, leaf: bytes) -> tuple[str, dict[str, Any]]:
        self._schema(leaf)
        return decode(leaf, self._schemas)

    def _kind(self, leaf: bytes) -> str:
        return kind_name(self._schema(leaf))

    def _schema(self, leaf: bytes) -> Any:  # noqa: ANN401  # fastavro's parsed form
        if leaf[:8] not in self._schemas:  # written by another version of this program
            index = self._store.schemas().get(leaf[:8])
            if index is None:
                raise Tampered("audit_leaf_undecodable", detail="no schema entry for its prefix")
            prefix, parsed = parse_schema(self.entry(index)[1]["text"])
            self._schemas[prefix] = parsed
        return self._schemas[leaf[:8]]


def disk_cause(error: OSError) -> str:
    """Why the disk failed, for the one who reads `audit_stopped`."""
    return f"disk: {error.strerror or type(error).__name__}"


@contextmanager
def disk_faults() -> Iterator[None]:
    """Turns what the disk does not do into `Unavailable("audit_stopped")`."""
    try:
        yield
    except OSError as error:
        raise Unavailable("audit_stopped", cause=disk_cause(error)) from error
