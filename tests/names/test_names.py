"""Rules of names, ids and digests."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import names
from exchange.errors import Invalid

_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("dataset", "hukou"),
        ("dataset", "PS.person"),
        ("dataset", "ps..person"),
        ("dataset", "ps.person\n"),
        ("dataset", "a." + "b" * 200),
        ("department", "ny/minzheng"),
        ("agreement", "17"),
        ("tag", "A" * 32),
        ("digest", "sha256:12"),
        ("dataset", None),
        ("dataset", 7),
    ],
)
def test_a_name_of_another_form_enters_nowhere(form: str, name: object) -> None:
    """A name must match its form from end to end; anything else is Invalid."""
    with pytest.raises(Invalid, match="name_malformed"):
        names.check(form, name)


@pytest.mark.parametrize(
    ("form", "name"),
    [("dataset", "ps.hukou_person"), ("department", "ny.minzheng"), ("principal", "svc.ny.minzheng.dibao")],
)
def test_names_of_the_domain_are_well_formed(form: str, name: str) -> None:
    """The names that domain.md uses fit their forms."""
    assert names.check(form, name) == name


@given(_DOCUMENTS)
def test_canonical_json_is_json_and_has_one_form(document: object) -> None:
    """Canonical bytes read back as the same document, and writing that again gives the same bytes."""
    data = names.canonical(document)
    assert json.loads(data) == document
    assert names.canonical(json.loads(data)) == data


def test_canonical_json_sorts_by_code_point_without_white_space() -> None:
    """Keys stand by code point, nothing is escaped that JSON does not demand (plan.md)."""
    assert names.canonical({"乙": 1, "b": [True, None], "a": "\n"}) == '{"a":"\\n","b":[true,null],"乙":1}'.encode()


@pytest.mark.parametrize("document", [1.0, {"a": [0.5]}, {1: "a"}, "\ud800", {"a": b"x"}, float("nan")])
def test_what_has_no_canonical_form_is_refused(document: object) -> None:
    """Fractions, keys that are no strings, lone surrogates and bytes have no canonical form."""
    with pytest.raises(Invalid, match="json_not_canonical"):
        names.canonical(document)


def test_a_digest_is_sha256_of_the_canonical_bytes() -> None:
    """The digest is checkable with nothing but a JSON writer and SHA-256."""
    expected = "sha256:" + hashlib.sha256(b'{"a":1,"b":2}').hexdigest()
    assert names.digest({"b": 2, "a": 1}) == expected


def test_a_set_is_named_by_its_members_alone() -> None:
    """Order and repetition do not change the name of a set of tags."""
    one, two = b"\x01" * 16, b"\x02" * 16
    assert names.set_digest([two, one, two]) == names.set_digest([one, two]) == names.digest([one.hex(), two.hex()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("４３１１２６１９９００１０１１２３ｘ", "43112619900101123X"),
        (" 431126 19900101\u3000123x ", "43112619900101123X"),
        ("110105491231002", "11010519491231002X"),
        ("43112619900101１２３4", "431126199001011234"),
    ],
)
def test_one_person_has_one_id(text: str, expected: str) -> None:
    """Full-width digits, white space, lower-case x and 15 digits all give the same 18 characters (plan.md)."""
    assert names.normalise_id("person", text) == expected


def test_only_persons_ids_are_lengthened_and_raised() -> None:
    """For other types NFKC and white space are all there is."""
    assert names.normalise_id("household", " hh－110105491231002x") == "hh-110105491231002x"


def test_check_character_of_the_standards_example() -> None:
    """GB 11643-1999 gives 11010519491231002X as its example."""
    assert names.check_character("11010519491231002") == "X"


@given(st.binary(min_size=16, max_size=16), st.integers(1, 64))
def test_a_subject_keeps_its_partition(tag: bytes, partitions: int) -> None:
    """The partition depends on the tag alone and exists."""
    assert 0 <= names.partition_of(tag, partitions) < partitions
    assert names.partition_of(tag, partitions) == names.partition_of(bytes(tag), partitions)


def test_the_nearest_name_is_found_or_nothing() -> None:
    """A slip of the pen finds its name; something else finds none."""
    assert names.nearest("dibao.intak", ["dibao.intake", "open.use"]) == "dibao.intake"
    assert names.nearest("zzz", ["dibao.intake"]) == ""
