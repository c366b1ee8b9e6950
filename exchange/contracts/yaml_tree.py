"""YAML for contracts: mappings, lists and text, nothing else.

Every scalar is text as it stands, so `no` is "no" and 2026-01-01 is a text; anchors, aliases, tags, second documents
and keys that stand twice are refused. Each value keeps its line. Built from parser events with a stack, so depth
costs nothing until it is refused.
"""

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from exchange.errors import Invalid

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 8
Keys: TypeAlias = tuple[str, ...]


@dataclass
class Tree:
    """A YAML document as plain dicts, lists and strings, and the line of each value by its keys."""

    value: Any = None
    lines: dict[Keys, int] = field(default_factory=dict)

    def line(self, keys: Keys) -> int:
        """The line of the value at these keys, or of what holds it."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self.lines.get(keys, 1)


def read_tree(data: bytes, where: str) -> Tree:
    """Reads a YAML document.

    Raises:
        Invalid: `contract_unreadable` with the file and line.
    """
    if len(data) > MAX_BYTES:
        raise Invalid("contract_unreadable", where=where, detail=f"{len(data)} bytes; at most {MAX_BYTES} are read")
    builder = _Builder(where)
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        for event in yaml.parse(data.decode("utf-8-sig"), Loader=loader):
            builder.take(event)
    except UnicodeDecodeError as error:
        raise Invalid("contract_unreadable", where=where, detail=f"no UTF-8 at byte {error.start}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Invalid("contract_unreadable", where=f"{where}:{line}", detail=error.problem or "no YAML") from None
    except (yaml.YAMLError, ValueError):
        raise Invalid("contract_unreadable", where=where, detail="characters that YAML does not have") from None
    if not isinstance(builder.tree.value, dict):
        raise Invalid("contract_unreadable", where=where, detail="the document must be a mapping")
    return builder.tree


class _Builder:
    def __init__(self, where: str) -> None:
        self.tree = Tree()
        self._where = where
        self._open: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str | None] = []  # for each of them the key that waits for its value
        self._paths: list[Keys] = []  # for each of them its own keys
        self._documents = 0

    def take(self, event: Event) -> None:
        """Adds what an event says to the tree."""
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            self._refuse(line, "anchors and aliases are not allowed")
        if getattr(event, "tag", None):
            self._refuse(line, "tags are not allowed")
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._refuse(line, "a second document")
            case ScalarEvent():
                self._scalar(event.value, line)
            case MappingStartEvent():
                self._enter({}, line)
            case SequenceStartEvent():
                self._enter([], line)
            case MappingEndEvent() | SequenceEndEvent():
                self._open.pop()
                self._keys.pop()
                self._paths.pop()
            case _:
                pass

    def _scalar(self, text: str, line: int) -> None:
        top = self._open[-1] if self._open else None
        if not isinstance(top, dict) or self._keys[-1] is not None:
            self._put(text, line)
            return
        if text in top:
            self._refuse(line, f"the key {text[:40]!r} stands twice")
        self._keys[-1] = text

    def _enter(self, value: dict[str, Any] | list[Any], line: int) -> None:
        if self._open and isinstance(self._open[-1], dict) and self._keys[-1] is None:
            self._refuse(line, "a key must be text")
        if len(self._open) >= MAX_DEPTH:
            self._refuse(line, f"nested more than {MAX_DEPTH} deep")
        self._paths.append(self._put(value, line))
        self._open.append(value)
        self._keys.append(None)

    def _put(self, value: Any, line: int) -> Keys:  # noqa: ANN401  text, mapping or list
        """Puts a value where it belongs; gives its keys."""
        keys: Keys = ()
        if not self._open:
            self.tree.value = value
        elif isinstance(top := self._open[-1], list):
            top.append(value)
            keys = (*self._paths[-1], str(len(top) - 1))
        else:
            key, self._keys[-1] = self._keys[-1] or "", None
            top[key] = value
            keys = (*self._paths[-1], key)
        self.tree.lines[keys] = line
        return keys

    def _refuse(self, line: int, detail: str) -> None:
        raise Invalid("contract_unreadable", where=f"{self._where}:{line}", detail=detail)
