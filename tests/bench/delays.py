"""From publish to release at 100 records a second: whatever is due is published, and read as soon as it is there;
and what log and audit together cost a record, without the view.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from secrets import token_bytes
from typing import Any, Final

from exchange.audit.access_entries import bitmap
from exchange.audit.entries import Entry, make
from exchange.wiring import Exchange
from tests.bench import county, site
from tests.bench.clock import folder, percentile, spent, unpin

_PER_SECOND: Final = 100
_BATCH: Final = 1_000
_IN_FLIGHT: Final = 8


def measured(seconds: int, engines: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Milliseconds from the moment that a record was due until its release was handed over, and its parts."""
    unpin()
    with folder() as place:
        site.make(place / "site", engines)
        with site.opened(place / "site") as exchange:
            exchange.opened_all()
            return _followed(exchange, seconds)


def _followed(exchange: Exchange, seconds: int) -> dict[str, Any]:
    system, consumer = site.who(exchange, f"svc.{site.PROVIDER}"), site.who(exchange, f"svc.{site.CONSUMER}")
    total = seconds * _PER_SECOND
    due: dict[int, float] = {}
    published: dict[int, float] = {}
    exchange.publish(system, county.Ready([county.batch(0, 1)]), county.DATASET, lambda _: None)
    begun = time.perf_counter() + 0.5

    def publish() -> None:
        due.update((number, begun + number / _PER_SECOND) for number in range(1, total + 1))
        number = 1
        while number <= total:
            time.sleep(max(due[number] - time.perf_counter(), 0))
            fresh = sum(at <= time.perf_counter() for at in due.values()) + 1 - number  # what came during the last one
            exchange.publish(system, county.Ready([county.batch(number, fresh)]), county.DATASET, lambda _: None)
            published.update(dict.fromkeys(range(number, number + fresh), time.perf_counter()))
            number += fresh

    thread = threading.Thread(target=publish)
    thread.start()
    released: dict[int, float] = {}
    position = taken = 0
    with exchange.lent_gateway() as gateway:
        while taken <= total:
            release = gateway.batch(consumer, site.FREE, 0, position, "jsonl", _BATCH)
            if release is None:
                time.sleep(0.001)
                continue
            now = time.perf_counter()
            seen = release.released + (release.excluded or 0) + release.withheld
            if release.next_position is None:
                raise AssertionError("a release of a range without its end")
            seen = _records(exchange, position, release.next_position)
            released.update((number, now) for number in range(taken, taken + seen))
            taken, position = taken + seen, release.next_position
    thread.join()
    whole = [(released[number] - due[number]) * 1e3 for number in range(1, total + 1)]
    first = [(published[number] - due[number]) * 1e3 for number in range(1, total + 1)]
    return {"publish returned": _row(first), "released": _row(whole)}


def _records(exchange: Exchange, lo: int, hi: int) -> int:
    """How many records lie there: on Kafka not every position has one."""
    return len(exchange.log.read(county.DATASET, 0, lo, hi - lo).up_to(hi).positions)


def _row(found: list[float]) -> dict[str, float]:
    return {name: round(percentile(found, share), 1) for name, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))}


def cost(batches: int, rounds: int) -> dict[str, Any]:
    """Microseconds a record of reading batches of 1,000 and auditing each before the next but eight, on one core."""
    with folder() as place:
        site.make(place / "site")
        with site.opened(place / "site") as exchange:
            system = site.who(exchange, f"svc.{site.PROVIDER}")
            exchange.publish(system, county.Stream(batches * _BATCH), county.DATASET, lambda _: None)
            entries = _entries(exchange)
            log = [spent(_read, exchange) for _ in range(rounds)]
            both = [spent(_audited, exchange, entries) for _ in range(rounds)]
    records = batches * _BATCH
    rows = {"log alone (baseline)": log, "log and audit, 8 in flight": both}
    return {
        name: {
            "us a record, wall": round(sorted(one.wall for one in runs)[len(runs) // 2] / records * 1e6, 2),
            "us a record, CPU": round(sorted(one.cpu for one in runs)[len(runs) // 2] / records * 1e6, 2),
        }
        for name, runs in rows.items()
    }


def _entries(exchange: Exchange) -> Callable[[int, int], Entry]:
    """Makes release entries like those of a real reader: the first real one, with an id and a range of its own."""
    consumer = site.who(exchange, f"svc.{site.CONSUMER}")
    with exchange.lent_gateway() as gateway:
        found = gateway.batch(consumer, site.FREE, 0, 0, "jsonl", _BATCH)
    if found is None:
        raise AssertionError("nothing to read")
    kind, body = exchange.audit.entry(found.index)
    numbers = count(2)

    def made(lo: int, hi: int) -> Entry:
        fresh = {"lo": lo, "hi": hi, "counter": next(numbers), "excluded": bitmap(range(3, hi - lo, 5), hi - lo)}
        return make(kind, token_bytes(16), time.time_ns(), **{**_rest(body), **fresh})

    return made


def _rest(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in {"id", "time_ns"}}


def _read(exchange: Exchange) -> None:
    position, end = 0, exchange.log.end(county.DATASET, 0)
    while position < end:
        position = exchange.log.read(county.DATASET, 0, position, _BATCH).next_position


def _audited(exchange: Exchange, made: Callable[[int, int], Entry]) -> None:
    position, end = 0, exchange.log.end(county.DATASET, 0)
    waiting: deque[bytes] = deque()
    while position < end or waiting:
        while position < end and len(waiting) < _IN_FLIGHT:
            following = exchange.log.read(county.DATASET, 0, position, _BATCH).next_position
            entry = made(position, following)
            exchange.audit.submit([entry])
            waiting.append(entry.id)
            position = following
        exchange.audit.wait(waiting.popleft())
