"""The three ways through the gateway, and what each leaves in the audit log."""

import io
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from exchange.access import MOST_SUBJECTS, Release, following
from exchange.api import publishing
from exchange.avro import container
from exchange.control import commands as c
from exchange.control.questions import Request
from exchange.errors import ExchangeError, Invalid, Refused, Unavailable
from exchange.names import normalise_id
from exchange.wiring.desk import LocalDesk
from tests.access.oracle import judge
from tests.access.town import (
    AGREEMENT,
    DATASET,
    LOOKUP,
    MEMBERS,
    OWNER,
    PERSONS,
    PURPOSE,
    READ,
    READER,
    SECOND,
    Town,
    stored_all,
)


def records(*releases: Release) -> list[dict[str, Any]]:
    """The records of releases in JSON lines."""
    return [json.loads(line) for one in releases for line in one.payload.splitlines()]


def amounts(*releases: Release) -> list[int]:
    """Their amounts, which are the sequences they were published with."""
    return [one["monthly_benefit_fen"] for one in records(*releases)]


def contract(town: Town) -> dict[str, Any]:
    """The dataset's contract as it is now."""
    return town.exchange.contract(DATASET).to_document()


def of_members(*sequences: int) -> list[int]:
    """Those of these sequences whose person is a member of the case."""
    return [one for one in sequences if PERSONS[one % len(PERSONS)] in MEMBERS]


def test_a_read_gives_every_committed_record_of_a_member_once(town: Town) -> None:
    """In the order of each partition, in releases of at most four records, each with its entry."""
    releases = town.read()
    assert sorted(amounts(*releases)) == of_members(*range(1, 25))
    assert records(*releases)[0].keys() == {"person_id", "monthly_benefit_fen"}
    assert max(one.next_position or 0 for one in releases) == max(len(one.tags) for one in stored_all(town))
    for _, kind, body in judge(town, releases):
        if kind == "release":
            assert 0 < body["hi"] - body["lo"] <= 4
            assert (body["agreement"], body["attempt"], body["format"]) == (AGREEMENT, 0, "jsonl")
            assert body["excluded_count"] == body["hi"] - body["lo"] - body["released"]
    assert all(one.excluded is None for one in releases)


def test_the_bitmap_marks_what_was_held_back(town: Town) -> None:
    """One bit for each position of the range, set where the record was not released."""
    town.read()
    shown = dict[int, set[int]]()
    for body in town.bodies("release"):
        length = body["hi"] - body["lo"]
        bits = zlib.decompress(body["excluded"]) if body["excluded"] else bytes(1)
        held = {body["lo"] + at for at in range(length) if bits[at >> 3] >> (at & 7) & 1}
        shown.setdefault(body["partition"], set()).update(set(range(body["lo"], body["hi"])) - held)
    members = {bytes.fromhex(tag) for tag in town.exchange.tags("person", MEMBERS)}
    for stored in stored_all(town):
        right = {at for at, tag in zip(stored.positions, stored.tags, strict=True) if tag in members}
        assert shown[stored.partition] == right


def test_a_read_goes_on_from_a_position(town: Town) -> None:
    """From the `next_position` of the last release of each partition: what came since, and nothing twice."""
    first = town.read()
    ends = {one.partition or 0: one.next_position or 0 for one in first}
    assert town.read(start=ends) == []
    town.publish(25, 12)
    assert sorted(amounts(*town.read(start=ends))) == of_members(*range(25, 37))


@pytest.mark.parametrize("start", [{0: 1_000}, {0: -1}, {2: 1}, {-1: 3}])
def test_a_position_that_no_release_ended_at_is_refused(town: Town, start: dict[int, int]) -> None:
    """Whoever comes with the position of another exchange would else wait for ever for what he missed."""
    with pytest.raises(Invalid) as caught:
        list(town.gateway().read(town.reader, READ, start, "jsonl"))
    assert caught.value.code == "position_unknown"
    assert town.bodies("release") == []


