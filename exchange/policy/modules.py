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
CAPABILITIES_FILE: Final = "capabilities.json"  # for `opa check --capabilities`; no part of a bundle
TEST_SUFFIX: Final = "_test.rego"
MAX_MODULES: Final = 200
MAX_DEPTH: Final = 12  # of brackets: the embedded engine's parser takes twice as long for each level
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
# The one way to name what is not of the module itself; so that a revision can be moved into packages of its own
# (`exchange.policy.revisions`), `data` stands nowhere else.
_DATA: Final = re.compile(r"(?<![A-Za-z0-9_.])data\b(?!\.(?:exchange|codes)\b)")
_PATH: Final = re.compile(r"[a-z][a-z0-9_]{0,60}\.rego")
_TEXTS: Final = re.compile(r'`[^`]*`|"(?:[^"\\\n]|\\.)*"|#[^\n]*')
_PACKAGE: Final = re.compile(r"^[ \t]*package[ \t]+(exchange(?:\.[a-z_][a-z0-9_]*)*)[ \t]*$", re.MULTILINE)
_ANY_PACKAGE: Final = re.compile(r"^[ \t]*package\b", re.MULTILINE)
_VALUE: Final = re.compile(r"(?:\belse|^[A-Za-z_][^\n:=]*?)[ \t]*:=", re.MULTILINE)
_IF: Final = re.compile(r"(?<=[ \t\n)\]}])if\b")
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
    for path in modules:
        if not _PATH.fullmatch(path):
            raise Invalid("policy_module_refused", where=path[:70], detail="name: [a-z][a-z0-9_]*.rego")
    texts = {path: blanked(text) for path, text in modules.items()}
    for path, text in texts.items():
        _check_form(path, text)
        _check_depth(path, text)
        _check_values(path, text)
    _check_calls(texts)


def blanked(text: str) -> str:
    """The module with strings and comments blanked out, each line where it was."""
    return _TEXTS.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def comments(text: str) -> list[tuple[int, int]]:
    """Where the comments of a module begin and end."""
    return [found.span() for found in _TEXTS.finditer(text) if found[0].startswith("#")]


def running(modules: Mapping[str, str]) -> dict[str, str]:
    """The modules that take part in answering; the others are tests."""
    return {path: text for path, text in modules.items() if not path.endswith(TEST_SUFFIX)}


def names_of_tests(modules: Mapping[str, str]) -> list[str]:
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
    if elsewhere := _DATA.search(text):
        where = f"{path}:{_line(text, elsewhere.start())}"
        raise Invalid("policy_module_refused", where=where, detail="data: data.exchange.… or data.codes.…")


def _check_depth(path: str, text: str) -> None:
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth > MAX_DEPTH:
            where = f"{path}:{_line(text, place)}"
            raise Invalid("policy_module_refused", where=where, detail=f"brackets: more than {MAX_DEPTH} deep")


def _check_calls(texts: Mapping[str, str]) -> None:
    functions = {name for text in texts.values() for name in _HEAD.findall(text)}
    for path, text in texts.items():
        for name, start in _calls(text):
            space, _, function = name.rpartition(".")
            # Not through an import: the embedded engine does not find such a function from everywhere.
            ours = function in functions and (not space or space.startswith("data.exchange"))
            if not ours and name not in BUILTINS:
                where = f"{path}:{_line(text, start)}"
                raise Invalid("policy_module_refused", where=where, detail=f"call: {name[:60]}")


def _check_values(path: str, text: str) -> None:
    """Refuses `x := [… | …] if {…}`, on which the embedded engine fails when it is reached (interfaces.md)."""
    for found in _VALUE.finditer(text):
        depth, comprehension = 0, False
        for place in range(found.end(), len(text)):
            character = text[place]
            depth += (character in "([{") - (character in ")]}")
            comprehension |= depth > 0 and character == "|"
            if depth <= 0 and (character == "\n" or _IF.match(text, place)):
                break
        if comprehension and _IF.match(text, place):
            where = f"{path}:{_line(text, found.start())}"
            raise Invalid("policy_module_refused", where=where, detail="comprehension in a head; put it in the body")


def _calls(text: str) -> Iterator[tuple[str, int]]:
    for found in _CALL.finditer(text):
        if found[1] not in _KEYWORDS:
            yield found[1], found.start()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
