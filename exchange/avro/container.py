"""Avro object container files (specification 1.11, "Object Container Files"), block by block.

Memory in use is one block, so a file of any length is read; a block beyond `MAX_BLOCK` bytes, packed or unpacked,
or `MAX_RECORDS` records is refused, so a small file cannot become a large one.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final, NoReturn

from exchange.avro.binary import Wrong, zigzag
from exchange.avro.reading import FAILURES, Read, compile_reader
from exchange.avro.records import Codec
from exchange.avro.schema import Schema, parse
from exchange.errors import Invalid
from exchange.names import canonical

MAGIC: Final = b"Obj\x01"
SYNC_BYTES: Final = 16
MAX_BLOCK: Final = 16 * 1024 * 1024
MAX_RECORDS: Final = 1_000_000  # of one block
_MAX_META: Final = 2 * 1024 * 1024
_BLOCK_TARGET: Final = 256 * 1024


def write(stream: BinaryIO, schema: Schema, values: Iterable[Mapping[str, Any]]) -> int:
    """Writes records as a container file (codec null); how many.

    The sync marker is taken from the schema's fingerprint, so the same records give the same file.

    Raises:
        Invalid: `record_malformed`; whole blocks before the record have been written by then.
    """
    codec, sync = Codec(schema), bytes.fromhex(schema.fingerprint[-2 * SYNC_BYTES :])
    meta = {"avro.codec": b"null", "avro.schema": canonical(schema.document)}
    pairs = b"".join(_prefixed(key.encode()) + _prefixed(value) for key, value in meta.items())
    stream.write(MAGIC + zigzag(len(meta)) + pairs + b"\0" + sync)
    bodies: list[bytes] = []
    held = total = 0
    for value in values:
        body = codec.encode(value)
        bodies.append(body)
        held, total = held + len(body), total + 1
        if held >= _BLOCK_TARGET:
            stream.write(_block(bodies, sync))
            bodies, held = [], 0
    if bodies:
        stream.write(_block(bodies, sync))
    return total


def read(stream: BinaryIO, where: str, reader: Schema | None = None) -> tuple[Schema, Iterator[dict[str, Any]]]:
    """The file's schema, and its records as they are asked for; under `reader` (by Avro's schema resolution), which has
    to read all that the file's schema writes (`exchange.contracts.compatibility`).

    Raises:
        Invalid: `container_damaged` at `where` for what is no container, is cut off or damaged, `block` the number
            of the block (0: the header); the iterator raises it too, after the records of the whole blocks before.
            `schema_unparsable`, `schema_unsupported`.
    """
    try:
        meta, sync = _header(stream)
    except FAILURES:
        _damaged(where, 0)
    codec = meta.get("avro.codec", b"null")
    if codec not in (b"null", b"deflate") or "avro.schema" not in meta:
        _damaged(where, 0)
    schema = parse(meta["avro.schema"], where=where)
    return schema, _records(stream, compile_reader(schema, reader or schema), sync, codec == b"deflate", where)


def _prefixed(data: bytes) -> bytes:
    return zigzag(len(data)) + data


def _block(bodies: list[bytes], sync: bytes) -> bytes:
    data = b"".join(bodies)
    return zigzag(len(bodies)) + _prefixed(data) + sync


def _records(
    stream: BinaryIO,
    read_record: Read,
    sync: bytes,
    packed: bool,  # noqa: FBT001  private, one caller
    where: str,
) -> Iterator[dict[str, Any]]:
    block = 0
    while True:
        block += 1
        try:
            first = stream.read(1)
            if not first:
                return
            found = _block_records(stream, first, read_record, sync, packed=packed)
        except FAILURES:
            _damaged(where, block)
        yield from found


def _block_records(
    stream: BinaryIO, first: bytes, read_record: Read, sync: bytes, *, packed: bool
) -> list[dict[str, Any]]:
    """All records of a block, so that none of a damaged block is given."""
    count = _long(stream, first)
    data = _bytes(stream, MAX_BLOCK)
    if packed:
        data = _unpacked(data)
    if _exactly(stream, SYNC_BYTES) != sync or not 0 <= count <= min(len(data), MAX_RECORDS):
        raise Wrong
    found, at = [], 0
    for _ in range(count):
        record, at = read_record(data, at)
        found.append(record)
    if at != len(data):
        raise Wrong
    return found


def _unpacked(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(data, MAX_BLOCK)
    except zlib.error:
        raise Wrong from None
    # fastavro leaves three bytes of zlib's checksum behind the deflated data.
    if not inflater.eof or len(inflater.unused_data) > 3:
        raise Wrong
    return plain


def _header(stream: BinaryIO) -> tuple[dict[str, bytes], bytes]:
    if stream.read(len(MAGIC)) != MAGIC:
        raise Wrong
    meta: dict[str, bytes] = {}
    left = _MAX_META
    while count := _long(stream):
        if count < 0:
            count = -count
            _long(stream)
        for _ in range(count):
            key, value = _bytes(stream, left), _bytes(stream, left)
            left -= len(key) + len(value) + 2
            if left < 0:
                raise Wrong
            meta[key.decode()] = value
    return meta, _exactly(stream, SYNC_BYTES)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise Wrong
    return data


def _bytes(stream: BinaryIO, most: int) -> bytes:
    size = _long(stream)
    if not 0 <= size <= most:
        raise Wrong
    return _exactly(stream, size)


def _long(stream: BinaryIO, first: bytes = b"") -> int:
    """A long, byte by byte; only here, since blocks are few."""
    number = shift = 0
    byte = (first or _exactly(stream, 1))[0]
    while byte > 127:
        number |= (byte & 127) << shift
        shift += 7
        if shift > 63:
            raise Wrong
        byte = _exactly(stream, 1)[0]
    number |= byte << shift
    return (number >> 1) ^ -(number & 1)


def _damaged(where: str, block: int) -> NoReturn:
    raise Invalid("container_damaged", where=where, block=block) from None
