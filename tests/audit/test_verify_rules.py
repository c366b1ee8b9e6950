"""Rules for entries: each test forges exactly one thing, signs it with the log's own key, and it is found."""

import json
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from exchange.audit import verify_rights, verify_rules
from exchange.audit.details import Detail
from exchange.audit.entries import Entry, counters_digest, make
from exchange.audit.verify import verify
from exchange.audit.verify_state import read_state
from exchange.names import canonical, digest
from tests.audit.building import (
    DECISION,
    DIGEST,
    RUN,
    START_NS,
    VKEY,
    approved,
    commit,
    control,
    decision,
    gateway_run,
    grounds,
    leaves_of,
    refusal,
    release,
    write_log,
)

FIRST = 18  # index of what stands behind the schemas, the grounds and the approval
OTHER = "sha256:" + "1" * 64
_TERMS: dict[str, Any] = {
    "consumer": "ny.minzheng",
    "dataset": "ps.person",
    "purpose": "dibao.review",
    "actions": ["read"],
    "case_bound": False,
    "not_before_ns": 0,
    "expires_ns": START_NS * 2,
    "fields": [{"path": "name", "mask": {"kind": "keep"}}],
}


def _bad(entries: Sequence[Entry], tmp_path: Path) -> list[tuple[str, int | None]]:
    """What is found in a log of these entries, signed with its own key."""
    shutil.rmtree(tmp_path / "log", ignore_errors=True)
    verdict = verify(write_log(tmp_path / "log", leaves_of(entries)), VKEY)
    return [(one.code, one.index) for one in verdict.findings]


def _after(tmp_path: Path, *entries: Entry) -> list[tuple[str, int | None]]:
    """The same, behind the grounds and the approval; indexes count from there."""
    found = _bad([*grounds(), control(1), *entries], tmp_path)
    return [(code, None if index is None else index - FIRST) for code, index in found]


def test_entries_built_by_the_rules_are_sound(tmp_path: Path) -> None:
    """The forged logs below fail for their own reason: without it they pass."""
    epochs = {"policy": 1}
    many = [release(n, epochs=epochs) for n in (2, 1, 4)]  # several in flight: their order may change
    entries = [*grounds(epochs), control(1, policy=1), *many, refusal(1, run=RUN, counter=3)]
    assert _bad(entries, tmp_path) == []
    assert _after(tmp_path, release(1)) == []


def test_a_release_behind_its_epochs(tmp_path: Path) -> None:
    """A release after the entry that ended its right is named, even though the log is signed."""
    late = release(1, epochs={"policy": 1})
    entries = [*grounds({"policy": 1}), control(1, policy=1), control(2, policy=2), late]
    assert _bad(entries, tmp_path) == [("release_behind", FIRST + 1)]


def test_a_release_that_rests_on_nothing_known(tmp_path: Path) -> None:
    """An epoch that no entry ever raised."""
    entries = [*grounds({"policy": 1}), control(1), release(1, epochs={"policy": 1})]
    assert _bad(entries, tmp_path) == [("release_behind", FIRST)]


def test_a_release_that_hides_an_epoch(tmp_path: Path) -> None:
    """It must name the epoch of its agreement, where the log has one: else a later end of the right would not show."""
    entries = [*grounds(), control(1, agreement_agr=1), release(1)]
    assert _bad(entries, tmp_path) == []
    raising = approved(1, raises={"agreement/agr-1": 1})
    assert _bad([*grounds(), raising, release(1)], tmp_path) == [("epoch_unnamed", FIRST)]


def test_a_gap_in_the_counters(tmp_path: Path) -> None:
    """A release number that neither a release nor a refusal has."""
    assert _after(tmp_path, release(1), release(3)) == [("counter_gap", 1)]
    assert _after(tmp_path, release(1), refusal(1, run=RUN, counter=2), release(3)) == []


def test_a_counter_used_twice(tmp_path: Path) -> None:
    """Two releases with one number; another agreement or run counts for itself."""
    again = release(1, attempt=1)
    assert _after(tmp_path, release(1), again) == [("counter_repeated", 1)]
    other = make("gateway_run", b"2" * 16, START_NS, run=b"s" * 16, gateway="gw-2")
    assert _after(tmp_path, other, release(1), release(1, run=b"s" * 16)) == []


