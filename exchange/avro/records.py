"""Records of one schema as Avro bytes, and back; strict both ways.

A body that `decode` takes is exactly one that `encode` could have made, but for the freedoms of the format that
other writers use (arrays in several blocks, decimals with spare leading bytes, UUIDs in capitals): what is decoded
has no faults.
"""

from collections.abc import Callable, Mapping
from typing import Any

from exchange.avro.faults import Fault, find_faults
from exchange.avro.reading import FAILURES, Read, Unresolvable, compile_reader
from exchange.avro.schema import Schema
from exchange.avro.shapes import shape
from exchange.avro.writing import REFUSALS, compile_writer
from exchange.errors import Invalid


class Codec:
    """Checks, writes and reads records of a schema. Making one compiles; keep it. Safe for any thread.

    Values: null None, boolean bool, int/long int, float/double finite float, bytes/fixed bytes, string and enum
    str, date `date`, times `time` without zone, timestamps aware `datetime` (UTC when read), local timestamps
    `datetime` without zone, uuid `UUID` (written also from its canonical text), decimal `Decimal`, array list, map
    and record dict. Exactly these types: no subclass, no int for a float.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._write = compile_writer(schema)
        self._read = compile_reader(schema, schema)

    def faults(self, value: Mapping[str, Any]) -> list[Fault]:
        """Everything wrong with a record, in the schema's order (at most 100); empty when `encode` takes it."""
        try:
            record = _plain(value)
        except TypeError:
            return [Fault("", "value_wrong_type", shape(value))]
        return find_faults(record, self.schema.document, self.schema.named)

    def encode(self, value: Mapping[str, Any]) -> bytes:
        """The record's Avro bytes, the same as fastavro's.

        Raises:
            Invalid: `record_malformed` at the path of the first fault, `fault` its code.
        """
        try:
            return self._write(value if type(value) is dict else _plain(value))
        except REFUSALS:
            pass
        faults = self.faults(value)
        first = faults[0] if faults else Fault("", "value_wrong_type", "other")
        raise Invalid("record_malformed", where=first.path, fault=first.code, shape=first.shape)

    def decode(self, body: bytes) -> dict[str, Any]:
        """The record of Avro bytes from anywhere.

        Raises:
            Invalid: `record_undecodable` for bytes cut off or left over, lengths beyond the end, numbers longer
                than they need to be or out of range, unknown branches and symbols, booleans other than 0 and 1,
                bad UTF-8, NaN, dates outside the calendar, times outside the day, what is no UUID, a map key that
                stands twice.
        """
        return _decoded(self._read, body)


def resolver(writer: Schema, reader: Schema) -> Callable[[bytes], dict[str, Any]]:
    """Reads records written with one schema as records of another (Avro schema resolution).

    The function raises `Invalid`: `record_undecodable` as `Codec.decode`; `record_unresolvable` for a record with
    something that the reader's schema has no place for.
    """
    read = compile_reader(writer, reader)

    def resolve(body: bytes) -> dict[str, Any]:
        try:
            return _decoded(read, body)
        except Unresolvable:
            raise Invalid("record_unresolvable", writer=writer.fingerprint, reader=reader.fingerprint) from None

    return resolve


def _plain(value: object) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise TypeError
    return dict(value)


def _decoded(read: Read, body: bytes) -> dict[str, Any]:
    try:
        value, end = read(body, 0)
    except FAILURES:
        raise Invalid("record_undecodable", size=len(body)) from None
    if end != len(body):
        raise Invalid("record_undecodable", size=len(body))
    record: dict[str, Any] = value
    return record
