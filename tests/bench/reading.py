"""Reading through the reference view: the plan decided, every release in a signed checkpoint before its bytes."""

import io
from typing import Any, Final

import fastavro

from exchange.control.questions import Request
from exchange.view.formats import Format
from exchange.wiring import Exchange
from tests.bench import county, site
from tests.bench.clock import Spent, folder, rates, spent
from tests.bench.publishing import BATCH

_FORMATS: Final[tuple[Format, ...]] = ("avro", "jsonl")


def measured(batches: int, rounds: int, partitions: int = 1) -> dict[str, Any]:
    """Records read (not: released) per second, of ours in two formats, with and without a case, and of the baseline."""
    records = batches * BATCH
    runs: dict[str, list[Spent]] = {}
    with folder() as place:
        site.make(place / "site")
        with site.opened(place / "site", publish_partitions=partitions) as exchange:
            system = site.who(exchange, f"svc.{site.PROVIDER}")
            exchange.publish(system, county.Stream(records), county.DATASET, lambda _: None)
            site.open_case(exchange, [county.person_id(number) for number in range(0, records, records // 1_000)])
            for _ in range(rounds):
                runs.setdefault("baseline", []).append(spent(baseline, exchange))
                for form in _FORMATS:
                    for name, request in (("free", site.FREE), ("case", site.IN_CASE)):
                        run = spent(read, exchange, request, form)
                        runs.setdefault(f"{form} {name}", []).append(run)
    return {name: rates(records, found) for name, found in runs.items()}


def read(exchange: Exchange, request: Request, form: Format) -> int:
    """Reads all there is for the consumer; how many records it got."""
    consumer = site.who(exchange, f"svc.{site.CONSUMER}")
    start = dict.fromkeys(range(exchange.log.topics()[county.DATASET]), 0)
    return sum(one.released for one in exchange.gateway.read(consumer, request, start, form))


def baseline(exchange: Exchange) -> int:
    """The log read as it lies there and every body decoded by fastavro: no policy, no view, no audit."""
    schema = fastavro.parse_schema(dict(exchange.contract(county.DATASET).schemas[-1].document))
    count = 0
    for partition in range(exchange.log.topics()[county.DATASET]):
        position, end = 0, exchange.log.end(county.DATASET, partition)
        while position < end:
            stored = exchange.log.read(county.DATASET, partition, position, BATCH)
            found = [fastavro.schemaless_reader(io.BytesIO(body), schema, None) for body in stored.values]
            count, position = count + len(found), stored.next_position
    return count
