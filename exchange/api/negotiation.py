"""What a request likes best: `Accept` and `Accept-Language` (RFC 9110, section 12.4.2)."""

import re
from typing import Final

_LONGEST: Final = 1_000  # characters of such a header that are looked at
_PART: Final = re.compile(r"\s*([^\s;,]+)\s*((?:;[^,]*)?)\s*")
_WEIGHT: Final = re.compile(r";\s*[qQ]\s*=\s*([^\s;]*)\s*")
_QUALITY: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def wishes(header: str) -> list[tuple[str, float]]:
    """The ranges that a header names, in lower case, with their weights from 0 to 1, in the header's order.

    A part that is not of the grammar is left out, whatever comes behind the first thousand characters too.
    """
    if len(header) > _LONGEST:
        header = header[:_LONGEST].rpartition(",")[0]
    found = []
    for part in header.split(","):
        matched = _PART.fullmatch(part)
        weight = _WEIGHT.search(matched[2]) if matched else None
        quality = weight[1] if weight else "1"
        if matched and _QUALITY.fullmatch(quality):
            found.append((matched[1].lower(), float(quality)))
    return found
