"""A policy bundle from a folder: `*.rego` and `codes.json`; `capabilities.json` may lie there and is no part of it.

What it holds becomes a revision only when it is submitted as one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exchange.errors import Invalid
from exchange.plan.shapes import read_json
from exchange.policy import Bundle, modules
from exchange.policy.modules import CAPABILITIES_FILE, CODES_FILE, MAX_BYTES


def load_bundle(folder: Path) -> Bundle:
    """The bundle of this folder. Files whose names begin with a dot are passed over; no others, and no sub-folders.

    Raises:
        Invalid: `policy_file_refused` (a folder, link or file that has no place here, unreadable, not UTF-8, or
            `codes.json` missing), `policy_too_large`, `policy_module_refused`; for the code tables also
            `plan_json_malformed`, `plan_key_twice`, `json_not_canonical`. Each names the file.
    """
    texts = {path.name: _text(path) for path in _files(folder)}
    codes = _codes(texts.pop(CODES_FILE, None))
    if not texts:
        raise Invalid("policy_file_refused", where=str(folder), detail="no *.rego")
    modules.check(texts, codes)
    return Bundle(texts, codes)


def _files(folder: Path) -> list[Path]:
    try:
        named = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise Invalid("policy_file_refused", where=str(folder), detail=error.strerror or "unreadable") from None
    paths = [path for path in named if path.name != CAPABILITIES_FILE]
    for path in paths:
        if path.is_symlink() or not path.is_file() or (path.suffix != ".rego" and path.name != CODES_FILE):
            raise Invalid("policy_file_refused", where=str(path), detail="only *.rego, codes.json")
    return paths


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            body = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Invalid("policy_file_refused", where=str(path), detail=error.strerror or "unreadable") from None
    if len(body) > MAX_BYTES:
        raise Invalid("policy_too_large", where=str(path), limit=f"{MAX_BYTES} bytes")
    try:
        return body.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise Invalid("policy_file_refused", where=f"{path}:{line}", detail="UTF-8") from None


def _codes(text: str | None) -> Mapping[str, Any]:
    if text is None:
        raise Invalid("policy_file_refused", where=CODES_FILE, detail="missing")
    codes = read_json(text, where=CODES_FILE)
    if not isinstance(codes, dict):
        raise Invalid("policy_file_refused", where=CODES_FILE, detail="object")
    return codes
