"""The log that answers are made from."""

import pytest

from tests.evidence.answers import World, world_of


@pytest.fixture(scope="session")
def world() -> World:
    """Made once: nobody changes it."""
    return world_of()
