"""Of the tests of what auditors hand in or are handed: whom nobody knows, what a command said."""

from pathlib import Path
from typing import Final

from exchange.names import check_character
from tests import simulator
from tests.simulator import Ran

LANGUAGES: Final = ("zh", "en")


def nobody(number: int) -> str:
    """A right number that no record has; who is asked about has been asked about from then on."""
    seventeen = f"11010119900307{number:03d}"
    return seventeen + check_character(seventeen)


NOBODY: Final = nobody(1)
SLIP: Final = NOBODY[:-1] + ("0" if NOBODY[-1] != "0" else "1")


def told_by(ran: Ran, code: int, error: str) -> str:
    """The sentence of the error that ended a command, and what to do; nothing else is said."""
    assert (ran.code, ran.error_code, ran.out) == (code, error, b"")
    first, todo = ran.stderr.splitlines()
    return f"{first.partition(': ')[2]} | {todo.strip()}"


def verified(place: Path, *words: object, lang: str = "en") -> Ran:
    """`audit verify` with no site and no token."""
    return simulator.run(["audit", "verify", str(place), *map(str, words), "--lang", lang], {"LANG": "C"})
