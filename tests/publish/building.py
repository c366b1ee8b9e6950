"""A small exchange for tests of publishing: the real stores in a folder, a dataset, an adapter over a list."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from exchange.audit import tables as audit_tables
from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.log import AuditLog, create
from exchange.avro.records import Codec
from exchange.avro.schema import Schema, from_document
from exchange.contracts.check import Checker
from exchange.contracts.contract import Contract, FieldTerms
from exchange.control.database import open_engine
from exchange.log import RecordLog
from exchange.log import tables as log_tables
from exchange.log.dead_letters import topic_of
from exchange.log.seals import CommitMarks, SealStore
from exchange.log.sqlite import SqliteRecordLog
from exchange.publish import PublishParts, PublishTarget, transactions
from exchange.signing.keys import SigningKey, new_signing_key
from exchange.signing.tags import SubjectTagger
from exchange.source import Place, Rejected, SourceBatch

DATASET = "ps.person"
SOURCE = "ps.person/files"
SUBJECT_KEY = bytes(range(32))
SCHEMA: Schema = from_document(
    {
        "type": "record",
        "name": "person",
        "fields": [
            {"name": "id_number", "type": "string"},
            {"name": "name", "type": "string"},
            {"name": "income", "type": ["null", "long"]},
        ],
    }
)


def contract(schema: Schema = SCHEMA, subject_path: str = "id_number") -> Contract:
    """A contract for one schema."""
    fields = {path: FieldTerms("L2", (), path, path) for path in schema.leaves}
    return Contract(
        DATASET, "ps", "steward", "人口", "", "person", subject_path, "conditional", "", "", "day", fields, (schema,)
    )


def person(number: int) -> dict[str, Any]:
    """A good record; its subject's id and its name tell it apart from all others."""
    return {"id_number": f"{430000199001010000 + number}", "name": f"name-{number}", "income": number}


@dataclass(frozen=True)
class ListAdapter:
    """Gives records by sequence, in batches; a `Rejected` stands for a record that it could not read itself."""

    records: Mapping[int, Mapping[str, Any] | Rejected]
    source: str = SOURCE
    notes: Sequence[str] = ()
    ignores_mark: bool = False

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        """See `Adapter.batches`; `ignores_mark` gives everything again, as an adapter may after a crash."""
        sequences = [one for one in sorted(self.records) if self.ignores_mark or one > mark]
        while portion := sequences[:limit]:
            sequences = sequences[limit:]
            records = [(sequence, self.records[sequence]) for sequence in portion]
            bad = [one for _, one in records if isinstance(one, Rejected)]
            good = [(sequence, one) for sequence, one in records if not isinstance(one, Rejected)]
            places = [Place("people.csv", sequence + 1) for sequence, _ in good]
            yield SourceBatch([sequence for sequence, _ in good], [one for _, one in good], places, bad)


@dataclass(frozen=True)
class Site:
    """Everything open; `close` and open again to play a restart."""

    engine: Engine
    log: RecordLog
    audit: AuditLog
    parts: PublishParts
    target: PublishTarget

    def close(self) -> None:
        """Gives everything back."""
        self.audit.close()
        self.log.close()
        self.engine.dispose()


def open_site(folder: Path, *, partitions: int = 2, batch_records: int = 4, schema: Schema = SCHEMA) -> Site:
    """Opens the site in a folder, and makes it first when it is not there."""
    fresh = not (folder / "seal.key").exists()
    engine = open_engine(f"sqlite:///{folder}/control.db")
    store = EmbeddedAuditStore(folder / "audit", engine)
    if fresh:
        new_signing_key(folder / "seal.key")
        new_signing_key(folder / "log.key")
        (folder / "audit").mkdir()
        audit_tables.METADATA.create_all(engine)
        log_tables.METADATA.create_all(engine)
        create(store, "test.example/audit", SigningKey.load(folder / "log.key"), time.time_ns)
    audit = AuditLog(store, SigningKey.load(folder / "log.key"), time.time_ns)
    log = SqliteRecordLog(folder / "records.db")
    transaction = transactions(engine)
    tagger = SubjectTagger(SUBJECT_KEY)
    seals, marks = SealStore(transaction), CommitMarks(transaction)
    parts = PublishParts(log, seals, marks, transaction, audit, tagger, time.time_ns, batch_records)
    key = SigningKey.load(folder / "seal.key")
    checker = Checker(contract(schema), schema)
    target = PublishTarget(
        DATASET, "ps", checker, schema.fingerprint, 5, 6, partitions, "person", key, delegate=True, actor="ab" * 16
    )
    return Site(engine, log, audit, parts, target)


def readable(site: Site, topic: str = DATASET) -> list[bytes]:
    """The values that a reader gets: of each partition, up to what is committed."""
    values: list[bytes] = []
    for partition in range(site.log.topics().get(topic, 0)):
        position, until = 0, site.parts.marks.committed(topic, partition)
        while position < until:
            records = site.log.read(topic, partition, position, until - position)
            values += records.values
            position = records.next_position
    return values


def people(site: Site) -> list[int]:
    """The numbers of the readable `person` records, in order of number, doubles included."""
    return sorted(Codec(SCHEMA).decode(value)["income"] for value in readable(site))


def check_commits(site: Site) -> None:
    """Every `record.commit` entry against the log and the kept seal; together they cover what is readable, once."""
    covered: dict[tuple[str, int], int] = {}
    for _, kind, body in site.audit.entries(0, site.audit.size):
        if kind != "record_commit":
            continue
        place = (body["topic"], body["partition"])
        assert body["lo"] == covered.get(place, 0)
        covered[place] = body["hi"]
        records = site.log.read(*place, body["lo"], body["hi"] - body["lo"]).up_to(body["hi"])
        sealed = site.parts.seals.get(body["seal"])
        leaf_of = dict(zip(sealed.sequences, sealed.leaves, strict=True))
        headers = [site.log.headers(*place, position) for position in records.positions]
        sequences = [int(one["id"].rpartition("/")[2]) for one in headers]
        assert {one["seal"] for one in headers} == {sealed.seal.id}
        datas = [
            position.to_bytes(8, "big") + tag + leaf_of[sequence]
            for position, tag, sequence in zip(records.positions, records.tags, sequences, strict=True)
        ]
        assert body["root"] == defined_root(datas)
        assert (body["count"], body["first_sequence"], body["last_sequence"]) == (
            len(datas),
            sequences[0],
            sequences[-1],
        )
        assert (body["source"], body["department"], body["actor"], body["delegate"]) == (SOURCE, "ps", "ab" * 16, True)
        assert body["schema"] == (None if place[0] == topic_of(DATASET) else SCHEMA.fingerprint)
        assert body["rejected"] == sealed.rejected
    assert covered == {place: mark.hi for place, mark in site.parts.marks.marks().items()}


def defined_root(datas: Sequence[bytes]) -> bytes:
    """MTH(D[n]) word for word from RFC 6962 §2.1."""
    if len(datas) == 1:
        return sha256(b"\x00" + datas[0]).digest()
    split = 1
    while split * 2 < len(datas):
        split *= 2
    return sha256(b"\x01" + defined_root(datas[:split]) + defined_root(datas[split:])).digest()
