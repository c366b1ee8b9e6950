"""The app over the simulator's site."""

from collections.abc import Iterator

import pytest

from tests.api.calling import Api, calling
from tests.simulator import Site


@pytest.fixture
def api(site: Site) -> Iterator[Api]:
    """Over a site of this test's own."""
    with calling(site) as found:
        yield found


@pytest.fixture(scope="session")
def shared(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Over a site for all tests that change nothing in it but its audit log."""
    with calling(made.copy(tmp_path_factory.mktemp("api") / "exchange")) as found:
        yield found
