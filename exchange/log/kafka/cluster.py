"""Where the brokers are, who we are to them, and how our topics are kept."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from exchange.errors import Invalid

PROTOCOLS: Final = ("PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
# A source's mark lies in the partition that its name gives, so this never changes. Several, because a writer that died
# in the middle holds up all who share its partition until the broker has given its transaction up.
MARK_PARTITIONS: Final = 4
_DEFAULT_PREFIX: Final = "exchange"
_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")
_SERVER: Final = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})")
_LARGEST: Final = 18 << 20  # a record of 16 MiB with its key and headers
_ALWAYS: Final = str((1 << 63) - 1)
# Bytes that a topic keeps in one file: a compacted topic is compacted file by file.
_SEGMENT: Final = {"delete": 512 << 20, "compact": 16 << 20}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster as its clients need it; times in seconds.

    `ca` is the file of the certificates that sign the brokers' (PEM), empty: the system's. What takes longer than
    `patience_s` is `Unavailable`. `transaction_s` after a writer's death its unfinished transaction is undone by the
    broker (at its next look for such, `transaction.abort.timed.out.transaction.cleanup.interval.ms`); until then others
    wait who write to the same partitions. A batch that takes longer to be stored is undone, too.
    """

    servers: tuple[str, ...]
    prefix: str = _DEFAULT_PREFIX
    protocol: str = "SASL_SSL"
    mechanism: str = "SCRAM-SHA-512"
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    replication: int = 3
    min_insync: int = 2
    patience_s: float = 10.0
    transaction_s: float = 8.0

    @property
    def where(self) -> str:
        """The brokers, as errors name them."""
        return ",".join(self.servers)

    @property
    def marks(self) -> str:
        """The topic of the marks."""
        return f"{self.prefix}.marks"

    @property
    def principal(self) -> str:
        """Who may read and write our topics; empty without authentication."""
        return f"User:{self.user}" if self.protocol != "PLAINTEXT" else ""

    def topic(self, name: str) -> str:
        """A topic's name in Kafka."""
        return f"{self.prefix}.log.{name}"

    def intake(self, dataset: str) -> str:
        """The topic into which a dataset's department writes."""
        return f"{self.prefix}.in.{dataset}"

    @property
    def control(self) -> str:
        """The topic that mirrors the control events."""
        return f"{self.prefix}.control"

    def settings(self, policy: str) -> Mapping[str, str]:
        """How a topic of ours is kept: for ever, whatever a record's time, on enough brokers before it counts."""
        return {
            "cleanup.policy": policy,
            "retention.ms": "-1",
            "retention.bytes": "-1",
            "min.insync.replicas": str(self.min_insync),
            "unclean.leader.election.enable": "false",
            "max.message.bytes": str(_LARGEST),
            "message.timestamp.type": "CreateTime",
            "message.timestamp.before.max.ms": _ALWAYS,
            "message.timestamp.after.max.ms": _ALWAYS,
            "segment.bytes": str(_SEGMENT[policy]),
        }


def cluster(url: str, **settings: object) -> Cluster:
    """The cluster that `//HOST:PORT,HOST:PORT/PREFIX` names; `settings` are the other fields of `Cluster`.

    Raises:
        Invalid: `setting_wrong` for an address or a setting that is none, `kafka_insecure` for a connection without
            TLS or without authentication to another machine.
    """
    places, _, prefix = url.removeprefix("//").partition("/")
    servers = tuple(places.split(","))
    ports = [_SERVER.fullmatch(server) for server in servers]
    prefix = prefix or _DEFAULT_PREFIX
    if not url.startswith("//") or not all(one and 0 < int(one[1]) < 65_536 for one in ports):
        raise _wrong("engines.log", "kafka://HOST:PORT,HOST:PORT/PREFIX")
    if not _PREFIX.fullmatch(prefix):
        raise _wrong("engines.log", "kafka://HOST:PORT/PREFIX, the prefix of a-z 0-9 . _ - and at most 41 characters")
    made = Cluster(servers, prefix, **settings)  # type: ignore[arg-type]  # wiring gives each its own type
    if made.protocol not in PROTOCOLS:
        raise _wrong("kafka.security.protocol", " / ".join(PROTOCOLS))
    if made.mechanism not in MECHANISMS:
        raise _wrong("kafka.sasl.mechanism", " / ".join(MECHANISMS))
    if made.min_insync > made.replication:
        raise _wrong("kafka.min.insync.replicas", f"1 … {made.replication}, as kafka.replication.factor says")
    if made.protocol != "PLAINTEXT" and not (made.user and made.password):
        raise _wrong("kafka.sasl.username", "the exchange's own account at the brokers, with kafka.sasl.password")
    if made.protocol != "SASL_SSL" and not all(map(_here, servers)):
        raise Invalid("kafka_insecure", where="kafka.security.protocol", protocol=made.protocol, servers=made.where)
    return made


def _wrong(name: str, expected: str) -> Invalid:
    return Invalid("setting_wrong", where="settings", name=name, expected=expected)


def _here(server: str) -> bool:
    """Whether the address is this machine's own."""
    host = server.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
