"""What the access path writes down: complete, with people by pseudonym, and never too large for a leaf."""

import json
import os
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.audit.access_entries import Access, bitmap
from exchange.audit.entries import MAX_LEAF, encode
from exchange.errors import Invalid
from exchange.names import digest, digest_bytes
from exchange.plan import Plan, Question
from exchange.signing.pseudonyms import Actors
from tests.policy.engines import HOUR, MEMBERS, NOW, REVISION, SCHEMA, agreement, question

PERSON = "svc.ny.minzheng.dibao"
ACTORS = Actors(b"k" * 32)
DECISION, RUN = b"d" * 16, b"r" * 16


def asked(**changes: Any) -> Question:
    """A question; with `tags`, a look-up of these subjects."""
    tags = changes.pop("tags", None)
    document = question(**changes)
    if tags is not None:
        document = {**document, "action": "lookup", "lookup": {"tags": [one.hex() for one in tags], "outside": []}}
    return Question.from_document(document)


def allowed(**changes: Any) -> Plan:
    """The plan that permits it."""
    document: dict[str, Any] = {
        "format": "exchange.plan/1",
        "effect": "allow",
        "reasons": [{"code": "agreement", "agreement": "agr-17", "revision": 3}],
        "dataset": "ps.hukou_person",
        "schema": SCHEMA,
        "subject": {"type": "person", "path": "id_number"},
        "purpose": "dibao.initial_check",
        "case": "case-1",
        "fields": [{"path": "name", "mask": {"kind": "keep"}}],
        "rows": {"op": "member", "set": MEMBERS},
        "obligations": [],
        "expires_ns": NOW + HOUR,
        "policy_revision": REVISION,
        "epochs": {"agreement/agr-17": 5, "case/case-1": 2, "policy": 7, f"principal/{PERSON}": 4},
    }
    return Plan.from_document({**document, **changes})


def denied(*reasons: dict[str, Any]) -> Plan:
    """A refusal for these reasons."""
    return allowed().refused(*reasons)


def access(plan: Plan | None = None, tags: tuple[bytes, ...] = (), **changes: Any) -> Access:
    """An answered question."""
    lookup = {"tags": tags} if tags else {}
    return Access(asked(**lookup, **changes), plan or allowed(), DECISION, tags, ACTORS)


def release(one: Access, **changes: Any) -> Any:
    """The entry of a release of it."""
    what: dict[str, Any] = {"released": 1, "excluded_count": 0, "withheld": 0, "view_schema": SCHEMA, "format": "avro"}
    return one.release_entry(NOW + 1, b"bytes", run=RUN, counter=1, attempt=0, **{**what, **changes})


def test_a_decision_holds_question_and_plan() -> None:
    """In full, but for the account's name; the digests are of what stands there, and of no name."""
    body = access().decision_entry(NOW, bytes).body
    told = json.loads(body["question"])
    assert {**told, "principal": asked().document["principal"]} == asked().document
    assert told["principal"] == {**asked().document["principal"], "id": ACTORS.name(PERSON)}
    del told["id"], told["now_ns"]
    assert (body["question_digest"], body["plan_digest"]) == (digest(told), digest(json.loads(body["plan"])))
    assert body["question_digest"] != asked().digest
    assert body["plan_digest"] != allowed().digest
    assert access().decision_entry(NOW, bytes).details == ()
    assert (body["effect"], body["reasons"], body["agreement"]) == ("allow", ["agreement"], "agr-17")
    assert body["epochs"] == json.loads(body["plan"])["epochs"] == dict(ACTORS.epochs(allowed().epochs))
    assert (body["expires_ns"], body["schema"], body["consumer"]) == (NOW + HOUR, SCHEMA, "ny.minzheng")


def test_no_entry_holds_a_persons_name() -> None:
    """Not as actor, not in the epochs, not where a policy gives it as a reason's detail."""
    reason = {"code": "own_data_only", "principal": PERSON}
    entries = [
        access().decision_entry(NOW, bytes),
        access(denied(reason)).decision_entry(NOW, bytes),
        access(denied(reason)).refusal_entry(RUN, NOW, ["own_data_only"]),
        release(access()),
    ]
    for entry in entries:
        assert PERSON.encode() not in encode(entry)
        assert entry.body["actor"] == ACTORS.name(PERSON)


def test_a_refusal_says_who_asked_what_and_why() -> None:
    """Every reason once, in its order; the subjects asked for by tag; a denied plan has neither epochs nor expiry."""
    plan = denied({"code": "zone"}, {"code": "zone", "path": "a"}, {"code": "not_in_case"})
    tags = (b"a" * 16, b"b" * 16)
    one = access(plan, tags)
    decision, refusal = one.decision_entry(NOW, bytes).body, one.refusal_entry(RUN, NOW, plan.codes).body
    assert decision["reasons"] == refusal["reasons"] == ["zone", "not_in_case"]
    assert (decision["effect"], decision["epochs"], decision["expires_ns"]) == ("deny", None, None)
    assert decision["tags"] == refusal["tags"] == list(tags)
    assert (refusal["decision"], refusal["question_digest"]) == (DECISION, decision["question_digest"])
    assert (refusal["purpose"], refusal["case"], refusal["zone"]) == ("dibao.initial_check", "case-1", "extranet")
    assert refusal["counter"] is None


