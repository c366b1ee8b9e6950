"""A policy folder: rules and code tables, nothing else, and nothing on which engines would differ."""

import json
from pathlib import Path

import pytest

from exchange.errors import Invalid
from exchange.policy import Bundle
from exchange.policy.bundle import load_bundle
from exchange.policy.modules import BUILTINS, MAX_BYTES, MAX_MODULES, blanked, check, names_of_tests
from tests.policy.engines import POLICIES, bundle

PLAN = "package exchange\n\nimport rego.v1\n\nplan := {}\n"


def folder(tmp_path: Path, **files: bytes) -> Path:
    """A sound policy folder, changed: `__` in a name stands for its dot."""
    for name, body in {"plan__rego": PLAN.encode(), "codes__json": b'{"limit": 7}', **files}.items():
        (tmp_path / name.replace("__", ".")).write_bytes(body)
    return tmp_path


def code_of(tmp_path: Path) -> tuple[str, str]:
    """The error's code, and the last part of the place it names."""
    with pytest.raises(Invalid) as invalid:
        load_bundle(tmp_path)
    return invalid.value.code, invalid.value.where.rpartition("/")[2]


def test_folder_becomes_a_bundle(tmp_path: Path) -> None:
    """Modules by file name and the code tables; a byte order mark, CRLF and dot files make no difference."""
    plain = load_bundle(folder(tmp_path))
    assert plain == Bundle({"plan.rego": PLAN}, {"limit": 7})
    marked = load_bundle(folder(tmp_path, plan__rego=b"\xef\xbb\xbf" + PLAN.replace("\n", "\r\n").encode(), __swp=b""))
    assert marked.revision == plain.revision


def test_standing_policies_load() -> None:
    """`policies/` itself is a bundle, and every purpose has its titles and says whether it needs a case."""
    standing = load_bundle(POLICIES)
    for name, purpose in standing.codes["purposes"].items():
        assert purpose.keys() - {"own_data"} == {"title_zh", "title_en", "case_required"}, name
        assert isinstance(purpose["case_required"], bool)
        assert purpose["title_zh"]
        assert purpose["title_en"]
    assert standing.codes["dibao_standard_fen"]["431126"] == 56_000


@pytest.mark.parametrize(
    ("files", "code", "where"),
    [
        ({"README__md": b""}, "policy_file_refused", "README.md"),
        ({"more__json": b"{}"}, "policy_file_refused", "more.json"),
        ({"plan__rego": PLAN.encode() + "# 低".encode("gb18030")}, "policy_file_refused", "plan.rego:6"),
        ({"Plan-2__rego": PLAN.encode()}, "policy_module_refused", "Plan-2.rego"),
        ({"big__rego": b"#" * (MAX_BYTES + 1)}, "policy_too_large", "big.rego"),
        ({"codes__json": b'{"a": 1,}'}, "plan_json_malformed", "codes.json"),
        ({"codes__json": b'{"a": 1, "a": 2}'}, "plan_key_twice", "codes.json"),
        ({"codes__json": b"[]"}, "policy_file_refused", "codes.json"),
        ({"codes__json": b'{"a": 0.5}'}, "json_not_canonical", ""),
        ({"codes__json": b'{"a":' * 900 + b"1" + b"}" * 900}, "plan_oversized", "codes.json"),
    ],
)
def test_file_that_has_no_place(tmp_path: Path, files: dict[str, bytes], code: str, where: str) -> None:
    """Each wrong file is one clear error that names it."""
    assert code_of(folder(tmp_path, **files)) == (code, where)


def test_capabilities_are_no_part_of_a_bundle(tmp_path: Path) -> None:
    """`capabilities.json` may lie in the folder, for `opa check`; the revision is the same with it."""
    plain = load_bundle(folder(tmp_path))
    (tmp_path / "capabilities.json").write_text("{}")
    assert load_bundle(tmp_path) == plain


def test_shipped_capabilities_say_what_we_say() -> None:
    """Besides operators, the file for `opa check` names the builtins that a bundle may call, and no network.

    (`set()` is no call to OPA but a term.)
    """
    found = json.loads((POLICIES / "capabilities.json").read_text("utf-8"))
    called = {one["name"] for one in found["builtins"] if "infix" not in one}
    assert called == BUILTINS - {"set"}
    assert found["allow_net"] == []
    assert found["features"] == ["rego_v1"]  # no template strings, which the light scan cannot read


