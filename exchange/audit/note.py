"""C2SP signed-note v1.0 and tlog-checkpoint v1.0 with Ed25519 (signature type 0x01).

A checkpoint's text is three lines: origin, size in decimal, root in base64. We write no extension lines, and exactly
one blank line stands between the text and the signatures.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final, Protocol

from exchange.errors import Invalid, Tampered
from exchange.signing.keys import signed_by

MAX_NOTE: Final = 1 << 20  # bytes; a checkpoint with a hundred cosignatures is far below
_ED25519: Final = b"\x01"
COSIGNATURE: Final = b"\x04"  # the signature type of a witness
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]+")
_SIGNATURE: Final = re.compile("— ([^ +]+) ([A-Za-z0-9+/]+={0,2})")


class Signer(Protocol):
    """An Ed25519 key: `exchange.signing.keys.SigningKey`, or one in a hardware module."""

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says: the log's name, its number of entries, its RFC 6962 root (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text, that is what is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def check_origin(origin: str) -> str:
    """An origin that may name a key: not empty, no white space, no plus; else `Invalid("audit_key_malformed")`."""
    if len(origin) > 200 or not _NAME.fullmatch(origin):
        raise Invalid("audit_key_malformed", detail="a name with white space, a plus sign, or none")
    return origin


def vkey(name: str, public: bytes) -> str:
    """The verifier key, `name+hash+key`: the one line that an auditor keeps."""
    key = _ED25519 + public
    return f"{name}+{_key_id(name, key).hex()}+{base64.b64encode(key).decode()}"


def open_vkey(text: str, kind: bytes = _ED25519) -> tuple[str, bytes, bytes]:
    """Name, 4-byte key id and 32-byte public key of a verifier key of this signature type;
    `Invalid("audit_key_malformed")`.
    """
    parts = text.strip().split("+", 2)
    try:
        name, shown, key = parts[0], parts[1], base64.b64decode(parts[2], validate=True)
    except (IndexError, binascii.Error, ValueError):
        raise Invalid("audit_key_malformed", detail="not of the form name+hash+key") from None
    if not _NAME.fullmatch(name) or len(key) != 33 or key[:1] != kind:
        raise Invalid("audit_key_malformed", detail=f"not an Ed25519 key of signature type {kind[0]}")
    if shown != _key_id(name, key).hex():
        raise Invalid("audit_key_malformed", detail="the hash does not belong to this name and key")
    return name, bytes.fromhex(shown), key[1:]


def sign_note(text: str, name: str, key: Signer) -> bytes:
    """The signed note: text, blank line, one signature."""
    signature = _key_id(name, _ED25519 + key.public) + key.sign(text.encode())
    return f"{text}\n— {name} {base64.b64encode(signature).decode()}\n".encode()


def open_note(note: bytes, verifier: str) -> str:
    """The text of a note that this key has signed; signatures by other keys (witnesses) are passed over.

    Raises:
        Tampered: `audit_note_invalid`.
        Invalid: `audit_key_malformed`.
    """
    name, key_id, public = open_vkey(verifier)
    text, lines = signatures_of(note)
    found = False
    for who, signature in lines:
        if who == name and signature[:4] == key_id:
            if not signed_by(public, signature[4:], text.encode()):
                raise Tampered("audit_note_invalid", detail="the signature does not fit the text")
            found = True
    if not found:
        raise Tampered("audit_note_invalid", detail="no signature by this key")
    return text


def signatures_of(note: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """The text of a note and its signatures, unchecked: each signer's name, and key id and signature in bytes.

    Raises:
        Tampered: `audit_note_invalid`: not of a signed note's form.
    """
    text, lines = _split(note)
    found = [_SIGNATURE.fullmatch(line) for line in lines]
    if None in found:
        raise Tampered("audit_note_invalid", detail="a line that is no signature")
    return text, [(one[1], _decoded(one[2])) for one in found if one]


def open_checkpoint(note: bytes, verifier: str) -> Checkpoint:
    """The checkpoint in a note signed by this key, whose name is the origin; else as `open_note`."""
    return checkpoint_of(open_note(note, verifier), verifier)


def checkpoint_of(text: str, verifier: str) -> Checkpoint:
    """The checkpoint of a text that nobody need have signed: what of it an auditor kept; `Tampered` as above."""
    lines = text.split("\n")
    if len(lines) != 4 or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
        raise Tampered("audit_note_invalid", detail="not the three lines of a checkpoint")
    root = _decoded(lines[2])
    if lines[0] != open_vkey(verifier)[0] or len(root) != 32:
        raise Tampered("audit_note_invalid", detail="another origin, or a root that is no hash")
    return Checkpoint(lines[0], int(lines[1]), root)


def sign_checkpoint(checkpoint: Checkpoint, key: Signer) -> bytes:
    """The signed checkpoint, as it stands in the log's file `checkpoint`."""
    return sign_note(checkpoint.text(), checkpoint.origin, key)


def _key_id(name: str, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]


def _split(note: bytes) -> tuple[str, list[str]]:
    try:
        whole = note.decode() if len(note) <= MAX_NOTE else ""
    except UnicodeDecodeError:
        whole = ""
    text, blank, signatures = whole.rpartition("\n\n")
    if not blank or not signatures.endswith("\n") or any(ord(c) < 32 and c != "\n" for c in whole):
        raise Tampered("audit_note_invalid", detail="not a signed note")
    return text + "\n", signatures[:-1].split("\n")


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Tampered("audit_note_invalid", detail="not base64") from None
    if base64.b64encode(data).decode() != text:  # base64 has spare bits: one value, one text
        raise Tampered("audit_note_invalid", detail="not canonical base64")
    return data
