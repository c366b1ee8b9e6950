"""Witnesses: others who sign that they have seen this log grow, and never go back (C2SP tlog-witness v1.0).

A cosignature (C2SP tlog-cosignature v1, signature type 0x04) is Ed25519 over `cosignature/v1`, the witness's time and
the checkpoint's text; in the note it is the time in seconds, 8 bytes big-endian, and 64 bytes of signature.
"""

import http.client
import re
import ssl
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from exchange.audit.note import COSIGNATURE, open_vkey, signatures_of
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.signing.keys import signed_by

MAX_WITNESSES: Final = 16
_TIMEOUT_S: Final = 10.0
_LARGEST: Final = 1 << 16
_OK, _CONFLICT, _CONTRADICTED = 200, 409, 422
_STAMP: Final = 8
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,17})\n?")


@dataclass(frozen=True, slots=True)
class Witness:
    """Where a witness is asked, and its verifier key."""

    url: str
    vkey: str

    @property
    def name(self) -> str:
        """The name in its key."""
        return open_vkey(self.vkey, COSIGNATURE)[0]


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint with a witness's line below the log's own, and when the witness says that it signed."""

    note: bytes
    time_s: int


def parse_witnesses(text: str) -> list[Witness]:
    """The witnesses of a setting: an address and a verifier key each, all separated by white space.

    Raises:
        Invalid: `setting_wrong`; `audit_key_malformed`.
    """
    words = text.split()
    found = [Witness(url.rstrip("/"), vkey) for url, vkey in zip(words[::2], words[1::2], strict=False)]
    wrong = len(words) % 2 or len(found) > MAX_WITNESSES or len({one.name for one in found}) < len(found)
    if wrong or any(not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", one.url) for one in found):
        raise Invalid("setting_wrong", where="settings", name="audit.witnesses", expected="URL KEY URL KEY …")
    return found


def cosigned(
    witness: Witness, old: int, proof: Callable[[int], Sequence[bytes]], checkpoint: bytes, size: int
) -> Cosigned:
    """Asks a witness, which last saw the size `old`, for its signature under a checkpoint of `size` entries; where it
    says that it last saw another size, asks again with the proof from there.

    Raises:
        Unavailable: `witness_unavailable`.
        Tampered: `witness_disagrees`: it has seen more entries than there are here, or others.
    """
    status, body = _asked(witness, old, proof(old), checkpoint)
    if status == _CONFLICT:
        known = _SIZE.fullmatch(body)
        if known is None:
            raise _unavailable(witness, "a conflict without a size")
        if int(known[1]) > size:
            raise Tampered("witness_disagrees", where=witness.name, detail=f"it has seen {int(known[1])} entries")
        status, body = _asked(witness, int(known[1]), proof(int(known[1])), checkpoint)
    if status == _CONTRADICTED:
        raise Tampered("witness_disagrees", where=witness.name, detail="the log is not what it has seen")
    if status != _OK:
        raise _unavailable(witness, f"HTTP {status}")
    note = checkpoint + body
    return Cosigned(note, _time_of(witness, note))


def cosignature_time(note: bytes, vkey: str) -> int | None:
    """When the witness of this key signed the checkpoint in a note, in seconds; None where no line of it holds."""
    name, key_id, public = open_vkey(vkey, COSIGNATURE)
    text, lines = signatures_of(note)
    for who, signature in lines:
        stamp = signature[4 : 4 + _STAMP]
        if who == name and signature[:4] == key_id and len(stamp) == _STAMP:
            time_s = int.from_bytes(stamp, "big")
            if signed_by(public, signature[4 + _STAMP :], f"cosignature/v1\ntime {time_s}\n{text}".encode()):
                return time_s
    return None


def _time_of(witness: Witness, note: bytes) -> int:
    try:
        time_s = cosignature_time(note, witness.vkey)
    except Tampered:
        time_s = None
    if time_s is None or len(note) > _LARGEST:
        raise _unavailable(witness, "its signature does not hold")
    return time_s


def _asked(witness: Witness, old: int, proof: Sequence[bytes], checkpoint: bytes) -> tuple[int, bytes]:
    """Status and body of `add-checkpoint`; it is never redirected."""
    lines = [f"old {old}", *(b64encode(one).decode() for one in proof), ""]
    content = "".join(f"{line}\n" for line in lines).encode() + checkpoint
    parts = urlsplit(witness.url)
    connection: http.client.HTTPConnection
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.netloc, timeout=_TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_S)
        with closing(connection):
            connection.request("POST", f"{parts.path}/add-checkpoint", content, {"Content-Type": "text/plain"})
            answer = connection.getresponse()
            return answer.status, answer.read(_LARGEST)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unavailable(witness, type(error).__name__) from None


def _unavailable(witness: Witness, detail: str) -> Unavailable:
    return Unavailable("witness_unavailable", where=witness.name, detail=detail)
