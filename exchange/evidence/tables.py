"""A table in CSV, as `exchange audit releases --out` writes it, against the entries of an answer.

The first column has the entries' indexes. A file of lines says by itself neither how many there should be nor what
comes last: cut off behind a line it looks whole. Beside a bundle of the same question it does not.
"""

from __future__ import annotations

import csv
import io
from typing import Any, List

_END = b"\r\n"


def judged(data: bytes, answer: List[int], find: Any) -> bool:
    """Whether the table has exactly these entries in this order; else `find(code, place, detail)` is told where not."""
    try:
        text = data.decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except UnicodeDecodeError as error:
        find("table_cut_off" if error.end >= len(data) - 3 else "table_differs", data[: error.start].count(_END) + 1)
        return False
    except csv.Error:
        find("table_cut_off", data.count(_END) + 1)
        return False
    if not data.endswith(_END):
        find("table_cut_off", max(len(lines), 1))
        return False
    for number, wanted in enumerate(answer, 2):
        if number > len(lines):
            find("table_cut_off", number, wanted)
            return False
        row = lines[number - 1]
        if len(row) != len(lines[0]) or row[0] != str(wanted):
            find("table_differs", number, wanted)
            return False
    if len(lines) != len(answer) + 1:
        find("table_differs", len(answer) + 2)
        return False
    return True
