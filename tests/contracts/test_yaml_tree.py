"""YAML as contracts use it: mappings, lists and text."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.contracts.yaml_tree import read_tree
from exchange.errors import Invalid
from tests.avro.outcome import outcome
from tests.profiles import examples

TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=0x9FFF, exclude_categories=["Cs", "Cc"]), max_size=8)
TREES = st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@settings(max_examples=examples(40), deadline=None)
@given(st.dictionaries(TEXTS, TREES, max_size=4), st.booleans())
def test_what_is_written_is_read(tree: dict[str, Any], flow: bool) -> None:
    """Any tree of texts comes back, in block and in flow style."""
    text = yaml.safe_dump(tree, allow_unicode=True, default_flow_style=flow)
    assert read_tree(text.encode(), "c.yaml").value == tree


def test_scalars_are_text_as_they_stand() -> None:
    """No guessing: `no`, dates, numbers and null are what they look like."""
    data = b"a: no\nb: 2026-01-01\nc: 0x10\nd: null\ne:\n"
    assert read_tree(data, "c.yaml").value == {"a": "no", "b": "2026-01-01", "c": "0x10", "d": "null", "e": ""}


def test_each_value_has_its_line() -> None:
    """Lines are those of values; what has none has the line of what holds it."""
    tree = read_tree(b"a:\n  b: x\n  c:\n    - y\n    - {d: z}\n", "c.yaml")
    assert [tree.line(keys) for keys in [("a", "b"), ("a", "c", "1", "d"), ("a", "gone"), ("gone",)]] == [2, 5, 2, 1]


@pytest.mark.parametrize(
    ("text", "line", "detail"),
    [
        ("a: &x 1\nb: *x\n", 1, "anchors"),
        ("a: 1\nb: *x\n", 2, "anchors"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "tags"),
        ("a: !x 1\n", 1, "tags"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands twice"),
        ("a:\n  b: 1\n  b: 2\n", 3, "'b' stands twice"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("? [a]\n: 1\n", 1, "a key must be text"),
        ("a: [[[[[[[[[1]]]]]]]]]\n", 1, "nested"),
        ("a: {b: 1\nc: 2\n", 2, "did not find"),
        ("a: 'x\n", 2, "end of stream"),
    ],
)
def test_what_yaml_offers_beyond_that_is_refused(text: str, line: int, detail: str) -> None:
    """One error with file and line."""
    with pytest.raises(Invalid, match="contract_unreadable") as refused:
        read_tree(text.encode(), "c.yaml")
    assert refused.value.where == f"c.yaml:{line}"
    assert detail in str(refused.value.facts["detail"])


@pytest.mark.parametrize(
    "data",
    [b"", b"- a\n", b"a", b"\xff\xfea", b"a: \0", b"a: \x07", b"[" * 100_000, b"{" * 1000, b"a: 1\n" + b"#" * 2**20],
    ids=["empty", "list", "text", "utf-16", "nul", "control", "deep", "deeper", "large"],
)
def test_what_is_no_contract_at_all_is_refused(data: bytes) -> None:
    """Whatever the bytes, it is one error of ours."""
    with pytest.raises(Invalid, match="contract_unreadable"):
        read_tree(data, "c.yaml")


@settings(max_examples=examples(60), deadline=None)
@given(st.binary(max_size=60) | st.text("ab:-[]{}&*!'\"#|>? \n\t%@`,0", max_size=40).map(str.encode))
def test_random_bytes_never_leak_a_foreign_error(data: bytes) -> None:
    """A mapping, or our one error."""
    tree, code = outcome(lambda: read_tree(data, "c.yaml"))
    assert code == "contract_unreadable" if tree is None else isinstance(tree.value, dict)
