"""The ACCESS path, on one page: everything that leaves obeys a plan, and is in the audit log before its first byte.

    1 question   with every fact it rests on          5 apply      the plan to the records
    2 plan       asked of the policy, or kept         6 audit      the release's entry, in a signed checkpoint
    3 decision   its entry; a refusal ends here       7 hand over  within 2 s of that, or throw away
    4 read       from the log, or from the state

A reader keeps several releases between 5 and 7 in flight; they are handed over in order.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from exchange.audit.access_entries import Access, bitmap, codes
from exchange.audit.entries import Entry
from exchange.audit.log import AuditLog
from exchange.control.control import Control
from exchange.control.model import Principal
from exchange.control.questions import Request, facts, with_lookup
from exchange.envelope import Stored
from exchange.errors import Refused, Unavailable
from exchange.log import RecordLog
from exchange.plan import Plan, Question
from exchange.signing.pseudonyms import Actors
from exchange.signing.tags import SubjectTagger
from exchange.state import StateStore, follow
from exchange.view.compiled import View
from exchange.view.formats import Format, body, header

HAND_OVER_NS: Final = 2_000_000_000  # design.md, decision 2
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Release:
    """One batch of a view, audited: its entry stands at `index` of the log that `checkpoint` signs.

    `payload` is in the asked format, after the reader's `head`. `excluded` is None unless the agreement allows counts.
    """

    index: int
    checkpoint: bytes
    partition: int | None
    next_position: int | None
    head: bytes
    payload: bytes
    released: int
    excluded: int | None
    withheld: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What the path is made of.

    `decide` asks the policy for a question's plan (it never raises for a policy's fault), `view` compiles a plan,
    `committed` says up to where a partition's records have their `record.commit` entry, `members` gives the set of
    tags of that name, `start_run` writes the opening entry of a gateway's run.
    """

    control: Control
    decide: Callable[[Question], Plan]
    view: Callable[[Plan], View]
    log: RecordLog
    state: StateStore
    audit: AuditLog
    committed: Callable[[str, int], int]
    members: Callable[[str], frozenset[bytes]]
    start_run: Callable[[bytes], None]
    tagger: SubjectTagger
    actors: Actors
    now_ns: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    release_records: int
    in_flight: int
    plan_ns: int


@dataclass(frozen=True, slots=True)
class _Decided:
    access: Access
    view: View
    counts: bool
    since_ns: int


@dataclass(frozen=True, slots=True)
class _Prepared:
    decided: _Decided
    entry: Entry
    release: Release


