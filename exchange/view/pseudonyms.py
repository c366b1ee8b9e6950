"""The `pseudonym` mask: AES-CMAC (RFC 4493) under the key of a scope, as 32 lowercase hex digits."""

from collections.abc import Callable
from typing import Any, Final

from exchange.avro.kinds import kind
from exchange.avro.records import Codec
from exchange.avro.schema import Leaf, from_document

KEY_BYTES: Final = (16, 24, 32)  # RFC 4493 is written for 16; AES takes the longer ones the same way
_REMEMBERED: Final = 20_000


def pseudonym(leaf: Leaf, key: bytes) -> Callable[[Any], str]:
    """The mask for this leaf: over the UTF-8 of a string, over the Avro binary of any other type.

    A uuid is its canonical text.
    `key` has one of `KEY_BYTES`. The pseudonyms of the last values are remembered, since the same subjects come
    again and again in a batch; the memory ends with the compiled view.
    """
    to_bytes = _utf8 if kind(leaf.type) == "string" else _avro_bytes(leaf)
    cmac, known = cmac_of(key), dict[Any, str]()
    if kind(leaf.type) in ("float", "double"):  # 0.0 and -0.0 are one key of a dict, and two values
        return lambda value: cmac(to_bytes(value)).hex()

    def apply(value: Any) -> str:  # noqa: ANN401  any value of the leaf's type
        found = known.get(value)
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            found = known[value] = cmac(to_bytes(value)).hex()
        return found

    return apply


def cmac_of(key: bytes) -> Callable[[bytes], bytes]:
    """AES-CMAC under a key: 16 bytes for a message of any length."""
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.cmac import CMAC

    begun = CMAC(AES(key))

    def tag(message: bytes) -> bytes:
        state = begun.copy()
        state.update(message)
        return state.finalize()

    return tag


def _utf8(text: object) -> bytes:
    return str(text).encode()


def _avro_bytes(leaf: Leaf) -> Callable[[Any], bytes]:
    # A record is written as its fields one after the other, so a record of one field is that field's binary.
    alone = from_document({"type": "record", "name": "alone", "fields": [{"name": "value", "type": leaf.type}]})
    encode = Codec(alone).encode
    return lambda value: encode({"value": value})
