"""Access tokens: `xt1.<id>.<secret>`. The id finds the row, the SHA-256 of the whole text is what is stored."""

import base64
import hmac
import re
from collections.abc import Callable
from typing import Final

from exchange.names import digest_bytes

TOKEN_ID: Final = re.compile(r"[0-9a-f]{16}")
_TEXT: Final = re.compile(r"xt1\.([0-9a-f]{16})\.[A-Za-z0-9_-]{43}")
_NO_DIGEST: Final = "sha256:" + "0" * 64


def new_token(random_bytes: Callable[[int], bytes]) -> tuple[str, str, str]:
    """A new token's text (shown once, 256 random bits), its id, and the digest to store.

    `random_bytes(n)` gives n bytes from the system's generator (`secrets.token_bytes`).
    """
    identifier = random_bytes(8).hex()
    secret = base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode("ascii")
    text = f"xt1.{identifier}.{secret}"
    return text, identifier, digest_bytes(text.encode("ascii"))


def token_id(text: str) -> str:
    """The id in a token's text; an empty string, which no token has, when the text is none."""
    match = _TEXT.fullmatch(text)
    return match[1] if match else ""


def authentic(text: str, stored: str | None) -> bool:
    """Whether `text` has the stored digest, in constant time; None (no such id) costs the same and is False."""
    # "replace" keeps a lone surrogate from raising: such a text has no stored digest in any case.
    given = digest_bytes(text.encode("utf-8", "replace"))
    return hmac.compare_digest(given, stored or _NO_DIGEST) and stored is not None
