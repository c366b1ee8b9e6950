"""The sources' marks, and how our topics are made: see `exchange.log.kafka.log`."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from threading import Lock
from typing import Final

from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log.kafka import form
from exchange.log.kafka.clients import Client, Outgoing, Place, in_turn, own_rights
from exchange.log.kafka.cluster import MARK_PARTITIONS, Cluster

_PAUSE_S: Final = 0.002
_GRACE_S: Final = 0.5
_SETTLING_S: Final = 0.05
_MARKS_AT_ONCE: Final = 10_000
_LOSING: Final = ("cleanup.policy", "retention.ms", "retention.bytes", "unclean.leader.election.enable")


class Marks:
    """The sources' marks: a compacted topic, followed from its beginning."""

    def __init__(self, client: Client, cluster: Cluster) -> None:
        self._client, self._cluster = client, cluster
        self._made = False
        self._locks = [Lock() for _ in range(MARK_PARTITIONS)]
        self._next = [0] * MARK_PARTITIONS
        self._raised = [-2] * MARK_PARTITIONS  # where this process' last mark lies, when all before it was known
        self._marks: dict[str, int] = {}

    def make(self) -> None:
        """Makes the topic when the cluster has none of our topics."""
        if not self._exists():
            make(self._client, self._cluster, self._cluster.marks, MARK_PARTITIONS, self._cluster.settings("compact"))
            self._made = True  # a broker that is asked next may not have heard of it

    def mark(self, source: str, held_up: Callable[[], None] = lambda: None) -> int:
        """The source's mark, of all that was written before this call; waits for open transactions to end.

        When that takes longer than a writer needs, `held_up` is called, once.
        """
        if not self._exists():
            return 0
        self._follow(_partition(source), held_up)
        return self._marks.get(source, 0)

    def all(self) -> Mapping[str, int]:
        """Every source's mark."""
        for number in range(MARK_PARTITIONS if self._exists() else 0):
            self._follow(number, lambda: None)
        return dict(sorted(self._marks.items()))

    def _follow(self, number: int, held_up: Callable[[], None]) -> None:
        place = (self._cluster.marks, number)
        with self._in_turn(number):
            end = self._client.ends([place], committed=False)[place]
            if self._wait_committed(place, end, held_up) == self._raised[number] + 2:
                self._next[number] = max(self._next[number], end)  # nothing but the end of our own transaction
            while self._next[number] < end:
                found = self._client.read(place, self._next[number], end, _MARKS_AT_ONCE, 64 << 20)
                keys = [str(key, "utf-8", "replace") for key in found.keys if key is not None]
                self._marks.update(zip(keys, form.mark_of(found.values, self._cluster.marks), strict=True))
                self._next[number] = found.next_position

    def raised(self, source: str, mark: int, position: int) -> None:
        """Takes in a mark that this process has stored at `position`, where all before it is known."""
        number = _partition(source)
        with self._locks[number]:
            if self._next[number] == position:
                self._marks[source] = mark
                self._next[number], self._raised[number] = position + 1, position

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
        check_settings(self._client, self._cluster.marks, self._cluster.settings("compact"))
        self._made = True
        return True

    def _wait_committed(self, place: Place, end: int, held_up: Callable[[], None]) -> int:
        """The end of what is committed, once it is at `end` or behind it."""
        begun, asked = time.monotonic(), False
        while (committed := self._client.ends([place], committed=True)[place]) < end:
            waited = time.monotonic() - begun
            if waited > _GRACE_S and not asked:
                asked = True
                held_up()
            if waited > self._cluster.patience_s:
                detail = "another writer's transaction is still open"
                raise Unavailable("log_unavailable", where=self._cluster.marks, detail=detail)
            time.sleep(_PAUSE_S)
        return committed


def _partition(source: str) -> int:
    return sha256(source.encode()).digest()[0] % MARK_PARTITIONS


def make(client: Client, cluster: Cluster, topic: str, partitions: int, settings: Mapping[str, str]) -> None:
    """Makes a topic that our principal alone may use, and waits until every broker that leads a part of it knows so."""
    # First: without a list of its own a topic may be open to everybody.
    client.allow(cluster.principal, own_rights(cluster.prefix, topic))
    client.create(topic, partitions, settings)
    places = [(topic, number) for number in range(partitions)]
    deadline = time.monotonic() + cluster.patience_s
    while True:
        try:
            client.ends(places, committed=False)
        except Invalid as error:
            if error.code != "kafka_refused" or time.monotonic() > deadline:
                raise
            time.sleep(_SETTLING_S)  # one of the brokers has not heard of the access list yet
        else:
            return


def check_settings(client: Client, topic: str, needed: Mapping[str, str]) -> None:
    """Refuses a topic that is set to lose what is in it: `Invalid("kafka_topic_settings")`."""
    found = client.settings(topic)
    for name in _LOSING:
        if found.get(name) != needed[name]:
            raise Invalid("kafka_topic_settings", where=topic, name=name, found=found.get(name), needed=needed[name])