def test_a_release_after_its_expiry(tmp_path: Path) -> None:
    """The gateway's own time is not before the plan's expiry."""
    plan = decision(b"e" * 16, expires_ns=START_NS + 1)
    late = release(1, decision=b"e" * 16, expires_ns=START_NS + 1)
    assert _after(tmp_path, plan, late) == [("release_expired", 1)]


def test_a_release_without_its_decision(tmp_path: Path) -> None:
    """None named, one that is not in the log, one that stands behind it."""
    assert _after(tmp_path, release(1, decision=None)) == [("decision_missing", 0)]
    later = release(1, decision=b"e" * 16)
    assert _after(tmp_path, later, decision(b"e" * 16)) == [("decision_missing", 0)]


def test_a_release_under_a_refusal(tmp_path: Path) -> None:
    """The decision said no."""
    no = decision(b"e" * 16, effect="deny", reasons=["not_in_case"])
    assert _after(tmp_path, no, release(1, decision=b"e" * 16)) == [("decision_denied", 1)]


@pytest.mark.parametrize(
    "fields",
    [
        {"recipient": "ny.weijian"},
        {"dataset": "ps.other"},
        {"purpose": "tax"},
        {"action": "follow"},
        {"schema": OTHER},
        {"expires_ns": START_NS * 3},
        {"case": "case-2"},
        {"zone": "public"},
        {"actor": "0" * 32},
        {"fields": '[{"mask":{"kind":"keep"},"path":"bank_account"}]'},
    ],
)
def test_a_release_of_something_else_than_was_decided(tmp_path: Path, fields: dict[str, Any]) -> None:
    """To somebody else, of something else, for another purpose, longer, of more fields."""
    plan = json.dumps({"fields": [{"path": "name", "mask": {"kind": "keep"}}]})
    allowed = decision(b"e" * 16, plan=plan)
    assert _after(tmp_path, allowed, release(1, decision=b"e" * 16)) == []
    assert _after(tmp_path, allowed, release(1, decision=b"e" * 16, **fields)) == [("decision_differs", 1)]


def test_a_release_with_other_epochs_than_were_decided(tmp_path: Path) -> None:
    """The decision rested on something that the release leaves out, and the other way round."""
    allowed = decision(b"e" * 16, epochs={"case/c": 1})
    assert _after(tmp_path, allowed, release(1, decision=b"e" * 16)) == [("decision_differs", 1)]


def test_a_refusal_of_another_question(tmp_path: Path) -> None:
    """A refusal names the decision that it comes from, and its question; an unknown one is named too."""
    assert _after(tmp_path, refusal(1, decision=DECISION, question_digest=DIGEST)) == []
    other = refusal(1, decision=DECISION, question_digest=OTHER)
    assert _after(tmp_path, other) == [("decision_differs", 0)]
    assert _after(tmp_path, refusal(1, decision=b"e" * 16)) == [("decision_missing", 0)]


def test_a_release_without_any_ground(tmp_path: Path) -> None:
    """No agreement, and the decision names no ground that needs none."""
    for reasons, found in ((["agreement"], [("agreement_missing", 1)]), (["unconditional"], [])):
        opened = decision(b"e" * 16, agreement=None, reasons=reasons)
        assert _after(tmp_path, opened, release(1, decision=b"e" * 16, agreement=None)) == found


@pytest.mark.parametrize("event", ["requested", "returned", "rejected", "revoked", "expired"])
def test_a_release_under_an_agreement_that_is_not_in_force(tmp_path: Path, event: str) -> None:
    """Asked for, returned, rejected, revoked, expired: whatever the epochs say."""
    ended = approved(2, type=f"agreement.{event}/1")
    assert _after(tmp_path, release(1), ended, release(2)) == [("agreement_not_in_force", 2)]


def test_a_release_under_an_unknown_agreement(tmp_path: Path) -> None:
    """No entry ever approved it; or another revision of it was approved."""
    other = decision(b"e" * 16, agreement="agr-2")
    unknown = release(1, decision=b"e" * 16, agreement="agr-2")
    assert _after(tmp_path, other, unknown) == [("agreement_not_in_force", 1)]
    assert _after(tmp_path, release(1, agreement_revision=1)) == []
    assert _after(tmp_path, release(1, agreement_revision=2)) == [("agreement_not_in_force", 0)]


