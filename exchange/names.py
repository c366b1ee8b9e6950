"""What things are called: the forms of names, ids and digests. A name that fits no form enters nowhere."""

import hashlib
import json
import operator
import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final, Literal, get_args

from exchange.errors import Invalid

Role = Literal["department_system", "steward", "auditor", "operator", "sharing_authority"]
Action = Literal["read", "follow", "lookup", "verify", "aggregate", "publish_view"]
ShareType = Literal["unconditional", "conditional", "not_shared"]
SecurityClass = Literal["L1", "L2", "L3", "L4"]
Zone = Literal["public", "extranet", "department"]

ROLES: Final = get_args(Role)
ACTIONS: Final = get_args(Action)
SHARE_TYPES: Final = get_args(ShareType)
CLASSES: Final = get_args(SecurityClass)
ZONES: Final = get_args(Zone)

_WORD: Final = r"[a-z][a-z0-9_]*"
FORMS: Final = {
    "dataset": re.compile(rf"{_WORD}(\.{_WORD})+"),  # ps.hukou_person; its topic has the same name
    "department": re.compile(rf"{_WORD}(\.{_WORD})*"),  # ny.minzheng
    "principal": re.compile(rf"{_WORD}(\.{_WORD})+"),  # svc.ny.minzheng.dibao
    "purpose": re.compile(rf"{_WORD}(\.{_WORD})*"),  # dibao.initial_check
    "agreement": re.compile(r"agr-[a-z0-9-]+"),
    "case": re.compile(r"case-[a-z0-9-]+"),
    # A leaf of a schema: a, a.b, items[].c, m{}.c. Never a number as long as a citizen's.
    "path": re.compile(r"(?!.*\d{11})[A-Za-z_]\w*(\[\]|\{\})*(\.[A-Za-z_]\w*(\[\]|\{\})*)*", re.ASCII),
    "subject_type": re.compile(r"[a-z][a-z0-9_]*"),
    "source": re.compile(r"[a-z0-9][a-z0-9._/-]*"),
    "region": re.compile(r"[0-9]{2,12}"),
    "digest": re.compile(r"sha256:[0-9a-f]{64}"),
    "tag": re.compile(r"[0-9a-f]{32}"),
}
MAX_NAME: Final = 200
# A citizen's id given in a name's place must not come back in the error: what has eleven digits in a row is not shown.
_MAY_SHOW: Final = re.compile(r"(?!.*\d{11})[ -~]{0,60}")


def check(form: str, name: object, *, where: str = "") -> str:
    """`name`, when it has that form; else `Invalid("name_malformed")`."""
    if isinstance(name, str) and len(name) <= MAX_NAME and FORMS[form].fullmatch(name):
        return name
    shown = name if isinstance(name, str) and _MAY_SHOW.fullmatch(name) else type(name).__name__
    raise Invalid("name_malformed", where=where, form=form, name=shown, pattern=FORMS[form].pattern)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like this one, or an empty string: for errors that help."""
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.5)), "")


def canonical(document: object) -> bytes:
    """Canonical JSON (plan.md): keys by code point, no white space, UTF-8, integers only.

    Raises:
        Invalid: `json_not_canonical` for a fraction, a lone surrogate or a value JSON does not know.
    """
    _refuse_fractions(document)
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise Invalid("json_not_canonical", detail=type(error).__name__) from error


def _refuse_fractions(document: object) -> None:
    if isinstance(document, float):
        raise Invalid("json_not_canonical", detail="a fraction; write it as a string")
    if isinstance(document, dict):
        for key, value in document.items():
            if not isinstance(key, str):
                raise Invalid("json_not_canonical", detail="a key that is no string")
            _refuse_fractions(value)
    elif isinstance(document, list | tuple):
        for value in document:
            _refuse_fractions(value)


def digest(document: object) -> str:
    """`sha256:` and the hex SHA-256 of the canonical JSON."""
    return digest_bytes(canonical(document))


def digest_bytes(data: bytes) -> str:
    """`sha256:` and the hex SHA-256 of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def set_digest(tags: Iterable[bytes]) -> str:
    """The name of a set of subject tags: the digest of its sorted hex tags."""
    return digest(sorted(tag.hex() for tag in set(tags)))


def partition_of(tag: bytes, partitions: int) -> int:
    """The partition a subject's records go to: the same on every engine, so that positions survive a move."""
    return int.from_bytes(tag[:8], "big") % partitions


def normalise_id(subject_type: str, text: str) -> str:
    """The one form of a subject's id that its tag is made from (plan.md, "Subject tags").

    NFKC, no white space; for a person also upper-case X and 18 digits. A wrong check digit stays as it is:
    it is a matter of quality, not of the tag.
    """
    plain = "".join(unicodedata.normalize("NFKC", text).split())
    if subject_type != "person":
        return plain
    plain = plain.upper()
    if re.fullmatch("[0-9]{15}", plain):
        seventeen = plain[:6] + "19" + plain[6:]
        return seventeen + check_character(seventeen)
    return plain


def check_character(seventeen: str) -> str:
    """GB 11643-1999: the 18th character for the first seventeen digits (ISO 7064, MOD 11-2)."""
    total = sum(map(operator.mul, map(int, seventeen), _WEIGHTS))
    return "10X98765432"[total % 11]


def has_wrong_check(subject_type: str, text: str) -> bool:
    """Whether this is a person's id of 18 places whose last one is not what GB 11643 computes from the others."""
    plain = normalise_id(subject_type, text) if subject_type == "person" else ""
    return bool(re.fullmatch("[0-9]{17}[0-9X]", plain)) and check_character(plain[:17]) != plain[17]


_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
