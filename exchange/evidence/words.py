"""Sentences in Chinese and English, from `words.json` beside this file or inside the archive that this runs from."""

from __future__ import annotations

import json
import os
from typing import Any, Dict

LANGUAGES = ("zh", "en")


def _read() -> bytes:
    loader = globals()["__loader__"]  # of a folder or of an archive: both give a file's bytes
    return bytes(loader.get_data(os.path.join(os.path.dirname(__file__), "words.json")))


_TABLE: Dict[str, Dict[str, str]] = json.loads(_read().decode("utf-8"))


def said(key: str, language: str, **facts: Any) -> str:
    """A sentence with its facts."""
    text = _TABLE[key][language]
    for name, value in facts.items():
        text = text.replace("{%s}" % name, str(value))
    return text


def keys() -> list[str]:
    """Every sentence there is."""
    return list(_TABLE)