@pytest.mark.parametrize(
    "terms",
    [
        {"consumer": "ny.weijian"},
        {"dataset": "ps.other"},
        {"purpose": "tax"},
        {"actions": ["lookup"]},
        {"case_bound": True},
        {"not_before_ns": START_NS * 2},
        {"expires_ns": START_NS},
        {"fields": [{"path": "nam", "mask": {"kind": "keep"}}]},
    ],
)
def test_a_release_outside_its_agreement(tmp_path: Path, terms: dict[str, Any]) -> None:
    """The policy allowed what the agreement does not say: consumer, dataset, purpose, action, case, period, fields."""
    shown = release(1, fields='[{"mask":{"kind":"keep"},"path":"name"}]')
    good = approved(2, data=json.dumps({"terms": _TERMS}))
    assert _after(tmp_path, good, shown) == []
    bad = approved(2, data=json.dumps({"terms": {**_TERMS, **terms}}))
    assert _after(tmp_path, bad, shown) == [("outside_agreement", 1)]


def test_an_approval_by_one_who_took_part(tmp_path: Path) -> None:
    """Three different people; a policy's activation by who submitted it; an approval of what was never endorsed."""
    people = [
        approved(2, type="agreement.requested/1", actor="1" * 32),
        approved(3, type="agreement.endorsed/1", actor="2" * 32),
    ]
    assert _after(tmp_path, *people, approved(4, actor="3" * 32)) == []
    for actor in ("1" * 32, "2" * 32):
        assert _after(tmp_path, *people, approved(4, actor=actor)) == [("approval_same_person", 2)]
    same = approved(3, type="agreement.endorsed/1", actor="1" * 32)
    assert _after(tmp_path, people[0], same) == [("approval_same_person", 1)]
    assert _after(tmp_path, people[0], approved(3, actor="3" * 32)) == [("approval_out_of_order", 1)]
    data = json.dumps({"revision": OTHER})
    submitted = approved(1, "x", aggregate="policy", type="policy.submitted/1", data=data, actor="1" * 32)
    for actor, found in (("2" * 32, []), ("1" * 32, [("approval_same_person", 1)])):
        active = approved(2, "y", aggregate="policy", type="policy.activated/1", data=data, actor=actor)
        assert _after(tmp_path, submitted, active) == found


def test_an_event_that_is_missing(tmp_path: Path) -> None:
    """Versions of what an event happened to rise by one: a revocation taken out shows."""
    assert _after(tmp_path, control(3)) == [("control_gap", 0)]
    assert _after(tmp_path, approved(1)) == [("control_gap", 0)]


def test_a_release_under_a_policy_that_was_not_active(tmp_path: Path) -> None:
    """Withdrawn, superseded, never known: the decision that names it does not help."""
    gone = make("policy_revision", b"w" * 16, START_NS, event="withdrawn", revision=DIGEST)
    assert _after(tmp_path, gone, release(1)) == [("policy_not_active", 1)]
    event = approved(1, "z", aggregate="policy", type="policy.withdrawn/1")
    assert _after(tmp_path, event, release(1)) == [("policy_not_active", 1)]
    other = make("policy_revision", b"a" * 16, START_NS, event="activated", revision=OTHER)
    assert _after(tmp_path, other, release(1)) == [("policy_not_active", 1)]


@pytest.mark.parametrize("lo_hi", [(995, 1_005), (1_000, 1_001), (-1, 5), (7, 7), (9, 3)])
def test_a_release_of_positions_that_nobody_committed(tmp_path: Path, lo_hi: tuple[int, int]) -> None:
    """Beyond the last commit of the partition, below its first position, no positions at all."""
    found = _after(tmp_path, release(1, lo=lo_hi[0], hi=lo_hi[1], released=0))
    assert ("range_uncommitted", 0) in found
    assert {code for code, _ in found} <= {"range_uncommitted", "release_counts"}


def test_a_release_of_another_partition(tmp_path: Path) -> None:
    """Each partition has its own commits; an answer from the state names its record's."""
    assert _after(tmp_path, release(1, partition=1)) == [("range_uncommitted", 0)]
    answer: dict[str, Any] = {"lo": None, "hi": None, "partition": None, "tags": [b"t" * 16], "partitions": [0]}
    assert _after(tmp_path, release(1, **answer, positions=[999], released=1)) == []
    assert _after(tmp_path, release(1, **answer, positions=[None], released=0)) == []
    assert _after(tmp_path, release(1, **answer, positions=[1_000])) == [("range_uncommitted", 0)]
    assert _after(tmp_path, release(1, **answer, positions=[])) == [("release_counts", 0)]


