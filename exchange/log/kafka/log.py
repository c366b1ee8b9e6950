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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from secrets import randbelow
from threading import Lock
from typing import Final

from exchange.envelope import Batch, Stored
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log import blocks
from exchange.log.kafka import form
from exchange.log.kafka.clients import (
    Appender,
    Client,
    Headers,
    InterleavedError,
    OutdatedError,
    Outgoing,
    Place,
    Writer,
    in_turn,
)
from exchange.log.kafka.cluster import Cluster
from exchange.log.kafka.marks import Marks, check_settings, make
from exchange.names import check, nearest

_MOST_WRITERS: Final = 32
_PAUSE_S: Final = 0.002
_FILLERS_AT_ONCE: Final = 1_000
_SETTLING_S: Final = 0.1


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
        self._hollow: dict[Place, range] = {}  # committed positions without a record, each partition's last known
        self._appender: Appender | None = None
        self._made = -cluster.patience_s  # when a topic was last made here

    def create(self, topic: str, partitions: int) -> None:
        """See `RecordLog.create`; also `Invalid("kafka_topic_settings")` when the brokers would lose its records."""
        check("dataset", topic)
        if not 1 <= partitions <= blocks.MOST_PARTITIONS:
            raise Invalid("topic_partitions", where=topic, found=partitions, needed=f"1-{blocks.MOST_PARTITIONS}")
        self._marks.make()
        known = self.topics().get(topic)
        if known is None:
            make(self._client, self._cluster, self._cluster.topic(topic), partitions, self._cluster.settings("delete"))
            self._made = time.monotonic()
            known = self._seen(topic)
            # A crash before: the access list is there without its topic. The next call makes the topic.
        if known != partitions:
            raise Invalid("topic_partitions", where=topic, found=partitions, needed=known)
        check_settings(self._client, self._cluster.topic(topic), self._cluster.settings("delete"))

    def topics(self) -> Mapping[str, int]:
        """See `RecordLog.topics`."""
        begin = self._cluster.topic("")
        found = self._client.topics().items()
        self._known = {name.removeprefix(begin): count for name, count in found if name.startswith(begin)}
        return self._known

    def mark(self, source: str) -> int:
        """See `RecordLog.mark`."""
        return self._marks.mark(source, lambda: self._end_dead_writer(source))

    def marks(self) -> Mapping[str, int]:
        """See `RecordLog.marks`."""
        return self._marks.all()

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
        hollow = self._hollow.get(place, range(0))
        position = hollow.stop if position in hollow else position
        end = self._client.ends([place], committed=True)[place]
        at_once = limit
        while position < end:  # once, unless all that was read were fillers
            found = self._client.read(place, position, end, at_once, self._largest_read)
            self._hollow[place] = range(found.positions[-1] + 1 if found.positions else position, found.next_position)
            stored = form.stored(topic, partition, found)
            if stored.values:
                self._last = (topic, partition, found.positions, found.headers)
                return stored if len(stored.values) <= limit else stored.up_to(stored.positions[limit])
            position, at_once = found.next_position, max(limit, _FILLERS_AT_ONCE)
        return Stored(topic, partition, (), (), (), (), position)

    def place(self, topic: str, partition: int, placed: Sequence[tuple[int, Batch]], end: int) -> None:
        """See `RecordLog.place`."""
        place = self._place(topic, partition)
        at = begin = self._client.ends([place], committed=False)[place]
        messages: list[Outgoing] = []
        for first, batch in [*placed, (end, None)]:
            if first < at:
                raise Invalid("position_unknown", where=f"{topic}/{partition}", position=first)
            if first > at:
                messages.append(form.fillers(*place, first - at))
            at = first
            if batch is not None:
                blocks.check(batch)
                messages.append(form.outgoing(batch, place[0]))
                at += len(batch.sequences)
        if messages:
            self._put(topic, partition, begin, messages)

    def _put(self, topic: str, partition: int, begin: int, messages: Sequence[Outgoing]) -> None:
        if self._appender is None:
            self._appender = self._client.appender()
        try:
            ranges = self._appender.put(messages)
        except BaseException as error:
            self._appender.close()
            self._appender = None
            if not isinstance(error, InterleavedError):
                raise
            ranges = ()
        whole = range(begin, begin + sum(len(one.values) for one in messages))
        if [position for one in ranges for position in one] != list(whole):
            detail = "somebody else writes to the partition"
            raise Unavailable("log_unavailable", where=f"{topic}/{partition}", detail=detail)

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
            if not positions or positions[0] != position or form.is_filler(headers[0]):
                raise Invalid("position_unknown", where=where, position=position)
        elif form.is_filler(headers[at]):
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

    @property
    def client(self) -> Client:
        """The connections, for the exchange's topics beside the records."""
        return self._client

    @property
    def cluster(self) -> Cluster:
        """Where the topics are."""
        return self._cluster

    def examine(self) -> Mapping[tuple[str, int], int]:
        """The end of each partition, when every topic is kept as it has to be and whole from its beginning.

        Raises:
            Invalid: `kafka_topic_settings`. Tampered: `log_damaged`.
        """
        self._marks.mark("")
        topics = self.topics()
        for topic in topics:
            check_settings(self._client, self._cluster.topic(topic), self._cluster.settings("delete"))
        return {(topic, number): self.end(topic, number) for topic, count in topics.items() for number in range(count)}

    def peek(self, source: str) -> int:
        """A source's mark, without ending a writer that holds it up: for who only looks."""
        return self._marks.mark(source)

    def keep(self, source: str, first: int, mark: int, messages: Outgoing) -> None:
        """Stores messages of another topic of ours in one transaction with their source's mark; `first` is the
        sequence of the first of them, which has to be the next after the mark.

        Raises:
            Invalid: `sequence_not_after_mark`: another process was first.
        """
        self._marks.make()
        with self._alone(source, {messages.topic}):
            self._stored(source, first, mark, [messages])

    def close(self) -> None:
        """See `RecordLog.close`."""
        for source in list(self._sources):
            self._give_up(source)
        if self._appender is not None:
            self._appender.close()
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
                *ranges, at = writer.writer.transact([*messages, self._marks.message(source, mark)])
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
                self._marks.raised(source, mark, at[0])
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
            # With nothing but one position behind our last record, that one is the end of our transaction.
            self._hollow.update((at, range(last + 1, last + 2)) for at, last in lasts.items() if ends[at] == last + 2)
            lasts = {place: last for place, last in lasts.items() if ends[place] <= last}
            if lasts and time.monotonic() > deadline:
                detail = "another writer's transaction is still open before these records"
                raise Unavailable("log_unavailable", where=self._cluster.where, detail=detail)
            if lasts:
                time.sleep(_PAUSE_S)
