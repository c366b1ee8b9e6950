"""The topic `PREFIX.in.DATASET`, into which a department's own producer writes: who may, and what stands there.

| who | may |
|---|---|
| the exchange | read, write, describe |
| the department's account | write and describe; with transactions, under ids that begin with the topic's name and `-` |

Nobody else, and that account nothing else. A message's sequence is its offset plus one, its source has the topic's id
in its name: so the mark of the source, which the record log raises together with the records, says where to go on, and
a topic that was deleted and made again is another source.
"""

from collections.abc import Iterator
from typing import Final

from exchange.errors import Invalid, Tampered
from exchange.log.blocks import MOST_PARTITIONS
from exchange.log.kafka.clients import Incoming, Resource
from exchange.log.kafka.cluster import Cluster
from exchange.log.kafka.log import KafkaRecordLog
from exchange.log.kafka.marks import make
from exchange.names import check

LARGEST: Final = 1 << 20  # of a message, as most brokers and producers have it
_READ: Final = 16 << 20


class IntakeTopic:
    """The topic of one dataset; `Unavailable`, `Invalid("kafka_refused")` and `Tampered` as of `KafkaRecordLog`."""

    def __init__(self, log: KafkaRecordLog, dataset: str) -> None:
        self._client, self._cluster, self.dataset = log.client, log.cluster, dataset
        self.name = self._cluster.intake(dataset)

    def open(self, user: str, partitions: int) -> int:
        """Makes the topic where it is not, and lets this account and no other write there; how many partitions it has.

        Kept for ever unless the operator sets it otherwise: what was taken is in the record log.
        """
        self.check(user, partitions)
        known = self._client.topics().get(self.name)
        if known is None:
            settings = {**_kept(self._cluster), "max.message.bytes": str(LARGEST)}
            make(self._client, self._cluster, self.name, partitions, settings)
            # A crash here: nobody may write yet. The next call goes on.
        self._only(user)
        return known or partitions

    def check(self, user: str, partitions: int) -> None:
        """Raises what `open` would refuse, before anything is done.

        Raises:
            Invalid: `topic_partitions`; `intake_own_account`: the exchange's own, which may read everything.
        """
        if not 1 <= partitions <= MOST_PARTITIONS:
            raise Invalid("topic_partitions", where=self.name, found=partitions, needed=f"1-{MOST_PARTITIONS}")
        if user == self._cluster.principal:
            raise Invalid("intake_own_account", where=self.name, user=user)

    def close(self) -> None:
        """Nobody but the exchange may write there any more. What stands there stays, and may still be taken."""
        self._only("")

    def _only(self, user: str) -> None:
        topic, ids = Resource("topic", self.name), Resource("transactional_id", self.name + "-", prefixed=True)
        for resource in (topic, ids):
            for other in sorted(self._client.allowed(resource) - {user, self._cluster.principal}):
                self._client.forbid(other, resource)
        if user:
            self._client.allow(user, {topic: ("WRITE", "DESCRIBE"), ids: ("WRITE", "DESCRIBE")})

    def partitions(self) -> int:
        """How many it has now; 0 where it is not there."""
        return self._client.topics().get(self.name, 0)

    def sources(self, department: str, partitions: int) -> list[str]:
        """The source of the events that come by each partition of the topic as it is now."""
        topic = f"{department}/kafka/{self.dataset}/{self._client.identity(self.name)}"
        return [check("source", f"{topic}/{number}") for number in range(partitions)]

    def ends(self, partitions: int) -> list[int]:
        """The end of what readers see, of each partition."""
        places = [(self.name, number) for number in range(partitions)]
        found = self._client.ends(places, committed=True)
        return [found[place] for place in places]

    def read(self, partition: int, offset: int, end: int, limit: int) -> Iterator[Incoming]:
        """What was committed from an offset up to `end`, at most `limit` messages at a time.

        Raises:
            Tampered: `intake_lost`: messages from `offset` on were removed, or the partition ends before it.
            Invalid: `kafka_topic_settings`: the topic is compacted, which leaves gaps like those of transactions.
        """
        found_policy = self._client.settings(self.name).get("cleanup.policy")
        if found_policy != "delete":
            facts = {"name": "cleanup.policy", "found": found_policy, "needed": "delete"}
            raise Invalid("kafka_topic_settings", where=self.name, **facts)
        place = (self.name, partition)
        begin = self._client.begin(place)
        if offset > end:  # another worker has taken what came since `end` was asked for
            end = self._client.ends([place], committed=True)[place]
        if not begin <= offset <= end:
            low, high = (offset, begin) if begin > offset else (end, offset)
            raise Tampered("intake_lost", where=f"{self.name}/{partition}", first=low, last=high - 1)
        while offset < end:
            found = self._client.read(place, offset, end, limit, _READ)
            yield found
            offset = found.next_position


def _kept(cluster: Cluster) -> dict[str, str]:
    """As every topic of ours, but for times: a producer's clock is its own, and nothing rests on it."""
    return {name: value for name, value in cluster.settings("delete").items() if not name.startswith("message.")}