def test_commits_follow_one_another(tmp_path: Path) -> None:
    """A gap, an overlap, more records than positions."""
    assert _after(tmp_path, commit(1_000, 1_010)) == []
    assert _after(tmp_path, commit(1_001, 1_010)) == [("commit_range", 0)]
    assert _after(tmp_path, commit(999, 1_010)) == [("commit_range", 0)]
    assert _after(tmp_path, commit(1_000, 1_010, count=11)) == [("commit_range", 0)]


def test_numbers_that_do_not_fit_a_range(tmp_path: Path) -> None:
    """More records than positions; held back without a bitmap, or with another number than it has."""
    assert _after(tmp_path, release(1, released=11)) == [("release_counts", 0)]
    assert _after(tmp_path, release(1, released=5, excluded_count=2)) == [("release_counts", 0)]
    bits = zlib.compress(b"\x03\x00")
    assert _after(tmp_path, release(1, released=8, excluded_count=1, withheld=1, excluded=bits)) == []
    assert _after(tmp_path, release(1, released=8, excluded_count=1, excluded=bits)) == [("release_counts", 0)]
    assert _after(tmp_path, release(1, released=-1)) == [("release_counts", 0)]


def test_a_run_that_nobody_opened(tmp_path: Path) -> None:
    """A release of a run without its opening entry."""
    assert _after(tmp_path, release(1, run=b"s" * 16)) == [("run_unknown", 0)]


def _next(**fields: Any) -> Entry:
    usual = {"previous": RUN, "previous_counters_digest": counters_digest({"agr-1": 2})}
    return gateway_run(b"s" * 16, **{**usual, **fields})


def test_a_run_names_the_end_of_the_one_before(tmp_path: Path) -> None:
    """The last releases of a run taken out show in the next one's opening entry; so does a run taken out."""
    both = [release(1), release(2)]
    assert _after(tmp_path, *both, _next()) == []
    assert _after(tmp_path, both[0], _next()) == [("run_end_differs", 1)]
    assert _after(tmp_path, *both, _next(previous=None, previous_counters_digest=None)) == [("run_order", 2)]
    assert _after(tmp_path, *both, _next(previous=b"x" * 16)) == [("run_order", 2)]
    assert _after(tmp_path, *both, _next(), release(3)) == [("run_order", 3)]
    twice = make("gateway_run", b"2" * 16, START_NS, run=RUN, gateway="gw-2")
    assert _after(tmp_path, twice) == [("run_order", 0)]


def test_an_id_used_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in memory, and where the ids went to temporary files."""
    entries = [*grounds(), control(1), refusal(1), refusal(2), refusal(1)]
    assert _bad(entries, tmp_path) == [("id_repeated", FIRST + 2)]
    monkeypatch.setattr(verify_rules, "_IDS_IN_MEMORY", 2)
    assert _bad(entries, tmp_path) == [("id_repeated", FIRST + 2)]


def test_many_decisions_go_to_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old decision is still known."""
    monkeypatch.setattr(verify_rights, "_KEPT", 4)
    many = [decision(bytes([n]) * 16) for n in range(1, 20)]
    assert _after(tmp_path, *many, release(1), release(2, decision=b"\x01" * 16)) == []
    assert _after(tmp_path, *many, release(1, decision=b"\xff" * 16)) == [("decision_missing", 19)]


@pytest.mark.parametrize(
    ("excluded", "good"),
    [
        (zlib.compress(b"\x00\x02"), True),
        (zlib.compress(b"\x00"), False),
        (zlib.compress(b"\x00\x02\x00"), False),
        (zlib.compress(bytes(20_000_000), 9), False),
        (zlib.compress(b"\x00\x02") + b"x", False),
        (zlib.compress(b"\x00\x02")[:-1], False),
        (b"", False),
        (b"garbage", False),
    ],
)
def test_a_bitmap_that_does_not_fit(tmp_path: Path, excluded: bytes, good: bool) -> None:
    """Too short, too long, a decompression bomb, garbage: one finding, and never more memory than the range needs."""
    shown = release(1, released=9, excluded_count=1, excluded=excluded)
    assert _after(tmp_path, shown) == ([] if good else [("excluded_malformed", 0)])


