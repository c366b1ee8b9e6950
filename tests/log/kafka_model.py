"""A model of a Kafka cluster in memory: what the log's design rests on, and nothing else.

Partitions with transactions, control records, epochs and a last stable position. A test may act between a writer's
messages and the end of its transaction (`before_end`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from exchange.log.kafka.clients import (
    Headers,
    Incoming,
    InterleavedError,
    OutdatedError,
    Outgoing,
    Place,
    Resource,
    Rights,
    together,
)


@dataclass
class Transaction:
    """Its state is `open`, `stored` or `undone`."""

    state: str = "open"


@dataclass
class Entry:
    """A message, or with neither value nor headers the control record at a transaction's end."""

    transaction: Transaction
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()


@dataclass
class Partition:
    """Its entries from position 0, of which those before `begin` were deleted."""

    entries: list[Entry] = field(default_factory=list)
    begin: int = 0

    @property
    def stable(self) -> int:
        """The end of what readers see: the first message of an open transaction, else the end."""
        is_open = (at for at, entry in enumerate(self.entries) if entry.transaction.state == "open")
        return next(is_open, len(self.entries))


@dataclass
class Cluster:
    """All topics, their settings, and who writes under which transactional id."""

    topics: dict[str, list[Partition]] = field(default_factory=dict)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    lists: dict[Resource, set[str]] = field(default_factory=dict)
    writers: dict[str, "ModelWriter"] = field(default_factory=dict)
    before_end: list[Callable[[], object]] = field(default_factory=list)

    def at(self, place: Place) -> Partition:
        """A partition."""
        return self.topics[place[0]][place[1]]


class ModelWriter:
    """A `Writer`: a later one of the same id undoes its open transaction."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        former = cluster.writers.get(name)
        if former is not None:
            former.end("undone")
        cluster.writers[name] = self
        self._cluster, self._name = cluster, name
        self._transaction = Transaction("undone")
        self._places: set[Place] = set()

    def begin(self, batches: Sequence[Outgoing]) -> list[tuple[int, int]]:
        """Writes into an open transaction; the first and last position of each batch."""
        self._transaction, self._places, spans = Transaction(), set(), []
        for one in batches:
            place = (one.topic, one.partition)
            self._places.add(place)
            entries = self._cluster.at(place).entries
            first = len(entries)
            rows = zip(one.keys, one.values, one.headers, strict=True)
            entries += [Entry(self._transaction, key, value, headers) for key, value, headers in rows]
            spans.append((first, len(entries) - 1))
        return spans

    def end(self, state: str) -> None:
        """Ends the open transaction, if there is one."""
        if self._transaction.state == "open":
            self._transaction.state = state
            for place in self._places:
                self._cluster.at(place).entries.append(Entry(self._transaction))

    def transact(self, batches: Sequence[Outgoing]) -> Sequence[range]:
        """See `Writer.transact`."""
        self._check_current()
        spans = self.begin(batches)
        while self._cluster.before_end:
            self._cluster.before_end.pop()()
        self._check_current()
        try:
            ranges = together(spans, batches)
        except InterleavedError:
            self.end("undone")
            raise
        self.end("stored")
        return ranges

    def close(self) -> None:
        """See `Writer.close`: what is open stays so, as with a writer that dies."""

    def _check_current(self) -> None:
        if self._cluster.writers[self._name] is not self:
            raise OutdatedError


class ModelAppender:
    """An `Appender`: messages and no control records."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def put(self, batches: Sequence[Outgoing]) -> Sequence[range]:
        """See `Appender.put`."""
        ranges = []
        for one in batches:
            entries = self._cluster.at((one.topic, one.partition)).entries
            first = len(entries)
            rows = zip(one.keys, one.values, one.headers, strict=True)
            entries += [Entry(Transaction("stored"), key, value, headers) for key, value, headers in rows]
            ranges.append(range(first, len(entries)))
        return ranges

    def close(self) -> None:
        """See `Appender.close`."""


class ModelClient:
    """A `Client` of the model."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def topics(self) -> Mapping[str, int]:
        """See `Client.topics`."""
        return {name: len(partitions) for name, partitions in self._cluster.topics.items()}

    def create(self, topic: str, partitions: int, settings: Mapping[str, str]) -> None:
        """See `Client.create`."""
        self._cluster.topics.setdefault(topic, [Partition() for _ in range(partitions)])
        self._cluster.settings.setdefault(topic, dict(settings))

    def settings(self, topic: str) -> Mapping[str, str]:
        """See `Client.settings`."""
        return self._cluster.settings[topic]

    def identity(self, topic: str) -> str:
        """See `Client.identity`: the same for as long as the topic is there."""
        return f"{id(self._cluster.topics[topic]):032x}"

    def allow(self, principal: str, rights: Rights) -> None:
        """See `Client.allow`."""
        for resource in rights:
            self._cluster.lists.setdefault(resource, set()).add(principal)

    def forbid(self, principal: str, resource: Resource) -> None:
        """See `Client.forbid`."""
        self._cluster.lists.get(resource, set()).discard(principal)

    def allowed(self, resource: Resource) -> set[str]:
        """See `Client.allowed`."""
        return set(self._cluster.lists.get(resource, ()))

    def writer(self, transactional_id: str) -> ModelWriter:
        """See `Client.writer`."""
        return ModelWriter(self._cluster, transactional_id)

    def appender(self) -> "ModelAppender":
        """See `Client.appender`."""
        return ModelAppender(self._cluster)

    def copies(self, topic: str) -> int:
        """See `Client.copies`: the model has one broker."""
        return len(self._cluster.topics[topic]) and 1

    def ends(self, places: Sequence[Place], *, committed: bool) -> Mapping[Place, int]:
        """See `Client.ends`."""
        found = {place: self._cluster.at(place) for place in places}
        return {place: one.stable if committed else len(one.entries) for place, one in found.items()}

    def begin(self, place: Place) -> int:
        """See `Client.begin`."""
        return self._cluster.at(place).begin

    def read(self, place: Place, position: int, end: int, limit: int, size: int) -> Incoming:
        """See `Client.read`."""
        del size
        partition = self._cluster.at(place)
        found = list(self._visible(partition, position, limit))
        full = len(found) == limit
        entries = [partition.entries[at] for at in found]
        return Incoming(
            found,
            [one.key for one in entries],
            [one.value for one in entries],
            [one.headers for one in entries],
            found[-1] + 1 if full else max(end, partition.stable),
        )

    def close(self) -> None:
        """See `Client.close`."""

    @staticmethod
    def _visible(partition: Partition, position: int, limit: int) -> Iterator[int]:
        for at in range(position, partition.stable):
            entry = partition.entries[at]
            if (entry.value is not None or entry.headers) and entry.transaction.state == "stored" and limit:
                limit -= 1
                yield at
