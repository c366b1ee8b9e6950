"""Ids are exact text; only their writing is mended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.files import identifiers
from exchange import names
from exchange.errors import Invalid

FULL = str.maketrans("0123456789Xx", "０１２３４５６７８９Ｘｘ")
SEVENTEEN = st.text("0123456789", min_size=17, max_size=17).filter(lambda digits: not digits.endswith("00"))
PADS = st.text(" \t\u00a0\u3000\u200b\ufeff\u202c", max_size=3)


@given(SEVENTEEN, PADS, PADS, PADS, st.integers(0, 17), st.booleans(), st.sampled_from(["{}", "'{}", '="{}"']))
def test_every_customary_writing_is_the_same_id(
    seventeen: str, before: str, inner: str, after: str, at: int, full: bool, form: str
) -> None:
    """Spaces of all kinds, full-width digits, a lower-case x and spreadsheet marks around it change nothing."""
    right = seventeen + names.check_character(seventeen)
    written = right.lower()[:at] + inner + right.lower()[at:]
    written = form.format(written.translate(FULL) if full else written)
    assert identifiers.person_id(before + written + after) == right
    assert not identifiers.wrong_check(right)


@given(SEVENTEEN)
def test_writing_agrees_with_the_tag(seventeen: str) -> None:
    """What the adapter publishes has the same normal form for the tag as what the source wrote."""
    written = " " + (seventeen + names.check_character(seventeen)).translate(FULL).lower() + "\u3000"
    assert names.normalise_id("person", identifiers.person_id(written)) == names.normalise_id("person", written)


@pytest.mark.parametrize(
    "damaged",
    ["4.31E+17", "4.31126E+17", "4.31e+17", "４.31Ｅ＋17", "431126198001010013.0", "431126198001010000", "4E17"],
)
def test_spreadsheet_damage_has_its_own_code(damaged: str) -> None:
    """An id that a spreadsheet took for a number is lost, and said to be."""
    with pytest.raises(Invalid, match="cell_id_damaged"):
        identifiers.person_id(damaged)


def test_three_zeros_with_a_right_check_digit_are_an_id() -> None:
    """18 digits that end with 000 are only damage when the check digit is wrong."""
    right = next(
        str(n) + "0" for n in range(43112619800101000, 43112619900101000, 100) if names.check_character(str(n)) == "0"
    )
    assert right.endswith("000")
    assert identifiers.person_id(right) == right


@pytest.mark.parametrize(
    "other",
    [
        "",
        "43112619800101001",
        "4311261980010100135",
        "43112619800101001Ｙ",
        "X31126198001010015",
        "431126-198001010015",
        "43112619800101001²",
        "①②③④⑤⑥⑦⑧⑨①②③④⑤",
        "४३११२६८००१०१००१",
        "43112680010100",
        "无",
        "43112619800101001Х",
    ],
)
def test_anything_else_is_refused(other: str) -> None:
    """Too short, too long, other characters (even digits of other scripts): refused, not guessed."""
    with pytest.raises(Invalid, match="cell_id_malformed") as found:
        identifiers.person_id(other)
    assert not found.value.facts


def test_fifteen_digits_stay_fifteen() -> None:
    """The id of before 1999 stays in the record as it is; the tag makes 18 of it."""
    assert identifiers.person_id(" 431126800101001 ") == "431126800101001"


def test_wrong_check_digit_is_accepted_and_known() -> None:
    """A wrong check digit is quality."""
    right = "431126198001010013"
    wrong = right[:17] + ("1" if right[17] != "1" else "2")
    assert identifiers.person_id(wrong) == wrong
    assert [identifiers.wrong_check(i) for i in (wrong, wrong[:17] + names.check_character(wrong[:17]))] == [
        True,
        False,
    ]


def test_codes_are_ids_too() -> None:
    """A household's number, a receipt's, a credit code: ASCII, upper case, and damage is damage."""
    assert identifiers.code(" 91431126ｍａ00000001 ") == "91431126MA00000001"
    assert identifiers.code("2026/04-0001") == "2026/04-0001"
    for bad, code in {"9.14E+17": "cell_id_damaged", "户1": "cell_id_malformed", "A" * 65: "cell_id_malformed"}.items():
        with pytest.raises(Invalid, match=code):
            identifiers.code(bad)


@pytest.mark.parametrize("dot", "·•‧・．")
def test_middle_dots_become_one(dot: str) -> None:
    """All five middle dots people type are U+00B7, without spaces around."""
    assert identifiers.name(f"买买提{dot}艾力") == "买买提·艾力"
    assert identifiers.name(f" 买买提 {dot}\u3000艾力 ") == "买买提·艾力"


def test_names_keep_their_rare_characters() -> None:
    """NFC, not NFKC; outside the basic plane too; spaces go only between Han."""
    for rare in ("䶮𠮷", "㛃", "𬎆", "王㐂"):
        assert identifiers.name(rare) == rare
    assert identifiers.name("张\u3000三") == identifiers.name("张  三 ") == "张三"
    assert identifiers.name("Jose\u0301  Pérez") == "José Pérez"
    assert identifiers.name("ﬁ㈱") == "ﬁ㈱"
    assert identifiers.name("\u200b李四\ufeff") == "李四"
