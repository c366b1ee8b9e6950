"""What the pages ask for, where a page alone would not show it: every partition, and what a preview is made of."""

import json
from typing import Any

import pytest

from exchange.wiring.preview import Place, released_positions, values_of
from exchange.wiring.reading_room import ReadingRoom
from exchange.wiring.verification import FILE, Verifications
from tests.access.town import DATASET, MEMBERS, READ, READER, Town


def test_records_are_found_in_every_partition(town: Town) -> None:
    """Page by page what one read gives; a page whose first releases show no record goes on by itself."""
    room = ReadingRoom(town.exchange, town.who(READER), Verifications(town.exchange))
    shown: list[str] = []
    place: Place | None = Place()
    while place is not None:
        found = room.records(READ, place, "en")
        assert found.column.rows is not None
        shown += [str(row["person_id"]) for row in found.column.rows if row]
        place = found.more
    read = [line for one in town.gateway().read(town.reader, READ, {}, "jsonl") for line in one.payload.splitlines()]
    assert shown == [json.loads(line)["person_id"] for line in read]
    assert set(shown) == set(MEMBERS)
    assert town.exchange.log.topics()[DATASET] == 2


@pytest.mark.parametrize("places", [[], [0], [9], [0, 3, 4, 9], list(range(10))])
def test_the_released_positions_are_those_that_its_entry_says(places: list[int]) -> None:
    """Every position but those held back; positions that no record has are none."""
    from exchange.audit.access_entries import bitmap

    positions = [100, 101, 103, 104, 109]
    body: dict[str, Any] = {"lo": 100, "hi": 110, "excluded": bitmap(places, 10)}
    assert [positions[one] for one in released_positions(body, positions)] == [
        one for one in positions if one - 100 not in places
    ]


def test_values_stand_at_their_paths() -> None:
    """Nested ones too; under a list, all of it; what is not there is null."""
    payload = b'{"a":{"b":1},"c":[{"d":2}],"e":null}\n'
    paths = ["a.b", "c[].d", "e", "e.f", "g"]
    assert values_of(payload, paths) == [{"a.b": 1, "c[].d": [{"d": 2}], "e": None, "e.f": None, "g": None}]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "another"}'])
def test_a_kept_verdict_that_is_none_is_no_verdict(town: Town, text: str) -> None:
    """The file is a hint for people: whatever else stands there, nothing was verified."""
    town.exchange.settings.path(FILE).write_text(text, "utf-8")
    assert Verifications(town.exchange).last() is None
