"""A question and its answer, as the log's own entry binds them, and what an entry must be to belong to an answer."""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any

SHOWN = ("release", "refusal", "audit_query")


def canonical(document: Any) -> bytes:
    """The one JSON text of a document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def asks(body: dict[str, Any], told: dict[str, Any], tags: list[bytes], results: int) -> bool:
    """Whether this entry of the log asked exactly this and got exactly this answer."""
    digest = "sha256:" + hashlib.sha256(canonical(told)).hexdigest()
    stated = (body["query"], body["tags"], body["size"], body["results"], body["parameters_digest"])
    return bool(stated == (told["query"], tags, told["size"], results, digest))


def concerns(entry: Any, tags: list[bytes], positions: list[int]) -> bool:
    """Whether the entry names one of the subjects, or is a release that showed all of these positions."""
    if entry.kind not in SHOWN:
        return False
    body = entry.body
    if set(tags) & set(body["tags"]):
        return True
    if entry.kind != "release" or body["lo"] is None or not positions:
        return False
    if not all(body["lo"] <= one < body["hi"] for one in positions):
        return False
    if body["excluded"] is None:
        return True
    try:
        length = (body["hi"] - body["lo"] + 7) // 8
        bits = zlib.decompressobj().decompress(body["excluded"], min(length, 1 << 20) + 1)
    except zlib.error:
        return False
    places = [one - body["lo"] for one in positions]
    return len(bits) == length and not any(bits[place >> 3] >> (place & 7) & 1 for place in places)
