"""One exchange is made for the session; each test has a copy of its own, open, in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.access.town import KeptEngine, Town, build, copied, opened
from tests.log.memory import folder_in_memory


@pytest.fixture(scope="session")
def engine() -> Iterator[KeptEngine]:
    """The one policy engine of all tests here."""
    engine = KeptEngine()
    yield engine
    engine.end()


@pytest.fixture(scope="session")
def made_town(engine: KeptEngine) -> Iterator[Path]:
    """The exchange that every test's own is copied from."""
    with folder_in_memory() as folder:
        build(folder / "site", engine)
        yield folder / "site"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory."""
    with folder_in_memory() as made:
        yield made


@pytest.fixture
def town(made_town: Path, folder: Path, engine: KeptEngine) -> Iterator[Town]:
    """An exchange of this test's own, open."""
    with opened(copied(made_town, folder / "site"), engine) as town:
        yield town