@pytest.mark.parametrize("lo_hi", [(0, 0), (10, 0), (0, 1 << 60), (None, None)])
def test_a_bitmap_of_an_impossible_range(tmp_path: Path, lo_hi: tuple[int | None, int | None]) -> None:
    """A bitmap over no range, a reversed one or an immense one."""
    found = _after(tmp_path, release(1, released=0, excluded=zlib.compress(b"\x00"), lo=lo_hi[0], hi=lo_hi[1]))
    assert ("excluded_malformed", 0) in found


@pytest.mark.parametrize("data", ["7", "[]", "{", '{"terms": 7}', '{"terms": {}}'])
def test_an_event_whose_data_is_no_object(tmp_path: Path, data: str) -> None:
    """Named, never a crash; nor does a release under it crash."""
    codes = {code for code, _ in _after(tmp_path, approved(2, data=data), release(1))}
    assert codes
    assert codes <= {"entry_undecodable", "agreement_not_in_force"}


def _segment(topic: str, lo: int, hi: int, rows: Sequence[bytes], **fields: Any) -> Entry:
    """A segment of so few rows that they are one page."""
    page = b"".join(sorted(rows))
    hashes = [sha256(b"\x00" + page).digest()] if rows else []
    usual: dict[str, Any] = {
        "topic": topic,
        "partition": 0,
        "lo": lo,
        "hi": hi,
        "count": len(rows),
        "page_records": 256,
        "root": hashes[0] if rows else sha256(b"").digest(),
        "digest": "sha256:" + sha256(page + b"".join(hashes)).hexdigest(),
    }
    identity = sha256(repr((topic, lo, hi, fields)).encode()).digest()[:16]
    return make("index_segment", identity, START_NS, **{**usual, **fields})


def test_segments_over_the_log_are_made_again(tmp_path: Path) -> None:
    """Each that is not what the entries give is named: a row too few, another root, another count, another digest; and
    larger ones in the place of several are judged alike.
    """
    tags = [bytes([number]) * 16 for number in range(3)]
    entries = [
        release(1),
        refusal(1, tags=tags[:2]),
        make("audit_query", b"q" * 16, START_NS, query="x", tags=tags[2:]),
    ]
    at = [number.to_bytes(8, "big") for number in range(FIRST, FIRST + 6)]
    named = [tags[0] + at[1], tags[1] + at[1], tags[2] + at[2]]
    place = sha256(b"ps.person\x00" + bytes(4)).digest()[:16]
    ranges = [place + (10).to_bytes(8, "big") + (20).to_bytes(8, "big") + at[0]]
    end = FIRST + 3
    sound = [_segment("@named", 0, FIRST + 2, named[:2]), _segment("@named", FIRST + 2, end, named[2:])]
    both = [*sound, _segment("@named", 0, end, named), _segment("@ranges", 0, end, ranges)]
    assert _after(tmp_path, *entries, *both) == []
    for bad in (
        _segment("@named", 0, end, named[:2]),
        _segment("@named", 0, end, named, root=bytes(32)),
        _segment("@named", 0, end, named, count=4),
        _segment("@named", 0, end, named, digest=None),
        _segment("@ranges", 0, end, []),
        _segment("@ranges", 0, end, [ranges[0][:-1] + b"\x00"]),
    ):
        assert _after(tmp_path, *entries, bad) == [("segment_differs", 3)]


def test_segments_go_on_where_others_end(tmp_path: Path) -> None:
    """A gap, no length, entries that are not there yet, a second partition of the log: each is named."""
    for bad in (
        _segment("@named", 5, 9, []),
        _segment("@named", 4, 4, []),
        _segment("@named", 0, FIRST + 1, []),
        _segment("@ranges", 0, 9, [], partition=1),
        _segment("ps.person", 7, 9, [b"x"] * 2),
    ):
        assert ("segment_span", 0) in _after(tmp_path, bad)


