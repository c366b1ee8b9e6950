"""`exchange-verify.pyz`: the judge of evidence bundles as one file, for any machine that has Python 3.8 or later."""

import io
from importlib import resources
from typing import Final

from exchange.wiring.evidence import archive

NAME: Final = "exchange-verify.pyz"
_START: Final = "import sys\n\nfrom evidence.__main__ import main\n\nsys.exit(main())\n"


def checker() -> bytes:
    """The file: `exchange.evidence` and nothing else. Equal sources give equal bytes: its SHA-256 can be told."""
    room = resources.files("exchange.evidence")
    parts = {f"evidence/{one.name}": one.read_bytes() for one in room.iterdir() if one.name.endswith((".py", ".json"))}
    stream = io.BytesIO()
    stream.write(b"#!/usr/bin/env python3\n")
    stream.write(archive({**parts, "__main__.py": _START.encode()}))
    return stream.getvalue()
