"""How a `RecordLog` stands on Kafka.

**An append is one transaction** of the source's own transactional id: the records, for each partition in order, and the
source's new mark. Kafka makes it visible to `read_committed` readers as a whole or never, and `acks=all` with
`min.insync.replicas` makes it durable. `append` returns when readers see it.

**Two writers of one source cannot both take a sequence.** A writer begins by taking over the source's transactional id:
the broker ends what the former holder had begun (stores it when it had committed, else undoes it) and refuses whatever
that one still sends under its older epoch. Only then is the mark read, up to the end of its partition as it stands at
that moment, open transactions of others included and waited for. From there on nobody but this writer can raise the
mark: a third one that takes over makes this one's transaction fail, records and mark together. So the mark in memory
is right for as long as its writer can commit, and a sequence at or below it is refused.

**Unknown outcomes.** A failure before the commit has stored nothing. One during the commit (the broker died, or another
writer took over) may have stored all: `Unavailable`. The writer is given up; the next one learns from the mark.

**One append's records stand together in a partition**, since one `record.commit` entry covers their range. Appends of
this process to a topic wait for one another; another process's records between ours are noticed before the commit:
then the transaction is undone and tried again.

**Readers wait for no writer, writers for readers' sight.** Committed records behind another writer's open transaction
are not readable yet; `append` waits for them at most `patience_s`. A writer that died there is undone by the broker
after `transaction_s`, and at once when its source publishes again or is asked for its mark.

**What the cluster's operators do.** Topics are made to be kept for ever: no retention, no compaction of records. A
topic whose settings were changed to lose records is refused by `create` (`kafka_topic_settings`). Records that are
gone, from the beginning (`delete-records`, retention) or from the end (a lost or old disk), are `Tampered`: `end` and
`read` notice the first, `publish.recover` by its commit marks the second. More partitions than a topic was made with
are served: what was there stays readable, new records of a subject may lie in another partition than its old ones.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from secrets import randbelow
from threading import Lock
from typing import Final

from exchange.envelope import Batch, Stored
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log import blocks
from exchange.log.kafka import form
from exchange.log.kafka.clients import (
    Client,
    Headers,
    InterleavedError,
    OutdatedError,
    Outgoing,
    Place,
    Writer,
    in_turn,
)
from exchange.log.kafka.cluster import MARK_PARTITIONS, Cluster
from exchange.names import check, nearest

_MOST_WRITERS: Final = 32
_PAUSE_S: Final = 0.002
_GRACE_S: Final = 0.5
_SETTLING_S: Final = 0.1
_MARKS_AT_ONCE: Final = 10_000
_LOSING: Final = ("cleanup.policy", "retention.ms", "retention.bytes", "unclean.leader.election.enable")


@dataclass(slots=True)
class _Source:
    """A source's writer and its mark, which only this writer can raise."""

    writer: Writer
    mark: int


