"""A site moved by `exchange export` and `import`: the same site on other engines, or nothing."""

import hashlib
import itertools
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable
from exchange.names import canonical
from exchange.settings import read_settings
from exchange.wiring import archive, moving_in, moving_out
from exchange.wiring.archive import HEADER, MANIFEST
from exchange.wiring.moving_in import BroughtIn, bring_in
from exchange.wiring.moving_out import TakenOut, take_out, trailer
from tests.access.oracle import judge
from tests.access.test_paths import amounts, of_members
from tests.access.town import DATASET, ENVIRONMENT, START_NS, Clock, KeptEngine, copied, opened
from tests.control.failing import fails

DAY = 86_400 * 1_000_000_000


def export(root: Path, file: Path, environment: Mapping[str, str] = ENVIRONMENT, *, keys: bool = True) -> TakenOut:
    """The site as a file."""
    with file.open("wb") as out:
        return take_out(
            root, out, file.parent, environment, Clock(START_NS + DAY), os.urandom, keys=keys, progress=lambda _: None
        )


def bring(file: Path, root: Path, keys: Path | None = None, **given: str) -> BroughtIn:
    """A site from the file; settings by name, `__` for the dots."""
    return bring_in(
        file,
        root,
        given={name.replace("__", "."): value for name, value in given.items()},
        keys=keys,
        now_ns=Clock(START_NS + DAY),
        random_bytes=os.urandom,
        progress=lambda _: None,
    )


def stores_of(file: Path) -> dict[str, tuple[int, str]]:
    """Length and digest of every member that is of the stores."""
    with file.open("rb") as stream:
        found = {}
        for member in archive.read_members(stream):
            for _ in member.portions():
                pass
            if member.name != HEADER and not member.name.startswith("site/"):
                found[member.name] = member.found
    return found


@pytest.fixture(scope="module")
def exported(made_town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the town: look, do not touch."""
    folder = tmp_path_factory.mktemp("moving")
    export(copied(made_town, folder / "site"), folder / "town.export")
    return folder / "town.export"


def test_the_same_site_comes_out_again(exported: Path, folder: Path, engine: KeptEngine) -> None:
    """Its stores give the same members, its readers go on, its publishers at their marks; nothing is recovered."""
    brought = bring(exported, folder / "new")
    assert brought.records == 24
    assert [one.name for one in folder.iterdir()] == ["new"]
    export(folder / "new", folder / "again")
    assert stores_of(folder / "again") == stores_of(exported)
    with opened(folder / "new", engine, Clock(START_NS + 2 * DAY)) as town:
        assert sorted(amounts(*town.read())) == of_members(*range(1, 25))
        town.publish(20, 8)  # of which five are not new
        releases = town.read()
        assert sorted(amounts(*releases)) == of_members(*range(1, 28))
        judge(town, releases)
