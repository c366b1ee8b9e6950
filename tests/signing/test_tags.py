"""Subject tags and pseudonyms against their definitions (plan.md, "Subject tags")."""

import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import Invalid
from exchange.names import normalise_id
from exchange.signing.pseudonyms import Actors
from exchange.signing.tags import SubjectTagger
from tests.profiles import examples

KEY = bytes(range(32))
TYPES = st.sampled_from(["person", "household", "firm"])
DIGITS = st.text("0123456789Xx０１Ｘ \u3000", min_size=1, max_size=20)
TEXTS = DIGITS | st.text("0123456789", min_size=15, max_size=18) | st.text(min_size=1, max_size=20)


def defined_tag(key: bytes, subject_type: str, text: str) -> bytes:
    """The definition, with the library's HMAC."""
    message = subject_type.encode() + b"\x00" + normalise_id(subject_type, text).encode()
    return hmac.new(key, message, hashlib.sha256).digest()[:16]


@given(st.binary(max_size=100), TYPES, TEXTS)
def test_a_tag_is_the_defined_one(key: bytes, subject_type: str, text: str) -> None:
    """For every key, type and text that has something left: the first 16 bytes of the HMAC of the definition."""
    try:
        plain = normalise_id(subject_type, text).encode()
    except UnicodeEncodeError:
        plain = b""
    if plain:
        assert SubjectTagger(key).tag(subject_type, text) == defined_tag(key, subject_type, text)
    else:
        with pytest.raises(Invalid, match="subject_id_unusable"):
            SubjectTagger(key).tag(subject_type, text)


@settings(max_examples=examples(30))
@given(st.lists(DIGITS.filter(lambda text: bool(text.strip())), max_size=20))
def test_many_tags_are_the_tags_of_each(texts: list[str]) -> None:
    """A batch gives what its items give one by one, in order."""
    tagger = SubjectTagger(KEY)
    assert tagger.tags("person", texts) == [tagger.tag("person", text) for text in texts]


def test_one_person_has_one_tag_however_the_id_is_written() -> None:
    """Full width, spaces, lower-case x and the old 15 digits lead to the tag of the 18-digit id."""
    tagger = SubjectTagger(KEY)
    forms = [
        "11010519491231002X",
        "11010519491231002x",
        " 110105 19491231 002X",
        "１１０１０５１９４９１２３１００２Ｘ",
    ]
    assert len({tagger.tag("person", form) for form in forms}) == 1
    assert tagger.tag("person", "110105491231002") == tagger.tag("person", "11010519491231002X")


def test_types_keys_and_ids_are_told_apart() -> None:
    """The type is part of what is hashed, with an end that no id can move; x stays x for what is no person."""
    tagger = SubjectTagger(KEY)
    assert tagger.tag("person", "A1") != tagger.tag("firm", "A1")
    assert tagger.tag("firm", "a1") != tagger.tag("firm", "A1")
    assert tagger.tag("firm", "pA1") != tagger.tag("firmp", "A1")
    assert tagger.tag("firm", "A1") != SubjectTagger(KEY[::-1]).tag("firm", "A1")


@pytest.mark.parametrize("text", ["", " ", "\u3000\t", "\ud800", "1\udfff"])
def test_an_id_of_nothing_is_refused_and_not_shown(text: str) -> None:
    """Only white space, or no Unicode text: refused; the error does not quote it."""
    with pytest.raises(Invalid, match="subject_id_unusable") as caught:
        SubjectTagger(KEY).tags("person", ["110105491231002", text])
    assert "110105" not in str(caught.value)


@pytest.mark.parametrize("subject_type", ["", "Person", "per\0son", "人"])
def test_a_malformed_type_is_refused(subject_type: str) -> None:
    """A subject type has the form of its name."""
    with pytest.raises(Invalid, match="name_malformed"):
        SubjectTagger(KEY).tag(subject_type, "1")


def test_pseudonyms_are_keyed_and_stable() -> None:
    """32 hex digits by the definition; the same for the same key, another for another key."""
    name = Actors(KEY).name("svc.ny.minzheng")
    assert name == hmac.new(KEY, b"principal\0svc.ny.minzheng", hashlib.sha256).hexdigest()[:32]
    assert Actors(KEY[::-1]).name("svc.ny.minzheng") != name


def test_epochs_name_principals_by_pseudonym_and_nothing_else_changes() -> None:
    """Only `principal/…` is renamed; no principal's id is left."""
    actors = Actors(KEY)
    epochs = {"principal/a.b": 3, "agreement/agr-1": 2, "policy": 4, "case/case-principal": 1}
    expected = {**epochs, f"principal/{actors.name('a.b')}": epochs["principal/a.b"]}
    del expected["principal/a.b"]
    assert actors.epochs(epochs) == expected
