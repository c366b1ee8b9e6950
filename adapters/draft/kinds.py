"""What a text is, told by its own form: an id number, a phone, a bank card, a name, an address.

Each recogniser takes a cell's text without white space at its ends and says whether it has the form; the check digits
of GB 11643 (id numbers), GB 32100 (credit codes) and ISO/IEC 7812 (cards, Luhn) are computed, never guessed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from exchange.names import check_character


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of value demands: its class at the least (L1 … L4) and the tags of its field."""

    name: str
    security_class: str
    tags: tuple[str, ...] = ()


# What GB/T 35273 (appendix B) counts as sensitive stands at L3, with accounts, health, faith and biometrics at L4.
KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("id_number", "L3", ("id",)),
        Kind("other_id", "L3", ("id",)),
        Kind("phone", "L3", ("phone",)),
        Kind("email", "L3", ("email",)),
        Kind("plate", "L3", ("plate",)),
        Kind("bank_card", "L4", ("bank",)),
        Kind("biometric", "L4", ("photo",)),
        Kind("health", "L4", ("health",)),
        Kind("faith", "L4", ("faith",)),
        Kind("ethnicity", "L3"),
        Kind("address", "L3", ("address",)),
        Kind("amount", "L3", ("amount",)),
        Kind("name", "L2", ("name",)),
        Kind("birth_date", "L2", ("birth",)),
        Kind("household", "L2", ("id",)),
        Kind("credit_code", "L1"),
        Kind("organisation", "L2"),
        Kind("region", "L1"),
        Kind("sex", "L1"),
        Kind("serial_number", "L1"),
    )
}

_ID: Final = re.compile(r"[1-9]\d{5}(\d{4})(\d{2})(\d{2})\d{3}[\dXx]", re.ASCII)
_ID_INSIDE: Final = re.compile(r"(?<![0-9A-Za-z])[1-9]\d{16}[\dXx](?![0-9A-Za-z])", re.ASCII)
_PHONE_INSIDE: Final = re.compile(r"(?<![0-9A-Za-z.])1[3-9]\d{9}(?![0-9A-Za-z.])", re.ASCII)
_CARD_INSIDE: Final = re.compile(r"(?<![0-9A-Za-z])[3-6]\d{3}(?: ?\d{4}){3}(?: ?\d{1,3})?(?![0-9A-Za-z])", re.ASCII)
_PHONE: Final = re.compile(r"(?:\+?86[- ]?)?1[3-9]\d{9}|0\d{2,3}[- ]?\d{7,8}|1[3-9]\d-\d{4}-\d{4}", re.ASCII)
_CARD: Final = re.compile(r"[3-6]\d{15,18}", re.ASCII)
_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}", re.ASCII)
_PLATE: Final = re.compile(r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-Z]·?[A-Z0-9]{5,6}")
_CREDIT: Final = re.compile("[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}")
_CREDIT_DIGITS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_DAMAGED: Final = re.compile(r"[1-9](?:\.\d+)?E\+1[4-9]|[1-9]\d{14}000", re.ASCII)
_HAN_NAME: Final = re.compile(
    "[\u3400-\u9fff\U00020000-\U0003ffff]{2,4}|[\u3400-\u9fff]{1,10}(?:·[\u3400-\u9fff]{1,10})+"
)
_SURNAMES: Final = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆"
    "汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤欧阳"
)
_PLACES: Final = re.compile("省|自治区|市|区|县|旗|镇|乡|街道|村|社区|路|街|巷|弄|号|组|栋|幢|单元|室")
_ADDRESS_SHORTEST: Final = 6
_MANY_DIGITS: Final = re.compile("[0-9]{11}|[0-9]{4} [0-9]{4}")


def is_id_number(text: str) -> bool:
    """Eighteen characters with a day of birth that was, and the right check character (GB 11643)."""
    found = _ID.fullmatch(text)
    if not found or not 1850 <= int(found[1]) <= 2100:
        return False
    try:
        date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return False
    return check_character(text[:17]) == text[17].upper()


def is_damaged_id(text: str) -> bool:
    """What a spreadsheet leaves of an id number: a power of ten, or its last three digits 0."""
    return bool(_DAMAGED.fullmatch(text.upper()))


def is_phone(text: str) -> bool:
    """A mobile number, or one of a line with its area code."""
    return bool(_PHONE.fullmatch(text))


def is_bank_card(text: str) -> bool:
    """16 to 19 digits, grouped or not, with the right last digit (Luhn), and no id number."""
    plain = text.replace(" ", "")
    return bool(_CARD.fullmatch(plain)) and not is_id_number(plain) and _luhn(plain)


def is_email(text: str) -> bool:
    """An address of mail."""
    return bool(_EMAIL.fullmatch(text))


def is_plate(text: str) -> bool:
    """A vehicle's plate."""
    return bool(_PLATE.fullmatch(text))


def is_credit_code(text: str) -> bool:
    """An organisation's credit code with the right check character (GB 32100)."""
    if not _CREDIT.fullmatch(text):
        return False
    total = sum(_CREDIT_DIGITS.index(digit) * pow(3, place, 31) for place, digit in enumerate(text[:17]))
    return _CREDIT_DIGITS.index(text[17]) == (31 - total % 31) % 31


def is_name(text: str) -> bool:
    """Two to four Han characters of which the first is a common surname, or parts with a dot between."""
    plain = "".join(text.split())
    return bool(_HAN_NAME.fullmatch(plain)) and ("·" in plain or plain[0] in _SURNAMES)


def is_address(text: str) -> bool:
    """A text with at least two words of places in it, and long enough to say where."""
    return len(text) >= _ADDRESS_SHORTEST and len(set(_PLACES.findall(text))) >= 2


def inside(text: str) -> str:
    """The gravest kind that stands somewhere within a longer text, or an empty string."""
    if not _MANY_DIGITS.search(text):
        return ""
    if any(is_bank_card(card) for card in _CARD_INSIDE.findall(text)):
        return "bank_card"
    if any(is_id_number(number) for number in _ID_INSIDE.findall(text)):
        return "id_number"
    return "phone" if _PHONE_INSIDE.search(text) else ""


# In this order: the first that most of a column's values fit is what the column holds.
RECOGNISERS: Final[Mapping[str, Callable[[str], bool]]] = {
    "id_number": is_id_number,
    "credit_code": is_credit_code,
    "phone": is_phone,
    "bank_card": is_bank_card,
    "email": is_email,
    "plate": is_plate,
    "address": is_address,
    "name": is_name,
}


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
