"""Every sentence that people read, in Chinese and English, from one catalogue.

The catalogue is the `*.toml` files beside this module, one for each room:

    [error.schema_unparsable]            # what happened; {where} is put in front by `describe`
    family = "invalid"
    en = "the schema does not parse: {detail}"
    zh = "模式无法解析：{detail}"
    do_en = "correct the schema and submit it again"
    do_zh = "请改正模式后重新提交"

    [text.records_in]                    # any other sentence
    en = "{count} records in"
    zh = "入库 {count} 条"
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from exchange.errors import ExchangeError

Language = Literal["zh", "en"]


@cache
def _catalogue(kind: str) -> Mapping[str, Mapping[str, str]]:
    entries: dict[str, Mapping[str, str]] = {}
    for name in _files():
        for key, entry in _parsed(name).get(kind, {}).items():
            if key in entries:
                raise LookupError(f"{kind}.{key} stands twice in the message catalogue, again in {name}")
            entries[key] = entry
    return entries


@cache
def _files() -> Mapping[str, str]:
    """The catalogue's files by name, unparsed."""
    return {file.name: file.read_text("utf-8") for file in sorted(Path(__file__).parent.glob("*.toml"))}


@cache
def _parsed(name: str) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    return tomllib.loads(_files()[name])


@cache
def _entry(kind: str, key: str) -> Mapping[str, str]:
    """One entry. A command needs sentences of two or three rooms: only their files are parsed."""
    for name, content in _files().items():
        if f"\n[{kind}.{key}]\n" in "\n" + content:
            return _parsed(name)[kind][key]
    raise KeyError(key)


def error_codes() -> Mapping[str, Mapping[str, str]]:
    """Every error code with its family and sentences."""
    return _catalogue("error")


def describe(error: ExchangeError, language: Language) -> tuple[str, str]:
    """What happened (with its place) and what to do, for a person."""
    entry = _entry("error", error.code)
    what = entry[language].format_map(error.facts)
    if error.where:
        what = f"{error.where}{'：' if language == 'zh' else ': '}{what}"
    return what, entry[f"do_{language}"].format_map(error.facts)


def text(key: str, language: Language, **facts: object) -> str:
    """The sentence `key`, its places filled."""
    return _entry("text", key)[language].format_map(facts)


def language_of(environment: Mapping[str, str]) -> Language:
    """Language `zh` where the locale says so (`LC_ALL`, `LC_MESSAGES`, `LANG`, in this order), else en."""
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return "zh" if locale.lower().startswith("zh") else "en"
