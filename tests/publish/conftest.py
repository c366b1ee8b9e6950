"""Fixtures of the publish tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.log.memory import folder_in_memory
from tests.publish.building import open_site


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory."""
    with folder_in_memory() as made:
        yield made


@pytest.fixture(scope="session")
def empty() -> Iterator[Path]:
    """A site without records, closed, to be copied."""
    with folder_in_memory() as made:
        open_site(made).close()
        yield made