class KafkaRecordLog:
    """A `RecordLog` on a Kafka cluster; it may be used from any thread, and beside other processes.

    One `read` gives about `largest_read` bytes of values at most (and a record at the least).

    Raises:
        Unavailable: `log_unavailable`, from any method: no broker answers, too few hold a copy, another writer is in
            the way.
        Tampered: `log_damaged`: records or marks are missing, or are not what was written.
        Invalid: `kafka_refused`: the brokers do not know us, or do not let us.
    """

    def __init__(self, client: Client, cluster: Cluster, *, largest_read: int = 64 << 20) -> None:
        self._client, self._cluster, self._largest_read = client, cluster, largest_read
        self._marks = Marks(client, cluster)
        self._known: Mapping[str, int] = {}
        self._sources: dict[str, _Source] = {}
        self._locks: dict[str, Lock] = {}
        self._last: tuple[str, int, Sequence[int], Sequence[Headers]] = ("", 0, (), ())
        self._made = -cluster.patience_s  # when a topic was last made here

    def create(self, topic: str, partitions: int) -> None:
        """See `RecordLog.create`; also `Invalid("kafka_topic_settings")` when the brokers would lose its records."""
        check("dataset", topic)
        if not 1 <= partitions <= blocks.MOST_PARTITIONS:
            raise Invalid("topic_partitions", where=topic, found=partitions, needed=f"1-{blocks.MOST_PARTITIONS}")
        self._marks.make()
        known = self.topics().get(topic)
        if known is None:
            _make(self._client, self._cluster.topic(topic), partitions, self._cluster.settings("delete"))
            self._made = time.monotonic()
            known = self._seen(topic)
            # A crash before: the access list is there without its topic. The next call makes the topic.
        if known != partitions:
            raise Invalid("topic_partitions", where=topic, found=partitions, needed=known)
        _check_settings(self._client, self._cluster.topic(topic), self._cluster.settings("delete"))

    def topics(self) -> Mapping[str, int]:
        """See `RecordLog.topics`."""
        begin = self._cluster.topic("")
        found = self._client.topics().items()
        self._known = {name.removeprefix(begin): count for name, count in found if name.startswith(begin)}
        return self._known

    def mark(self, source: str) -> int:
        """See `RecordLog.mark`."""
        return self._marks.mark(source, lambda: self._end_dead_writer(source))

    def append(self, source: str, mark: int, batches: Sequence[Batch]) -> Sequence[Sequence[int]]:
        """See `RecordLog.append`; also `Invalid("batch_malformed")`, `("topic_unknown")` and `("frame_malformed")`."""
        blocks.check_append(source, mark, batches)
        places = [self._place(batch.topic, batch.partition) for batch in batches]
        lowest = min((batch.sequences[0] for batch in batches if batch.sequences), default=mark)
        messages = [form.outgoing(batch, place[0]) for batch, place in zip(batches, places, strict=True)]
        filled = [one for one in messages if one.values]
        with self._alone(source, {one.topic for one in filled}):
            ranges = self._stored(source, min(lowest, mark), mark, filled)
        # A crash here: records and mark are durable together; who sends again is told so by the mark.
        self._wait_readable(filled, ranges)
        positions = iter(ranges)
        return [next(positions) if one.values else range(0) for one in messages]

    def read(self, topic: str, partition: int, position: int, limit: int) -> Stored:
        """See `RecordLog.read`."""
        if position < 0 or limit < 1:
            raise Invalid("position_unknown", where=f"{topic}/{partition}", position=position)
        place = self._place(topic, partition)
        end = self._client.ends([place], committed=True)[place]
        if position >= end:
            return Stored(topic, partition, (), (), (), (), position)
        found = self._client.read(place, position, end, limit, self._largest_read)
        self._last = (topic, partition, found.positions, found.headers)
        return form.stored(topic, partition, found)

    def headers(self, topic: str, partition: int, position: int) -> Mapping[str, str]:
        """See `RecordLog.headers`; `Invalid("position_unknown")` where no record stands."""
        where = f"{topic}/{partition}"
        *last, positions, headers = self._last
        at = bisect_left(positions, position)
        if last != [topic, partition] or at == len(positions) or positions[at] != position:
            place = self._place(topic, partition)
            if not 0 <= position < self._client.ends([place], committed=True)[place]:
                raise Invalid("position_unknown", where=where, position=position)
            found = self._client.read(place, position, position + 1, 1, self._largest_read)
            at, positions, headers = 0, found.positions, found.headers
            if not positions or positions[0] != position:
                raise Invalid("position_unknown", where=where, position=position)
        return form.texts(where, headers[at])

    def end(self, topic: str, partition: int) -> int:
        """See `RecordLog.end`; `Tampered("log_damaged")` when the partition does not begin at 0 any more."""
        place = self._place(topic, partition)
        begin = self._client.begin(place)
        if begin:
            detail = f"its first {begin} positions were deleted"
            raise Tampered("log_damaged", where=f"{topic}/{partition}", detail=detail)
        return self._client.ends([place], committed=True)[place]

    def close(self) -> None:
        """See `RecordLog.close`."""
        for source in list(self._sources):
            self._give_up(source)
        self._client.close()

    def _seen(self, topic: str) -> int | None:
        """How many partitions a topic has that was just made: another broker may not know it yet."""
        deadline = time.monotonic() + self._cluster.patience_s
        while (known := self.topics().get(topic)) is None and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        return known

    def _place(self, topic: str, partition: int) -> Place:
        """The partition in Kafka."""
        if not 0 <= partition < self._known.get(topic, 0) and not 0 <= partition < self.topics().get(topic, 0):
            raise Invalid("topic_unknown", where=f"{topic}/{partition}", nearest=nearest(topic, self._known))
        return self._cluster.topic(topic), partition

    @contextmanager
    def _alone(self, source: str, topics: set[str]) -> Iterator[None]:
        """One append of this process at a time from a source and to a topic; always locked in the same order."""
        with ExitStack() as stack:
            for name in (f"source {source}", *sorted(topics)):
                try:
                    stack.enter_context(in_turn(self._locks.setdefault(name, Lock()), self._cluster.patience_s))
                except TimeoutError as error:
                    raise Unavailable("log_unavailable", where=name, detail=str(error)) from None
            yield

    def _stored(self, source: str, lowest: int, mark: int, messages: Sequence[Outgoing]) -> Sequence[range]:
        """The positions of the messages, stored with the mark in one transaction."""
        deadline = time.monotonic() + self._cluster.patience_s
        for attempt in count():
            try:
                writer = self._writer(source, lowest)
                *ranges, _ = writer.writer.transact([*messages, self._marks.message(source, mark)])
            except Invalid as error:
                if error.code != "sequence_not_after_mark":
                    self._give_up(source)
                if error.code != "kafka_refused" or time.monotonic() - self._made > self._cluster.patience_s:
                    raise
                time.sleep(_SETTLING_S)  # one of the brokers does not know the new topic's access list yet
            except OutdatedError:
                self._give_up(source)  # another one took over: take over in turn, and look at the mark again
            except InterleavedError:
                time.sleep(_PAUSE_S * 2 ** min(attempt, 7) * (1 + randbelow(100) / 50))  # so that one gets ahead
            except BaseException:
                self._give_up(source)  # stored or not: the next writer learns it from the mark
                raise
            else:
                writer.mark = mark
                return ranges
            if time.monotonic() > deadline:
                break
        raise Unavailable("log_unavailable", where=source, detail="others write to the same place all the time")

    def _writer(self, source: str, lowest: int) -> _Source:
        """The source's writer, when `lowest` is after its mark."""
        known = self._sources.get(source)
        if known is None:
            self._trim()
            writer = self._client.writer(f"{self._cluster.prefix}.{source}")
            # From here on nobody else can raise the mark without ending this writer.
            try:
                known = _Source(writer, self._marks.mark(source))
            except BaseException:
                writer.close()
                raise
            self._sources[source] = known
        if lowest <= known.mark:
            raise Invalid("sequence_not_after_mark", source=source)
        return known

    def _trim(self) -> None:
        """Closes writers that have nothing to do, when there are many."""
        for other in list(self._sources)[: max(0, len(self._sources) - _MOST_WRITERS + 1)]:
            lock = self._locks.setdefault(f"source {other}", Lock())
            if lock.acquire(blocking=False):
                try:
                    self._give_up(other)
                finally:
                    lock.release()

    def _end_dead_writer(self, source: str) -> None:
        """Takes the source over from a writer that holds its mark up; not from an append that is under way here."""
        lock = self._locks.setdefault(f"source {source}", Lock())
        if lock.acquire(blocking=False):
            try:
                self._give_up(source)
                with suppress(OutdatedError):
                    self._client.writer(f"{self._cluster.prefix}.{source}").close()
            finally:
                lock.release()

    def _give_up(self, source: str) -> None:
        known = self._sources.pop(source, None)
        if known is not None:
            known.writer.close()

    def _wait_readable(self, messages: Sequence[Outgoing], ranges: Sequence[range]) -> None:
        """Returns when readers see all of it: the broker ends a transaction a moment after it says that it has."""
        lasts: dict[Place, int] = {}
        for one, positions in zip(messages, ranges, strict=True):
            lasts[one.topic, one.partition] = max(positions[-1], lasts.get((one.topic, one.partition), -1))
        deadline = time.monotonic() + self._cluster.patience_s
        while lasts:
            try:
                ends = self._client.ends(list(lasts), committed=True)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                ends = dict.fromkeys(lasts, 0)
            lasts = {place: last for place, last in lasts.items() if ends[place] <= last}
            if lasts and time.monotonic() > deadline:
                detail = "another writer's transaction is still open before these records"
                raise Unavailable("log_unavailable", where=self._cluster.where, detail=detail)
            if lasts:
                time.sleep(_PAUSE_S)


