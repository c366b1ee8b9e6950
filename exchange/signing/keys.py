"""Keys on disk: signing keys (PEM, PKCS #8, no passphrase) and 32-byte secrets (hex), in files of mode 0600.

All signatures are Ed25519, but those of the policy bundle, for OPA knows no Ed25519: ECDSA on P-256.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from exchange.errors import Invalid, Unavailable

SECRET_BYTES: Final = 32
_LARGEST_KEY_FILE: Final = 4_096


class SigningKey:
    """A private Ed25519 key in memory. It shows itself nowhere: not in `repr`, not in errors."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()  # 32 bytes, RFC 8032

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """The key in this file.

        Raises:
            Invalid: `key_unreadable` (missing, no file, no permission), `key_readable_by_others`, `key_malformed`.
        """
        content = _read(path)
        try:
            private = serialization.load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Invalid("key_malformed", where=str(path), expected="an Ed25519 key, PEM") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise Invalid("key_malformed", where=str(path), expected="an Ed25519 key, PEM")
        return cls(private)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature (RFC 8032) of the message."""
        return self._private.sign(message)


class BundleKey:
    """The private key that signs the policy bundle: ECDSA on P-256 with SHA-256, the ES256 of RFC 7518."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.public_pem = private.public_key().public_bytes(serialization.Encoding.PEM, form).decode("ascii")

    @classmethod
    def load(cls, path: Path) -> "BundleKey":
        """The key in this file; raises what `SigningKey.load` does."""
        try:
            private = serialization.load_pem_private_key(_read(path), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Invalid("key_malformed", where=str(path), expected="a P-256 key, PEM") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise Invalid("key_malformed", where=str(path), expected="a P-256 key, PEM")
        return cls(private)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of r and s (RFC 7518, 3.4); the same message always gets the same ones (RFC 6979)."""
        signature = self._private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(signature))


def new_bundle_key(path: Path) -> BundleKey:
    """Makes a key for the policy bundle and its file, durable on return; raises what `new_signing_key` does."""
    private = ec.generate_private_key(ec.SECP256R1())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write(path, private.private_bytes(encoding, form, serialization.NoEncryption()))
    return BundleKey(private)


def signed_by(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether this is the Ed25519 signature of the message by the key with these 32 public bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def public_of(seed: bytes) -> bytes:
    """The public half of the key that `new_signing_key` makes of this seed of 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def new_signing_key(path: Path, seed: bytes | None = None) -> SigningKey:
    """Makes a key and its file, durable on return; with a seed always the same one (RFC 8032, section 5.1.5).

    Raises:
        Invalid: `key_exists`: a key is never written over.
        Unavailable: `key_not_written`.
    """
    private = Ed25519PrivateKey.from_private_bytes(seed) if seed else Ed25519PrivateKey.generate()
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write(path, private.private_bytes(encoding, form, serialization.NoEncryption()))
    return SigningKey(private)


def new_secret(path: Path, random: Callable[[int], bytes]) -> bytes:
    """Makes a secret of 32 bytes from `random` (`secrets.token_bytes`) and its file, durable on return.

    Raises:
        Invalid: `key_exists`.
        Unavailable: `key_not_written`.
    """
    secret = random(SECRET_BYTES)
    _write(path, secret.hex().encode("ascii") + b"\n")
    return secret


def read_key(path: Path) -> bytes:
    """What stands in a key's file, to be written into another one by `write_key`.

    Raises:
        Invalid: `key_unreadable`, `key_readable_by_others`.
    """
    return _read(path)


def write_key(path: Path, content: bytes) -> None:
    """Makes a key's file with this content, durable on return.

    Raises:
        Invalid: `key_exists`. Unavailable: `key_not_written`.
    """
    _write(path, content)


def read_secret(path: Path) -> bytes:
    """The 32 bytes of a secret's file.

    Raises:
        Invalid: `key_unreadable`, `key_readable_by_others`, `key_malformed`.
    """
    content = _read(path).removesuffix(b"\n")
    try:
        secret = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES or secret.hex().encode("ascii") != content:
        raise Invalid("key_malformed", where=str(path), expected="64 lowercase hex digits")
    return secret


def _read(path: Path) -> bytes:
    try:
        # Non-blocking, so that a pipe put in the key's place cannot hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Invalid("key_unreadable", where=str(path), detail=error.strerror) from error
    try:
        status = os.fstat(descriptor)  # of the open file, so that nobody can swap it after the look
        if not stat.S_ISREG(status.st_mode):
            raise Invalid("key_unreadable", where=str(path), detail="not a file")
        if status.st_mode & 0o077:
            raise Invalid("key_readable_by_others", where=str(path), command=f"chmod 600 {path}")
        return os.read(descriptor, _LARGEST_KEY_FILE)
    except OSError as error:
        raise Invalid("key_unreadable", where=str(path), detail=error.strerror) from error
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise Invalid("key_exists", where=str(path)) from error
    except OSError as error:
        raise Unavailable("key_not_written", where=str(path), detail=error.strerror) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        # A crash here may lose the file's name, never leave half a key that anything was signed with: the caller
        # has not got the key yet.
        _sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise Unavailable("key_not_written", where=str(path), detail=error.strerror) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
