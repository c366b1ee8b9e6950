"""The ACCESS path, on one page: everything that leaves obeys a plan, and is in the audit log before its first byte.

    1 question   with every fact it rests on          5 apply      the plan to the records
    2 plan       asked of the policy, or kept         6 audit      the release's entry, in a signed checkpoint
    3 decision   its entry; a refusal ends here       7 hand over  within 2 s of that, or throw away
    4 read       from the log, or from the state

A reader keeps several releases between 5 and 7 in flight; they are handed over in order. Steps 1 to 3 stand in
`decisions`, 6 and 7 in `flight`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from exchange.access.decisions import Decided, Decisions
from exchange.access.flight import Flight
from exchange.access.parts import Parts, Release, following
from exchange.audit.access_entries import bitmap
from exchange.control.model import Principal
from exchange.control.questions import Request
from exchange.errors import Invalid, Refused, Tampered, Unavailable
from exchange.names import partition_of
from exchange.plan import Plan
from exchange.state import Latest, follow
from exchange.view.compiled import Applied
from exchange.view.formats import Format, body, header

__all__ = ["MOST_SUBJECTS", "Gateway", "Parts", "Release", "following"]

MOST_SUBJECTS: Final = 1_000  # of one look-up: its entries name each, and a leaf holds 65,535 bytes
_TRIES: Final = 3


class Gateway:
    """One run of a gateway: it decides, applies, audits and hands over, and numbers its releases per agreement.

    One reader at a time; a process that serves many makes one gateway for each thread.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._decisions = Decisions(parts)
        self._flight = Flight(parts)

    def read(self, who: Principal, request: Request, start: Mapping[int, int], form: Format) -> Iterator[Release]:
        """Releases of the dataset's records from `start` (partition → position) to what is committed now.

        Whatever ends or narrows the permission between two releases holds for the second. When the view changes (a
        policy or agreement that shows other fields), the releases go on with another `head`: see `following`.

        Raises:
            Refused: `question_refused` with the plan's reasons, `principal_changed`, `principal_suspended`: before
                any record is read, or between two releases.
            Invalid: `position_unknown` for a start that no release ended at; what `Decisions.made` raises.
            Unavailable: nothing more is released; go on later from the last release's `next_position`.
        """
        self._flight.abandoned()  # of a reader that went away
        self._decisions.made(who, request)
        partitions = self._parts.log.topics().get(request.dataset, 0)
        for partition in start:
            if not 0 <= partition < partitions and start[partition]:
                raise Invalid("position_unknown", where=f"{request.dataset}/{partition}", position=start[partition])
        try:
            for partition in range(partitions):
                yield from self._stream(who, request, partition, start.get(partition, 0), form)
        except Refused:
            self._flight.abandoned()
            raise

    def lookup(self, who: Principal, request: Request, ids: Sequence[str], form: Format) -> Release:
        """One release with the latest record of each of these subjects that the plan lets through.

        Raises:
            Invalid: `lookup_size` for no subject or more than 1,000; what `Decisions.made` raises.
            Refused: as `read`; with reason `not_in_case` where a subject is no member of the case.
            Unavailable: nothing is released.
        """
        model = self._parts.control.model()
        dataset = model.dataset(request.dataset)
        tags = sorted(set(self._parts.tagger.tags(dataset.subject_type, ids)))
        if not 1 <= len(tags) <= MOST_SUBJECTS:
            raise Invalid("lookup_size", where=dataset.name, found=len(tags), most=MOST_SUBJECTS)
        self._flight.abandoned()
        for attempt in range(_TRIES):
            decided = self._decisions.made(who, request, tags, None if attempt else model)
            release = self._flight.handed_over() if self._answer(decided, tags, form, attempt) else None
            if release is not None:
                return release
            self._flight.abandoned()
        raise Unavailable("release_unstable", where=request.dataset)

    def batch(
        self, who: Principal, request: Request, partition: int, position: int, form: Format, most: int
    ) -> Release | None:
        """One release of at most `most` records from `position` of a partition, for a reader who asks for each batch
        by itself; None where nothing is committed behind it.

        Raises:
            Refused: as `read`. Invalid: `position_unknown`; what `Decisions.made` raises.
            Unavailable: nothing is released; ask again.
        """
        self._flight.abandoned()
        for attempt in range(_TRIES):
            decided = self._decisions.made(who, request)
            until = self._parts.committed(request.dataset).get(partition, 0)
            if not 0 <= position <= until:
                raise Invalid("position_unknown", where=f"{request.dataset}/{partition}", position=position)
            if position == until:
                return None
            put = self._batch(decided, partition, position, min(until, position + max(most, 1)), form, attempt)
            release = self._flight.handed_over() if put > position else None
            if release is not None:
                return release
            self._flight.abandoned()
        raise Unavailable("release_unstable", where=request.dataset)

    def explain(self, who: Principal, request: Request) -> Plan:
        """The plan for a request, allowed or not; its decision entry is in a checkpoint, and nothing is released."""
        return self._decisions.explained(who, request)

    def _stream(
        self, who: Principal, request: Request, partition: int, position: int, form: Format
    ) -> Iterator[Release]:
        until = self._parts.committed(request.dataset).get(partition, 0)
        if not 0 <= position <= until:
            raise Invalid("position_unknown", where=f"{request.dataset}/{partition}", position=position)
        flight, depth = self._flight, self._parts.in_flight
        tried: dict[int, int] = {}  # by first position: how often a range was prepared in vain
        while position < until or flight:
            filling = 2 * len(flight) <= depth  # then up to the depth: their entries go to the log together
            while filling and position < until and len(flight) < depth:
                decided = self._decisions.made(who, request)
                if not flight.takes(decided):
                    break  # what is in flight rests on another plan, and goes first
                lo, attempt = position, tried.get(position, 0)
                position = self._batch(decided, partition, lo, until, form, attempt)
                if position == lo:
                    self._try_again(tried, [lo], request)
                elif len(flight) == 1:
                    flight.sent()  # its commit goes on while the next ones are made
            release = flight.handed_over()
            if release is not None:
                yield release
                continue
            # Refused for its epoch, or too old: what is in flight behind it is not handed over either. Once more from
            # there, one release at a time, under a plan of now.
            spoiled = [int(entry.body["lo"]) for entry in flight.abandoned()]
            position, depth = spoiled[0], 1
            self._try_again(tried, spoiled, request)

    def _try_again(self, tried: dict[int, int], spoiled: Sequence[int], request: Request) -> None:
        """Notes what was prepared in vain; gives up on a range that never goes through."""
        for lo in spoiled:
            tried[lo] = tried.get(lo, 0) + 1
        if tried[spoiled[0]] >= _TRIES:
            raise Unavailable("release_unstable", where=request.dataset)

    def _batch(self, decided: Decided, partition: int, lo: int, until: int, form: Format, attempt: int) -> int:
        """Steps 4 to 6 for one range of the log, which ends where the next begins; `lo`: the plan expired meanwhile."""
        topic = decided.access.plan.dataset
        # A record at or behind `until` may not have its `record.commit` yet.
        stored = self._parts.log.read(topic, partition, lo, min(self._parts.release_records, until - lo)).up_to(until)
        hi = stored.next_position
        if hi <= lo:
            raise Tampered("log_behind_commits", where=f"{topic}/{partition}", end=hi, committed=until)
        applied = decided.view.apply(stored.schema_ids, stored.values, stored.tags)
        held_back = [stored.positions[place] - lo for place in (*applied.excluded, *applied.withheld)]
        put = self._flight.put(
            decided,
            _release(decided, applied, form, partition, hi),
            attempt=attempt,
            format=form,
            topic=topic,
            partition=partition,
            lo=lo,
            hi=hi,
            excluded=bitmap(held_back, hi - lo),
        )
        return hi if put else lo

    def _answer(self, decided: Decided, tags: Sequence[bytes], form: Format, attempt: int) -> bool:
        """Steps 4 to 6 for an answer of the state; False where the decision is too old for what is there now."""
        topic = decided.access.plan.dataset
        ends = self._parts.committed(topic)
        partitions = self._parts.partitions(topic, ends)
        latest = self._latest(topic, ends, tags)
        found = [latest[tag] for tag in tags if tag in latest]
        columns = [one.schema_id for one in found], [one.value for one in found], [one.tag for one in found]
        try:
            applied = decided.view.apply(*columns)
        except Invalid as error:
            if error.code != "view_writer_unknown":
                raise
            return False  # a schema that was accepted, and a record written with it, since the decision
        shown = {found[place].tag for place in applied.kept}
        return self._flight.put(
            decided,
            _release(decided, applied, form, None, None),
            attempt=attempt,
            format=form,
            topic=topic,
            tags=list(tags),
            partitions=[partition_of(tag, partitions or 1) for tag in tags],
            positions=[latest[tag].position if tag in shown else None for tag in tags],
        )

    def _latest(self, topic: str, ends: Mapping[int, int], tags: Sequence[bytes]) -> Mapping[bytes, Latest]:
        """The state, brought up to what is committed first."""
        for partition, until in sorted(ends.items()):
            follow(self._parts.state, self._parts.log.read, topic, partition, until)
        return self._parts.state.get(topic, tags)


def _release(decided: Decided, applied: Applied, form: Format, partition: int | None, end: int | None) -> Release:
    """What will be handed over: its bytes are made once, here."""
    payload = body(decided.view, applied.values, form)
    counts = len(applied.kept), len(applied.excluded), len(applied.withheld)
    return Release(-1, b"", partition, end, header(decided.view, form), payload, *counts)
