"""Publishing from ready batches: check, tag, seal, append, audit entry in a signed checkpoint, every fsync on."""

import io
import sqlite3
from pathlib import Path
from typing import Any, Final

import fastavro

from exchange.contracts.contract import load
from exchange.source import SourceBatch
from exchange.wiring import standing
from tests.bench import county, site
from tests.bench.clock import Spent, folder, rates, spent

BATCH: Final = 10_000


def measured(partitions: int, batches: int, rounds: int) -> dict[str, Any]:
    """Records per second of ours and of the baseline, by turns."""
    ours: list[Spent] = []
    plain: list[Spent] = []
    with folder() as place:
        site.make(place / "site")
        with site.opened(place / "site", publish_partitions=partitions) as exchange:
            system = site.who(exchange, f"svc.{site.PROVIDER}")
            for turn in range(rounds):
                first = turn * batches * BATCH
                ready = [county.batch(first + number * BATCH, BATCH) for number in range(batches)]
                plain.append(spent(baseline, place / f"plain-{turn}.db", ready))
                ours.append(spent(exchange.publish, system, county.Ready(ready), county.DATASET, lambda _: None))
    return {"ours": rates(batches * BATCH, ours), "baseline": rates(batches * BATCH, plain)}


def baseline(file: Path, ready: list[SourceBatch]) -> None:
    """Strict encoding by fastavro and one insert for each record, a durable commit (WAL, FULL) for each batch."""
    schema = fastavro.parse_schema(
        dict(load(standing("schemas") / site.PROVIDER / county.DATASET).schemas[-1].document)
    )
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE record (position INTEGER PRIMARY KEY, subject TEXT, body BLOB)")
    for batch in ready:
        rows = []
        for sequence, value in zip(batch.sequences, batch.values, strict=True):
            stream = io.BytesIO()
            fastavro.schemaless_writer(stream, schema, value, strict=True)
            rows.append((sequence, value["person_id"], stream.getvalue()))
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
    connection.close()
