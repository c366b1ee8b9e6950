"""Forms of an evidence bundle: the archive, signed checkpoints, inclusion and consistency proofs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import struct
import zlib
from typing import Iterable, NamedTuple

from . import ed25519

MAX_BUNDLE = 1 << 28
MAX_FILES = 1 << 17
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_DATE = 0x21  # 1980-01-01


class Wrong(ValueError):
    """Not of the form it should have; the text says how."""


class Key(NamedTuple):
    """A log's public key."""

    name: str
    id: bytes
    public: bytes
    text: str


class Checkpoint(NamedTuple):
    """What a signed checkpoint says."""

    size: int
    root: bytes
    text: str


def archived(files: dict[str, bytes], sums: dict[str, int] | None = None) -> bytes:
    """The one archive of these files; `sums`: the CRC-32 that a given archive states, to compare with."""
    local, central, offset = [], [], 0
    for name in sorted(files):
        data, encoded = files[name], name.encode("ascii")
        crc = zlib.crc32(data) if sums is None else sums[name]
        head = _LOCAL.pack(0x04034B50, 20, 0, 0, 0, _DATE, crc, len(data), len(data), len(encoded), 0)
        where = (0, 0, 0, 0, 0x20, offset)  # a plain file, by MS-DOS
        entry = (0x02014B50, 20, 20, 0, 0, 0, _DATE, crc, len(data), len(data), len(encoded))
        local.append(head + encoded + data)
        central.append(_CENTRAL.pack(*entry, *where) + encoded)
        offset += len(local[-1])
    listing = b"".join(central)
    end = _END.pack(0x06054B50, 0, 0, len(files) & 0xFFFF, len(files) & 0xFFFF, len(listing), offset, 0)
    return b"".join(local) + listing + end


def unarchived(data: bytes) -> tuple[dict[str, bytes], list[str], bool]:
    """The files of an archive, the names of those that do not fit their CRC-32, and whether all else of it is as
    `archived` makes it. `Wrong` when nothing can be read.
    """
    if len(data) > MAX_BUNDLE:
        raise Wrong("larger than any bundle")
    files: dict[str, bytes] = {}
    sums: dict[str, int] = {}
    at = 0
    while data[at : at + 4] == b"PK\x03\x04" and len(data) >= at + _LOCAL.size:
        head = _LOCAL.unpack_from(data, at)
        start = at + _LOCAL.size + head[9] + head[10]
        name = data[at + _LOCAL.size : at + _LOCAL.size + head[9]].decode("ascii", "replace")
        stop = start + head[7]
        if stop > len(data) or name in files or len(files) >= MAX_FILES:
            raise Wrong("cut off, or a name that stands twice")
        files[name], sums[name] = data[start:stop], head[6]
        at = stop
    if not files:
        raise Wrong("no archive without compression")
    changed = [name for name in files if zlib.crc32(files[name]) != sums[name]]
    exact = all(name.isascii() for name in files) and archived(files, sums) == data
    return files, changed, exact


def folder(path: str) -> dict[str, bytes]:
    """The files of a bundle that was unpacked."""
    files: dict[str, bytes] = {}
    total = 0
    for where, _, names in os.walk(path):
        for name in names:
            full = os.path.join(where, name)
            total += os.path.getsize(full)
            if total > MAX_BUNDLE or len(files) >= MAX_FILES:
                raise Wrong("larger than any bundle")
            with open(full, "rb") as file:
                files[os.path.relpath(full, path).replace(os.sep, "/")] = file.read()
    return files


def key_of(data: bytes) -> Key:
    """The key in a file `vkey`."""
    match = re.fullmatch(rb"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)\n", data)
    if match is None:
        raise Wrong("not of the form name+hash+key")
    raw, name = _base64(match[3].decode(), 33), match[1].decode("utf-8", "replace")
    if raw[0] != 1 or hashlib.sha256(match[1] + b"\n" + raw).hexdigest()[:8] != match[2].decode():
        raise Wrong("the hash does not belong to this name and key")
    return Key(name, bytes.fromhex(match[2].decode()), raw[1:], data.decode("utf-8").strip())


def opened(note: bytes, key: Key) -> Checkpoint:
    """The checkpoint in a note that this key signed."""
    try:
        text, blank, signatures = note.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError:
        raise Wrong("not text") from None
    body = re.fullmatch("([^\n]*)\n(0|[1-9][0-9]{0,17})\n([^\n]{44})", text)
    lines = signatures.split("\n")
    if not blank or body is None or lines.pop() != "" or body[1] != key.name:
        raise Wrong("not a signed checkpoint of this log")
    found = False
    for line in lines:
        match = re.fullmatch("\u2014 ([^ +]+) ([A-Za-z0-9+/]+={0,2})", line)
        if match is None:
            raise Wrong("a line that is no signature")
        signature = _base64(match[2], 0)
        if match[1] == key.name and signature[:4] == key.id:
            if not ed25519.holds(key.public, signature[4:], (text + "\n").encode()):
                raise Wrong("the signature does not fit")
            found = True
    if not found:
        raise Wrong("no signature by this key")
    return Checkpoint(int(body[2]), _base64(body[3], 32), text + "\n")


def stated(text: bytes, key: Key) -> Checkpoint:
    """The checkpoint in three lines that nobody signed."""
    body = re.fullmatch("([^\n]*)\n(0|[1-9][0-9]{0,17})\n([^\n]{44})\n", text.decode("utf-8", "replace"))
    if body is None or body[1] != key.name:
        raise Wrong("not a checkpoint of this log")
    return Checkpoint(int(body[2]), _base64(body[3], 32), text.decode("utf-8"))


def _base64(text: str, length: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Wrong("not base64") from None
    if (length and len(data) != length) or base64.b64encode(data).decode() != text:
        raise Wrong("not base64 of the right length in its one form")
    return data


def proof_of(data: bytes, head: str, checkpoint: bytes) -> list[bytes]:
    """The hashes of a proof that begins with these lines and ends with the checkpoint."""
    start, end = head.encode(), b"\n" + checkpoint
    if not (data.startswith(start) and data.endswith(end) and len(data) >= len(start) + len(end)):
        raise Wrong("not a proof that ends in the checkpoint")
    lines = data[len(start) : len(data) - len(end)].decode("ascii", "replace").split("\n")
    if lines.pop() != "":
        raise Wrong("not a proof")
    return [_base64(line, 32) for line in lines]


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def included(leaf: bytes, index: int, size: int, proof: Iterable[bytes], root: bytes) -> bool:
    """Whether the proof leads from this leaf hash to the root (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, current = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            current = _node(sibling, current)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            current = _node(current, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and current == root


def continued(old: Checkpoint, new: Checkpoint, proof: list[bytes]) -> bool:
    """Whether the proof shows that the newer tree begins with the older one (RFC 9162 section 2.1.4.2)."""
    if old.size > new.size:
        return False
    if old.size in (0, new.size):
        empty = hashlib.sha256(b"").digest()
        return not proof and old.root == (new.root if old.size == new.size else empty)
    hashes = [old.root, *proof] if old.size & (old.size - 1) == 0 else list(proof)
    if not hashes:
        return False
    node, last = old.size - 1, new.size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            first, second = _node(sibling, first), _node(sibling, second)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            second = _node(second, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and first == old.root and second == new.root


def fingerprint(data: bytes) -> str:
    """What two people compare by telephone: 40 decimal digits in groups of five."""
    digits = "%040d" % (int.from_bytes(hashlib.sha256(data).digest(), "big") % 10**40)
    return " ".join(digits[at : at + 5] for at in range(0, 40, 5))
