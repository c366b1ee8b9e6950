"""What must hold of one log over all its lives, judged from its bytes: nothing of `exchange` is imported here.

A log is seen by what was told of it (receipts, refusals), by every checkpoint that was public, in the lock row or in a
receipt, and by its leaves as they lie in its storage. The rules are those of C2SP signed-note, tlog-checkpoint and
tlog-tiles, and RFC 9162, section 2.1.1.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.torture.leaves import decoded, leaves_by

_WIDTH: Final = 256
Read = Callable[[str], bytes | None]


class Broken(Exception):
    """A guarantee does not hold."""


def need(holds: bool, what: str) -> None:
    """Raises `Broken` unless it holds."""
    if not holds:
        raise Broken(what)


def text_of(note: bytes, vkey: str) -> tuple[int, bytes]:
    """Size and root of a checkpoint that this key has signed; `Broken` where it has not."""
    try:
        return _text_of(note, vkey)
    except ValueError:  # too few parts, no number, no Base64, no UTF-8
        raise Broken("what should be a checkpoint is none") from None


def _text_of(note: bytes, vkey: str) -> tuple[int, bytes]:
    name, identity, key = vkey.split("+", 2)
    public = base64.b64decode(key)[1:]
    text, _, lines = note.rpartition(b"\n\n")
    for line in lines.decode().splitlines():
        dash, signer, signed = line.split(" ")
        signature = base64.b64decode(signed)
        if (dash, signer, signature[:4].hex()) == ("—", name, identity):
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], text + b"\n")
            except InvalidSignature:
                break
            origin, size, root = text.decode().split("\n")
            need(origin == name, f"a checkpoint of {origin}")
            return int(size), base64.b64decode(root)
    raise Broken("a checkpoint that the log's key has not signed")


class Tree:
    """The tree over leaves: its hashes by level, 256 to a tile, and the root of each of its beginnings."""

    def __init__(self) -> None:
        self.levels: list[list[bytes]] = [[]]
        self.roots = [sha256(b"").digest()]
        self._stack: list[bytes] = []

    def copy(self) -> "Tree":
        """The same tree, to grow by itself."""
        other = Tree()
        other.levels, other.roots = [list(row) for row in self.levels], list(self.roots)
        other._stack = list(self._stack)
        return other

    def add(self, leaf: bytes) -> None:
        """One leaf more."""
        self._place(0, sha256(b"\x00" + leaf).digest())
        made, size = self.levels[0][-1], len(self.levels[0]) - 1
        while size & 1:
            made, size = sha256(b"\x01" + self._stack.pop() + made).digest(), size >> 1
        self._stack.append(made)
        root = self._stack[-1]
        for left in reversed(self._stack[:-1]):
            root = sha256(b"\x01" + left + root).digest()
        self.roots.append(root)

    def _place(self, level: int, made: bytes) -> None:
        if level == len(self.levels):
            self.levels.append([])
        row = self.levels[level]
        row.append(made)
        if len(row) % _WIDTH == 0:
            tile = row[-_WIDTH:]
            while len(tile) > 1:
                tile = [sha256(b"\x01" + tile[at] + tile[at + 1]).digest() for at in range(0, len(tile), 2)]
            self._place(level + 1, tile[0])


class Judge:
    """One log's judge, who forgets nothing that he saw."""

    def __init__(self, vkey: str) -> None:
        self._vkey = vkey
        self._seen: dict[int, bytes] = {}  # every checkpoint that anybody may have seen, by its size
        self.told: dict[bytes, int] = {}
        self.refused: set[bytes] = set()
        self.leaves: list[bytes] = []
        self.entries: list[tuple[str, Mapping[str, Any]]] = []
        self._tree = Tree()

    def copy(self) -> "Judge":
        """A judge who has seen the same, for one of several runs that begin alike."""
        other = Judge(self._vkey)
        other._seen, other.told, other.refused = dict(self._seen), dict(self.told), set(self.refused)
        other.leaves, other.entries, other._tree = list(self.leaves), list(self.entries), self._tree.copy()
        return other

    def see(self, note: bytes) -> int:
        """A checkpoint that was public, in the lock row or in a receipt: its size. There is one of each size."""
        size, root = text_of(note, self._vkey)
        need(self._seen.setdefault(size, root) == root, f"two checkpoints of {size} entries")
        return size

    def tell(self, entry_id: bytes, index: int, note: bytes) -> None:
        """Somebody was told that this entry stands there, under this checkpoint."""
        need(self.see(note) > index, "a receipt's checkpoint does not cover its entry")
        need(self.told.setdefault(entry_id, index) == index, "an entry was told to stand at two places")
        need(entry_id not in self.refused, "an entry was refused, and now it is in")

    def refuse(self, entry_id: bytes) -> None:
        """Somebody was told that this entry is not in the log, nor ever will be."""
        need(entry_id not in self.told, "an entry was in, and now it is refused")
        self.refused.add(entry_id)

    def look(self, read: Read, lock: bytes | None) -> None:
        """The log as it lies there: `read` gives a file by its C2SP path, `lock` is the checkpoint of the lock row.

        Raises:
            Broken: what was told is not in it, its old prefix changed, an entry is in it twice, a tile is wrong, …
        """
        note = read("checkpoint")
        need(note is not None, "no checkpoint is public")
        size = self.see(note or b"")
        if lock is not None:
            need(self.see(lock) >= size, "a checkpoint is public that the lock row is behind")
        need(size >= len(self.leaves), "the public log went back")
        try:
            leaves = leaves_by(read)
            need(leaves[: len(self.leaves)] == self.leaves, "the old prefix has changed")
            self.entries = decoded(leaves, self.entries)
        except (OSError, ValueError, LookupError, EOFError, AssertionError) as error:
            raise Broken(f"what is public cannot be read: {type(error).__name__}: {error}") from error
        for leaf in leaves[len(self.leaves) :]:
            self._tree.add(leaf)
        self.leaves = leaves
        for seen, root in self._seen.items():
            if seen <= size:
                need(self._tree.roots[seen] == root, f"the checkpoint of {seen} entries is not of this log")
        self._tiles(read)
        self._ids()
        _rights(self.entries)

    def _tiles(self, read: Read) -> None:
        for level, row in enumerate(self._tree.levels):
            for n in range((len(row) + _WIDTH - 1) // _WIDTH):
                hashes = row[n * _WIDTH : (n + 1) * _WIDTH]
                full, part = f"tile/{level}/{n:03}", f"tile/{level}/{n:03}.p/{len(hashes)}"
                data = (read(part) if len(hashes) < _WIDTH else None) or read(full) or b""
                need(data[: 32 * len(hashes)] == b"".join(hashes), f"{full} is not what its entries give")

    def _ids(self) -> None:
        ids = [body["id"] for _, body in self.entries if "id" in body]
        index_of = {body["id"]: index for index, (_, body) in enumerate(self.entries) if "id" in body}
        need(len(ids) == len(index_of), "an entry is in the log twice")
        for entry_id, index in self.told.items():
            found = index_of.get(entry_id)
            need(found == index, f"an entry was told to stand at {index}, and it stands at {found}")
        need(not self.refused & index_of.keys(), "an entry was refused, and it is in the log")


def _rights(entries: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """No release behind an entry that ended its right."""
    epochs: dict[str, int] = {}
    for index, (kind, body) in enumerate(entries):
        for name, value in (body.get("raises") or {}).items():
            epochs[name] = max(value, epochs.get(name, -1))
        if kind == "release":
            behind = {name for name, value in body["epochs"].items() if epochs.get(name) != value}
            need(not behind, f"release {index} rests on what had ended: {behind}")
