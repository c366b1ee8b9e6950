"""The topic `PREFIX.control`: the control events again, for whoever the operator lets read them.

One partition, kept for ever, in the order of the event store. Each message is a CloudEvent in binary mode (CloudEvents
1.0.2, Kafka protocol binding 1.0.2): the value is the event's data as it is stored, the key its aggregate.

| header | holds |
|---|---|
| `ce_id`, `ce_sequence` | the event's position, plain and with leading zeros (extension "sequence") |
| `ce_source` | `//ORIGIN/control`, the origin being the audit log's name |
| `ce_type`, `ce_subject`, `ce_time` | its name with its version, its aggregate, when it was |
| `ce_version`, `ce_actor` | the aggregate's version, the acting account |
"""

from collections.abc import Sequence
from typing import Final, Protocol
from urllib.parse import quote

from exchange.errors import Tampered
from exchange.log.blocks import rfc3339
from exchange.log.kafka.clients import Outgoing, Resource
from exchange.log.kafka.log import KafkaRecordLog
from exchange.log.kafka.marks import check_settings, make

# Its mark's source: no department's source begins with a slash.
SOURCE: Final = "/control"


class ControlEvent(Protocol):
    """A stored event, as `exchange.control.events.Event` is one."""

    @property
    def position(self) -> int: ...  # noqa: D102
    @property
    def aggregate(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> int: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def actor(self) -> str: ...  # noqa: D102
    @property
    def time_ns(self) -> int: ...  # noqa: D102


class ControlTopic:
    """The mirror's topic; errors as of `KafkaRecordLog`."""

    def __init__(self, log: KafkaRecordLog, origin: str) -> None:
        self._log, self._source = log, f"//{quote(origin)}/control"
        self.name = log.cluster.control

    def make(self, readers: Sequence[str]) -> None:
        """Makes the topic where it is not, and lets these principals (`User:NAME`) and no others read it, in groups
        whose names begin with the topic's.

        Raises:
            Tampered: `log_damaged`: it has lost messages.
            Invalid: `kafka_topic_settings`: the brokers would lose some.
        """
        client, cluster = self._log.client, self._log.cluster
        kept = cluster.settings("delete")
        if self.name not in client.topics():
            make(client, cluster, self.name, 1, kept)
        check_settings(client, self.name, kept)
        topic, groups = Resource("topic", self.name), Resource("group", self.name, prefixed=True)
        for other in sorted(client.allowed(topic) - {*readers, cluster.principal}):
            client.forbid(other, topic)
            client.forbid(other, groups)
        for reader in readers:
            client.allow(reader, {topic: ("READ", "DESCRIBE"), groups: ("READ", "DESCRIBE")})
        self._check_whole()

    def _check_whole(self) -> None:
        """Each event that was mirrored takes a position at the least."""
        client, place, mirrored = self._log.client, (self.name, 0), self.reached()
        begin, end = client.begin(place), client.ends([place], committed=True)[place]
        if begin or end < mirrored:
            detail = f"{mirrored} events were mirrored, and it holds positions {begin} to {end}"
            raise Tampered("log_damaged", where=self.name, detail=detail)

    def mirrored(self) -> int:
        """The position of the last event that is in the topic; 0 for none."""
        return self._log.peek(SOURCE)

    def reached(self) -> int:
        """The same, for who mirrors: a writer that died in the middle is ended, and not waited for."""
        return self._log.mark(SOURCE)

    def add(self, events: Sequence[ControlEvent], bodies: Sequence[bytes]) -> None:
        """Stores events, the next after `mirrored`, in one transaction with their mark.

        Raises:
            Invalid: `sequence_not_after_mark`: another process was first; nothing was stored.
        """
        headers = [self._headers(event) for event in events]
        keys = [event.aggregate.encode() for event in events]
        messages = Outgoing(self.name, 0, events[-1].time_ns // 1_000_000, keys, bodies, headers)
        self._log.keep(SOURCE, events[0].position, events[-1].position, messages)

    def _headers(self, event: ControlEvent) -> list[tuple[str, bytes]]:
        told = {
            "ce_specversion": "1.0",
            "ce_id": str(event.position),
            "ce_source": self._source,
            "ce_type": event.name,
            "ce_subject": quote(event.aggregate),
            "ce_time": rfc3339(event.time_ns),
            "ce_sequence": f"{event.position:020}",
            "ce_version": str(event.version),
            "ce_actor": event.actor,
            "content-type": "application/json",
        }
        return [(name, value.encode()) for name, value in told.items()]
