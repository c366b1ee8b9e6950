"""What a site's stores hold, in members that do not depend on the engines: read from any, written to any.

| member | content |
|---|---|
| `log/topics.json` | topic → the end of each of its partitions |
| `log/marks/N.jsonl` | `[source, mark]`, by source |
| `log/records/TOPIC/PARTITION/N.records` | records with their positions: `exchange.log.portions` |
| `control/TABLE/N.jsonl` | rows of the control database by primary key, each a list of its columns, bytes in base64 |
| `audit/tile/…`, `audit/checkpoint` | the audit log's tiles at the committed size, and its checkpoint |

The same content gives the same members, byte for byte, on every engine: so two sites are compared by their digests.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, LargeBinary, String, Table, delete, func, insert, select, text

from exchange.audit.export import tiles_of
from exchange.audit.store import AuditStore, Head
from exchange.audit.tables import DETAILS, EPOCHS, LOCK, OUTBOX, SCHEMAS
from exchange.control.database import translated
from exchange.control.tables import DOCUMENTS, EVENTS, HEAD
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log import RecordLog
from exchange.log.portions import portions
from exchange.log.server import is_server, place
from exchange.log.tables import COMMITTED, SEALS
from exchange.names import canonical, digest_bytes

TABLES: Final[Mapping[str, Table]] = {
    table.name: table for table in (DOCUMENTS, EVENTS, HEAD, SEALS, COMMITTED, SCHEMAS, EPOCHS, DETAILS, OUTBOX, LOCK)
}
TOPICS: Final = "log/topics.json"
CHECKPOINT: Final = "audit/checkpoint"
_ROWS: Final = 1_000
_ROOMY: Final = 4 << 20
_OUTBOX_NUMBERS: Final = (
    "SELECT setval(pg_get_serial_sequence('audit_outbox', 'seq'), greatest(max(seq), 1), max(seq) IS NOT NULL) "
    "FROM audit_outbox"
)


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of one site."""

    database: Engine
    log: RecordLog
    audit: AuditStore

    def head(self) -> Head:
        """The audit log's lock row; `Unavailable("audit_missing")`."""
        head = self.audit.head()
        if head is None:
            raise Unavailable("audit_missing")
        return head

    def standing(self) -> bytes:
        """How far everything is: two that are equal mean that nothing was written between them."""
        head = self.head()
        with translated(self.database), self.database.connect() as connection:
            counts = [
                connection.execute(query).scalar() or 0
                for query in (
                    select(HEAD.c.position),
                    select(func.max(OUTBOX.c.seq)),
                    select(func.count()).where(OUTBOX.c.idx.is_(None), OUTBOX.c.refused.is_(None)),
                    select(func.count()).select_from(SEALS),
                    select(func.sum(COMMITTED.c.hi)),
                )
            ]
        log = [self.ends(), dict(self.log.marks())]
        return canonical([head.size, head.root.hex(), [int(one) for one in counts], log])

    def ends(self) -> dict[str, list[int]]:
        """The end of every partition, by topic."""
        topics = sorted(self.log.topics().items())
        return {topic: [self.log.end(topic, number) for number in range(count)] for topic, count in topics}


def members(stores: Stores) -> Iterator[tuple[str, bytes]]:
    """Every member, in the order in which they are written to another site."""
    ends = stores.ends()
    yield TOPICS, canonical(ends)
    marks = (_line(list(one)) for one in sorted(stores.log.marks().items()))
    yield from _numbered("log/marks", marks)
    for topic, of_topic in ends.items():
        for partition in range(len(of_topic)):
            for number, data in enumerate(portions(stores.log, topic, partition), 1):
                yield f"log/records/{topic}/{partition}/{number:08}.records", data
    for name, table in TABLES.items():
        yield from _numbered(f"control/{name}", _rows(stores.database, table))
    head = stores.head()
    for path, data, _ in tiles_of(stores.audit, head.size):
        yield f"audit/{path}", data
    yield CHECKPOINT, head.checkpoint


