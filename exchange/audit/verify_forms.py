"""Forms that the offline verifier reads: verifier keys and signed checkpoints, tile paths, bundles, tree hashes.

Part of `verify`, and like it written without the code that it judges.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from exchange.errors import Invalid


@dataclass(frozen=True, slots=True)
class Key:
    """A verifier key (C2SP signed-note)."""

    name: str
    id: bytes
    public: Ed25519PublicKey
    text: str

    @classmethod
    def parse(cls, vkey: str) -> "Key":
        """The key; `Invalid("audit_key_malformed")`."""
        match = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", vkey.strip())
        try:
            raw = base64.b64decode(match[3], validate=True) if match else b""
        except binascii.Error:
            raw = b""
        if match is None or len(raw) != 33 or raw[0] != 1:
            raise Invalid("audit_key_malformed", detail="not an Ed25519 key of the form name+hash+key")
        key_id = hashlib.sha256(match[1].encode() + b"\n" + raw).digest()[:4]
        if key_id.hex() != match[2]:
            raise Invalid("audit_key_malformed", detail="the hash does not belong to this name and key")
        return cls(match[1], key_id, Ed25519PublicKey.from_public_bytes(raw[1:]), vkey.strip())

    def open(self, note: bytes) -> tuple[int, bytes]:
        """Size and root of a checkpoint signed by this key; ValueError says what is wrong with it."""
        text, blank, signatures = note.partition(b"\n\n")
        lines = signatures.decode().split("\n")
        body = re.fullmatch("([^\n]*)\n(0|[1-9][0-9]{0,18})\n([^\n]{44})", text.decode())
        if not blank or body is None or lines.pop() != "" or body[1] != self.name:
            raise ValueError("not a signed checkpoint of this log")
        mine = [signature for signature in map(self._mine, lines) if signature is not None]
        if not mine:
            raise ValueError("no signature by this key")
        try:
            for signature in mine:
                self.public.verify(signature, text + b"\n")
        except InvalidSignature:
            raise ValueError("the signature does not fit") from None
        return int(body[2]), _decoded(body[3], 32)

    def _mine(self, line: str) -> bytes | None:
        match = re.fullmatch("— ([^ +]+) ([A-Za-z0-9+/=]+)", line)
        if match is None:
            raise ValueError("a line that is no signature")
        if match[1] != self.name:
            return None
        data = _decoded(match[2], 68)
        return data[4:] if data[:4] == self.id else None


def _decoded(text: str, length: int) -> bytes:
    data = base64.b64decode(text, validate=True)
    if len(data) != length or base64.b64encode(data).decode() != text:  # spare bits: one value, one text
        raise ValueError("not canonical base64 of the right length")
    return data


def path_of(kind: str, n: int, width: int) -> str:
    """The path of a tile (C2SP tlog-tiles); kind is a level or `entries`."""
    digits = f"{n:d}".zfill((len(str(n)) + 2) // 3 * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    number = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return f"tile/{kind}/{number}" + ("" if width == 256 else f".p/{width}")


def number_of(text: str) -> int:
    """The number in a path."""
    return int(text.replace("x", "").replace("/", "")[:18])


def frames(bundle: bytes, limit: int) -> Iterator[bytes]:
    """The leaves of a bundle, at most `limit`, as far as they are whole."""
    at = 0
    for _ in range(limit):
        length = int.from_bytes(bundle[at : at + 2], "big")
        if at + 2 + length > len(bundle) or at + 2 > len(bundle):
            return
        yield bundle[at + 2 : at + 2 + length]
        at += 2 + length


def peaks(hashes: Sequence[bytes]) -> list[bytes]:
    """The roots of the perfect trees, largest first, that a row of equal subtrees falls into."""
    stack: list[tuple[int, bytes]] = []
    for one in hashes:
        count, node = 1, one
        while stack and stack[-1][0] == count:
            node, count = hashlib.sha256(b"\x01" + stack.pop()[1] + node).digest(), count * 2
        stack.append((count, node))
    return [node for _, node in stack]


def tree(peaks: Sequence[bytes]) -> bytes:
    """The RFC 6962 root over perfect trees, largest first."""
    if not peaks:
        return hashlib.sha256(b"").digest()
    node = peaks[-1]
    for peak in reversed(peaks[:-1]):
        node = hashlib.sha256(b"\x01" + peak + node).digest()
    return node
