"""What an operator wants to know of our topics: `exchange doctor`. It reads and changes nothing."""

from collections.abc import Iterator
from typing import Final

from exchange.errors import ExchangeError, Invalid, Tampered
from exchange.log.kafka.clients import Client
from exchange.log.kafka.cluster import MARK_PARTITIONS, Cluster
from exchange.log.kafka.marks import check_settings

_IN_SYNC: Final = "min.insync.replicas"


def topics(client: Client, cluster: Cluster) -> Iterator[tuple[str, ExchangeError | None]]:
    """Each topic of ours by its name in Kafka, with what is wrong with how the brokers keep it.

    Raises:
        Tampered: `log_damaged`: there are records, and no marks.
        Invalid, Unavailable: as `Client`.
    """
    found = client.topics()
    ours = sorted(name for name in found if name == cluster.marks or name.startswith(cluster.topic("")))
    if ours and cluster.marks not in found:
        raise Tampered("log_damaged", where=cluster.marks, detail="the marks of all sources are gone")
    for name in ours:
        try:
            _check(client, cluster, name, found[name])
        except Invalid as error:
            yield name, error
        else:
            yield name, None


def _check(client: Client, cluster: Cluster, name: str, partitions: int) -> None:
    is_marks = name == cluster.marks
    if is_marks and partitions != MARK_PARTITIONS:
        raise Invalid("topic_partitions", where=name, found=partitions, needed=MARK_PARTITIONS)
    needed = cluster.settings("compact" if is_marks else "delete")
    check_settings(client, name, needed)
    kept = client.settings(name).get(_IN_SYNC, "0")
    copies = client.copies(name)
    for setting, found, least in (
        (_IN_SYNC, int(kept), cluster.min_insync),
        ("replication", copies, cluster.replication),
    ):
        if found < least:
            raise Invalid("kafka_topic_settings", where=name, name=setting, found=found, needed=f">= {least}")