def test_what_is_appended_but_not_committed_is_not_readable(town: Town) -> None:
    """A reader stops at the committed mark, in the log and in the state alike."""
    marks = {part: max(0, town.exchange.publish_parts.marks.committed(DATASET, part) - 3) for part in (0, 1)}
    gateway = town.gateway(committed=lambda _: marks)
    releases = list(gateway.read(town.reader, READ, {}, "jsonl"))
    assert {one.partition: one.next_position for one in releases} == marks
    found = gateway.lookup(town.reader, LOOKUP, MEMBERS, "jsonl")
    assert {town.exchange.state.current_to(DATASET, part) for part in (0, 1)} == set(marks.values())
    latest = {one["person_id"]: one["monthly_benefit_fen"] for one in records(*releases)}
    assert {one["person_id"]: one["monthly_benefit_fen"] for one in records(found)} == latest
    judge(town, [*releases, found])


def test_a_log_that_lost_committed_records_is_tampered(town: Town) -> None:
    """It never reads as an end of the data, and never as empty releases."""
    with pytest.raises(ExchangeError) as caught:
        list(town.gateway(committed=lambda _: dict.fromkeys((0, 1), 500)).read(town.reader, READ, {0: 100}, "jsonl"))
    assert (caught.value.code, caught.value.family) == ("log_behind_commits", "tampered")


def test_a_dataset_without_records_yet(town: Town) -> None:
    """Its read is empty; its look-up says that there is no record, and that is audited."""
    other = {**contract(town), "dataset": "hrss.other_account"}
    town.do(OWNER, c.SubmitContract(other))
    town.agree(dataset="hrss.other_account")
    assert town.read(request=replace(READ, dataset="hrss.other_account")) == []
    found = town.gateway().lookup(town.reader, replace(LOOKUP, dataset="hrss.other_account"), MEMBERS[:2], "jsonl")
    assert (found.payload, found.released) == (b"", 0)
    [body] = town.bodies("release")
    assert body["positions"] == [None, None]
    judge(town, [found])


def test_a_lookup_gives_the_latest_record_of_each_subject(town: Town) -> None:
    """A subject asked twice, or in another form of its id, is one subject; one without record is said to have none."""
    ids = [MEMBERS[0], MEMBERS[0].lower() + " ", MEMBERS[1]]
    found = town.gateway().lookup(town.reader, LOOKUP, ids, "jsonl")
    assert sorted(amounts(found)) == [13, 24]
    [body] = town.bodies("release")
    assert len(body["tags"]) == len({normalise_id("person", one) for one in ids}) == len(body["positions"])
    assert None not in body["positions"]
    places = zip(body["partitions"], body["positions"], body["tags"], strict=True)
    assert all(town.exchange.log.read(DATASET, part, at, 1).tags == [tag] for part, at, tag in places)
    judge(town, [found])


@pytest.mark.parametrize("count", [0, MOST_SUBJECTS + 1])
def test_a_lookup_has_a_size(town: Town, count: int) -> None:
    """None or too many subjects: refused before the policy is asked, since no leaf could name them all."""
    town.log.before["read"] = town.state.before["get"] = _untouched
    with pytest.raises(Invalid) as caught:
        town.gateway().lookup(town.reader, LOOKUP, [f"A{number}" for number in range(count)], "jsonl")
    assert (caught.value.code, caught.value.facts["found"]) == ("lookup_size", count)
    assert town.bodies("decision") == []


