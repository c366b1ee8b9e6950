"""The check of a department's records: good ones become Avro bodies, bad ones rejections that show no value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from exchange.avro.faults import Fault
from exchange.avro.records import Codec
from exchange.avro.schema import Schema
from exchange.avro.shapes import shape, shapes
from exchange.contracts.contract import Contract
from exchange.errors import Invalid
from exchange.source import Place, Rejected, SourceBatch

MAX_BODY: Final = 900_000  # bytes; Kafka's usual limit for a message is a million, headers included


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch after its check: `sequences`, `bodies` and `ids` of the good records, and the `rejected`, each by
    sequence. `ids` are the subjects' ids as the department writes them: make tags of them and drop them.
    """

    sequences: list[int]
    bodies: list[bytes]
    ids: list[str]
    rejected: list[Rejected]


class Checker:
    """Checks records of one dataset against one of its contract's schemas. Keep it; it compiles once.

    A record passes when it fits the schema exactly, its body has at most `MAX_BODY` bytes and its subject id is
    not blank. What is wrong with one record changes nothing for another.
    """

    def __init__(self, contract: Contract, schema: Schema) -> None:
        self._codec = Codec(schema)
        self._fields: Mapping[str, Any] = {entry["name"]: None for entry in schema.document["fields"]}
        self._subject_path = contract.subject_path
        self._subject = _getter(contract.subject_path)

    def check(self, batch: SourceBatch) -> Checked:
        """The batch's good and bad records; the adapter's own rejections are among the latter."""
        encode, subject_of = self._codec.encode, self._subject
        sequences, bodies, ids = [], [], []
        rejected = list(batch.rejected)
        for sequence, value, place in zip(batch.sequences, batch.values, batch.places, strict=True):
            try:
                body = encode(value)
            except Invalid as error:
                rejected.append(self._malformed(sequence, value, place, error))
                continue
            subject = subject_of(value)
            if not subject or subject.isspace() or len(body) > MAX_BODY:
                rejected.append(self._unfit(sequence, value, place, body))
                continue
            sequences.append(sequence)
            bodies.append(body)
            ids.append(subject)
        if len(rejected) > len(batch.rejected):
            rejected.sort(key=lambda item: item.sequence)
        return Checked(sequences, bodies, ids, rejected)

    def _malformed(self, sequence: int, value: Mapping[str, Any], place: Place, error: Invalid) -> Rejected:
        fault = Fault(error.where, str(error.facts["fault"]), str(error.facts["shape"]))
        told = {**shapes(value, self._fields), fault.path: fault.shape}
        return Rejected(sequence, replace(place, column=fault.path), fault.error().code, told)

    def _unfit(self, sequence: int, value: Mapping[str, Any], place: Place, body: bytes) -> Rejected:
        told = shapes(value, self._fields)
        if len(body) > MAX_BODY:
            return Rejected(sequence, place, Invalid("record_too_large").code, told)
        told[self._subject_path] = shape(self._subject(value))
        place = replace(place, column=self._subject_path)
        return Rejected(sequence, place, Invalid("subject_missing").code, told)


def _getter(path: str) -> Callable[[Mapping[str, Any]], str | None]:
    """Reads the text at `a` or `a.b` from a record that fits the schema; None where a part is null."""
    first, *rest = path.split(".")
    if not rest:
        return lambda record: record[first]

    def read(record: Mapping[str, Any]) -> str | None:
        found: Any = record[first]
        for name in rest:
            if found is None:
                return None
            found = found[name]
        text: str | None = found
        return text

    return read