class Gateway:
    """One run of a gateway: it decides, applies, audits and hands over, and numbers its releases per agreement.

    One reader at a time; a process that serves many makes one gateway for each thread.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._run = b""
        self._counters: dict[str, int] = {}
        self._kept: dict[str, _Decided] = {}

    def read(self, who: Principal, request: Request, start: Mapping[int, int], form: Format) -> Iterator[Release]:
        """Releases of the dataset's records from `start` (partition → position) to what is committed now.

        Raises:
            Refused: `question_refused` with the plan's reasons, before any record is read or between two releases.
            Unavailable: nothing more is released; go on later from the last release's `next_position`.
        """
        self._decided(who, request)
        for partition in range(self._parts.log.topics().get(request.dataset, 0)):
            yield from self._stream(who, request, partition, start.get(partition, 0), form)

    def lookup(self, who: Principal, request: Request, ids: Sequence[str], form: Format) -> Release:
        """One release with the latest record of each of these subjects that the plan lets through.

        Raises:
            Refused: `question_refused`; with reason `not_in_case` where a subject is no member of the case.
        """
        dataset = self._parts.control.model().dataset(request.dataset)
        tags = sorted(set(self._parts.tagger.tags(dataset.subject_type, ids)))
        for attempt in range(_TRIES):
            release = self._handed_over(self._answer(self._decided(who, request, tags), tags, form, attempt))
            if release is not None:
                return release
            self._kept.clear()
        raise Unavailable("release_unstable", where=request.dataset)

    def explain(self, who: Principal, request: Request) -> Plan:
        """The plan for a request, allowed or not; its decision entry is in a checkpoint, and nothing is released."""
        question = self._question(who, request, None)
        plan = self._parts.decide(question)
        access = Access(question, plan, self._parts.random_bytes(16), (), self._parts.actors)
        self._parts.audit.append(access.decision_entry(self._parts.now_ns()))
        return plan

    def _decided(self, who: Principal, request: Request, tags: Sequence[bytes] | None = None) -> _Decided:
        """Steps 1 to 3. The decision's entry is durable; a refusal's is in a checkpoint when it is raised."""
        parts = self._parts
        question = self._question(who, request, tags)
        now = parts.now_ns()
        kept = self._kept.get(question.digest)
        if kept is not None and now - kept.since_ns < parts.plan_ns and now < kept.access.plan.expires_ns:
            return kept
        plan = parts.decide(question)
        access = Access(question, plan, parts.random_bytes(16), tags or (), parts.actors)
        if plan.effect != "allow":
            refusal = access.refusal_entry(parts.random_bytes(16), now, codes(plan))
            parts.audit.submit([access.decision_entry(now), refusal])
            parts.audit.wait(refusal.id)
            reasons = ", ".join(codes(plan))
            raise Refused("question_refused", where=request.dataset, purpose=request.purpose, reasons=reasons)
        view = parts.view(plan)
        parts.audit.submit([access.decision_entry(now)])
        # A crash here leaves a decision without a release in the log; nothing was handed over.
        decided = _Decided(access, view, _counts_allowed(access), now)
        self._kept[question.digest] = decided
        return decided

    def _question(self, who: Principal, request: Request, tags: Sequence[bytes] | None) -> Question:
        parts = self._parts
        identity = "q-" + parts.random_bytes(16).hex()
        document = facts(parts.control.model(), who, request, id=identity, now_ns=parts.now_ns())
        if tags is not None:
            case = document["case"]
            document = with_lookup(document, tags, parts.members(case["members"]) if case else None)
        return Question.from_document(document)

    def _stream(
        self, who: Principal, request: Request, partition: int, position: int, form: Format
    ) -> Iterator[Release]:
        until = self._parts.committed(request.dataset, partition)
        waiting: deque[_Prepared] = deque()
        depth = self._parts.in_flight
        attempts: dict[int, int] = {}  # by first position: how often a range was prepared in vain
        while position < until or waiting:
            decided = self._decided(who, request)
            while position < until and len(waiting) < depth:
                tried = attempts.get(position, 0)
                waiting.append(self._batch(decided, partition, position, until, form, tried))
                position = int(waiting[-1].entry.body["hi"])
            first = waiting.popleft()
            release = self._handed_over(first)
            if release is not None:
                yield release
                continue
            # Refused for its epoch, or too old: what is in flight behind it is not handed over either. Once more from
            # there, one release at a time, under a plan that is asked for anew.
            position, depth = int(first.entry.body["lo"]), 1
            for spoiled in (first, *waiting):
                lo = int(spoiled.entry.body["lo"])
                attempts[lo] = attempts.get(lo, 0) + 1
            self._abandon(waiting)
            if attempts[position] >= _TRIES:
                raise Unavailable("release_unstable", where=request.dataset)

    def _batch(
        self, decided: _Decided, partition: int, position: int, until: int, form: Format, attempt: int
    ) -> _Prepared:
        """Steps 4 to 6 for one range of the log: its entry is durable, `_handed_over` waits for the checkpoint."""
        topic = decided.access.plan.dataset
        stored = _up_to(until, self._parts.log.read(topic, partition, position, self._parts.release_records))
        end = stored.next_position
        applied = decided.view.apply(stored.schema_ids, stored.values, stored.tags)
        held_back = [stored.positions[i] - position for i in (*applied.excluded, *applied.withheld)]
        return self._prepared(
            decided,
            form,
            applied.values,
            Release(-1, b"", partition, end, b"", b"", len(applied.kept), len(applied.excluded), len(applied.withheld)),
            attempt=attempt,
            topic=topic,
            partition=partition,
            lo=position,
            hi=end,
            excluded=bitmap(held_back, end - position),
        )

    def _answer(self, decided: _Decided, tags: Sequence[bytes], form: Format, attempt: int) -> _Prepared:
        """Steps 4 to 6 for an answer of the state, brought up to what is committed first."""
        parts, topic = self._parts, decided.access.plan.dataset
        for partition in range(parts.log.topics().get(topic, 0)):
            follow(parts.state, parts.log.read, topic, partition, parts.committed(topic, partition))
        latest = parts.state.get(topic, tags)
        found = [latest[tag] for tag in tags if tag in latest]
        applied = decided.view.apply(
            [one.schema_id for one in found], [one.value for one in found], [one.tag for one in found]
        )
        shown = {found[i].tag for i in applied.kept}
        return self._prepared(
            decided,
            form,
            applied.values,
            Release(-1, b"", None, None, b"", b"", len(applied.kept), len(applied.excluded), len(applied.withheld)),
            attempt=attempt,
            topic=topic,
            tags=list(tags),
            partitions=[latest[tag].partition if tag in latest else 0 for tag in tags],
            positions=[latest[tag].position if tag in shown else None for tag in tags],
        )

    def _prepared(
        self,
        decided: _Decided,
        form: Format,
        values: Sequence[Mapping[str, object]],
        release: Release,
        *,
        attempt: int,
        **what: object,
    ) -> _Prepared:
        """Step 6: the payload is made once, as bytes, and its entry is durable."""
        parts = self._parts
        if not self._run:
            self._run = parts.random_bytes(16)
            parts.start_run(self._run)
        payload = body(decided.view, values, form)
        counter = self._counted(decided.access)
        entry = decided.access.release_entry(
            parts.now_ns(),
            payload,
            run=self._run,
            counter=counter,
            attempt=attempt,
            released=release.released,
            excluded_count=release.excluded,
            withheld=release.withheld,
            view_schema=decided.view.fingerprint,
            format=form,
            **what,
        )
        parts.audit.submit([entry])
        # A crash here leaves a release entry for bytes that nobody got: over-reported, never the other way round.
        seen = release.excluded if decided.counts else None
        return _Prepared(
            decided, entry, replace(release, head=header(decided.view, form), payload=payload, excluded=seen)
        )

    def _handed_over(self, prepared: _Prepared) -> Release | None:
        """Step 7, once the entry is in a checkpoint; None where its bytes may not be handed over any more."""
        try:
            receipt = self._parts.audit.wait(prepared.entry.id)
        except Refused as refusal:
            self._note_refused(prepared, refusal.code)
            return None
        if self._parts.now_ns() - receipt.at_ns > HAND_OVER_NS:
            return None
        return replace(prepared.release, index=receipt.index, checkpoint=receipt.checkpoint)

    def _abandon(self, waiting: deque[_Prepared]) -> None:
        """Lets go of releases in flight: audited or refused, their bytes are thrown away."""
        while waiting:
            self._handed_over(waiting.popleft())
        self._kept.clear()

    def _note_refused(self, prepared: _Prepared, code: str) -> None:
        """A release that the sequencer refused leaves its number to a refusal entry, so that no number is missing."""
        spoiled = {
            name: prepared.entry.body[name] for name in ("topic", "partition", "lo", "hi", "run", "counter", "attempt")
        }
        identity = self._parts.random_bytes(16)
        access = prepared.decided.access
        self._parts.audit.submit(
            [access.refusal_entry(identity, self._parts.now_ns(), [code], release=prepared.entry.id, **spoiled)]
        )

    def _counted(self, access: Access) -> int:
        key = access.agreement[0] or access.plan.dataset
        self._counters[key] = self._counters.get(key, 0) + 1
        return self._counters[key]


def _counts_allowed(access: Access) -> bool:
    """Whether the agreement that the plan rests on lets its consumer know how many records were held back."""
    agreement, _ = access.agreement
    return any(one["id"] == agreement and one["counts"] for one in access.question.document["agreements"])


def _up_to(until: int, stored: Stored) -> Stored:
    """Only what lies before `until`: a record behind it may not have its `record.commit` yet."""
    if stored.next_position <= until:
        return stored
    keep = sum(1 for position in stored.positions if position < until)
    return Stored(
        stored.topic,
        stored.partition,
        stored.positions[:keep],
        stored.schema_ids[:keep],
        stored.tags[:keep],
        stored.values[:keep],
        until,
    )