def test_the_largest_lookup_fits_into_its_entries(town: Town) -> None:
    """As a release, and as a refusal."""
    ids = [f"A{number}" for number in range(MOST_SUBJECTS)]
    with pytest.raises(Refused) as caught:
        town.gateway().lookup(town.reader, LOOKUP, ids, "jsonl")
    assert caught.value.facts["reasons"] == "not_in_case"
    town.do(READER, c.OpenCase("case-2", "person", "large", town.exchange.tags("person", ids), ()))
    found = town.gateway().lookup(town.reader, replace(LOOKUP, case="case-2"), ids, "jsonl")
    assert found.released == 0
    assert {len(body["tags"]) for body in town.bodies("release", "refusal", "decision")} == {MOST_SUBJECTS}
    judge(town, [found])


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (replace(READ, case=None), "case_required"),
        (replace(READ, case="case-9"), "case_required"),
        (replace(READ, purpose="dibao.review"), "wrong_purpose"),
        (replace(READ, fields=("bank_account",)), "field_not_granted"),
        (replace(READ, fields=("person_id", "nowhere")), "field_not_granted"),
        (replace(READ, fields=()), "malformed_question"),
        (replace(READ, action="follow"), "wrong_action"),
    ],
)
def test_a_refused_read_touches_no_data(town: Town, request_: Request, reason: str) -> None:
    """Decision and refusal are in a checkpoint when it is raised, with every reason."""
    town.log.before["read"] = _untouched
    audit = town.exchange.audit
    before = audit.size
    with pytest.raises(Refused) as caught:
        town.read(request=request_)
    assert (caught.value.code, caught.value.facts["reasons"]) == ("question_refused", reason)
    written = [(kind, body) for _, kind, body in audit.entries(before, audit.size) if kind != "schema"]
    assert [kind for kind, _ in written] == ["decision", "refusal"]
    assert {tuple(body["reasons"]) for _, body in written} == {(reason,)}
    assert written[1][1]["decision"] == written[0][1]["id"]


def test_one_outside_the_case_refuses_the_whole_lookup(town: Town) -> None:
    """Nothing of the others is told, no data is touched, and the refusal names every subject asked for by tag."""
    town.log.before["read"] = town.state.before["get"] = _untouched
    with pytest.raises(Refused) as caught:
        town.gateway().lookup(town.reader, LOOKUP, [MEMBERS[0], PERSONS[-1]], "jsonl")
    assert caught.value.facts["reasons"] == "not_in_case"
    [body] = town.bodies("refusal")
    assert {tag.hex() for tag in body["tags"]} == set(town.exchange.tags("person", [MEMBERS[0], PERSONS[-1]]))


@pytest.mark.parametrize(
    "request_",
    [replace(READ, purpose=MEMBERS[0]), replace(READ, fields=(MEMBERS[0],)), replace(READ, fields=("a" + MEMBERS[0],))],
)
def test_an_id_in_another_place_reaches_no_entry(town: Town, request_: Request) -> None:
    """A purpose and a field stand in the audit log for ever: what has not their form is turned away before."""
    before = town.exchange.audit.size
    with pytest.raises(Invalid) as caught:
        town.read(request=request_)
    assert caught.value.code == "name_malformed"
    assert MEMBERS[0] not in str(caught.value)
    assert town.entries()[before:] == []


def test_only_the_fields_asked_for(town: Town) -> None:
    """A list of fields gives exactly these."""
    releases = town.read(request=replace(READ, fields=("person_id",)))
    assert {tuple(one) for one in records(*releases)} == {("person_id",)}


@pytest.mark.parametrize("action", ["read", "lookup"])
def test_explain_releases_nothing(town: Town, action: str) -> None:
    """It gives the plan, allowed or not, leaves a decision, and touches no data."""
    town.log.before["read"] = town.state.before["get"] = _untouched
    gateway = town.gateway()
    assert gateway.explain(town.reader, replace(READ, action=action)).allowed
    refused = gateway.explain(town.reader, Request(action, DATASET, PURPOSE))
    assert refused.codes == ("case_required",)
    assert [body["effect"] for body in town.bodies("decision")] == ["allow", "deny"]
    assert town.bodies("release", "refusal") == []


def test_counts_only_where_the_agreement_allows_them(town: Town) -> None:
    """Then a release says how many records the row condition held back."""
    town.revoke()
    town.agree(counts=True)
    releases = town.read()
    assert sum(one.excluded or 0 for one in releases) == 24 - len(of_members(*range(1, 25)))


def test_an_unconditional_dataset_needs_no_agreement(town: Town) -> None:
    """It is counted by the dataset, and nothing is held back."""
    document = contract(town)
    levels = {path: {**field, "class": "L1"} for path, field in document["fields"].items()}
    share = {"type": "unconditional", "legal_basis": "x"}
    town.do(OWNER, c.SubmitContract({**document, "share": share, "fields": levels}))
    releases = town.read(request=Request("read", DATASET, "open.use"))
    assert sorted(amounts(*releases)) == list(range(1, 25))
    assert {body["agreement"] for body in town.bodies("release")} == {None}
    judge(town, releases)


