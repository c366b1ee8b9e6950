"""Steps 6 and 7 of the access path: releases get their number and their entry, and are handed over in order.

All releases in flight rest on one plan. So when the sequencer refuses one for its epoch, it refuses every one behind
it too, and the numbers that stay empty are the last ones of the run: whether a crash comes before or after the refusal
entries that take them, written together, no number is ever missing in between.

Entries go to the log together: all that were put since the last hand-over, but the first at once. Those that were not
sent yet when all is thrown away give their numbers back.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from exchange.access.decisions import Decided
from exchange.access.parts import Parts, Release
from exchange.audit.entries import Entry
from exchange.errors import ExchangeError, Refused

HAND_OVER_NS: Final = 2_000_000_000  # design.md, decision 2
_OF_THE_RANGE: Final = ("topic", "partition", "lo", "hi", "run", "counter", "attempt")


@dataclass(frozen=True, slots=True)
class _Prepared:
    decided: Decided
    entry: Entry
    release: Release


class Flight:
    """The releases in flight of one run of a gateway. After a fault of the audit log it begins another run."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._run = b""
        self._counters: dict[str, int] = {}
        self._waiting: deque[_Prepared] = deque()
        self._unsent = 0  # how many of these, the last ones, the log has not been given yet

    def __len__(self) -> int:
        return len(self._waiting)

    def takes(self, decided: Decided) -> bool:
        """Whether a release under this decision may be put behind those in flight."""
        return not self._waiting or self._waiting[0].decided is decided

    def put(self, decided: Decided, release: Release, *, attempt: int, format: str, **what: object) -> bool:  # noqa: A002  # the entry's word
        """Step 6: the entry of a release, which goes to the log with the next hand-over; False, and no entry, where the
        plan has expired meanwhile.

        Raises:
            Unavailable: the run cannot begin.
        """
        now = self._parts.now_ns()
        if now >= decided.access.plan.expires_ns:
            return False
        self._start()
        key = _key(decided)
        counter = self._counters.get(key, 0) + 1
        entry = decided.access.release_entry(
            now,
            release.payload,
            run=self._run,
            counter=counter,
            attempt=attempt,
            released=release.released,
            excluded_count=release.excluded,
            withheld=release.withheld,
            view_schema=decided.view.fingerprint,
            format=format,
            **what,
        )
        self._counters[key] = counter
        seen = release.excluded if decided.access.counts else None
        self._waiting.append(_Prepared(decided, entry, replace(release, excluded=seen)))
        self._unsent += 1
        return True

    def handed_over(self) -> Release | None:
        """Step 7, once the first entry in flight is in a checkpoint; None where its bytes may not be handed over any
        more: `abandoned` is next.

        Raises:
            Unavailable: nothing is handed over; the next use of the gateway finds out what became of it. Where the
                entries were not stored, or nobody knows, the bytes are lost and the run is over.
        """
        first = self._waiting[0]
        if self._unsent and not self.sent() and self._unsent == len(self._waiting):
            return None
        try:
            receipt = self._parts.audit.wait(first.entry.id)
        except Refused:
            return None
        # An entry that seems to come from the future means that the clock went back: its age is not known.
        if not 0 <= self._parts.now_ns() - receipt.at_ns <= HAND_OVER_NS:
            return None
        self._waiting.popleft()
        return replace(first.release, index=receipt.index, checkpoint=receipt.checkpoint)

    def sent(self) -> bool:
        """Gives the log what it was not given yet; False, and nothing, where the plan of these has expired.

        Raises:
            Unavailable: whether they are stored is not known; the bytes of all that is in flight are lost.
        """
        if self._parts.now_ns() >= self._waiting[-1].decided.access.plan.expires_ns:
            return False
        unsent, self._unsent = self._unsent, 0
        self._submit([one.entry for one in list(self._waiting)[-unsent:]])
        # A crash here leaves release entries for bytes that nobody got: over-reported, never the other way round.
        return True

    def abandoned(self) -> list[Entry]:
        """Throws away the bytes of all that is in flight, and gives its entries. Those that the sequencer refused
        leave their numbers to refusal entries, those that it was never given to the next releases; the others stand
        in the log, over-reported.
        """
        given_up = list(self._waiting)
        sent = given_up[: len(given_up) - self._unsent]
        refused = [self._refusal(one, code) for one in sent if (code := self._refused(one))]
        self._waiting.clear()  # not before it is known what became of each
        for one in given_up[len(sent) :]:
            self._counters[_key(one.decided)] -= 1
        self._unsent = 0
        if refused:
            self._submit(refused)
        # A crash here: every number up to the last is a release's or a refusal's.
        return [one.entry for one in given_up]

    def _refused(self, prepared: _Prepared) -> str | None:
        try:
            self._parts.audit.wait(prepared.entry.id)
        except Refused as refusal:
            return refusal.code
        return None

    def _refusal(self, prepared: _Prepared, code: str) -> Entry:
        spoiled = {name: prepared.entry.body[name] for name in _OF_THE_RANGE}
        identity, now = self._parts.random_bytes(16), self._parts.now_ns()
        return prepared.decided.access.refusal_entry(identity, now, [code], release=prepared.entry.id, **spoiled)

    def _start(self) -> None:
        if not self._run:
            run = self._parts.random_bytes(16)
            self._parts.start_run(run)
            self._run = run

    def _submit(self, entries: list[Entry]) -> None:
        try:
            self._parts.audit.submit(entries)
        except ExchangeError:
            self._end_run()  # whether they are stored is not known, so their numbers are not given again
            raise

    def _end_run(self) -> None:
        self._run = b""
        self._counters.clear()
        self._waiting.clear()
        self._unsent = 0


def _key(decided: Decided) -> str:
    """What numbers a release: its agreement, or its dataset."""
    return decided.access.agreement[0] or decided.access.plan.dataset
