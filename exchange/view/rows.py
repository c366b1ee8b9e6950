"""Row conditions (plan.md): a closed tree, three-valued after Kleene; a record passes only when it is true.

True is True, false False, unknown None. The tree is compiled once into closures of (record, subject tag).

Where plan.md is silent: `null` is true for an absent value too (a nullable record above it is null) and is never
unknown; `in` is true when one value is equal, else unknown when one comparison is, else false, and unknown for null;
a record without a subject tag makes `member` unknown; a path into an array or map is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from exchange.avro.schema import Schema
from exchange.errors import Invalid
from exchange.plan.shapes import near, shown
from exchange.view.comparing import Compare, among, comparison, prefix
from exchange.view.paths import Get, Record, getter

Holds = Callable[[Record, bytes], bool | None]
Node = Mapping[str, Any]


class Conditions:
    """Compiles row conditions on one schema, over these sets of tags.

    `unlike` then lists the places whose comparison is unknown for every record.
    """

    def __init__(self, schema: Schema, sets: Mapping[str, frozenset[bytes]]) -> None:
        self._schema, self._sets = schema, sets
        self.unlike: list[str] = []

    def compile(self, node: Node, where: str) -> Holds:
        """The condition as a function.

        Raises:
            Invalid: `view_path_unknown`, `view_path_many`, `view_value_malformed`, `view_set_missing`, and what
                `exchange.plan` refuses in a tree, each at its JSON path.
        """
        made = _COMPILERS.get(node["op"])
        if made is None:
            raise Invalid(
                "plan_name_unknown",
                where=f"{where}.op",
                what="operator",
                name=shown(node["op"]),
                nearest=near(node["op"], _COMPILERS),
            )
        return made(self, node, where)

    def compare(self, node: Node, where: str) -> Holds:
        """`eq` and its like."""
        leaf, get = getter(self._schema, node["path"], f"{where}.path")
        return self._on(get, comparison(leaf, node["op"], node["value"], f"{where}.value"), where)

    def prefix(self, node: Node, where: str) -> Holds:
        """Whether the text begins with this."""
        leaf, get = getter(self._schema, node["path"], f"{where}.path")
        return self._on(get, prefix(leaf, node["value"]), where)

    def among(self, node: Node, where: str) -> Holds:
        """Whether the value is one of these."""
        leaf, get = getter(self._schema, node["path"], f"{where}.path")
        compare, unlike = among(leaf, node["values"], f"{where}.values")
        self.unlike += unlike
        return lambda record, _tag: compare(get(record))

    def null(self, node: Node, where: str) -> Holds:
        """Whether there is no value."""
        _, get = getter(self._schema, node["path"], f"{where}.path")
        return lambda record, _tag: get(record) is None

    def member(self, node: Node, where: str) -> Holds:
        """Whether the record's subject is in the set."""
        tags = self._sets.get(node["set"])
        if tags is None:
            raise Invalid("view_set_missing", where=f"{where}.set", set=node["set"])
        return lambda _record, tag: tag in tags if tag else None

    def both(self, node: Node, where: str) -> Holds:
        """Kleene's and."""
        return _and(self._branches(node, where))

    def either(self, node: Node, where: str) -> Holds:
        """Kleene's or."""
        return _or(self._branches(node, where))

    def opposite(self, node: Node, where: str) -> Holds:
        """Kleene's not: unknown stays unknown."""
        branches = self._branches(node, where)
        if len(branches) != 1:
            raise Invalid("plan_oversized", where=f"{where}.of", limit="1 items")
        inner = branches[0]

        def holds(record: Record, tag: bytes) -> bool | None:
            found = inner(record, tag)
            return None if found is None else not found

        return holds

    def _branches(self, node: Node, where: str) -> list[Holds]:
        if not node["of"]:
            raise Invalid("plan_empty", where=f"{where}.of", least=1)
        return [self.compile(branch, f"{where}.of[{place}]") for place, branch in enumerate(node["of"])]

    def _on(self, get: Get, compare: Compare | None, where: str) -> Holds:
        if compare is None:
            self.unlike.append(where)
            return lambda _record, _tag: None
        return lambda record, _tag: compare(get(record))


def needed_sets(node: Node) -> list[str]:
    """The names of the sets that a tree asks for, each once."""
    found = [node["set"]] if node["op"] == "member" else []
    for branch in node.get("of", ()):
        found += needed_sets(branch)
    return list(dict.fromkeys(found))


def _and(branches: Sequence[Holds]) -> Holds:
    def holds(record: Record, tag: bytes) -> bool | None:
        result: bool | None = True
        for branch in branches:
            found = branch(record, tag)
            if found is False:
                return False
            if found is None:
                result = None
        return result

    return holds


def _or(branches: Sequence[Holds]) -> Holds:
    def holds(record: Record, tag: bytes) -> bool | None:
        result: bool | None = False
        for branch in branches:
            found = branch(record, tag)
            if found:
                return True
            if found is None:
                result = None
        return result

    return holds


_COMPILERS: Final[Mapping[str, Callable[[Conditions, Node, str], Holds]]] = {
    "all": lambda _conditions, _node, _where: lambda _record, _tag: True,
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), Conditions.compare),
    "in": Conditions.among,
    "prefix": Conditions.prefix,
    "null": Conditions.null,
    "member": Conditions.member,
    "and": Conditions.both,
    "or": Conditions.either,
    "not": Conditions.opposite,
}
