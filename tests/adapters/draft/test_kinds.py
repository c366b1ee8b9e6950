"""Recognising values by their form: check digits against ways of computing them that are not ours, and near misses."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.draft import kinds
from adapters.draft.words import ascii_name, meaning
from exchange.names import CLASSES
from tests.adapters.draft.ugly import person

GB32100 = "0123456789ABCDEFGHJKLMNPQRTUWXY"


@given(number=st.integers(0, 900_000), place=st.integers(0, 16), digit=st.sampled_from(string.digits))
def test_one_wrong_digit_makes_an_id_number_none(number: int, place: int, digit: str) -> None:
    """ISO 7064 MOD 11-2 finds every single wrong digit; the last character may be a small x."""
    right = person(number % 700_000)
    wrong = right[:place] + digit + right[place + 1 :]
    assert kinds.is_id_number(right)
    assert kinds.is_id_number(right.lower())
    assert kinds.is_id_number(wrong) == (wrong == right)


def test_an_id_number_has_a_day_of_birth_that_was() -> None:
    """Right in its check digit alone is not enough."""
    from exchange.names import check_character

    for plain in ("43112619990230001", "43112617991231001", "43112621010101001", "03112619800101001"):
        assert not kinds.is_id_number(plain + check_character(plain))


def _luhn_digit(digits: str) -> str:
    """The table of ISO/IEC 7812-1, annex B, the other way round: doubled digits looked up, not computed."""
    doubled = "0246813579"
    total = sum(
        int(doubled[int(digit)]) if place % 2 == 0 else int(digit) for place, digit in enumerate(reversed(digits))
    )
    return str(-total % 10)


@given(
    digits=st.text(string.digits, min_size=14, max_size=17),
    first=st.sampled_from("3456"),
    other=st.sampled_from(string.digits),
)
def test_a_card_has_the_digit_of_luhn(digits: str, first: str, other: str) -> None:
    """16 to 19 digits with the right last one, grouped by fours or not; what is an id number is no card."""
    plain = first + digits
    right = plain + _luhn_digit(plain)
    expected = 16 <= len(right) <= 19 and not kinds.is_id_number(right)
    grouped = " ".join(right[place : place + 4] for place in range(0, len(right), 4))
    assert kinds.is_bank_card(right) == kinds.is_bank_card(grouped) == expected
    assert not kinds.is_bank_card(plain + other) or other == right[-1]


@given(
    kind=st.text(GB32100, min_size=2, max_size=2),
    region=st.text(string.digits, min_size=6, max_size=6),
    body=st.text(GB32100, min_size=9, max_size=9),
)
def test_a_credit_code_has_the_digit_of_gb_32100(kind: str, region: str, body: str) -> None:
    """Exactly one of the 31 characters is right: the one for which the weighted sum is a multiple of 31."""
    weights = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)  # GB 32100, table 3
    plain = kind + region + body
    total = sum(GB32100.index(one) * weight for one, weight in zip(plain, weights, strict=True))
    right = [last for last in GB32100 if kinds.is_credit_code(plain + last)]
    assert right == [GB32100[-total % 31]]


@pytest.mark.parametrize(
    ("kind", "yes", "no"),
    [
        (
            "phone",
            ["13800000000", "+86 13800000000", "0746-7222222", "02012345678"],
            ["12800000000", "1380000000", "x"],
        ),
        ("email", ["a.b@c.test"], ["a@b", "@b.test", "a b@c.test"]),
        ("plate", ["湘M12345", "京AD12345", "粤B·12345"], ["湘m12345", "湘12345", "湘M123"]),
        ("address", ["湖南省宁远县湾井镇1号", "幸福路12号3栋"], ["湖南省", "宁远县局", "一个很长的没有地名的说明"]),
        ("name", ["张三", "欧阳娜娜", "买买提·艾力", "张 三"], ["张", "男", "正常", "张三李四王五", "Zhang"]),
    ],
)
def test_forms_and_near_misses(kind: str, yes: list[str], no: list[str]) -> None:
    """What has the form, and what only looks like it."""
    recognises = kinds.RECOGNISERS[kind]
    assert [text for text in yes if not recognises(text)] == []
    assert [text for text in no if recognises(text)] == []


@pytest.mark.parametrize("text", ["4.31126E+17", "4.31126198001011e+17", "431126198001011000", "4E+17"])
def test_what_a_spreadsheet_leaves_of_an_id(text: str) -> None:
    """Powers of ten, and three zeros where digits were."""
    assert kinds.is_damaged_id(text)
    assert not kinds.is_damaged_id(person(5))


@given(
    before=st.sampled_from(["", "联系", "（", "证件:"]),
    after=st.sampled_from(["", "。", "）", " 收"]),
    number=st.integers(0, 9_999),
)
def test_numbers_within_a_longer_text_are_found(before: str, after: str, number: int) -> None:
    """An id number, a mobile, a card in a remark; digits that go on are another number."""
    card = f"622202000000{number:05}"
    inside = {person(number): "id_number", f"1380000{number:04}": "phone", card + _luhn_digit(card): "bank_card"}
    for text, kind in inside.items():
        assert kinds.inside(before + text + after) == kind
        assert kinds.inside(before + "9" + text + after) in {"", "bank_card"}
        assert kinds.inside(f"{before}{text[:-1]}a{after}") == ""


def test_the_gravest_of_several_is_told() -> None:
    """A card before an id number before a phone, in whatever order they stand."""
    card = "622202000000123450"[:15]
    card += _luhn_digit(card)
    text = f"13800000000，{person(1)}"
    assert kinds.inside(text) == "id_number"
    assert kinds.inside(f"{text}，{card}") == "bank_card"


def test_every_kind_is_said_in_words_and_has_a_class() -> None:
    """Whatever a header or value is recognised as has its sentence in the catalogue."""
    from adapters.draft.words import _WORDS
    from exchange.messages import text

    for _, word in _WORDS:
        assert not word.kind or text(f"draft_by_header_{word.kind}", "zh")
    for name in kinds.RECOGNISERS:
        assert text(f"draft_by_values_{name}", "en", share=1)
    assert {kind.security_class for kind in kinds.KINDS.values()} <= set(CLASSES)


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("公民身份号码", "id_number"),
        ("户主身份证号", "id_number"),
        ("姓名", "name"),
        ("联系人电话", "phone"),
        ("开户行", "bank_name"),
        ("银行卡号", "bank_account"),
        ("单位名称", "organisation"),
        ("发放金额（元）", "amount"),
        ("残疾等级", "health"),
        ("护照号码", "travel_document"),
        ("所属乡镇", "township"),
        ("小区房号", None),
        ("", None),
        ("Amount", "amount"),
        ("ID_Number", "id_number"),
    ],
)
def test_headers_mean_the_most_particular(header: str, field: str | None) -> None:
    """The particular goes before the general; what is not known means nothing."""
    word = meaning(header)
    assert (word.field if word else None) == field


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Report No. 3", "report_no_3"),
        ("表", ""),
        ("2026", ""),
        ("a431126198001010013", ""),
        ("-x-", "x"),
        ("A" * 60, "a" * 40),
    ],
)
def test_names_in_ascii(text: str, name: str) -> None:
    """Of ASCII texts, cut short, without what may be somebody's number."""
    assert ascii_name(text) == name
