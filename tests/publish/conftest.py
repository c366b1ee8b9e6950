"""Fixtures of the publish tests."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.publish.building import open_site

_MEMORY = Path("/dev/shm")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: these tests play faults and cut no power, so fsync may be cheap."""
    with TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as made:
        yield Path(made)


@pytest.fixture(scope="session")
def empty() -> Iterator[Path]:
    """A site without records, closed, to be copied."""
    with TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as made:
        open_site(Path(made)).close()
        yield Path(made)
