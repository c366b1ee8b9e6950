"""Seals: a department's signature over the Merkle root of a batch that it published.

A leaf's data (integers big-endian, `lp(x)` = the length of x in 4 bytes, then x; texts in UTF-8), so that no two
different contents have the same bytes:

    record    0x00 ‖ lp(dataset) ‖ lp(source) ‖ sequence (8) ‖ lp(schema fingerprint) ‖ value (to the end)
    rejected  0x01 ‖ lp(dataset) ‖ lp(source) ‖ sequence (8) ‖ lp(error code)

Its hash is RFC 6962's; (source, sequence) is the event id. The leaves of a seal stand in the order of their sequences.
What is signed: `exchange.seal/1`, a line feed, the canonical JSON of the seal without `id` and `signature`, bytes in
hex. The id is the first 16 bytes of SHA-256 over what says the content (all of that but the time), in hex: sealing the
same batch again gives the same id.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from exchange.errors import Invalid, Tampered
from exchange.names import canonical
from exchange.signing import merkle
from exchange.signing.keys import SigningKey, signed_by

_DOMAIN: Final = b"exchange.seal/1\n"
_RECORD: Final = b"\x00"
_REJECTED: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class Seal:
    """`public` (32 bytes) is the key that signed, `root` the tree hash of `count` leaves; `delegate` says that the
    exchange signed with a key that it keeps for the department, so the department itself has not seen the batch.
    """

    id: str
    dataset: str
    department: str
    count: int
    root: bytes
    public: bytes
    delegate: bool
    signature: bytes
    time_ns: int


def seal_leaf(dataset: str, source: str, sequence: int, fingerprint: str, value: bytes) -> bytes:
    """The leaf hash of one record (32 bytes)."""
    return seal_leaves(dataset, source, (sequence,), fingerprint, (value,))[0]


def seal_leaves(
    dataset: str, source: str, sequences: Sequence[int], fingerprint: str, values: Iterable[bytes]
) -> list[bytes]:
    """`seal_leaf` of many records of one source and schema."""
    before = b"\x00" + _RECORD + _prefixed(dataset) + _prefixed(source)  # RFC 6962's 0x00 first
    after, digest = _prefixed(fingerprint), sha256
    return [
        digest(before + sequence.to_bytes(8, "big") + after + value).digest()
        for sequence, value in zip(sequences, values, strict=True)
    ]


def rejected_leaf(dataset: str, source: str, sequence: int, code: str) -> bytes:
    """The leaf hash of a record that could not be published: that it was there and why, nothing of its content."""
    event = _prefixed(dataset) + _prefixed(source) + sequence.to_bytes(8, "big")
    return merkle.leaf_hash(_REJECTED + event + _prefixed(code))


def seal(
    key: SigningKey,
    leaf_hashes: Sequence[bytes],
    *,
    dataset: str,
    department: str,
    delegate: bool,
    now_ns: Callable[[], int],
) -> Seal:
    """Signs the batch with these leaf hashes, in the order of their sequences."""
    count, root = len(leaf_hashes), merkle.root(leaf_hashes)
    unsigned = Seal("", dataset, department, count, root, key.public, delegate, b"", now_ns())
    signature = key.sign(_message(unsigned))
    return Seal(_id(unsigned), dataset, department, count, root, key.public, delegate, signature, unsigned.time_ns)


def verify(seal: Seal, leaf_hashes: Sequence[bytes]) -> None:
    """Checks that the seal holds for these leaves under the key that it names; whose key that is, the caller knows.

    Raises:
        Tampered: `seal_broken`, saying whether leaves, id or signature do not fit.
    """
    if len(leaf_hashes) != seal.count or merkle.root(leaf_hashes) != seal.root:
        raise Tampered("seal_broken", where=seal.id, detail="leaves")
    if _id(seal) != seal.id:
        raise Tampered("seal_broken", where=seal.id, detail="id")
    if not signed_by(seal.public, seal.signature, _message(seal)):
        raise Tampered("seal_broken", where=seal.id, detail="signature")


def held(seal: Seal, leaf_hashes: Sequence[bytes], *, dataset: str, department: str) -> None:
    """Checks a seal that a department made elsewhere and sent along: that it is its own, and over these leaves.

    Raises:
        Invalid: `seal_differs`.
    """
    if (seal.dataset, seal.department, seal.delegate) != (dataset, department, False):
        raise Invalid("seal_differs", where=dataset, detail="dataset, department")
    try:
        verify(seal, leaf_hashes)
    except Tampered as error:
        raise Invalid("seal_differs", where=dataset, detail=error.facts["detail"]) from None


def to_document(seal: Seal) -> dict[str, object]:
    """The seal as JSON, bytes in hex."""
    return {**_content(seal), "id": seal.id, "time_ns": seal.time_ns, "signature": seal.signature.hex()}


def from_document(document: object) -> Seal:
    """The seal of a JSON document as `to_document` makes it; whether it holds, `verify` says.

    Raises:
        Invalid: `seal_differs` for what is no such document.
    """
    try:
        return Seal(**{name: _KINDS[name](value) for name, value in document.items()})  # type: ignore[attr-defined]  # a malformed one is caught below
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Invalid("seal_differs", detail="form") from None


def _exact(kind: type) -> Callable[[object], Any]:
    def check(value: object) -> object:
        if type(value) is not kind:
            raise TypeError
        return value

    return check


_KINDS: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("id", "dataset", "department"), _exact(str)),
    **dict.fromkeys(("count", "time_ns"), _exact(int)),
    **dict.fromkeys(("root", "public", "signature"), bytes.fromhex),
    "delegate": _exact(bool),
}


def _content(seal: Seal) -> dict[str, object]:
    return {
        "count": seal.count,
        "dataset": seal.dataset,
        "delegate": seal.delegate,
        "department": seal.department,
        "public": seal.public.hex(),
        "root": seal.root.hex(),
    }


def _message(seal: Seal) -> bytes:
    return _DOMAIN + canonical({**_content(seal), "time_ns": seal.time_ns})


def _id(seal: Seal) -> str:
    return sha256(_DOMAIN + canonical(_content(seal))).digest()[:16].hex()


def _prefixed(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "big") + data
