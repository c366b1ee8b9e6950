"""The exchange of the access tests, and a bare site; both made once, in memory, and copied."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.wiring import MadeSite, make_site
from tests.access.conftest import engine, folder, made_town, town
from tests.access.town import START_NS, Clock
from tests.log.memory import folder_in_memory

__all__ = ["engine", "folder", "made_town", "town"]


def make(root: Path, **changes: Any) -> MadeSite:
    """A new site."""
    plain: dict[str, Any] = {
        "name": "",
        "origin": "exchange.invalid/test",
        "department": "ny.shuju",
        "principal": "li.authority",
    }
    return make_site(root, now_ns=Clock(START_NS), random_bytes=os.urandom, **{**plain, **changes})


@pytest.fixture(scope="session")
def bare() -> Iterator[MadeSite]:
    """A site as `exchange init` leaves it: look, do not touch."""
    with folder_in_memory() as made:
        yield make(made / "site")