def test_segments_of_records_hold_as_many_as_were_committed(tmp_path: Path) -> None:
    """To the end of a commit exactly as many; within one not more; of nothing that no publisher committed."""
    rows = [number.to_bytes(24, "big") for number in range(1_000)]
    assert _after(tmp_path, _segment("ps.person", 0, 1_000, rows)) == []
    assert _after(tmp_path, _segment("ps.person", 0, 400, rows[:300])) == []
    more = [commit(1_000, 1_010, count=7), _segment("ps.person", 1_000, 1_010, rows[:7])]
    assert _after(tmp_path, _segment("ps.person", 0, 1_000, rows), *more) == []
    assert _after(tmp_path, _segment("ps.person", 0, 1_000, rows[:-1])) == [("segment_differs", 0)]
    assert _after(tmp_path, more[0], _segment("ps.person", 0, 1_005, rows, count=1_008)) == [("segment_differs", 1)]
    assert _after(tmp_path, _segment("ps.person", 0, 1_001, rows)) == [("segment_span", 0)]
    assert _after(tmp_path, _segment("ps.other", 0, 10, rows[:10])) == [("segment_span", 0)]


def test_a_resumed_run_makes_again_what_it_has_seen(tmp_path: Path) -> None:
    """A segment that reaches behind its beginning is counted as not judged; later ones are judged; a state of a version
    that judged none is not gone on from.
    """
    log, state = tmp_path / "log", tmp_path / "state"
    before = [*grounds(), control(1), release(1)]
    start = len(leaves_of(before))
    write_log(log, leaves_of(before))
    assert verify(log, VKEY, state=state).ok
    old = state.read_bytes()
    more = [refusal(1), _segment("@named", 0, start + 1, [b"x" * 24]), _segment("@named", start + 1, start + 2, [])]
    write_log(log, leaves_of([*before, *more]))
    found = verify(log, VKEY, state=state)
    assert (found.ok, found.resumed_at, found.unchecked["segments"]) == (True, start, 1)
    state.write_bytes(old)
    write_log(log, leaves_of([*before, *more, _segment("@named", start + 2, start + 3, [b"x" * 24])]))
    assert [(one.code, one.index) for one in verify(log, VKEY, state=state).findings] == [
        ("segment_differs", start + 3)
    ]
    kept = read_state(state, VKEY)
    assert kept is not None
    replace(kept, rules={name: value for name, value in kept.rules.items() if name != "segments"}).write(state)
    again = verify(log, VKEY, state=state)
    assert (again.resumed_at, [one.code for one in again.findings]) == (0, ["segment_differs"] * 2)


def _stated(identity: bytes, asked_of: dict[str, Any], planned: dict[str, Any], **fields: Any) -> Entry:
    """A decision in which question and plan stand, with their digests."""
    asked = {name: value for name, value in asked_of.items() if name not in ("id", "now_ns")}
    texts = {"question": canonical(asked_of).decode(), "plan": canonical(planned).decode()}
    return decision(identity, **{**texts, "question_digest": digest(asked), "plan_digest": digest(planned), **fields})


def test_a_decision_that_is_not_what_its_digests_say(tmp_path: Path) -> None:
    """Question or plan were changed with the leaf, and a digest was not: other entries and people have that digest."""
    question: dict[str, Any] = {"id": "q-1", "now_ns": 5, "purpose": "p"}
    plan: dict[str, Any] = {"fields": []}
    sound = _stated(b"e" * 16, question, plan)
    assert _after(tmp_path, sound, _stated(b"f" * 16, {**question, "id": "q-2"}, plan)) == []
    for changed in ({"question": '{"purpose":"other"}'}, {"plan": '{"fields":[{}]}'}):
        name = f"{next(iter(changed))}_digest"
        forged = _stated(b"f" * 16, question, plan, **changed)
        assert _after(tmp_path, sound, forged) == [("decision_not_its_digest", 1)], name
        assert _after(tmp_path, forged) == []  # of an older version, for all that the log says


def test_a_refusal_of_a_question_beside_the_log(tmp_path: Path) -> None:
    """The decision names a detail; its refusal then gives no digest at all."""
    detail = Detail.of("decision", START_NS, bytes(16), {"question": {}})
    beside = decision(b"e" * 16, details=[detail], question_digest=detail.name, effect="deny", reasons=["x"])
    assert _after(tmp_path, beside, refusal(1, decision=b"e" * 16, question_digest=None)) == []
    found = _after(tmp_path, beside, refusal(1, decision=b"e" * 16, question_digest=DIGEST))
    assert found == [("decision_differs", 1)]
