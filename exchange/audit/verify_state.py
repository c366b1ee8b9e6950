"""What an auditor keeps of a verification, so that the next one goes on where it ended.

Part of `verify`, and like it written without the code that it judges. The file is the auditor's own and as good as the
place where it is kept: whoever can write it can make a verification begin where he likes. Its digest shows damage, not
malice. It is bound to the log's key, and the log must continue exactly the tree that it holds.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exchange.errors import Invalid

FORMAT: Final = "exchange.verification/1"


@dataclass(frozen=True, slots=True)
class State:
    """A sound beginning of a log: its size and root, the hashes of the last tile of each level (level 0 first), the
    checkpoints (size, root) that were found to be of it, and what its later entries are judged by.
    """

    key: str
    size: int
    root: bytes
    rows: Sequence[Sequence[bytes]]
    checkpoints: Sequence[tuple[int, bytes]]
    rules: Mapping[str, Any]

    def write(self, file: Path) -> None:
        """Puts it in the place of the former one, whole."""
        document = {
            "format": FORMAT,
            "key": self.key,
            "size": self.size,
            "root": self.root.hex(),
            "rows": [[one.hex() for one in row] for row in self.rows],
            "checkpoints": [[size, root.hex()] for size, root in self.checkpoints],
            "rules": self.rules,
        }
        draft = file.with_name(file.name + ".new")
        draft.write_text(json.dumps({**document, "digest": _digest(document)}), "utf-8")
        draft.replace(file)


def read_state(file: Path, key: str) -> State | None:
    """The state in this file, None where there is none yet.

    Raises:
        Invalid: `audit_state_damaged`; `audit_state_foreign` when it is of another log.
    """
    try:
        document = _intact(json.loads(file.read_bytes()))
        found = State(
            document["key"],
            int(document["size"]),
            bytes.fromhex(document["root"]),
            [[bytes.fromhex(one) for one in row] for row in document["rows"]],
            [(int(size), bytes.fromhex(root)) for size, root in document["checkpoints"]],
            document["rules"],
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Invalid("audit_state_damaged", where=str(file)) from None
    if found.key != key:
        raise Invalid("audit_state_foreign", where=str(file))
    return found


def kept_of(file: Path) -> bytes:
    """The checkpoint that a verification ended with, in its three lines: a log that is asked can show that it continues
    it. Raises `Invalid("audit_state_damaged")`, where there is no file too.
    """
    try:
        document = _intact(json.loads(file.read_bytes()))
        origin, size, root = (
            str(document["key"]).partition("+")[0],
            int(document["size"]),
            bytes.fromhex(document["root"]),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Invalid("audit_state_damaged", where=str(file)) from None
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()


def _intact(document: Any) -> Any:  # noqa: ANN401  # JSON
    if document.pop("digest") != _digest(document) or document["format"] != FORMAT:
        raise ValueError
    return document


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