class Marks:
    """The sources' marks: a compacted topic, followed from its beginning."""

    def __init__(self, client: Client, cluster: Cluster) -> None:
        self._client, self._cluster = client, cluster
        self._made = False
        self._locks = [Lock() for _ in range(MARK_PARTITIONS)]
        self._next = [0] * MARK_PARTITIONS
        self._marks: dict[str, int] = {}

    def make(self) -> None:
        """Makes the topic when the cluster has none of our topics."""
        if not self._exists():
            _make(self._client, self._cluster.marks, MARK_PARTITIONS, self._cluster.settings("compact"))
            self._made = True  # a broker that is asked next may not have heard of it

    def mark(self, source: str, held_up: Callable[[], None] = lambda: None) -> int:
        """The source's mark, of all that was written before this call; waits for open transactions to end.

        When that takes longer than a writer needs, `held_up` is called, once.
        """
        if not self._exists():
            return 0
        number = _partition(source)
        place = (self._cluster.marks, number)
        with self._in_turn(number):
            end = self._client.ends([place], committed=False)[place]
            self._wait_committed(place, end, held_up)
            while self._next[number] < end:
                found = self._client.read(place, self._next[number], end, _MARKS_AT_ONCE, 64 << 20)
                keys = [str(key, "utf-8", "replace") for key in found.keys if key is not None]
                self._marks.update(zip(keys, form.mark_of(found.values, self._cluster.marks), strict=True))
                self._next[number] = found.next_position
        return self._marks.get(source, 0)

    @contextmanager
    def _in_turn(self, number: int) -> Iterator[None]:
        lock = self._locks[number]
        try:
            with in_turn(lock, self._cluster.patience_s):
                yield
        except TimeoutError as error:
            raise Unavailable("log_unavailable", where=self._cluster.marks, detail=str(error)) from None

    def message(self, source: str, mark: int) -> Outgoing:
        """The message that raises a mark. Its time is always 0: a file of a topic ends when times are far apart."""
        return Outgoing(self._cluster.marks, _partition(source), 0, [source.encode()], [str(mark).encode()], [[]])

    def _exists(self) -> bool:
        """Whether the topic is there, kept as it should be; `Tampered("log_damaged")` when it alone is gone."""
        if self._made:
            return True
        topics = self._client.topics()
        if self._cluster.marks not in topics:
            if any(name.startswith(self._cluster.topic("")) for name in topics):
                raise Tampered("log_damaged", where=self._cluster.marks, detail="the marks of all sources are gone")
            return False
        if topics[self._cluster.marks] != MARK_PARTITIONS:
            found = topics[self._cluster.marks]
            raise Invalid("topic_partitions", where=self._cluster.marks, found=found, needed=MARK_PARTITIONS)
        _check_settings(self._client, self._cluster.marks, self._cluster.settings("compact"))
        self._made = True
        return True

    def _wait_committed(self, place: Place, end: int, held_up: Callable[[], None]) -> None:
        begun, asked = time.monotonic(), False
        while self._client.ends([place], committed=True)[place] < end:
            waited = time.monotonic() - begun
            if waited > _GRACE_S and not asked:
                asked = True
                held_up()
            if waited > self._cluster.patience_s:
                detail = "another writer's transaction is still open"
                raise Unavailable("log_unavailable", where=self._cluster.marks, detail=detail)
            time.sleep(_PAUSE_S)


def _partition(source: str) -> int:
    return sha256(source.encode()).digest()[0] % MARK_PARTITIONS


def _make(client: Client, topic: str, partitions: int, settings: Mapping[str, str]) -> None:
    client.permit(topic)  # first: without a list of its own a topic may be open to everybody
    client.create(topic, partitions, settings)


def _check_settings(client: Client, topic: str, needed: Mapping[str, str]) -> None:
    found = client.settings(topic)
    for name in _LOSING:
        if found.get(name) != needed[name]:
            raise Invalid("kafka_topic_settings", where=topic, name=name, found=found.get(name), needed=needed[name])
