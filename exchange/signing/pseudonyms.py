"""Names for acting people in the audit log, whose leaves stay for ever: without the key they mean nobody."""

import hmac
from collections.abc import Mapping
from typing import Final

_PRINCIPAL: Final = "principal/"


class Actors:
    """Keyed pseudonyms of principals. Who destroys the key erases the people from the log, without touching a leaf."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def name(self, principal_id: str) -> str:
        """32 lowercase hex digits: the first 16 bytes of HMAC-SHA256(key, "principal" ‖ 0x00 ‖ id)."""
        return hmac.digest(self._key, b"principal\0" + principal_id.encode(), "sha256")[:16].hex()

    def epochs(self, epochs: Mapping[str, int]) -> Mapping[str, int]:
        """The epochs as audit entries name them: `principal/<id>` by pseudonym, all others unchanged."""
        return {
            f"{_PRINCIPAL}{self.name(name.removeprefix(_PRINCIPAL))}" if name.startswith(_PRINCIPAL) else name: epoch
            for name, epoch in epochs.items()
        }
