"""Rules of the message catalogue: complete in both languages, and nothing raised that it does not know."""

import ast
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from exchange import messages
from exchange.errors import Invalid, Refused, Tampered, Unavailable

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = {"Invalid": "invalid", "Refused": "refused", "Unavailable": "unavailable", "Tampered": "tampered"}
SOURCES = [*sorted((ROOT / "exchange").rglob("*.py")), *sorted((ROOT / "adapters").rglob("*.py"))]


def _places(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def _complete(entry: Mapping[str, str], keys: set[str]) -> bool:
    """Whether an entry says all it must, in both languages from the same facts."""
    pairs = [(entry.get(f"{start}en", ""), entry.get(f"{start}zh", "")) for start in ("", "do_")]
    same = all(_places(en) == _places(zh) for en, zh in pairs)
    return set(entry) == keys and all(text.strip() for text in entry.values()) and same


def test_every_error_is_said_in_both_languages() -> None:
    """Each code says what happened and what to do, in zh and en, from the same facts."""
    keys = {"family", "en", "zh", "do_en", "do_zh"}
    entries = messages.error_codes()
    assert [code for code, entry in entries.items() if not _complete(entry, keys)] == []
    assert [code for code, entry in entries.items() if entry["family"] not in FAMILIES.values()] == []


def test_every_sentence_is_said_in_both_languages() -> None:
    """Each sentence stands in zh and en with the same places."""
    entries = messages._catalogue("text")
    assert [key for key, entry in entries.items() if not _complete(entry, {"en", "zh"})] == []


@pytest.mark.parametrize("kind", ["error", "text"])
def test_every_entry_is_found_by_its_heading(kind: str) -> None:
    """An entry looked up by itself is the one of the whole catalogue; a key that nothing has is no entry."""
    whole = messages._catalogue(kind)
    assert {key: messages._entry(kind, key) for key in whole} == whole
    with pytest.raises(KeyError):
        messages._entry(kind, "no_such_key")


def _raised(file: Path) -> Iterator[tuple[str, str, str, set[str]]]:
    """Where the file raises which family with which code and which facts."""
    text = file.read_text("utf-8")
    for node in ast.walk(ast.parse(text)) if any(f"{family}(" in text for family in FAMILIES) else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FAMILIES and node.args:
            code = node.args[0]
            if isinstance(code, ast.Constant) and isinstance(code.value, str):
                facts = {keyword.arg or "**" for keyword in node.keywords} - {"where"}
                yield f"{file.name}:{node.lineno}", node.func.id, code.value, facts


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_error_raised_is_in_the_catalogue(file: Path) -> None:
    """A code is raised in its own family, with every fact that its sentences need."""
    for place, family, code, facts in _raised(file):
        entry = messages.error_codes().get(code)
        assert entry is not None, f"{place} raises {code}, which the catalogue does not know"
        assert entry["family"] == FAMILIES[family], place
        if "**" not in facts:
            assert _places(entry["en"]) | _places(entry["do_en"]) <= facts, place


@pytest.mark.parametrize("error", [Invalid, Refused, Unavailable, Tampered])
def test_families_have_the_exit_codes_of_the_design(error: type[Invalid]) -> None:
    """Invalid 2, Refused 1, Unavailable 3, Tampered 4 (design.md, decision 14)."""
    assert error.exit_code == {"invalid": 2, "refused": 1, "unavailable": 3, "tampered": 4}[error.family]


def test_an_error_says_where_what_and_what_to_do() -> None:
    """The place stands in front; the facts fill the sentence in the asked language."""
    error = Invalid("setting_unknown", where="exchange.toml", name="orgin", nearest="origin")
    assert messages.describe(error, "en") == (
        "exchange.toml: there is no setting orgin; the nearest is: origin",
        "correct the name or take the line out",
    )
    assert messages.describe(error, "zh")[0].startswith("exchange.toml：没有名为 orgin")


@pytest.mark.parametrize(
    ("environment", "language"),
    [({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LC_ALL": "C", "LANG": "zh_CN"}, "en"), ({}, "en"), ({"LC_ALL": ""}, "en")],
)
def test_the_locale_chooses_the_language(environment: dict[str, str], language: str) -> None:
    """LC_ALL wins over LANG; zh only where the locale says so."""
    assert messages.language_of(environment) == language