def test_schemas_of_several_versions_in_one_topic(town: Town) -> None:
    """A record of a newer schema is read as the agreement's; one that cannot be is withheld, counted, and no secret."""
    gateway = town.gateway()
    document = contract(town)
    newer = json.loads(json.dumps(document["schemas"][0]))
    scheme = next(one for one in newer["fields"] if one["name"] == "scheme")
    scheme["type"]["symbols"].append("RURAL")
    newer["fields"].append({"name": "note", "type": "string", "default": "", "doc": "x"})
    fields = {**document["fields"], "note": document["fields"]["status"]}
    before = list(gateway.read(town.reader, READ, {}, "jsonl"))
    town.do(OWNER, c.SubmitContract({**document, "schemas": [document["schemas"][0], newer], "fields": fields}))
    person, rural = {"note": "n", "scheme": "RESIDENT"}, {"note": "n", "scheme": "RURAL"}
    town.publish_records({101: {**person, "person_id": MEMBERS[0]}, 102: {**rural, "person_id": MEMBERS[1]}})
    ends = {one.partition or 0: one.next_position or 0 for one in before}
    after = list(gateway.read(town.reader, READ, ends, "jsonl"))
    assert (amounts(*after), sum(one.withheld for one in after)) == ([101], 1)
    found = gateway.lookup(town.reader, LOOKUP, MEMBERS[:2], "jsonl")
    assert (amounts(found), found.withheld) == ([101], 1)
    judge(town, [*before, *after, found])
    told = list(town.exchange.withheld(town.exchange.control.model().principal(OWNER), DATASET))
    assert [(one["index"], one["withheld"]) for one in told] == [
        (one.index, 1) for one in (*after, found) if one.withheld
    ]
    desk = LocalDesk(town.exchange, town.exchange.control.model().principal(OWNER))
    page = publishing.withheld(desk, DATASET)
    assert (page.model_dump(by_alias=True)["rows"], page.next) == (told, None)
    first = publishing.withheld(desk, DATASET, limit=1)
    assert (len(first.rows), first.next) == (1, told[0]["index"] + 1)
    assert publishing.withheld(desk, DATASET, start=first.next or 0).rows == page.rows[1:]
    with pytest.raises(Refused, match="not_the_owner"):
        list(town.exchange.withheld(town.reader, DATASET))


def test_a_plan_too_large_for_a_leaf_is_refused_before_anything_is_read(town: Town) -> None:
    """Its decision stands in the log; its release could not."""
    town.revoke()
    mask = {"kind": "bucket", "edges": list(range(1_000_000, 1_005_000))}
    town.agree(fields=[{"path": "monthly_benefit_fen", "mask": mask}])
    town.log.before["read"] = _untouched
    with pytest.raises(Invalid) as caught:
        town.read()
    assert caught.value.code == "plan_too_large"
    judge(town, [])


def test_releases_of_one_view_make_one_file(town: Town) -> None:
    """Though the plan was asked for anew meanwhile: an Avro container with one header, readable to its end."""
    former, data = None, b""
    for release in town.gateway(plan_ns=SECOND).read(town.reader, READ, {}, "avro"):
        data += following(former, release)
        former = release
        town.clock.ns += 2 * SECOND
    _, values = container.read(io.BytesIO(data), "file")
    assert sorted(one["monthly_benefit_fen"] for one in values) == of_members(*range(1, 25))
    assert len(town.bodies("decision")) > 1


def test_another_view_begins_another_file(town: Town) -> None:
    """One agreement ends and one with other fields takes over: the read goes on, but no file holds both."""
    reading = town.gateway().read(town.reader, READ, {}, "avro")
    first = next(reading)
    town.revoke()
    town.agree(fields=[{"path": "person_id", "mask": {"kind": "redact"}}])
    rest = list(reading)
    assert following(None, first) == first.head + first.payload
    assert following(first, rest[0]) == rest[0].payload  # it was in a checkpoint before the end of its agreement
    with pytest.raises(Unavailable) as caught:
        following(first, rest[-1])
    assert caught.value.code == "view_changed"
    judge(town, [first, *rest])


def _untouched(*_: object) -> None:
    pytest.fail("data was touched")
