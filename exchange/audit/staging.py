"""The staged bundle: every file of one commit, durable before the commit, applied after it, by one function.

Form: the line `exchange.staged/1`, a line of JSON `{"files": [[path, length, sha256], …], "old": n, "size": n}`, then
the files' bytes one after another.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from exchange.audit.tiles import paths_between
from exchange.errors import Tampered
from exchange.names import canonical

_MAGIC: Final = b"exchange.staged/1\n"


def name_of(size: int, root: bytes) -> str:
    """The name of the bundle that leads to this checkpoint."""
    return f"{size}-{root.hex()}"


def pack(old: int, size: int, files: Mapping[str, bytes]) -> bytes:
    """The bundle of the files that are new between two sizes."""
    table = [[path, len(data), hashlib.sha256(data).hexdigest()] for path, data in files.items()]
    header = canonical({"files": table, "old": old, "size": size})
    return b"".join((_MAGIC, header, b"\n", *files.values()))


def unpack(bundle: bytes, name: str, old: int | None = None) -> dict[str, bytes]:
    """The files of a bundle, each with the hash that it was staged with, and none that this commit does not make:
    whoever writes them may rely on their paths. `old` is the size before it, where that is known.

    Raises:
        Tampered: `audit_log_damaged`: cut off, changed, or not a bundle.
    """
    broken = Tampered("audit_log_damaged", where=f"staging/{name}", detail="the staged bundle was changed")
    magic, header, body = [*bundle.split(b"\n", 2), b"", b""][:3]
    try:
        document = json.loads(header)
        before, size = int(document["old"]), int(document["size"])
        table = [(str(path), int(length), digest) for path, length, digest in document["files"]]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise broken from None
    files, at = {}, 0
    for path, length, digest in table:
        files[path] = body[at : at + length]
        at += length
        if hashlib.sha256(files[path]).hexdigest() != digest:
            raise broken
    whole = magic + b"\n" == _MAGIC and at == len(body) and str(size) == name.partition("-")[0]
    if not whole or before < 0 or old not in (None, before) or files.keys() != paths_between(before, size):
        raise broken
    return files
