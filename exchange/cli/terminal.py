"""What a command talks through: where data goes, where talk goes, in which language, and what time it is."""

import getpass
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, TextIO
from zoneinfo import ZoneInfo

from exchange.errors import ExchangeError, Invalid
from exchange.messages import Language, describe, text

if TYPE_CHECKING:
    from tqdm import tqdm

_MOST_IDS: Final = 10_000
_LARGEST_INPUT: Final = 16 << 20
_OPEN_FILES: Final = "/proc/self/fd"
# Somebody's id typed where a name belongs must not come back in the error. A digest's digits stand among letters.
_LIKE_AN_ID: Final = re.compile(r"(?<![0-9A-Za-z])\d[\d ]{9,}\d[\dXx]?(?![0-9A-Za-z])")


@dataclass(frozen=True)
class Terminal:
    """One run of one command."""

    language: Language
    json: bool
    environment: Mapping[str, str]
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    now_ns: Callable[[], int] = time.time_ns

    def say(self, key: str, **facts: object) -> None:
        """A sentence for the person, on stderr."""
        self.stderr.write(text(key, self.language, **facts) + "\n")

    def show(self, document: object, lines: Iterable[str]) -> None:
        """The answer on stdout: the document with `--json`, else the lines."""
        if self.json:
            self.stdout.write(json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n")
        else:
            for line in lines:
                self.stdout.write(line + "\n")
        self.stdout.flush()

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Rows as JSON, or as lines with two spaces between columns of equal width."""
        texts = [[_plain(row.get(column)) for column in columns] for row in rows]
        self.show(list(rows), aligned([[*columns], *texts]))

    def error(self, error: ExchangeError) -> None:
        """An error: what, where, what to do; as one JSON object on stderr with `--json`."""
        what, todo = (_LIKE_AN_ID.sub("…", sentence) for sentence in describe(error, self.language))
        where = _LIKE_AN_ID.sub("…", error.where)
        reasons = [part for part in str(error.facts.get("reasons", "")).split(", ") if part]
        if self.json:
            document = {"code": error.code, "family": error.family, "where": where, "what": what, "do": todo}
            if reasons:
                document["reasons"] = reasons  # type: ignore[assignment]  # the one list among texts
            self.stderr.write(json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n")
            return
        self.stderr.write(f"{error.code}: {what}\n")
        for reason in reasons:
            self.stderr.write(f"  {reason}: {text('reason_' + reason, self.language)}\n")
        self.stderr.write(f"  → {todo}\n")

    def progress(self, total: int | None, unit: str) -> "Progress":
        """A bar on stderr while something long goes on; silent where stderr is no terminal."""
        if not self.stderr.isatty():
            return Progress(None)
        from tqdm import tqdm

        return Progress(tqdm(total=total, unit=unit, unit_scale=True, file=self.stderr, leave=False))

    def ids(self, file: str | None) -> list[str]:
        """Subjects' ids, one a line, from a file, from standard input or by a prompt that does not show them.

        They are never arguments: an argument is seen by every process of the machine.
        """
        if file is not None and file != "-":
            lines = read_text(Path(file)).splitlines()
        elif file is None and self.stdin.isatty():
            lines = [getpass.getpass(text("prompt_id", self.language) + " ", stream=self.stderr)]
        else:
            lines = _decoded(self.stdin.buffer.read(_LARGEST_INPUT + 1), "-").splitlines()
        ids = [line.strip() for line in lines if line.strip()]
        if not ids or len(ids) > _MOST_IDS:
            raise Invalid("ids_missing", most=_MOST_IDS)
        return ids

    def binary_out(self) -> BinaryIO:
        """Standard output for bytes."""
        return self.stdout.buffer

    def time(self, ns: int | None, zone: ZoneInfo) -> str:
        """A time for people, with its offset."""
        if ns is None:
            return "-"
        return datetime.fromtimestamp(ns // 1_000_000_000, zone).isoformat(sep=" ")


class Progress:
    """A bar, when there is one, that is closed at the end of its `with` block."""

    def __init__(self, bar: "tqdm[NoReturn] | None") -> None:
        self._bar = bar

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def to(self, done: int) -> None:
        """So much is done."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name whole, when the block ends well, and is its owner's alone; else nothing does.

    Raises:
        OSError: it cannot be made, written or renamed.
    """
    descriptor, name = _spool(path)
    try:
        with os.fdopen(descriptor, "wb") as spool:
            yield spool
            spool.flush()
            os.fsync(descriptor)
            # A crash before this leaves nothing (at worst a hidden file beside the path), and the path as it was.
            if name is None:
                name = _named(descriptor, path)
        Path(name).replace(path)
    except BaseException:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise


def _spool(path: Path) -> tuple[int, str | None]:
    """A file beside the path, without a name where the system has such: then it goes with its process."""
    if hasattr(os, "O_TMPFILE") and Path(_OPEN_FILES).is_dir():
        with suppress(OSError):
            return os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), None
    return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")


def _named(descriptor: int, path: Path) -> str:
    """A name for a file that has none; `replaced` gives it the right one in one step."""
    name = str(path.with_name(f".{path.name[:100]}.{os.getpid()}.{descriptor}"))
    Path(name).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # With a folder given, Python links what the name in /proc leads to, not that name.
        os.link(f"{_OPEN_FILES}/{descriptor}", name, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)
    return name


def read_text(file: Path) -> str:
    """A text file in UTF-8 (a BOM is taken off) of at most 16 MiB; else one clear error."""
    return _decoded(read_bytes(file), file.name)


def read_bytes(file: Path) -> bytes:
    """A file of at most 16 MiB; else one clear error."""
    try:
        with file.open("rb") as stream:
            return stream.read(_LARGEST_INPUT + 1)
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise Invalid("file_unreadable", where=file.name, detail=detail) from None


def write_bytes(file: Path, data: bytes) -> None:
    """Writes a file, over one that is there; else one clear error."""
    try:
        file.write_bytes(data)
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise Invalid("file_unwritable", where=str(file), detail=detail) from None


def _decoded(data: bytes, where: str) -> str:
    if len(data) > _LARGEST_INPUT:
        raise Invalid("file_unreadable", where=where, detail="> 16 MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid("file_unreadable", where=where, detail="UTF-8") from None


@contextmanager
def new_file(file: Path | None) -> Iterator[TextIO | None]:
    """A new file of mode 0600 that is there before anything else is done, and gone again when that fails.

    Raises:
        Invalid: `file_exists`; `file_unwritable`.
    """
    if file is None:
        yield None
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Invalid("file_exists", where=file.name) from None
    except OSError as error:
        raise Invalid("file_unwritable", where=str(file), detail=error.strerror) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            yield stream
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def read_json(file: Path) -> Any:  # noqa: ANN401  # whatever the file holds
    """A JSON file; else one clear error that names the line. A key that stands twice says two things: refused."""
    try:
        return json.loads(read_text(file), object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise Invalid("file_unparsable", where=file.name, detail="too deeply nested") from None
    except ValueError as error:
        raise Invalid("file_unparsable", where=file.name, detail=str(error)) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of equally many cells with two spaces between columns of equal width."""
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip()


def clipped(cell: str, width: int) -> str:
    """A text as far as it fits into so many columns of a terminal, … at the end where more of it was there.

    What is not printable (control characters, escape sequences, marks that turn the line round) is shown as ·.
    """
    plain = "".join(character if character.isprintable() else "·" for character in cell[: 4 * width])
    if _width(plain) <= width and len(cell) <= 4 * width:
        return plain
    while _width(plain) >= width:
        plain = plain[:-1]
    return plain + "…"


def _plain(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(str(one) for one in value)
    return str(value)


def _width(cell: str) -> int:
    """Columns on a terminal: a Han character takes two."""
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in cell)


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))
