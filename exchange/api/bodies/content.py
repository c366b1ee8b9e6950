"""The bytes of a body, unpacked, in a file without a name: no part of it is left when the request has ended."""

import io
import tempfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Literal, Self, overload

from exchange.errors import Invalid

_IN_MEMORY: Final = 1 << 20
_PIECE: Final = 1 << 18
_GZIP: Final = 31  # zlib's windowBits for gzip (RFC 1952) and nothing else


class Content:
    """Filled piece by piece, then read as often as needed; of at most `most` bytes unpacked. Close it.

    `open` is like `Path.open`, for readers of files; it gives a stream that begins at the start.
    """

    name: Final = "http"

    def __init__(self, folder: Path, most: int, *, packed: bool) -> None:
        # The spool is of bytes, whatever its own type says.
        self._spool: Any = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(folder))  # noqa: SIM115  see close
        self._most = most
        self._size = 0
        self._inflater = zlib.decompressobj(_GZIP) if packed else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._spool.close()

    def add(self, data: bytes) -> None:
        """The next bytes as they came.

        Raises:
            Invalid: `body_packed_wrong`, `body_too_large`.
        """
        if self._inflater is None:
            self._put(data)
            return
        while data:
            try:
                self._put(self._inflater.decompress(data, _PIECE))
            except zlib.error:
                raise Invalid("body_packed_wrong") from None
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:  # gzip allows several members, one after the other
                data = self._inflater.unused_data
                if data:
                    self._inflater = zlib.decompressobj(_GZIP)

    def ended(self) -> None:
        """Nothing more comes; `Invalid("body_cut_off")` where what was packed has no end."""
        if self._inflater is None:
            return
        tail = self._inflater.flush()
        self._put(tail)
        if not self._inflater.eof:
            raise Invalid("body_cut_off", where=self.name)

    def _put(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._most:
            raise Invalid("body_too_large", limit=self._most)
        self._spool.write(data)

    @overload
    def open(self, mode: Literal["rb"]) -> BinaryIO: ...
    @overload
    def open(self, *, encoding: str, errors: str, newline: str) -> io.TextIOWrapper: ...
    def open(self, mode: str = "r", *, encoding: str = "", errors: str = "", newline: str = "") -> Any:
        """A stream of its own over the content."""
        stream = io.BufferedReader(_View(self._spool), _PIECE)
        return stream if mode == "rb" else io.TextIOWrapper(stream, encoding, errors, newline)


class _View(io.RawIOBase):
    """Reads the spool from its start, and leaves it open."""

    def __init__(self, spool: Any) -> None:  # noqa: ANN401  see Content
        self._spool, self._at = spool, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  any buffer, as io has it
        self._spool.seek(self._at)
        data: bytes = self._spool.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
