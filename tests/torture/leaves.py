"""The audit log as anyone can read it from its folder: checkpoint, bundles, Avro. Plain, and none of our own code."""

import io
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import fastavro

_WIDTH: Final = 256
_PARSED: dict[bytes, Any] = {}  # schemas by prefix: the same text gives the same prefix, whatever the log


def size_of(note: str | bytes) -> int:
    """The size in a checkpoint's second line."""
    return int(note.split(b"\n" if isinstance(note, bytes) else "\n")[1])  # type: ignore[arg-type]  # both are one kind


def leaves_of(folder: Path) -> list[bytes]:
    """All leaves under the published checkpoint; OSError or IndexError where the log is not whole."""
    return leaves_by(lambda name: (folder / name).read_bytes() if (folder / name).is_file() else None)


def leaves_by(read: Callable[[str], bytes | None]) -> list[bytes]:
    """The same by whatever gives a file's bytes by its C2SP path, None for one that is not there."""

    def needed(*names: str) -> bytes:
        found = next((data for data in map(read, names) if data is not None), None)
        if found is None:
            raise FileNotFoundError(names[-1])
        return found

    size = size_of(needed("checkpoint"))
    leaves: list[bytes] = []
    for n in range((size + _WIDTH - 1) // _WIDTH):
        width, whole = min(_WIDTH, size - n * _WIDTH), f"tile/entries/{n:03d}"
        data = needed(whole) if width == _WIDTH else needed(f"{whole}.p/{width}", whole)
        at = 0
        for _ in range(width):
            length = int.from_bytes(data[at : at + 2], "big")
            leaves.append(data[at + 2 : at + 2 + length])
            at += 2 + length
    return leaves


def decoded(leaves: list[bytes], known: list[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Kind and body of each leaf; `known` are those of the first so many, decoded before."""
    entries = list(known)
    for leaf in leaves[len(known) :]:
        parsed = _PARSED.get(leaf[:8])
        body: Any = None
        if parsed is None:  # the first leaf of all: the schema of schemas, which describes itself
            text = leaf[leaf.index(b'{"doc"') :].decode()
            assert sha256(text.encode()).digest()[:8] == leaf[:8]
            parsed = _learn(text)
        body = fastavro.schemaless_reader(io.BytesIO(leaf[8:]), parsed, None)
        kind = str(parsed["name"]).rpartition(".")[2]
        if kind == "schema":
            _learn(body["text"])
        entries.append((kind, body))
    return entries


def _learn(text: str) -> Any:
    parsed: Any = fastavro.parse_schema(json.loads(text), named_schemas={})
    return _PARSED.setdefault(sha256(text.encode()).digest()[:8], parsed)