def test_a_release_says_what_was_shown_to_whom() -> None:
    """The fields with their masks, the bytes by digest, the epochs it rests on by pseudonym."""
    entry = release(access(), topic="ps.hukou_person", partition=0, lo=0, hi=4)
    body = entry.body
    assert json.loads(body["fields"]) == [{"path": "name", "mask": {"kind": "keep"}}]
    assert (body["payload_digest"], body["payload_bytes"]) == (digest_bytes(b"bytes"), 5)
    assert (body["recipient"], body["agreement"], body["agreement_revision"]) == ("ny.minzheng", "agr-17", 3)
    assert entry.rests_on == body["epochs"] == dict(ACTORS.epochs(allowed().epochs))
    assert (body["decision"], body["policy_revision"], body["expires_ns"]) == (DECISION, REVISION, NOW + HOUR)


def test_releases_have_ids_of_their_own() -> None:
    """By run, agreement, number and attempt; the same release again has the same."""
    one = access()
    ids = {
        release(one).id,
        one.release_entry(NOW, b"", run=RUN, counter=2, attempt=0, **_COUNTS).id,
        one.release_entry(NOW, b"", run=RUN, counter=1, attempt=1, **_COUNTS).id,
        one.release_entry(NOW, b"", run=DECISION, counter=1, attempt=0, **_COUNTS).id,
    }
    assert len(ids) == 4
    assert release(one).id == release(one).id


_COUNTS: Any = {"released": 0, "excluded_count": 0, "withheld": 0, "view_schema": SCHEMA, "format": "csv"}


@pytest.mark.parametrize("count", [1, 500, 690, 720, 1_000])
def test_the_largest_entries_fit(count: int) -> None:
    """A question and a plan stand in the leaf where they fit; their digests and the tags always do."""
    tags = tuple(number.to_bytes(16, "big") for number in range(count))
    wide = [{"path": f"field_{number}", "mask": {"kind": "keep"}} for number in range(500)]
    one = access(allowed(fields=wide), tags)
    one.check_size()
    positions: Any = {"tags": list(tags), "partitions": [999] * count, "positions": [1 << 60] * count}
    for entry in (one.decision_entry(NOW, bytes), one.refusal_entry(RUN, NOW, ["x"]), release(one, **positions)):
        assert len(encode(entry)) <= MAX_LEAF


def test_a_plan_that_no_release_could_name() -> None:
    """Its size is known before anything is read; its decision still stands in the log, by digest, and beside it."""
    wide = [{"path": f"field_{number}", "mask": {"kind": "keep"}} for number in range(5_000)]
    one = access(allowed(fields=wide))
    entry = one.decision_entry(NOW, os.urandom)
    assert entry.body["plan"] is None
    assert entry.body["question"] is not None
    (detail,) = entry.details
    assert entry.body["plan_digest"] == detail.name == "detail:" + digest_bytes(detail.text)
    content = json.loads(detail.text)["content"]
    assert list(content) == ["plan"]
    assert Plan.from_document(content["plan"]).fields == one.plan.fields
    assert PERSON.encode() not in detail.text
    assert one.decision_entry(NOW, os.urandom).details[0].name != detail.name  # nobody can try what it says
    with pytest.raises(Invalid) as caught:
        one.check_size()
    assert caught.value.code == "plan_too_large"


def test_counts_are_those_of_the_agreement_it_rests_on() -> None:
    """Not of another candidate, and never without an agreement."""
    silent, telling = agreement(), {**agreement(id="agr-18"), "counts": True}
    assert not access(agreements=[silent, telling]).counts
    assert access(agreements=[{**silent, "counts": True}]).counts
    assert not access(allowed(reasons=[{"code": "unconditional"}]), agreements=[telling]).counts


@given(st.sets(st.integers(0, 10_000), max_size=60), st.integers(1, 500))
def test_the_bitmap_has_a_bit_for_each_position(offsets: set[int], more: int) -> None:
    """Least significant bit first, exactly as long as the range; none at all for nothing held back."""
    length = max(offsets, default=0) + more
    made = bitmap(sorted(offsets), length)
    if made is None:
        assert not offsets
        return
    bits = zlib.decompress(made)
    assert len(bits) == (length + 7) // 8
    assert {at for at in range(8 * len(bits)) if bits[at >> 3] >> (at & 7) & 1} == offsets
