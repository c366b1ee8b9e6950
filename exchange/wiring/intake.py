"""Publishing what a department's producer writes to `PREFIX.in.DATASET`, by the one path that records come in.

    1 look     at the ends of the partitions, on the brokers     3 decode    frames, by the schema that each names
    2 read     on from the source's mark, committed only         4 publish   records and mark in one transaction

Nothing is kept beside the mark. A crash anywhere: what was not stored is read again, what was stored is after the mark.
Two workers of one dataset do no harm: each batch is one's or the other's. A department that sends by one account and
publishes by several workers is still audited as the principal whose token the worker has.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from exchange.avro.frame import unframe
from exchange.avro.records import resolver
from exchange.contracts.check import MAX_BODY
from exchange.contracts.contract import Contract
from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable
from exchange.log.kafka.intake import IntakeTopic
from exchange.log.kafka.log import KafkaRecordLog
from exchange.source import Place, Rejected, SourceBatch
from exchange.wiring.engines import KAFKA, kafka_log

if TYPE_CHECKING:
    from exchange.log.kafka.clients import Headers, Incoming
    from exchange.publish import Published
    from exchange.settings import Settings
    from exchange.wiring.desk import Desk, Row

_SCHEMA_HEADER: Final = "__value_schema_id"
_GUID: Final = 1  # first byte of a schema's name that is a GUID, which ours do not have
_LOOK_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0  # so it is back within ten seconds of whatever it waits for

Decoders = Mapping[int, Callable[[bytes], dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Form:
    """How a dataset's messages are read: its schemas by their ids on the wire, where the subject's id stands, and the
    contract's revision that all of it is of.
    """

    revision: int
    decoders: Decoders
    subject_path: Sequence[str]

    @classmethod
    def of(cls, row: "Row", contract: Contract) -> "Form":
        """Of what a desk tells of the dataset."""
        current = contract.schemas[-1]
        schemas = {schema.fingerprint: schema for schema in contract.schemas}
        decoders = {number: resolver(schemas[print_], current) for print_, number in row["schema_ids"].items()}
        return cls(row["revision"], decoders, contract.subject_path.split("."))


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch that is readable now, and how many offsets of its partition lie behind it still."""

    dataset: str
    partition: int
    offset: int
    behind: int
    published: "Published"


def open_kafka(settings: "Settings") -> KafkaRecordLog:
    """The site's record log; `Invalid("intake_needs_kafka")` where that is no Kafka."""
    scheme, rest = settings.engine("log")
    if scheme not in KAFKA:
        raise Invalid("intake_needs_kafka", where="engines.log", engine=scheme)
    log = kafka_log(settings, scheme, rest)
    assert isinstance(log, KafkaRecordLog)  # noqa: S101 - of these schemes it always is
    return log


class IntakeAdapter:
    """One partition of an intake's topic as an adapter (`exchange.source.Adapter`)."""

    def __init__(
        self,
        topic: IntakeTopic,
        partition: int,
        source: str,
        form: Form,
        end: int,
        *,
        still: Callable[[], bool],
        mark: Callable[[], int],
    ) -> None:
        self.source, self.notes = source, ()
        self._topic, self._partition, self._form, self._end = topic, partition, form, end
        self._still, self._mark = still, mark
        self.reached = 0

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        """See `exchange.source.Adapter`; `Tampered("intake_lost")` where messages were removed before they were taken.

        Nothing, when the contract was revised since `form` was made: records would be checked against another schema
        than they were read as.
        """
        if not self._still():
            return
        try:
            for found in self._topic.read(self._partition, mark, self._end, limit):
                self.reached = found.next_position
                if found.positions:
                    yield decoded(found, f"{self._topic.name}/{self._partition}", self._form)
                if not self._still():
                    return
        except Tampered:
            if self._mark() > mark:
                return  # another worker took them meanwhile, and then they were removed: the next round looks again
            raise


def decoded(found: "Incoming", where: str, form: Form) -> SourceBatch:
    """The messages as records; one that is none is rejected with why, its place and its size, and never its bytes."""
    sequences: list[int] = []
    values: list[Mapping[str, Any]] = []
    places: list[Place] = []
    rejected: list[Rejected] = []
    for offset, key, value, headers in zip(found.positions, found.keys, found.values, found.headers, strict=True):
        place = Place(where, offset)
        try:
            record = _record(key, value, headers, form)
        except Invalid as error:
            shape = {"": f"bytes:{len(value)}"} if value is not None else {"": "null"}
            rejected.append(Rejected(offset + 1, place, error.code, shape))
            continue
        sequences.append(offset + 1)
        values.append(record)
        places.append(place)
    return SourceBatch(sequences, values, places, rejected)


