"""What a policy bundle may consist of, judged before any engine sees it, so that every engine refuses the same.

A light scan, not a parser: comments and strings are blanked, then packages, rule heads and calls are read. Policies may
call only the builtins on which the embedded engine and OPA agree (interfaces.md) and whose answer depends on nothing
but their arguments: no clock, no chance, no network, no environment, no printing.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from exchange.errors import Invalid
from exchange.names import canonical

CODES_FILE: Final = "codes.json"
TEST_SUFFIX: Final = "_test.rego"
MAX_MODULES: Final = 200
MAX_BYTES: Final = 1 << 20  # of all modules and the code tables together
BUILTINS: Final = frozenset(
    (
        *("abs", "array.concat", "array.reverse", "array.slice", "concat", "contains", "count", "endswith"),
        *("format_int", "indexof", "intersection", "is_array", "is_boolean", "is_number", "is_object", "is_set"),
        *("is_string", "max", "min", "numbers.range", "object.filter", "object.get", "object.keys", "object.remove"),
        *("object.union", "product", "replace", "set", "sort", "split", "startswith", "substring", "sum"),
        *("trim_prefix", "trim_suffix", "union"),
    )
)
_KEYWORDS: Final = frozenset(("as", "default", "else", "every", "if", "import", "in", "not", "package", "some", "with"))
_UNREADABLE: Final = re.compile(r"\$|\]\(")  # template strings and computed calls: not for a light scan
_PATH: Final = re.compile(r"[a-z][a-z0-9_]{0,60}\.rego")
_TEXTS: Final = re.compile(r'`[^`]*`|"(?:[^"\\\n]|\\.)*"|#[^\n]*')
_PACKAGE: Final = re.compile(r"^[ \t]*package[ \t]+(exchange(?:\.[a-z_][a-z0-9_]*)*)[ \t]*$", re.MULTILINE)
_ANY_PACKAGE: Final = re.compile(r"^[ \t]*package\b", re.MULTILINE)
_IMPORT: Final = re.compile(r"^[ \t]*import[ \t]+([a-z_.0-9]+)(?:[ \t]+as[ \t]+([a-z_0-9]+))?[ \t]*$", re.MULTILINE)
_TEST: Final = re.compile(r"^(test_[A-Za-z0-9_]+)\b", re.MULTILINE)
_HEAD: Final = re.compile(r"^(?:default[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)\(", re.MULTILINE)
_CALL: Final = re.compile(r"(?<![A-Za-z0-9_.])([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)[ \t]*\(")


def check(modules: Mapping[str, str], codes: Mapping[str, Any]) -> None:
    """Refuses what no engine may be given.

    Raises:
        Invalid: `policy_module_refused` (name, package, builtin …, with file and line), `policy_too_large`,
            `json_not_canonical` for codes that are no JSON of whole numbers and texts.
    """
    if len(modules) > MAX_MODULES:
        raise Invalid("policy_too_large", limit=f"{MAX_MODULES} modules")
    size = len(canonical({"codes": codes, "modules": modules}))
    if size > MAX_BYTES:
        raise Invalid("policy_too_large", limit=f"{MAX_BYTES} bytes")
    for path, text in modules.items():
        if not _PATH.fullmatch(path):
            raise Invalid("policy_module_refused", where=path[:70], detail="name: [a-z][a-z0-9_]*.rego")
        _check_form(path, blanked(text))
    _check_calls({path: blanked(text) for path, text in modules.items()})


def blanked(text: str) -> str:
    """The module with strings and comments blanked out, each line where it was."""
    return _TEXTS.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def running(modules: Mapping[str, str]) -> dict[str, str]:
    """The modules that take part in answering; the others are tests."""
    return {path: text for path, text in modules.items() if not path.endswith(TEST_SUFFIX)}


def tests(modules: Mapping[str, str]) -> list[str]:
    """The full names of the rules named `test_…`, `data.exchange.….test_x`, sorted."""
    found = set()
    for text in map(blanked, modules.values()):
        package = _PACKAGE.search(text)
        found |= {f"data.{package[1] if package else ''}.{name}" for name in _TEST.findall(text)}
    return sorted(found)


def _check_form(path: str, text: str) -> None:
    declared, known = _ANY_PACKAGE.search(text), _PACKAGE.search(text)
    if declared is None or known is None or declared.start() != known.start():
        line = _line(text, declared.start()) if declared else 1
        raise Invalid("policy_module_refused", where=f"{path}:{line}", detail="package: exchange or exchange.…")
    if unreadable := _UNREADABLE.search(text):
        where = f"{path}:{_line(text, unreadable.start())}"
        raise Invalid("policy_module_refused", where=where, detail=f"syntax: {unreadable[0]}")


def _check_calls(texts: Mapping[str, str]) -> None:
    functions = {name for text in texts.values() for name in _HEAD.findall(text)}
    for path, text in texts.items():
        spaces = {alias or target.rpartition(".")[2] for target, alias in _IMPORT.findall(text)} | {"data"}
        for name, start in _calls(text):
            space, _, function = name.rpartition(".")
            known = name in BUILTINS or (function in functions and (not space or space.split(".")[0] in spaces))
            if not known:
                where = f"{path}:{_line(text, start)}"
                raise Invalid("policy_module_refused", where=where, detail=f"call: {name[:60]}")


def _calls(text: str) -> Iterator[tuple[str, int]]:
    for found in _CALL.finditer(text):
        if found[1] not in _KEYWORDS:
            yield found[1], found.start()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