def test_folder_that_is_none(tmp_path: Path) -> None:
    """A folder that is missing, empty, or holds a folder or a link."""
    assert code_of(tmp_path / "nowhere")[0] == "policy_file_refused"
    assert code_of(tmp_path) == ("policy_file_refused", "codes.json")
    (tmp_path / "codes.json").write_text("{}")
    assert code_of(tmp_path) == ("policy_file_refused", tmp_path.name)
    folder(tmp_path)
    (tmp_path / "link.rego").symlink_to(tmp_path / "plan.rego")
    assert code_of(tmp_path) == ("policy_file_refused", "link.rego")
    (tmp_path / "link.rego").unlink()
    (tmp_path / "deep.rego").mkdir()
    assert code_of(tmp_path) == ("policy_file_refused", "deep.rego")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("package other\n", 1),
        ("package exchanges\n", 1),
        ("# package exchange\nplan := {}\n", 1),
        ("\npackage data.exchange\n", 2),
        ("package other\n`\npackage exchange\n`\n", 1),
        ("package other\npackage exchange\n", 1),
    ],
)
def test_foreign_package(text: str, line: int) -> None:
    """Only `exchange` and packages below it; comments and strings do not deceive the scan."""
    with pytest.raises(Invalid) as invalid:
        check({"plan.rego": text}, {})
    assert (invalid.value.code, invalid.value.where) == ("policy_module_refused", f"plan.rego:{line}")


@pytest.mark.parametrize(
    "body",
    [
        'plan := http.send({"url": "http://example.org"})',
        "plan := time.now_ns()",
        "plan := opa.runtime()",
        "plan := {rand.intn(input.id, 2)}",
        'plan := {} if print("question", input)',
        "plan := {} if trace(input.id)",
        'plan := {} if regex.match("a", input.id)',
        "plan := upper(input.id)",
        "plan := upper (input.id)",
        'plan := http["send"]({})',
        'plan := {"a": $"{time.now_ns()}"}',
        "plan := nowhere(1)",
        'plan := data["exchange"]',
        "plan := data[input.action]",
        "plan := data",
        "plan := {data: 1}",
        "plan := data.revisions",
        "plan := data.exchanges",
        "plan := data\n\t.exchange.x",
        "import data as everything",
        "plan := x if some x in [1 | data]",
        "plan := data.other.f(1)",
        "import data.exchange.fields\nplan := fields.f(1)\nf(x) := x",
        "plan := [x | some x in input.list] if { input.list }",
        "plan := {} if { false } else := {x |\n\tsome x in input.list\n} if {\n\ttrue\n}",
        "f(a) := count([x | some x in a]) if a",
        f"plan := {'[' * 13}{']' * 13}",
    ],
)
def test_what_engines_may_not_be_given(body: str) -> None:
    """Clocks, chance, network, printing, what engines do differently, what the scan cannot read: refused by line."""
    with pytest.raises(Invalid) as invalid:
        check(bundle(body).modules, {})
    assert invalid.value.code == "policy_module_refused"
    assert invalid.value.where.startswith("plan.rego:")


@pytest.mark.parametrize(
    "body",
    [
        'plan := {"a": "http.send(1)"} # time.now_ns()',
        "plan := {} if {\n\tnot (1 == 2)\n\tevery x in (input.a) { x }\n\tsome y in (input.b)\n}",
        "f(x) := count(x)\n\nplan := data.exchange.f([1])",
        "plan := {} if contains(input.a, `b`)",
        'plan := input.data[data.codes["x"]] # data[x]',
        'plan := "data" if data.exchange["other"] with data.codes.limit as 3',
        "list := [x | some x in input.list]\n\nplan := {} if list",
        "plan := x if {\n\tx := [y | some y in input.list]\n}",
        "names contains name if some name in ({1} | {2})",
    ],
)
def test_what_they_may(body: str) -> None:
    """Sound Rego that looks a little like it passes."""
    check(bundle(body).modules, {})


def test_sizes() -> None:
    """More modules or bytes than a policy can need are refused, in a bundle from anywhere."""
    with pytest.raises(Invalid, match="policy_too_large"):
        check({f"m{n}.rego": PLAN for n in range(MAX_MODULES + 1)}, {})
    with pytest.raises(Invalid, match="policy_too_large"):
        check({"plan.rego": PLAN}, {"long": "x" * MAX_BYTES})


def test_blanking_keeps_lines() -> None:
    """The blanked text has every line where it was."""
    text = 'a := "\\"x" # "y\nb := `\n#` c\n'
    assert blanked(text).count("\n") == text.count("\n")
    assert [line.split() for line in blanked(text).splitlines()] == [["a", ":="], ["b", ":="], ["c"]]


def test_names_of_tests() -> None:
    """Rules named `test_…` at the beginning of a line, by their package."""
    more = "package exchange.a.b\n\ntest_x if true\n\n# test_y if true\n\n\ttest_z if true\n"
    assert names_of_tests({"a_test.rego": more, "b_test.rego": "package exchange\ntest_q if 1\n"}) == [
        "data.exchange.a.b.test_x",
        "data.exchange.test_q",
    ]
