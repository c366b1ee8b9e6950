"""The sealed part of the index over both logs, of an open exchange: sealing it, and provably complete answers."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from exchange.audit.sealing import SEGMENT, Answer, Segments
from exchange.control.model import Principal
from exchange.errors import Refused

if TYPE_CHECKING:
    from exchange.wiring.exchange import Exchange


def seal(exchange: "Exchange", who: Principal, on_segment: Callable[[], None] = lambda: None) -> int:
    """Seals all that both logs have and no segment covers yet, for an auditor: how many segments that made.

    Raises:
        Refused: `auditor_required`, audited.
    """
    if "auditor" not in who.roles:
        exchange.refuse(who, "audit seal", Refused("auditor_required"))
    return _sealed(exchange, 1, on_segment)


def seal_what_is_due(exchange: "Exchange") -> int:
    """Seals what has grown to whole segments; nothing otherwise."""
    return _sealed(exchange, SEGMENT, lambda: None)


def answer(exchange: "Exchange", tags: Sequence[bytes]) -> Answer:
    """Seals what is not sealed yet, then: what the sealed part of both logs says about these subjects, with its proof.

    Whoever tells it to somebody writes the question down. Raises `Tampered("segment_damaged")`.
    """
    _sealed(exchange, 1, lambda: None)
    known = exchange.followed().segments()
    with exchange.sealing:
        return of(exchange).answer(tags, known)


def _sealed(exchange: "Exchange", least: int, on_segment: Callable[[], None]) -> int:
    index = exchange.followed()
    size = exchange.audit.size
    ends = {
        (topic, partition): exchange.publish_parts.marks.committed(topic, partition)
        for topic, partitions in exchange.log.topics().items()
        for partition in range(partitions)
    }
    with exchange.sealing:
        return of(exchange).seal(index.segments(), size, ends, least, on_segment)


def of(exchange: "Exchange") -> Segments:
    """The segments of this exchange; whoever uses them holds `exchange.sealing`."""
    folder = exchange.settings.path("data/segments")
    return Segments(folder, exchange.audit, exchange.read_tags, exchange.now_ns)
