"""Control events as audit entries: every event has one, and no account's id is in any of them."""

import json
from dataclasses import replace

from exchange.audit.entries import Entry, encode
from exchange.control.entries import entries, refusal
from exchange.control.events import FORMS, raises
from exchange.control.model import Model
from exchange.names import canonical, digest
from exchange.signing.pseudonyms import Actors
from tests.control.test_projections import LIVED
from tests.control.town import NOW, OFFICE, SEAL_KEY

ACTORS = Actors(b"k" * 32)
PEOPLE = LIVED.model.principals


def test_each_event_has_one_control_entry_that_raises_its_epochs() -> None:
    """In order, with the event's data, place and version; ids differ."""
    made = entries(LIVED.events, OFFICE, Model(), ACTORS)
    control = [entry for entry in made if entry.kind == "control"]
    assert len({entry.id for entry in made}) == len(made)
    assert {entry.body["type"] for entry in control} == set(FORMS)
    for event, entry in zip(LIVED.events, control, strict=True):
        assert (entry.body["type"], entry.body["version"]) == (event.name, event.version)
        assert entry.body["position"] == event.position
        assert entry.raises == ACTORS.epochs(raises(event))
        assert digest(json.loads(entry.body["data"])) == entry.body["data_digest"]


def test_no_accounts_id_stands_in_an_entry() -> None:
    """Leaves are for ever; the pseudonym is the same wherever the account is meant."""
    for entry in [*entries(LIVED.events, OFFICE, Model(), ACTORS), *_refusals()]:
        leaf = encode(entry)
        for person in PEOPLE:
            assert person.encode() not in leaf
    added = next(entry for entry in entries(LIVED.events, OFFICE, Model(), ACTORS) if "principal/" in str(entry.body))
    pseudonym = json.loads(added.body["data"])["principal"]
    assert added.body["aggregate"] == f"principal/{pseudonym}"
    assert list(added.raises) == [f"principal/{pseudonym}"]


def _refusals() -> list[Entry]:
    return [refusal("OpenCase", ["role_missing"], person, 0, NOW, ACTORS) for person in PEOPLE.values()]


def test_a_department_makes_a_key_entry() -> None:
    """Its public seal key is in the log, so that seals can be checked from the log alone."""
    keys = [entry for entry in entries(LIVED.events, OFFICE, Model(), ACTORS) if entry.kind == "key"]
    assert [entry.body["owner"] for entry in keys] == list(LIVED.model.departments)
    assert {(entry.body["use"], entry.body["public"]) for entry in keys} == {("seal", bytes.fromhex(SEAL_KEY))}


def test_a_policys_steps_are_entries_of_their_own() -> None:
    """Submitted, activated with its reviewer, withdrawn; each names the report of the tests."""
    steps = [one for one in entries(LIVED.events, OFFICE, LIVED.model, ACTORS) if one.kind == "policy_revision"]
    assert [one.body["event"] for one in steps] == ["submitted", "activated", "withdrawn"]
    assert [len(one.body["reviewers"]) for one in steps] == [0, 1, 0]
    assert {one.body["tests_digest"] for one in steps} == {LIVED.model.policies[steps[0].body["revision"]].report}
    assert not any(one.raises for one in steps)


def test_refusals_of_one_moment_are_told_apart() -> None:
    """Each attempt has its own entry; a repeated one of the same attempt has not."""
    person = next(iter(PEOPLE.values()))
    ids = [refusal("OpenCase", ["role_missing"], person, attempt, NOW, ACTORS).id for attempt in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]


def test_data_too_long_for_a_leaf_is_there_by_digest() -> None:
    """Above 30,000 bytes the leaf has only the digest."""
    event = next(event for event in LIVED.events if event.name == "case.closed/1")
    long = replace(event, data={"case": "x" * 31_000})
    (entry,) = entries([long], None, Model(), ACTORS)
    assert entry.body["data"] is None
    assert len(canonical(long.data)) > 30_000
    assert entry.body["data_digest"] == digest(long.data)
