"""Key files: made once, durable, readable by nobody else, and refused when they are anything but a key."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from exchange.errors import Invalid, Unavailable
from exchange.signing.keys import SigningKey, new_secret, new_signing_key, read_secret, signed_by

SECRET = bytes(range(32))


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """A file with this content and mode."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_signing_key_is_read_back_and_signs(tmp_path: Path) -> None:
    """What is made is what is loaded; its signatures hold by the library's own check; the file is 0600."""
    made = new_signing_key(tmp_path / "a.key")
    loaded = SigningKey.load(tmp_path / "a.key")
    assert loaded.public == made.public
    Ed25519PublicKey.from_public_bytes(made.public).verify(loaded.sign(b"message"), b"message")
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600


def test_a_signature_of_anything_else_is_none(tmp_path: Path) -> None:
    """Another message, key or length does not verify, and nothing is raised."""
    key, other = new_signing_key(tmp_path / "a.key"), new_signing_key(tmp_path / "b.key")
    signature = key.sign(b"message")
    assert signed_by(key.public, signature, b"message")
    assert not signed_by(key.public, signature, b"messagf")
    assert not signed_by(other.public, signature, b"message")
    assert not signed_by(key.public, signature[:-1], b"message")
    assert not signed_by(b"short", signature, b"message")


def test_a_secret_is_read_back(tmp_path: Path) -> None:
    """32 bytes from the given source of randomness, as hex, 0600."""
    assert new_secret(tmp_path / "s.key", lambda n: SECRET[:n]) == SECRET
    assert read_secret(tmp_path / "s.key") == SECRET
    assert (tmp_path / "s.key").read_text() == SECRET.hex() + "\n"
    assert stat.S_IMODE((tmp_path / "s.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("make", [new_signing_key, lambda path: new_secret(path, os.urandom)])
def test_a_key_is_never_written_over(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """A file that is there stays as it is, a dangling link too."""
    path = write(tmp_path / "a.key", b"precious")
    (tmp_path / "link.key").symlink_to(tmp_path / "elsewhere")
    for taken in (path, tmp_path / "link.key"):
        with pytest.raises(Invalid, match="key_exists"):
            make(taken)
    assert path.read_bytes() == b"precious"
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_that_cannot_be_written_is_not_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, or a disk that fails at fsync: Unavailable, and no file stays behind."""
    with pytest.raises(Unavailable, match="key_not_written"):
        new_signing_key(tmp_path / "none" / "a.key")

    def failing(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(Unavailable, match="key_not_written"):
        new_signing_key(tmp_path / "a.key")
    assert not (tmp_path / "a.key").exists()


READERS: list[Callable[[Path], object]] = [SigningKey.load, read_secret]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o602, 0o666])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, read: Callable[[Path], object], mode: int) -> None:
    """Any bit for group or others: refused, with the command that mends it."""
    path = tmp_path / "a.key"
    new_signing_key(path)
    path.chmod(mode)
    with pytest.raises(Invalid, match="key_readable_by_others") as caught:
        read(path)
    assert caught.value.facts["command"] == f"chmod 600 {path}"


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_file_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """Missing, a folder, a pipe (without waiting for its writer): `key_unreadable` with the path."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    for name in ("missing", "pipe", "folder"):
        with pytest.raises(Invalid, match="key_unreadable") as caught:
            read(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)


def _pem(encryption: serialization.KeySerializationEncryption) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, form, encryption)


def test_what_is_no_signing_key_is_refused(tmp_path: Path) -> None:
    """Empty, cut off, garbage, of another kind, under a passphrase: `key_malformed`, and its bytes are not shown."""
    whole = _pem(serialization.NoEncryption())
    other = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    locked = _pem(serialization.BestAvailableEncryption(b"secret"))
    for content in (b"", whole[:60], os.urandom(100), b"\0" * 10_000, other, locked):
        with pytest.raises(Invalid, match="key_malformed") as caught:
            SigningKey.load(write(tmp_path / "a.key", content))
        assert caught.value.facts == {"expected": "an Ed25519 key, PEM"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"zz" * 32,
        SECRET.hex().encode()[:-2],
        SECRET.hex().encode() + b"00",
        SECRET.hex().upper().encode(),
        b" " + SECRET.hex().encode(),
        SECRET.hex().encode() + b"\n\n",
        SECRET,
        "零".encode() * 20,
    ],
)
def test_what_is_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    """Exactly 64 lowercase hex digits and at most one line feed, nothing that hex readers let pass besides."""
    with pytest.raises(Invalid, match="key_malformed"):
        read_secret(write(tmp_path / "s.key", content))
