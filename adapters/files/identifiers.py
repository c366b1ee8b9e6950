"""Ids and names as people and spreadsheets write them, brought to one form; what cannot be is refused.

Ids are text and exact: nothing is guessed, only the writing is mended. Names keep their rare characters: NFC and
never NFKC, which would replace characters that a person is entitled to.
"""

import re
import unicodedata
from typing import Final

from exchange import names
from exchange.errors import Invalid

_FULL_WIDTH: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
# Marks that copying from office programs leaves behind, and that nobody sees.
_INVISIBLE: Final = dict.fromkeys((0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F)), None)
_ID: Final = _FULL_WIDTH | _INVISIBLE
_DOTS: Final = dict.fromkeys((0x2022, 0x2027, 0x30FB, 0xFF0E), "·")
_NAME: Final = _INVISIBLE | _DOTS

_PERSON: Final = re.compile("[0-9]{17}[0-9X]|[0-9]{15}")
_CODE: Final = re.compile(r"[0-9A-Z](?:[0-9A-Z_/.\-]{0,62}[0-9A-Z])?")
_FORMULA: Final = re.compile('="([^"]*)"')
_POWER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?E[+-]?[0-9]{1,3}")
_POINT_ZERO: Final = re.compile(r"[0-9]+\.0*")
_HAN: Final = "[\u2e80-\u2fd5\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_BETWEEN_HAN: Final = re.compile(f"(?<={_HAN})\\s+(?={_HAN})")
_AROUND_DOT: Final = re.compile(r"\s*·\s*")
_SPACES: Final = re.compile(r"\s+")


def person_id(text: str) -> str:
    """A citizen's id: 18 characters (GB 11643-1999), or the 15 digits of before 1999, which stay as they are.

    Full-width characters become ASCII, `x` becomes `X`, spaces and the marks that spreadsheets put around a text
    (`'…`, `="…"`) go. The check digit is not judged here: see `wrong_check`.

    Raises:
        Invalid: `cell_id_damaged` for what a spreadsheet left of an id (4.31E+17, or the last three of eighteen
            digits made 0), `cell_id_malformed` for anything else.
    """
    plain = text if text.isascii() and text.isalnum() else _plain(text)
    plain = plain.upper()
    if not _PERSON.fullmatch(plain):
        raise Invalid(_damage(plain) or "cell_id_malformed")
    if plain.endswith("000") and len(plain) == 18 and wrong_check(plain):
        raise Invalid("cell_id_damaged")  # a number keeps 15 digits there; 000 with a right check digit is an id
    return plain


def wrong_check(identifier: str) -> bool:
    """Whether the 18th character is not the one GB 11643 gives: a matter of quality, never of acceptance."""
    return len(identifier) == 18 and names.check_character(identifier[:17]) != identifier[17]


def code(text: str) -> str:
    """Any other id (a household's number, a receipt's, a credit code): ASCII letters, digits, `_ / . -`, at most 64.

    Written as `person_id` says, in upper case. Raises as it does.
    """
    plain = text if text.isascii() and text.isalnum() else _plain(text)
    plain = plain.upper()
    if "E" in plain and _POWER.fullmatch(plain):
        raise Invalid("cell_id_damaged")
    if not _CODE.fullmatch(plain):
        raise Invalid("cell_id_malformed")
    return plain


def name(text: str) -> str:
    """A name: NFC, the middle dots • ‧ ・ ． written as · (U+00B7), no spaces at the ends, around dots, between Han."""
    plain = unicodedata.normalize("NFC", text).translate(_NAME).strip()
    if "·" in plain:
        plain = _AROUND_DOT.sub("·", plain)
    if plain.isalpha():
        return plain
    return _SPACES.sub(" ", _BETWEEN_HAN.sub("", plain))


def plain_number(text: str) -> str:
    """The text of a number: full-width characters made ASCII, no spaces at the ends.

    Raises:
        Invalid: `cell_number_damaged` for a number in powers of ten.
    """
    plain = text if text.isascii() else text.translate(_ID)
    plain = plain.strip()
    if "E" in plain.upper() and _POWER.fullmatch(plain.upper()):
        raise Invalid("cell_number_damaged")
    return plain


def _plain(text: str) -> str:
    plain = "".join(text.translate(_ID).split())
    formula = _FORMULA.fullmatch(plain)
    return formula[1] if formula else plain.removeprefix("'")


def _damage(plain: str) -> str:
    return "cell_id_damaged" if _POWER.fullmatch(plain) or _POINT_ZERO.fullmatch(plain) else ""
