"""The offline verifier: a log's folder, its verifier key and the checkpoints that an auditor kept; nothing else.

It shares no code with what it judges: beside its own two parts (`verify_forms`, `verify_rules`) it imports no module
of `exchange.audit` and none of `exchange.signing`. It reads the log once, from its first entry; memory does not grow
with the log. It may run while the log is written: it judges the log under the checkpoint that it found first. The
folder `staging` is the sequencer's and no part of the log.

A log re-signed with its own key after a change is sound in itself. Only a checkpoint kept elsewhere shows it.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exchange import messages
from exchange.audit.verify_forms import Key, frames, number_of, path_of, peaks, tree, walk
from exchange.audit.verify_rules import Rules

MAX_FINDINGS: Final = 200
_HOPELESS: Final = 1_000  # findings after which reading on tells an auditor nothing new
_MAX_FILE: Final = 256 * (2 + 65_535)
_TILE: Final = re.compile(r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_BUNDLE: Final = re.compile(r"staging/([0-9]{1,19})-[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: what (a stable code), at which entry or in which file, and the facts."""

    code: str
    index: int | None = None
    file: str | None = None
    detail: str = ""

    def sentence(self, language: messages.Language) -> str:
        """For a person."""
        place = self.file if self.index is None else str(self.index)
        return messages.text(f"finding_{self.code}", language, place=place or "", detail=self.detail)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier found. `root` is hex; `size` and `root` are those of the signed checkpoint; `entries` counts
    by kind. At most 200 findings are kept, the first ones; `ok` is whether there was none.
    """

    ok: bool
    origin: str
    size: int
    root: str
    entries: Mapping[str, int]
    findings: tuple[Finding, ...]

    def to_document(self) -> dict[str, Any]:
        """For machines."""
        findings = [
            {"code": one.code, "index": one.index, "file": one.file, "detail": one.detail} for one in self.findings
        ]
        return {
            "format": "exchange.verdict/1",
            "ok": self.ok,
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "entries": dict(self.entries),
            "findings": findings,
        }


Progress = Callable[[int, int], None]


def verify(folder: Path, vkey: str, kept: Sequence[bytes] = (), progress: Progress | None = None) -> Verdict:
    """Checks the whole log; `progress` is told (entries done, entries in all) now and then.

    Raises:
        Invalid: `audit_key_malformed`. Whatever is wrong with the log is a finding, never an error.
    """
    return _Verification(folder, Key.parse(vkey)).run(kept, progress)


class _Verification:
    """One run over one folder."""

    def __init__(self, folder: Path, key: Key) -> None:
        self._folder, self._key = folder, key
        self._findings: list[Finding] = []
        self._found = 0
        self._rules = Rules(lambda code, index, detail: self._find(code, index=index, detail=detail))
        self._size, self._root = 0, b""
        self._rows: list[list[bytes]] = [[]]  # per level: the hashes of its last tile so far
        self._kept: dict[int, list[bytes]] = {}

    def run(self, kept: Sequence[bytes], progress: Progress | None) -> Verdict:
        """All checks, in the order in which a failed one makes later ones useless."""
        if self._checkpoint():
            self._keep(kept)
            self._check_kept(0, [])
            for n in range((self._size + 255) // 256):
                self._tile(n)
                if self._found > _HOPELESS:
                    break
                if progress is not None:
                    progress(min((n + 1) * 256, self._size), self._size)
            self._upper()
            self._rules.close()
            self._strays()
        findings = tuple(self._findings)
        return Verdict(not self._found, self._key.name, self._size, self._root.hex(), self._rules.counts, findings)

    def _find(self, code: str, *, index: int | None = None, file: str | None = None, detail: str = "") -> None:
        self._found += 1
        if self._found <= MAX_FINDINGS:
            self._findings.append(Finding(code, index, file, detail))

    def _checkpoint(self) -> bool:
        if not self._folder.is_dir():
            self._find("folder_missing", file=str(self._folder))
            return False
        note = self._read("checkpoint", missing="checkpoint_missing")
        if note is None:
            return False
        try:
            self._size, self._root = self._key.open(note)
        except ValueError as error:
            self._find("checkpoint_invalid", file="checkpoint", detail=_plain(error))
            return False
        return True

    def _keep(self, kept: Sequence[bytes]) -> None:
        for number, note in enumerate(kept, 1):
            try:
                size, root = self._key.open(note)
            except ValueError as error:
                self._find("kept_invalid", file=f"kept checkpoint {number}", detail=_plain(error))
                continue
            if size > self._size:
                self._find("log_cut_off", index=self._size, detail=f"the kept checkpoint has {size} entries")
            else:
                self._kept.setdefault(size, []).append(root)

    def _tile(self, n: int) -> None:
        """One bundle with its tile of level 0: which of the two is changed, if they differ, the tree above says."""
        start, width = n * 256, min(256, self._size - n * 256)
        file = path_of("entries", n, width)
        bundle = self._read(file, full=path_of("entries", n, 256))
        leaves = list(frames(bundle or b"", width))
        ours = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
        theirs = self._hashes(0, n, width)
        whole = len(ours) == width
        exact = sum(map(len, leaves)) + 2 * width == len(bundle or b"") or not (self._folder / file).exists()
        if bundle is not None and not (whole and exact):
            self._find("entries_damaged", file=file, detail=f"cut off or overlong after entry {start + len(ours) - 1}")
        chosen = self._chosen(n, ours, theirs) if whole else theirs or [b""] * width
        if theirs is not None and theirs != chosen:
            self._find("tile_changed", file=path_of("0", n, width))
        for offset, leaf in enumerate(leaves):
            if offset < width and ours[offset] == chosen[offset]:
                self._rules.take(start + offset, leaf)
            else:
                self._find("entry_changed", index=start + offset, file=file)
                self._rules.lost()
                if not whole:
                    break
        if not whole:
            self._rules.lost()
        self._check_kept(start, chosen)
        self._push(0, n, chosen)

    def _chosen(self, n: int, ours: list[bytes], theirs: list[bytes] | None) -> list[bytes]:
        """The hashes of this tile that the tree above was made from: by the leaves (preferred) or by the tile."""
        if theirs is None or ours == theirs:
            return ours
        if len(ours) < 256 or (n + 1) * 256 == self._size:
            above = [tree(row) for row in ([*self._peaks_above(), *peaks(one)] for one in (ours, theirs))]
            return theirs if above[1] == self._root != above[0] else ours
        level_1 = self._read(path_of("1", n // 256, min(256, (self._size >> 8) - n // 256 * 256)), quiet=True) or b""
        parent = level_1[n % 256 * 32 : n % 256 * 32 + 32]
        return theirs if tree(peaks(theirs)) == parent != tree(peaks(ours)) else ours

    def _check_kept(self, start: int, hashes: list[bytes]) -> None:
        """Every kept checkpoint whose size ends within this tile."""
        sizes = [0] if not hashes else [size for size in self._kept if start < size <= start + len(hashes)]
        for size in sizes:
            row = [*self._peaks_above(), *peaks(hashes[: size - start])] if size else []
            if any(root != tree(row) for root in self._kept.get(size, ())):
                self._find("history_rewritten", index=size, detail=f"not the {size} entries of the kept checkpoint")

    def _peaks_above(self) -> list[bytes]:
        return [peak for row in reversed(self._rows[1:]) for peak in peaks(row)]

    def _push(self, level: int, n: int, hashes: list[bytes]) -> None:
        """Hashes that complete tile n of a level, or are all that it has so far."""
        if len(self._rows) <= level:
            self._rows.append([])
        self._rows[level] = hashes
        if len(hashes) < 256:
            return
        if level and self._hashes(level, n, 256) not in (None, hashes):
            self._find("tile_changed", file=path_of(str(level), n, 256))
        self._rows[level] = []
        above = self._rows[level + 1] if len(self._rows) > level + 1 else []
        self._push(level + 1, n // 256, [*above, tree(peaks(hashes))])

    def _upper(self) -> None:
        """The partial tiles of the upper levels, and the root."""
        for level, row in enumerate(self._rows):
            n = self._size >> 8 * (level + 1)
            if level and row and self._hashes(level, n, len(row)) not in (None, row):
                self._find("tile_changed", file=path_of(str(level), n, len(row)))
        if tree([*self._peaks_above(), *peaks(self._rows[0])]) != self._root:
            self._find("root_differs", file="checkpoint", detail="the entries do not give the signed root")

    def _hashes(self, level: int, n: int, width: int) -> list[bytes] | None:
        file = path_of(str(level), n, width)
        data = self._read(file, full=path_of(str(level), n, 256))
        if data is None:
            return None
        exact = len(data) == width * 32 or (width < 256 and not (self._folder / file).exists())
        if not exact or len(data) < width * 32:
            self._find("tile_changed", file=file, detail="of another length")
            return None
        return [data[at : at + 32] for at in range(0, width * 32, 32)]

    def _read(self, file: str, *, full: str = "", missing: str = "file_missing", quiet: bool = False) -> bytes | None:
        """The file, or the full tile that took its place while we read; a finding and None when there is neither."""
        for name in filter(None, (file, full)):
            path = self._folder / name
            try:
                if path.stat().st_size > _MAX_FILE or not path.is_file():
                    self._find("file_too_large", file=name, detail="no file of a log is as large, or not a file")
                    return None
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                self._find("file_unreadable", file=name, detail=error.strerror or "")
                return None
        if not quiet:
            self._find(missing, file=file)
        return None

    def _strays(self) -> None:
        """Every file of the folder that the log does not need is named, or is an older partial tile and fits."""
        beyond: list[tuple[str, bool]] = []
        growing = False
        for file in walk(self._folder):
            staged = _BUNDLE.fullmatch(file)
            if staged is not None:
                growing = growing or int(staged[1]) > self._size
            elif file != "checkpoint" and not file.startswith("staging/."):
                match = _TILE.fullmatch(file)
                known = match and self._expected(file, match[1], number_of(match[2]), int(match[3] or 256))
                if not known and len(beyond) <= MAX_FINDINGS:
                    beyond.append((file, match is not None))
        growing = growing or self._has_grown()
        for file, is_tile in beyond:
            if not (is_tile and growing and self._is_beyond(file)):
                self._find("file_stray", file=file)

    def _expected(self, file: str, kind: str, n: int, width: int) -> bool:
        level = 0 if kind == "entries" else int(kind)
        there = min(256, (self._size >> 8 * level) - n * 256)
        if width > there or file != path_of(kind, n, width):
            return False
        return width == there or self._is_prefix(file, kind, n, there)

    def _is_prefix(self, file: str, kind: str, n: int, there: int) -> bool:
        """An older partial tile may stay; one that is not the beginning of the newer one is named."""
        data, level = self._read(file), 0 if kind == "entries" else int(kind)
        true = self._rows[level] if there < 256 else self._hashes(level, n, 256)
        if data is None or true is None:
            return True  # named already
        width, parts = int(file.rpartition("/")[2]), [data[at : at + 32] for at in range(0, len(data), 32)]
        hashes, length = parts, 32 * width
        if kind == "entries":
            parts = list(frames(data, width))
            hashes = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in parts]
            length = sum(map(len, parts)) + 2 * width
        if hashes != true[:width] or length != len(data):
            self._find("tile_changed", file=file, detail="not the beginning of the newer one")
        return True

    def _is_beyond(self, file: str) -> bool:
        match = _TILE.fullmatch(file)
        level = 0 if match is None or match[1] == "entries" else int(match[1])
        return match is not None and number_of(match[2]) * 256 + int(match[3] or 256) > self._size >> 8 * level

    def _has_grown(self) -> bool:
        try:
            return self._key.open((self._folder / "checkpoint").read_bytes())[0] > self._size
        except (ValueError, OSError):
            return False


def _plain(error: ValueError) -> str:
    return "not text" if isinstance(error, UnicodeDecodeError) else str(error)
