"""Towns are made once and copied: a model is never changed in place."""

import copy
from functools import cache

import pytest

from tests.control.town import Town, founded, governed


@cache
def _founded() -> Town:
    return founded()


@cache
def _governed() -> Town:
    return governed()


def _copied(town: Town) -> Town:
    copied = copy.copy(town)
    copied.events, copied.documents = list(town.events), dict(town.documents)
    return copied


@pytest.fixture
def new_town() -> Town:
    """Departments and people, nothing else."""
    return _copied(_founded())


@pytest.fixture
def town() -> Town:
    """With an active policy and a dataset."""
    return _copied(_governed())
