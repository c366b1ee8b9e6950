"""The form of a backup: a tar file, gzip or plain, that begins with `header.json` and ends with `manifest.json`.

The header says what the backup is of (see `exchange.wiring.backup`); the manifest names every other member with its
length and SHA-256. A file without its manifest was cut off. Reading trusts nothing: names, lengths, kinds of members,
and how much is read at once are all bounded.
"""

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, BinaryIO, Final

from exchange.errors import Invalid, Tampered
from exchange.names import canonical

HEADER: Final = "header.json"
MANIFEST: Final = "manifest.json"
_FORMAT: Final = "exchange.backup-manifest/1"
_GZIP: Final = b"\x1f\x8b"
_PORTION: Final = 1 << 20
_LARGEST_DOCUMENT: Final = 256 << 20
_MOST_PARTS: Final = 64
_LONGEST_PART: Final = 255
_BROKEN: Final = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError)


class Writer:
    """Writes members one after another; at the end of its `with` block it adds the manifest, unless that failed.
    Nothing is kept in memory but names and digests.
    """

    def __init__(self, out: BinaryIO, made_ns: int, *, compress: bool) -> None:
        self._gzip = gzip.GzipFile("", "wb", 1, out, mtime=0) if compress else None
        self._tar = tarfile.TarFile(fileobj=self._gzip or out, mode="w", format=tarfile.PAX_FORMAT)
        self._made_s = made_ns // 1_000_000_000
        self._files: dict[str, tuple[int, str]] = {}
        self.written = 0

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._finish()
        if self._gzip is not None:
            self._gzip.close()

    @property
    def count(self) -> int:
        """How many members there are so far."""
        return len(self._files)

    def add(self, name: str, source: IO[bytes], size: int) -> None:
        """A member of exactly so many bytes; OSError when the source has fewer, `Invalid("backup_name")`."""
        if not is_plain(name):
            raise Invalid("backup_name", where=_shown(name))
        hashing = _Hashing(source)
        self._put(name, hashing, size)
        self._files[name] = (size, hashing.digest)

    def add_bytes(self, name: str, data: bytes) -> None:
        """A small member."""
        self.add(name, io.BytesIO(data), len(data))

    def _finish(self) -> None:
        data = canonical({"format": _FORMAT, "files": {name: list(one) for name, one in self._files.items()}})
        self._put(MANIFEST, io.BytesIO(data), len(data))
        self._tar.close()

    def _put(self, name: str, source: Any, size: int) -> None:  # noqa: ANN401 - what tarfile reads from
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, self._made_s
        self._tar.addfile(info, source)
        self._tar.members.clear()  # type: ignore[attr-defined]  # it would keep each
        self.written += size


class _Hashing:
    def __init__(self, source: IO[bytes]) -> None:
        self._source, self._state = source, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._state.update(data)
        return data

    @property
    def digest(self) -> str:
        return self._state.hexdigest()


class Member:
    """One member while it is read: its name, a relative path without tricks; its length; its bytes by portions."""

    def __init__(self, name: str, size: int, body: IO[bytes]) -> None:
        self.name, self.size, self._body = name, size, body
        self._state = hashlib.sha256()

    def portions(self) -> Iterator[bytes]:
        """All of it; `Invalid("backup_cut_off")` when the file ends before."""
        left = self.size
        while left:
            try:
                data = self._body.read(min(left, _PORTION))
            except _BROKEN:
                data = b""
            if not data:
                raise Invalid("backup_cut_off", where=self.name)
            self._state.update(data)
            left -= len(data)
            yield data

    def document(self) -> Any:  # noqa: ANN401 - a JSON value
        """A member that is JSON."""
        if self.size > _LARGEST_DOCUMENT:
            raise Invalid("backup_unreadable", where=self.name, detail="too large")
        try:
            return json.loads(b"".join(self.portions()))
        except (ValueError, RecursionError):
            raise Invalid("backup_unreadable", where=self.name, detail="no JSON") from None

    @property
    def found(self) -> tuple[int, str]:
        """Length and digest, once it was read."""
        return self.size, self._state.hexdigest()


def read_members(stream: BinaryIO) -> Iterator[Member]:
    """Every member but the manifest, each to be read before the next; then the manifest is compared with them.

    Raises:
        Invalid: `backup_unreadable` (no tar, a member that is no plain file, a name that leads elsewhere, a name
            twice), `backup_cut_off`.
        Tampered: `backup_changed`: a member is not the one that the manifest names.
    """
    found: dict[str, tuple[int, str]] = {}
    for member in _opened(stream):
        if member.name == MANIFEST:
            _compare(member.document(), found)
            return
        if member.name in found:
            raise Invalid("backup_unreadable", where=_shown(member.name), detail="a name that stands twice")
        yield member
        found[member.name] = member.found
    raise Invalid("backup_cut_off", where=MANIFEST)


def _opened(stream: BinaryIO) -> Iterator[Member]:
    begun = False
    try:
        packed = stream.read(2) == _GZIP
        stream.seek(0)
        plain: Any = gzip.GzipFile(fileobj=stream, mode="rb") if packed else stream
        with tarfile.TarFile(fileobj=_Guarded(plain), mode="r", encoding="utf-8", errors="strict") as tar:  # type: ignore[arg-type]  # all that it uses
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps each, and a hostile file has millions
                body = tar.extractfile(info) if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else None
                if body is None or info.sparse is not None:
                    raise Invalid("backup_unreadable", where=_shown(info.name), detail="not a plain file")
                if not is_plain(info.name):
                    raise Invalid("backup_unreadable", where=_shown(info.name), detail="a name that leads elsewhere")
                begun = True
                yield Member(info.name, info.size, body)
    except _BROKEN as error:
        if begun:
            raise Invalid("backup_cut_off", where=MANIFEST) from None
        raise Invalid("backup_unreadable", detail=type(error).__name__) from None


class _Guarded:
    """What tarfile reads from, forwards only and never much at once: a header may claim to be of any length."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._at = stream, 0

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _PORTION:
            raise tarfile.ReadError("a header too large")
        data = self._stream.read(size)
        self._at += len(data)
        return data

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> None:
        if position < self._at:
            raise tarfile.ReadError("backwards")
        while self._at < position and self.read(min(position - self._at, _PORTION)):
            pass


def is_plain(name: str) -> bool:
    """Whether this is a relative path that stays below the folder it is put into."""
    parts = name.split("/")
    short = len(parts) <= _MOST_PARTS and all(0 < len(part.encode()) <= _LONGEST_PART for part in parts)
    return name.isprintable() and "\\" not in name and short and not {".", ".."} & set(parts)


def _shown(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode()[:100]


def _compare(manifest: object, found: Mapping[str, tuple[int, str]]) -> None:
    files = manifest.get("files") if isinstance(manifest, dict) and manifest.get("format") == _FORMAT else None
    if not isinstance(files, dict):
        raise Invalid("backup_unreadable", where=MANIFEST, detail="no manifest of this format")
    for name in sorted(files.keys() | found.keys()):
        if name not in found or files.get(name) != list(found[name]):
            raise Tampered("backup_changed", where=_shown(name))
