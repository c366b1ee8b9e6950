"""What the log needs of a Kafka client. `exchange.log.kafka.python` and `.librdkafka` give it.

Every error leaves a client in our families: `Invalid("kafka_refused")` for who we are and what we may,
`Tampered("log_damaged")` for bytes that are missing or broken, `Unavailable("log_unavailable")` for the rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Final, Literal, Protocol

from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable

Headers = Sequence[tuple[str, bytes]]
Place = tuple[str, int]  # topic, partition, by their names in Kafka

# By the names that both clients' errors have in common, without their endings and underscores.
_REFUSED: Final = frozenset(
    {
        "authentication",
        "saslauthenticationfailed",
        "topicauthorizationfailed",
        "groupauthorizationfailed",
        "clusterauthorizationfailed",
        "transactionalidauthorizationfailed",
        "securitydisabled",
        "unsupportedsaslmechanism",
        "policyviolation",
        "invalidreplicationfactor",
        "invalidconfig",
        "invalidconfiguration",
    }
)
_DAMAGED: Final = frozenset(
    {"offsetoutofrange", "corruptrecord", "invalidmsg", "badmsg", "logtruncation", "autooffsetreset"}
)


@dataclass(frozen=True, slots=True)
class Resource:
    """What an access list of the brokers is about; `prefixed`: all whose names begin so."""

    kind: Literal["topic", "transactional_id", "group"]
    name: str
    prefixed: bool = False


Rights = Mapping[Resource, Sequence[str]]  # operations by their names in Kafka: READ, WRITE, DESCRIBE …


class OutdatedError(Exception):
    """Another writer of the same source has begun, or this one does not know the topic as it is now: it can write no
    more, and nothing was stored.
    """


class InterleavedError(Exception):
    """Another writer's records stand between those of one batch: nothing of it was stored; try again."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Messages for one partition, in order; the columns have the same length."""

    topic: str
    partition: int
    time_ms: int
    keys: Sequence[bytes]
    values: Sequence[bytes | None]
    headers: Sequence[list[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class Incoming:
    """Messages read from one partition, in order; reading goes on at `next_position`."""

    positions: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers]
    next_position: int


class Writer(Protocol):
    """Writes under one transactional id. Making it has ended the transaction of whoever wrote under it before."""

    def transact(self, batches: Sequence[Outgoing]) -> Sequence[range]:
        """Stores all or nothing, durable on return; the positions of each batch, which stands together.

        Raises:
            OutdatedError, InterleavedError: nothing is stored.
            Unavailable: it is stored or not, and that may show later.
        """
        ...

    def close(self) -> None:
        """Gives the connections back, without waiting for brokers that do not answer."""
        ...


class Appender(Protocol):
    """Writes without transactions, idempotent and with all copies: no position goes to anything but its messages."""

    def put(self, batches: Sequence[Outgoing]) -> Sequence[range]:
        """Stores the batches in order, durable on return; the positions of each, which stands together.

        Raises:
            InterleavedError: somebody else writes to the same partition; all is stored.
            Unavailable: a beginning of it may be stored, or may still come.
        """
        ...

    def close(self) -> None:
        """Gives the connections back, without waiting for brokers that do not answer."""
        ...


class Client(Protocol):
    """Connections to one cluster; it may be used from any thread."""

    def topics(self) -> Mapping[str, int]:
        """Every topic that we may see, with its number of partitions."""
        ...

    def create(self, topic: str, partitions: int, settings: Mapping[str, str]) -> None:
        """Makes a topic, which is there on return; one that is there already stays as it is."""
        ...

    def settings(self, topic: str) -> Mapping[str, str]:
        """How a topic is kept."""
        ...

    def identity(self, topic: str) -> str:
        """The id that the brokers gave the topic when it was made, in hex: one of the same name has another."""
        ...

    def allow(self, principal: str, rights: Rights) -> None:
        """Lets a principal (`User:NAME`) do this; without authentication there is nobody to permit."""
        ...

    def forbid(self, principal: str, resource: Resource) -> None:
        """Takes away whatever the access list of this very resource lets the principal do."""
        ...

    def allowed(self, resource: Resource) -> set[str]:
        """Whom the access list of this very resource lets do anything."""
        ...

    def writer(self, transactional_id: str) -> Writer:
        """A writer, when all that an earlier one of this id has begun is stored or undone."""
        ...

    def appender(self) -> Appender:
        """What fills a log that nobody uses yet."""
        ...

    def copies(self, topic: str) -> int:
        """How many brokers keep each partition of a topic, at the least."""
        ...

    def ends(self, places: Sequence[Place], *, committed: bool) -> Mapping[Place, int]:
        """The end of each partition: of what readers see, or of all that was written."""
        ...

    def begin(self, place: Place) -> int:
        """The first position that the partition still has."""
        ...

    def read(self, place: Place, position: int, end: int, limit: int, size: int) -> Incoming:
        """Committed messages from `position` to `end` at the least, `limit` of them and about `size` bytes at most.

        `next_position` is `end` or more when there are no others before it.
        """
        ...

    def close(self) -> None:
        """Gives the connections back."""
        ...


def own_rights(prefix: str, topic: str) -> Rights:
    """What the exchange's own principal needs: the topic, and transactions and groups of its prefix."""
    own = prefix + "."
    return {
        Resource("topic", topic): ("READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"),
        Resource("transactional_id", own, prefixed=True): ("WRITE", "DESCRIBE"),
        Resource("group", own, prefixed=True): ("READ", "DESCRIBE"),
    }


@contextmanager
def in_turn(lock: Lock, patience_s: float) -> Iterator[None]:
    """Holds the lock; `TimeoutError` for who does not get it in time: where no broker answers, each who asks would else
    wait as long as all before him together.
    """
    if not lock.acquire(timeout=patience_s):
        raise TimeoutError("others are asking, and get no answer")
    try:
        yield
    finally:
        lock.release()


def failure(name: str, detail: str, where: str, user: str = "") -> ExchangeError:
    """The error of ours that a client's error of this name is."""
    plain = name.strip("_").removesuffix("Error").replace("_", "").lower()
    if plain in _REFUSED:
        return Invalid("kafka_refused", where=where, user=user, detail=detail)
    if plain in _DAMAGED:
        return Tampered("log_damaged", where=where, detail=detail)
    return Unavailable("log_unavailable", where=where, detail=f"{detail} (as {user})" if user else detail)


def together(spans: Sequence[tuple[int, int]], batches: Sequence[Outgoing]) -> list[range]:
    """The positions of batches by those of their first and last message; `InterleavedError` when others are between."""
    if any(last - first + 1 != len(batch.values) for (first, last), batch in zip(spans, batches, strict=True)):
        raise InterleavedError
    return [range(first, last + 1) for first, last in spans]
