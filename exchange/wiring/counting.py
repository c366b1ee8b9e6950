"""The figures of a site asked of its engines themselves: of the brokers by a client of Kafka, of the databases by SQL.

`figures` counts through the exchange's own doors; who doubts those compares them with these.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

from exchange.control.database import open_engine, translated
from exchange.errors import Unavailable
from exchange.log.server import SCHEME, is_server
from exchange.settings import Settings
from exchange.wiring.engines import KAFKA, behind, database_of, kafka_client, server_of

Row = dict[str, Any]  # engine, what, name, count
_DEAD: Final = "dead."
_AT_ONCE: Final = 10_000
_BYTES: Final = 32 << 20
_SQLITE_RECORDS: Final = (
    "SELECT part.topic, coalesce(sum(block.count), 0) FROM part LEFT JOIN block ON block.part = part.id GROUP BY 1"
)
_OF_CONTROL: Final = {
    "events": "SELECT '', count(*) FROM events",
    "seals": "SELECT dataset, count(*) FROM seals GROUP BY 1",
    # The sequencer itself puts an entry before the first use of each schema.
    "entries": "SELECT kind, count(*) FROM audit_outbox WHERE idx IS NOT NULL GROUP BY 1"
    " UNION ALL SELECT 'schema', count(*) FROM audit_schemas",
    "size": "SELECT '', size FROM audit_lock",
}


def counted(settings: Settings) -> list[Row]:
    """What each engine holds, in the order of `what` and `name`: `records` and `dead letters` of a dataset, `latest`
    records of it in the state, `events`, `seals` of a dataset, `entries` of the audit log by kind, and its `size`.

    The `engine` of a row is its setting, without the password. The site may be in use.

    Raises:
        Unavailable: a server does not answer; `Invalid`: a setting is wrong.
    """
    rows = [*_log(settings), *_state(settings), *_control(settings)]
    return sorted(rows, key=lambda row: (row["what"], row["name"]))


def described(settings: Settings) -> dict[str, str]:
    """Every engine's setting by its name, and for a PostgreSQL server its version."""
    found = {name: settings.text(f"engines.{name}") for name in ("log", "state", "control", "audit", "policy")}
    with ExitStack() as stack:
        database = database_of(settings, stack)
        if is_server(database):
            with translated(database), database.connect() as connection:
                version = connection.exec_driver_sql("SHOW server_version").scalar_one()
            found["control"] += f" (PostgreSQL {str(version).split()[0]})"
    return found


def _log(settings: Settings) -> Iterator[Row]:
    engine = settings.text("engines.log")
    scheme, rest = settings.engine("log")
    found = _on_kafka(settings, scheme, rest) if scheme in KAFKA else _in_file(settings.path(rest), _SQLITE_RECORDS)
    for topic, count in found:
        what = "dead letters" if topic.startswith(_DEAD) else "records"
        yield {"engine": engine, "what": what, "name": topic.removeprefix(_DEAD), "count": count}


def _on_kafka(settings: Settings, scheme: str, url: str) -> Iterator[tuple[str, int]]:
    """The committed records of each of our topics, read to the end that the brokers name: positions have gaps."""
    client, place = kafka_client(settings, scheme, url)
    own = place.topic("")
    with closing(client):
        for topic, partitions in client.topics().items():
            if topic.startswith(own):
                parts = [(topic, partition) for partition in range(partitions)]
                ends = client.ends(parts, committed=True)
                yield topic.removeprefix(own), sum(_messages(client, part, ends[part]) for part in parts)


def _messages(client: Any, part: tuple[str, int], end: int) -> int:  # noqa: ANN401  # `Client`, which closing() needs
    count, position = 0, client.begin(part)
    while position < end:
        found = client.read(part, position, end, _AT_ONCE, _BYTES)
        count += len(found.positions)
        position = max(found.next_position, position + 1)
    return count


def _state(settings: Settings) -> Iterator[Row]:
    engine = settings.text("engines.state")
    if settings.engine("state")[0] == SCHEME:
        database = open_engine(*server_of(settings, "state"))
        found = _on_server(database, "SELECT topic, count(*) FROM state_latest GROUP BY 1", "state_latest")
        database.dispose()
    else:
        file = settings.path(behind(settings, "state", "sqlite"))
        found = _in_file(file, "SELECT topic, count(*) FROM latest GROUP BY 1")
    return ({"engine": engine, "what": "latest", "name": name, "count": count} for name, count in found)


def _control(settings: Settings) -> Iterator[Row]:
    with ExitStack() as stack:
        database = database_of(settings, stack)
        for what, query in _OF_CONTROL.items():
            for name, count in _on_server(database, query):
                engine = settings.text("engines.audit" if what in {"entries", "size"} else "engines.control")
                yield {"engine": engine, "what": what, "name": name, "count": count}


def _on_server(database: Any, query: str, table: str = "") -> Sequence[tuple[str, int]]:  # noqa: ANN401  # Engine
    """The rows of a query; none where a table that is made when it is first needed is not there yet."""
    with translated(database), database.connect() as connection:
        if table and not database.dialect.has_table(connection, table):
            return []
        return [(str(name), int(count)) for name, count in connection.exec_driver_sql(query)]


def _in_file(file: Path, query: str) -> Sequence[tuple[str, int]]:
    """The rows of a query on a SQLite file, which is only read; none where it was not made yet."""
    if not file.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            return [(str(name), int(count)) for name, count in connection.execute(query)]
    except sqlite3.Error as error:
        raise Unavailable("system", where=file.name, detail=str(error)) from None
