"""Subject tags: what a person, household or firm is called outside the Avro value (plan.md, "Subject tags")."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from exchange.errors import Invalid
from exchange.names import check, normalise_id

TAG_BYTES: Final = 16
_BLOCK: Final = 64  # of SHA-256, for RFC 2104
_OLD_PERSON_ID: Final = 15  # digits; such an id is made into the one of 18


class SubjectTagger:
    """Makes tags under one key: the first 16 bytes of HMAC-SHA256(key, type ‖ 0x00 ‖ normalised id).

    HMAC (RFC 2104) is written out here over two prepared SHA-256 states that are copied for each id: a third of the
    cost of `hmac`. It may be used from any thread.
    """

    def __init__(self, key: bytes) -> None:
        padded = (key if len(key) <= _BLOCK else sha256(key).digest()).ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in padded))

    def tag(self, subject_type: str, text: str) -> bytes:
        """The 16-byte tag of this subject.

        Raises:
            Invalid: `subject_id_unusable`: nothing is left of the id but white space, or it is no Unicode text.
        """
        return self.tags(subject_type, (text,))[0]

    def tags(self, subject_type: str, texts: Iterable[str]) -> list[bytes]:
        """The tag of each; one id that cannot have one raises for all, as `tag` does."""
        typed, outer, person = self._inner.copy(), self._outer, subject_type == "person"
        typed.update(check("subject_type", subject_type).encode() + b"\0")
        tags = []
        for text in texts:
            if text.isascii() and text.isalnum() and not (person and len(text) == _OLD_PERSON_ID):
                plain = (text.upper() if person else text).encode()  # what normalise_id gives for such a text
            else:
                plain = _normalised(subject_type, text)
            inner, last = typed.copy(), outer.copy()
            inner.update(plain)
            last.update(inner.digest())
            tags.append(last.digest()[:TAG_BYTES])
        return tags


def _normalised(subject_type: str, text: str) -> bytes:
    try:
        plain = normalise_id(subject_type, text).encode()
    except UnicodeEncodeError:
        plain = b""
    if not plain:
        raise Invalid("subject_id_unusable", subject_type=subject_type)
    return plain