def _rows(database: Engine, table: Table) -> Iterator[bytes]:
    # By the bytes of texts: a server sorts by the rules of some language, if nobody tells it otherwise.
    order = [
        one.collate("C") if is_server(database) and isinstance(one.type, String) else one for one in table.primary_key
    ]
    query = select(table).order_by(*order)
    kept = [isinstance(column.type, LargeBinary) for column in table.columns]
    with translated(database), database.connect() as connection:
        found = connection.execution_options(stream_results=True, yield_per=_ROWS).execute(query)
        try:
            for row in found:
                yield _line([_text(value) if is_bytes else value for value, is_bytes in zip(row, kept, strict=True)])
        except (TypeError, ValueError) as error:  # SQLite keeps in a column what it is given
            raise Tampered(
                "control_database_damaged", where=place(database), detail=f"{table.name}: {type(error).__name__}"
            ) from None


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode("ascii")


def _line(values: list[Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _numbered(folder: str, lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Lines in members of so many rows, or about 4 MiB."""
    number, part, size = 1, list[bytes](), 0
    for line in lines:
        if part and (len(part) == _ROWS or size + len(line) > _ROOMY):
            yield f"{folder}/{number:08}.jsonl", b"".join(part)
            number, part, size = number + 1, [], 0
        part.append(line)
        size += len(line)
    if part:
        yield f"{folder}/{number:08}.jsonl", b"".join(part)


def lines_of(data: bytes, where: str) -> Iterator[list[Any]]:
    """The rows of a member; `Invalid("export_unreadable")`."""
    try:
        for line in data.splitlines():
            yield [*json.loads(line)]
    except (ValueError, TypeError, RecursionError):
        raise Invalid("export_unreadable", where=where, detail="rows") from None


class TableLoad:
    """Fills the tables of an empty control database in one transaction: all of it, or nothing."""

    def __init__(self, database: Engine) -> None:
        self._database = database
        self._connection = database.connect()

    def rows(self, name: str, data: bytes, where: str) -> None:
        """The rows of one member of a table; `Invalid("export_unreadable")`, `Tampered("document_damaged")`."""
        table = TABLES.get(name)
        if table is None:
            raise Invalid("export_unreadable", where=where, detail="a table that there is not")
        rows = [_row(table, values, where) for values in lines_of(data, where)]
        if table is DOCUMENTS and (odd := [row for row in rows if digest_bytes(row["body"]) != row["digest"]]):
            raise Tampered("document_damaged", digest=odd[0]["digest"])
        with translated(self._database):
            if table is HEAD:
                self._connection.execute(delete(HEAD))  # the migration has made it, at 0
            if rows:
                self._connection.execute(insert(table), rows)

    def commit(self) -> None:
        """Durable on return."""
        with translated(self._database):
            if is_server(self._database):
                self._connection.execute(text(_OUTBOX_NUMBERS))
            self._connection.commit()

    def close(self) -> None:
        """Undoes what was not committed."""
        with translated(self._database):
            self._connection.close()


def _row(table: Table, values: list[Any], where: str) -> dict[str, Any]:
    broken = Invalid("export_unreadable", where=where, detail="a row")
    if len(values) != len(table.columns):
        raise broken
    row = {}
    for column, value in zip(table.columns, values, strict=True):
        kind = column.type.python_type
        if value is not None and kind is bytes:
            try:
                value = base64.b64decode(value, validate=True)  # noqa: PLW2901 - decoded
            except (ValueError, TypeError):
                raise broken from None
        if type(value) is not kind and not (value is None and column.nullable):
            raise broken
        row[column.name] = value
    return row


def is_empty(database: Engine) -> bool:
    """Whether a migrated control database holds nothing yet."""
    with translated(database), database.connect() as connection:
        filled = [
            name
            for name, table in TABLES.items()
            if table is not HEAD and connection.execute(select(table).limit(1)).first() is not None
        ]
        return not filled and not connection.execute(select(HEAD.c.position)).scalar()
