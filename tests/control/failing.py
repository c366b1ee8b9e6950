"""An expected failure: its family, its code, and the sentences that the catalogue has for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from exchange.errors import ExchangeError
from exchange.messages import Language, describe

LANGUAGES: tuple[Language, ...] = ("zh", "en")


@contextmanager
def fails(family: type[ExchangeError], code: str, where: str = "") -> Iterator[None]:
    """The block raises this family with this code, at this place if one is given, and both languages can say it."""
    with pytest.raises(family) as caught:
        yield
    assert caught.value.code == code
    assert not where or caught.value.where == where
    assert all(all(describe(caught.value, language)) for language in LANGUAGES)
