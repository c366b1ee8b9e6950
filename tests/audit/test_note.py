"""Rules of signed notes and checkpoints: those of C2SP, byte for byte, and nothing looser."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from exchange.audit.note import (
    MAX_NOTE,
    Checkpoint,
    check_origin,
    open_checkpoint,
    open_note,
    open_vkey,
    sign_checkpoint,
    sign_note,
    vkey,
)
from exchange.errors import Invalid, Tampered
from exchange.signing.keys import SigningKey
from tests.audit.building import KEY, ORIGIN, VKEY

# The example of golang.org/x/mod/sumdb/note, which C2SP signed-note takes its form from.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    f"{GO_TEXT}\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))


def test_the_published_example() -> None:
    """Go's key, signature and note come out of our code to the byte (Ed25519 is deterministic)."""
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(GO_SEED))
    assert vkey("PeterNeumann", key.public) == GO_VKEY
    assert sign_note(GO_TEXT, "PeterNeumann", key) == GO_NOTE
    assert open_note(GO_NOTE, GO_VKEY) == GO_TEXT


def test_a_checkpoint_is_three_lines() -> None:
    """Origin, size, root; one blank line; one signature; and it reads back."""
    note = sign_checkpoint(CHECKPOINT, KEY)
    assert note.decode().split("\n")[:4] == [ORIGIN, "7", base64.b64encode(CHECKPOINT.root).decode(), ""]
    assert note.count(b"\n\n") == 1
    assert open_checkpoint(note, VKEY) == CHECKPOINT


@given(st.data())
def test_any_changed_bit_is_found(data: st.DataObject) -> None:
    """No bit of a signed checkpoint can change, not even a spare one of its base64."""
    note = bytearray(sign_checkpoint(CHECKPOINT, KEY))
    note[data.draw(st.integers(0, len(note) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Tampered, match="audit_note_invalid"):
        open_checkpoint(bytes(note), VKEY)


def test_signatures_of_others_are_passed_over() -> None:
    """A witness's line does no harm and no good; a second line of our name under another key neither."""
    witness = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    note, text = sign_checkpoint(CHECKPOINT, KEY), CHECKPOINT.text()
    line = sign_note(text, "witness.example", witness).rpartition(b"\n\n")[2]
    assert open_checkpoint(note + line, VKEY) == CHECKPOINT
    for alone in (sign_note(text, "witness.example", witness), sign_note(text, ORIGIN, witness)):
        with pytest.raises(Tampered, match="no signature by this key"):
            open_note(alone, VKEY)


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n07\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{ORIGIN}\n-1\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{ORIGIN}\n{10**19}\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(bytes(31)).decode()}\n",
        f"{ORIGIN}\n7\nroot\n",
        f"other.example\n7\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(bytes(32)).decode()}\nextension\n",
        f"{ORIGIN}\n7\n",
    ],
)
def test_what_is_signed_but_no_checkpoint(text: str) -> None:
    """A signature does not make a checkpoint of another form, size, origin or an extension."""
    with pytest.raises(Tampered, match="audit_note_invalid"):
        open_checkpoint(sign_note(text, ORIGIN, KEY), VKEY)


@pytest.mark.parametrize(
    "note", [b"", b"\n", b"\n\n", b"a\n\nb", b"\xff\n\n\xff\n", b"x" * (MAX_NOTE + 1), GO_NOTE[:-1]]
)
def test_what_is_no_note(note: bytes) -> None:
    """Garbage, a note cut off, a huge one: one clear error."""
    with pytest.raises(Tampered, match="audit_note_invalid"):
        open_note(note, GO_VKEY)


@pytest.mark.parametrize(
    "key",
    [
        *("", "x", "a+b", "a+b+c", "a+00000000+AAAA"),
        GO_VKEY.replace("c74f20a3", "c74f20a4"),
        GO_VKEY.replace("+ARpc", "+AhpC"),
        "two words+" + GO_VKEY.partition("+")[2],
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_what_is_no_key(key: str) -> None:
    """Mangled keys are refused (the last two are those of Go's own test)."""
    with pytest.raises(Invalid, match="audit_key_malformed"):
        open_vkey(key)


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "line\nbreak", "x" * 201])
def test_what_is_no_origin(origin: str) -> None:
    """An origin names a key in a note, so it has no white space and no plus."""
    with pytest.raises(Invalid, match="audit_key_malformed"):
        check_origin(origin)
