"""The figures of a site, each counted by reading its logs."""

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from exchange.wiring.exchange import Exchange

_DEAD: Final = "dead."
_PAGE: Final = 10_000


def figures(exchange: "Exchange") -> list[dict[str, Any]]:
    """What the log and the audit log hold, counted by reading them: records by topic, entries by kind."""
    mark = [{"what": "sample", "name": exchange.settings.text("name"), "count": None}]
    rows = []
    for topic, partitions in sorted(exchange.log.topics().items()):
        what = "dead letters" if topic.startswith(_DEAD) else "records"
        count = sum(_records(exchange, topic, partition) for partition in range(partitions))
        rows.append({"what": what, "name": topic.removeprefix(_DEAD), "count": count})
    rows.sort(key=lambda row: str(row["what"]), reverse=True)
    entries: Counter[str] = Counter()
    released = 0
    for _, kind, body in exchange.audit.entries(0, exchange.audit.size):
        entries[kind] += 1
        released += body["released"] if kind == "release" else 0
    rows += [{"what": "entries", "name": kind, "count": count} for kind, count in sorted(entries.items())]
    if exchange.mirror is not None:
        rows.append({"what": "control events not mirrored", "name": "all", "count": exchange.mirror.look()})
    marked = mark if exchange.settings.is_sample else []
    return [*marked, *rows, {"what": "records released", "name": "all", "count": released}]


def _records(exchange: "Exchange", topic: str, partition: int) -> int:
    """Records that a reader can reach: those with their `record.commit`."""
    count, position, until = 0, 0, exchange.publish_parts.marks.committed(topic, partition)
    while position < until:
        stored = exchange.log.read(topic, partition, position, _PAGE)
        count += sum(1 for at in stored.positions if at < until)
        position = max(stored.next_position, position + 1)
    return count