def _record(key: bytes | None, value: bytes | None, headers: "Headers", form: Form) -> dict[str, Any]:
    if value is None:
        raise Invalid("intake_tombstone")
    if len(value) > MAX_BODY + (1 << 10):
        raise Invalid("record_too_large")
    schema_id, body = _framed(value, headers)
    if schema_id not in form.decoders:
        raise Invalid("schema_id_unknown")
    record = form.decoders[schema_id](body)
    if key is not None and key != _subject(record, form.subject_path):
        raise Invalid("intake_key_differs")
    return record


def _framed(value: bytes, headers: "Headers") -> tuple[int, bytes]:
    """Schema id and body, of Confluent's frame before the value or in its header."""
    named = [one for name, one in headers if name == _SCHEMA_HEADER and one is not None]
    head = named[-1] if named else value[:1]
    if head[:1] == bytes([_GUID]):
        raise Invalid("schema_guid_unknown")
    return unframe(head + value) if named else unframe(value)


def _subject(record: Any, path: Sequence[str]) -> bytes | None:  # noqa: ANN401 - an Avro value
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record.encode() if isinstance(record, str) else None


@dataclass
class _Intake:
    """A dataset that is taken in, and how far each partition of its topic was seen to hold nothing new."""

    topic: IntakeTopic
    department: str
    form: Form
    seen: dict[str, int] = field(default_factory=dict)


class IntakeWorker:
    """Takes in what comes for some datasets of one department, for whoever's desk it is."""

    def __init__(self, desk: "Desk", log: KafkaRecordLog, on_batch: Callable[[Progress], None]) -> None:
        self._desk, self._log, self._on_batch = desk, log, on_batch
        self._intakes: dict[str, _Intake] = {}

    def begin(self, names: Sequence[str]) -> list[str]:
        """Looks up the datasets that are named, or all of the department's with an open intake; their names.

        Raises:
            Invalid: `intake_not_open`. Refused: not this principal's to publish, audited.
        """
        own = self._desk.me()["department"]
        rows = self._desk.listing("datasets")
        chosen = list(names) or [str(row["name"]) for row in rows if row["department"] == own]
        for name in chosen:
            row = self._desk.dataset(name)
            topic = IntakeTopic(self._log, name)
            if row["intake"] is None or not topic.partitions():
                if names:
                    raise Invalid("intake_not_open", where=name)
                continue
            self._desk.mark(name, topic.sources(row["department"], 1)[0])  # refused here, and not at the first record
            self._intakes[name] = _Intake(topic, row["department"], self._form(name, row))
        if not self._intakes:
            raise Invalid("intake_not_open", where=own)
        return sorted(self._intakes)

    def run(self, stop: Event, on_failure: Callable[[ExchangeError, float], None]) -> None:
        """Until `stop`; what is unavailable is tried again after a while that `on_failure` is told."""
        pause = _LOOK_S
        while not stop.is_set():
            try:
                worked = self.round(stop)
                pause = _LOOK_S
            except Unavailable as error:
                worked, pause = False, min(pause * 2, _LONGEST_PAUSE_S)
                on_failure(error, pause)
            if not worked:
                stop.wait(pause)

    def round(self, stop: Event | None = None) -> bool:
        """Takes in all that there is at this moment; whether there was anything."""
        worked = False
        for name, intake in list(self._intakes.items()):
            partitions = intake.topic.partitions()
            if not partitions:
                raise Unavailable("log_unavailable", where=intake.topic.name, detail="the topic is gone")
            sources = intake.topic.sources(intake.department, partitions)
            for partition, (source, end) in enumerate(zip(sources, intake.topic.ends(partitions), strict=True)):  # 1
                if stop is not None and stop.is_set():
                    return worked
                if name in self._intakes and intake.seen.get(source, 0) != end:
                    worked |= self._take(name, intake, partition, source, end, stop)
        if not self._intakes:
            raise Invalid("intake_not_open")
        return worked

    def _take(self, name: str, intake: _Intake, partition: int, source: str, end: int, stop: Event | None) -> bool:
        row = self._desk.dataset(name)
        if row["intake"] is None:  # closed meanwhile: what stands there is taken when it is opened again
            del self._intakes[name]
            return False
        if row["revision"] != intake.form.revision:
            intake.form = self._form(name, row)
        revision, desk = intake.form.revision, self._desk

        def still() -> bool:
            return not (stop is not None and stop.is_set()) and bool(desk.dataset(name)["revision"] == revision)

        adapter = IntakeAdapter(
            intake.topic,
            partition,
            source,
            intake.form,
            end,
            still=still,
            mark=lambda: desk.mark(name, source),
        )

        def on_batch(so_far: "Published") -> None:
            self._on_batch(Progress(name, partition, adapter.reached, max(end - adapter.reached, 0), so_far))

        published = self._desk.publish(adapter, name, on_batch)  # 2, 3, 4
        # A crash here, or anywhere before: the mark knows.
        intake.seen[source] = max(adapter.reached, published.last_sequence)
        return published.batches > 0

    def _form(self, name: str, row: "Row") -> Form:
        return Form.of(row, Contract.from_document(self._desk.contract(name)))
