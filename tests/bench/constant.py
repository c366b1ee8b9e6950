"""`exchange serve` with everything but the gateway: a look-up's answer is made once and given to everybody.

And a folder of files beside it at `/files`. The baseline that look-ups and reads over HTTP are measured against.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from starlette.staticfiles import StaticFiles

from exchange.access import Release
from exchange.api import app, server
from exchange.cli.main import main
from exchange.control.questions import Request
from exchange.view.formats import Format
from exchange.wiring.desk import LocalDesk

_looked_up = LocalDesk.lookup
_create_app = app.create_app
_KEPT: list[Release] = []


def _constant(desk: LocalDesk, request: Request, ids: Sequence[str], form: Format) -> Release:
    if not _KEPT:
        _KEPT.append(_looked_up(desk, request, ids, form))
    return _KEPT[0]


def _with_files(*given: Any, **named: Any) -> Any:
    edge = _create_app(*given, **named)
    edge._app.mount("/files", StaticFiles(directory=Path(_FOLDER)))  # type: ignore[attr-defined]  # a FastAPI
    return edge


if __name__ == "__main__":
    _FOLDER, *words = sys.argv[1:]
    with mock.patch.object(LocalDesk, "lookup", _constant), mock.patch.object(server, "create_app", _with_files):
        sys.exit(main(["serve", *words]))
