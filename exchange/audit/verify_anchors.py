"""Rules of the offline verifier for anchors: outside evidence for an earlier checkpoint must be of this log.

Part of `verify`, and like it written without the code that it judges. A cosignature (C2SP tlog-cosignature v1) holds
only under the key of its witness, which the auditor has from elsewhere; without it the checkpoint alone is judged.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from exchange.audit.verify_forms import Key
from exchange.errors import Invalid

Report = Callable[[str, int, str], None]
_SIGNATURE: Final = 4 + 8 + 64  # key id, time, Ed25519


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The verifier key of a witness (signature type 0x04)."""

    name: str
    id: bytes
    public: Ed25519PublicKey

    @classmethod
    def parse(cls, vkey: str) -> "WitnessKey":
        """The key; `Invalid("audit_key_malformed")`."""
        match = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", vkey.strip())
        try:
            raw = base64.b64decode(match[3], validate=True) if match else b""
        except ValueError:
            raw = b""
        if match is None or len(raw) != 33 or raw[0] != 4:
            raise Invalid("audit_key_malformed", detail="not a witness's key of the form name+hash+key")
        key_id = hashlib.sha256(match[1].encode() + b"\n" + raw).digest()[:4]
        if key_id.hex() != match[2]:
            raise Invalid("audit_key_malformed", detail="the hash does not belong to this name and key")
        return cls(match[1], key_id, Ed25519PublicKey.from_public_bytes(raw[1:]))

    def signed(self, note: bytes) -> int | None:
        """When this witness signed the checkpoint, in seconds; None where no line of the note holds."""
        text, _, lines = note.partition(b"\n\n")
        for line in lines.decode().split("\n"):
            match = re.fullmatch("— ([^ +]+) ([A-Za-z0-9+/=]+)", line)
            signature = base64.b64decode(match[2]) if match and match[1] == self.name else b""
            if len(signature) != _SIGNATURE or signature[:4] != self.id:
                continue
            time_s = int.from_bytes(signature[4:12], "big")
            try:
                self.public.verify(signature[12:], b"cosignature/v1\ntime %d\n%s\n" % (time_s, text))
            except InvalidSignature:
                continue
            return time_s
        return None


class Anchors:
    """The anchors of a log; `keys` are those of the witnesses that the auditor knows."""

    def __init__(self, report: Report, key: Key | None, keys: Sequence[WitnessKey]) -> None:
        self._report, self._key = report, key
        self._keys = {one.name: one for one in keys}
        self._found: list[tuple[int, int, bytes]] = []
        self.unchecked = 0

    def anchor(self, index: int, body: Mapping[str, Any]) -> None:
        """An anchor: evidence that is of the checkpoint that it names, and of an earlier one."""
        size, root, note = body["size"], body["root"], body["evidence"]
        if body["type"] != "witness" or note is None or self._key is None:
            self.unchecked += 1
            return
        if not 0 < size <= index:
            self._report("anchor_differs", index, f"it names a checkpoint of {size} entries")
            return
        self._found.append((index, size, root))
        try:
            stated = self._key.open(note)
        except ValueError as error:
            self._report("anchor_differs", index, str(error))
            return
        if stated != (size, root):
            self._report("anchor_differs", index, "its evidence is of another checkpoint")
        self._cosigned(index, body, note)

    def _cosigned(self, index: int, body: Mapping[str, Any], note: bytes) -> None:
        witness = self._keys.get(body["authority"])
        if witness is None:
            self.unchecked += 1
            return
        time_s = witness.signed(note)
        if time_s is None or time_s * 1_000_000_000 != body["authority_ns"]:
            self._report("anchor_unsigned", index, witness.name)

    def close(self, root_at: Callable[[int], bytes | None]) -> None:
        """Each checkpoint with the tree that the entries give; `root_at` says None where the tree cannot be had."""
        for index, size, root in self._found:
            ours = root_at(size)
            if ours is not None and ours != root:
                self._report("anchor_differs", index, f"not the root of the first {size} entries")
