"""The offline verifier: a log, its verifier key and the checkpoints that an auditor kept; nothing else.

The log is a folder, or an address that serves it (C2SP tlog-tiles). The verifier shares no code with what it judges:
beside its own parts (`verify_*`) it imports no module of `exchange.audit` and none of `exchange.signing`. It reads the
log once, from its first entry or from where a former run ended; memory does not grow with the releases. It may run
while the log is written: it judges the log under the checkpoint that it found first. The folder `staging` is the
sequencer's and no part of the log.

    structure   every leaf to the root, every tile, the signature, each kept checkpoint, every file of the folder
    rules       what entries must not say, whoever signed them: `verify_rights`, `verify_ranges`
    unchecked   what nobody can judge from the log alone is counted and said in the verdict

A log re-signed with its own key after a change is sound in itself. Only a checkpoint kept elsewhere shows it.
"""

import hashlib
import marshal
import re
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from exchange.audit.verify_anchors import Anchors, WitnessKey
from exchange.audit.verify_forms import Key, frames, number_of, path_of, peaks, tree
from exchange.audit.verify_rights import MustRestartError
from exchange.audit.verify_rules import Rules
from exchange.audit.verify_sources import Served, Source, TooLargeError, source_of
from exchange.audit.verify_state import State, read_state
from exchange.audit.verify_tiles import Hashed, Workers, checked, split
from exchange.audit.verify_verdict import Finding, Verdict

MAX_FINDINGS: Final = 200
_HOPELESS: Final = 1_000  # findings after which reading on tells an auditor nothing new
_SMALL: Final = 64  # full tiles for each process, below which starting one takes longer than it saves
_SCHEMAS: Final = 4  # tiles at the beginning, in which most schemas stand
_SAVED: Final = 4_096  # full tiles after which a long run keeps how far it came
_TILE: Final = re.compile(r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_BUNDLE: Final = re.compile(r"staging/([0-9]{1,19})-[0-9a-f]{64}")

Progress = Callable[[int, int], None]


def verify(
    place: Path | str,
    vkey: str,
    kept: Sequence[bytes] = (),
    progress: Progress | None = None,
    *,
    jobs: int = 1,
    state: Path | None = None,
    rules: bool = True,
    witnesses: Sequence[str] = (),
) -> Verdict:
    """Checks the whole log; `progress` is told (entries done, entries in all) now and then.

    `witnesses` are the verifier keys of those whose signatures under anchors are to hold.

    `jobs` processes hash a large folder and read its entries beside this one, which judges them in order. `state` is
    a file of the auditor's: a run goes on where the last sound one ended, and keeps in it how far it came; a log that
    does not continue what the file holds is read from its first entry. Without `rules` the structure alone is checked.

    Raises:
        Invalid: `audit_key_malformed`; `audit_state_damaged`, `audit_state_foreign`. Whatever is wrong with the log is
            a finding, never an error.
    """
    key = Key.parse(vkey)
    known = [WitnessKey.parse(one) for one in witnesses]
    file = state if rules else None
    began = read_state(file, key.text) if file is not None else None
    source = source_of(place)
    try:
        if began is not None:
            try:
                return _Verification(source, key, jobs, began, file, known, rules=rules).run(kept, progress)
            except MustRestartError:
                pass  # the log is read from its first entry, and what was verified before is a kept checkpoint like any
        whole = _Verification(source, key, jobs, None, file, known, rules=rules)
        return whole.run(kept, progress, [(began.size, began.root)] if began is not None else ())
    finally:
        if isinstance(source, Served):
            source.close()


class _Verification:
    """One run over one log."""

    def __init__(
        self,
        source: Source,
        key: Key,
        jobs: int,
        began: State | None,
        file: Path | None,
        witnesses: Sequence[WitnessKey],
        *,
        rules: bool,
    ) -> None:
        self._source, self._key, self._jobs, self._file = source, key, jobs, file
        self._began = began
        self._findings: list[Finding] = []
        self._found = 0
        self._judged = rules

        def report(code: str, index: int, detail: str) -> None:
            self._find(code, index=index, detail=detail)

        self._rules = Rules(report, began.rules if began else None, Anchors(report, key, witnesses))
        self._size, self._root = 0, b""
        self._start = began.size if began else 0
        # Per level: the hashes of its last tile so far.
        self._rows: list[list[bytes]] = [list(row) for row in began.rows] if began else [[]]
        self._kept: dict[int, list[bytes]] = {}
        self._held: list[tuple[int, bytes]] = list(began.checkpoints) if began else []
        self._kept_notes = False

    def run(self, kept: Sequence[bytes], progress: Progress | None, known: Sequence[tuple[int, bytes]] = ()) -> Verdict:
        """All checks, in the order in which a failed one makes later ones useless."""
        try:
            if self._checkpoint():
                self._keep(kept, known)
                self._check_kept(0, [])
                self._tiles(progress)
                self._upper()
                self._rules.close()
                self._rules.anchors.close(self._root_at)
                self._strays()
                self._save(self._size, self._root)
        finally:
            self._rules.discard()
        findings = tuple(self._findings)
        counts = self._rules.counts
        resumed = self._start if self._size else 0
        unchecked = self._unchecked()
        return Verdict(
            not self._found, self._key.name, self._size, self._root.hex(), counts, findings, unchecked, resumed
        )

    def _unchecked(self) -> dict[str, int]:
        found = dict(self._rules.unchecked) if self._judged else {"rules": self._size}
        found |= {"resumed": self._start} if self._start and self._size else {}
        found |= {} if self._source.folder is not None else {"files": 0}
        found |= {} if self._kept_notes else {"history": 0}
        return {**found, "outside": 0}

    def _tiles(self, progress: Progress | None) -> None:
        """All tiles of level 0 in order; full ones are hashed in other processes where they are many."""
        first, count = self._start // 256, (self._size + 255) // 256
        full, at_once = self._size // 256, self._start % 256 == 0
        files = ((path_of("entries", n, 256), path_of("0", n, 256)) for n in range(first, full))
        many = self._jobs > 1 and self._source.folder is not None and full - first >= _SMALL * self._jobs and at_once
        workers: Workers | None = None
        try:
            for n in range(first, count):
                self._expect(n)
                if many and n < full and workers is None and self._schemas_known(n - first):
                    rest = islice(files, n - first, None)
                    workers = Workers(self._source.folder or Path(), rest, self._jobs, self._texts())
                self._tile(n, workers.next() if workers is not None and n < full else None)
                if self._found > _HOPELESS:
                    break
                if n % _SAVED == _SAVED - 1 and n < full:
                    self._save((n + 1) * 256, tree(self._peaks_above()))
                if progress is not None:
                    progress(min((n + 1) * 256, self._size), self._size)
        finally:
            if workers is not None:
                workers.close()

    def _schemas_known(self, done: int) -> bool:
        """Whether other processes can read entries: after the first tiles, where their schemas stand."""
        return not self._judged or done >= _SCHEMAS

    def _texts(self) -> Sequence[str]:
        return self._rules.texts if self._judged else ()

    def _expect(self, n: int) -> None:
        if self._source.folder is None:
            last = min(n + 4, (self._size + 255) // 256)
            widths = [(one, min(256, self._size - one * 256)) for one in range(n, last)]
            self._source.expect(path_of(kind, one, width) for one, width in widths for kind in ("entries", "0"))

    def _save(self, size: int, root: bytes) -> None:
        if self._file is None or self._found or size <= self._start:
            return
        held = dict.fromkeys(
            [*self._held, *((at, one) for at, roots in self._kept.items() for one in roots if at <= size)]
        )
        State(self._key.text, size, root, self._rows, list(held), self._rules.dump()).write(self._file)
        # A crash here: the next run goes on from this state, or from the former one.

    def _find(self, code: str, *, index: int | None = None, file: str | None = None, detail: str = "") -> None:
        self._found += 1
        if self._found <= MAX_FINDINGS:
            self._findings.append(Finding(code, index, file, detail))

    def _checkpoint(self) -> bool:
        if self._source.folder is not None and not self._source.folder.is_dir():
            self._find("folder_missing", file=str(self._source.folder))
            return False
        note = self._read("checkpoint", missing="checkpoint_missing")
        if note is None:
            return False
        try:
            self._size, self._root = self._key.open(note)
        except ValueError as error:
            self._find("checkpoint_invalid", file="checkpoint", detail=_plain(error))
            return False
        if self._start > self._size:
            raise MustRestartError
        return True

    def _keep(self, kept: Sequence[bytes], known: Sequence[tuple[int, bytes]]) -> None:
        self._kept_notes = bool(kept or known or self._held)
        for size, root in known:
            self._keep_one(size, root)
        for number, note in enumerate(kept, 1):
            try:
                size, root = self._key.open(note)
            except ValueError as error:
                self._find("kept_invalid", file=f"kept checkpoint {number}", detail=_plain(error))
                continue
            self._keep_one(size, root)

    def _keep_one(self, size: int, root: bytes) -> None:
        if size > self._size:
            self._find("log_cut_off", index=self._size, detail=f"the kept checkpoint has {size} entries")
        elif size >= self._start:
            self._kept.setdefault(size, []).append(root)
        elif (size, root) not in self._held and size:
            raise MustRestartError  # it lies before where this run began

    def _tile(self, n: int, hashed: Hashed | None) -> None:
        """One tile of level 0; `hashed` when another process found it sound."""
        full = (n + 1) * 256 <= self._size
        if not full or self._start > n * 256 or any(n * 256 < size < (n + 1) * 256 for size in self._kept):
            self._examine(n)
            return
        if hashed is not None and (hashed.entries is not None or not self._judged):
            entries = marshal.loads(hashed.entries) if hashed.entries is not None else ()  # noqa: S302  # our process's
            for index, (prefix, kind, body) in enumerate(entries, n * 256):
                self._rules.take_body(index, prefix, kind, body)
            self._pushed(n, hashed.root)
            return
        bundle = self._quick(path_of("entries", n, 256))
        if hashed is None:
            leaves = split(bundle) if bundle is not None else None
            root = checked(leaves, self._quick(path_of("0", n, 256)) or b"")
        else:
            sound = bundle is not None and hashlib.sha256(bundle).digest() == hashed.digest
            leaves, root = (split(bundle), hashed.root) if sound and bundle is not None else (None, None)
        if root is None or leaves is None:
            self._examine(n)
            return
        if self._judged:
            for index, leaf in enumerate(leaves, n * 256):
                self._rules.take(index, leaf)
        self._pushed(n, root)

    def _pushed(self, n: int, root: bytes) -> None:
        """A full tile with this root: the levels above, and a kept checkpoint that ends with it."""
        self._rows[0] = []
        above = self._rows[1] if len(self._rows) > 1 else []
        self._push(1, n // 256, [*above, root])
        self._compare((n + 1) * 256, self._peaks_above())

    def _quick(self, file: str) -> bytes | None:
        """The file; None where there is anything odd about it, and `_examine` finds out what."""
        try:
            return self._source.read(file)
        except OSError:
            return None

    def _examine(self, n: int) -> None:
        """One bundle with its tile of level 0: which of the two is changed, if they differ, the tree above says."""
        start, width = n * 256, min(256, self._size - n * 256)
        file = path_of("entries", n, width)
        bundle = self._read(file, full=path_of("entries", n, 256))
        leaves = list(frames(bundle or b"", width))
        ours = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
        theirs = self._hashes(0, n, width)
        whole = len(ours) == width
        exact = sum(map(len, leaves)) + 2 * width == len(bundle or b"") or not self._source.has(file)
        if bundle is not None and not (whole and exact):
            self._find("entries_damaged", file=file, detail=f"cut off or overlong after entry {start + len(ours) - 1}")
        chosen = self._chosen(n, ours, theirs) if whole else theirs or [b""] * width
        if theirs is not None and theirs != chosen:
            self._find("tile_changed", file=path_of("0", n, width))
        done = max(self._start - start, 0)
        if done and chosen[:done] != self._rows[0]:
            raise MustRestartError
        for offset, leaf in enumerate(leaves):
            if ours[offset] == chosen[offset]:
                if offset >= done and self._judged:
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
            self._compare(size, [*self._peaks_above(), *peaks(hashes[: size - start])] if size else [])

    def _compare(self, size: int, row: Sequence[bytes]) -> None:
        """The kept checkpoints of this size with the tree that the entries give."""
        if size in self._kept and any(root != tree(row) for root in self._kept[size]):
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
            if self._began is not None:
                raise MustRestartError  # the log does not continue what was verified before, or it is damaged
            self._find("root_differs", file="checkpoint", detail="the entries do not give the signed root")

    def _root_at(self, size: int) -> bytes | None:
        """The root of the first entries, from tiles that were compared with the entries above; None where one lacks."""
        found: list[bytes] = []
        for level in reversed(range(len(self._rows))):
            n, width = size >> 8 * (level + 1), size >> 8 * level & 255
            if width:
                hashes = self._hashes(level, n, min(256, (self._size >> 8 * level) - n * 256))
                if hashes is None:
                    return None
                found += peaks(hashes[:width])
        return tree(found)

    def _hashes(self, level: int, n: int, width: int) -> list[bytes] | None:
        file = path_of(str(level), n, width)
        data = self._read(file, full=path_of(str(level), n, 256))
        if data is None:
            return None
        exact = len(data) == width * 32 or (width < 256 and not self._source.has(file))
        if not exact or len(data) < width * 32:
            self._find("tile_changed", file=file, detail="of another length")
            return None
        return [data[at : at + 32] for at in range(0, width * 32, 32)]

    def _read(self, file: str, *, full: str = "", missing: str = "file_missing", quiet: bool = False) -> bytes | None:
        """The file, or the full tile that took its place while we read; a finding and None when there is neither."""
        for name in filter(None, (file, full)):
            try:
                return self._source.read(name)
            except FileNotFoundError:
                continue
            except TooLargeError:
                self._find("file_too_large", file=name, detail="no file of a log is as large, or not a file")
                return None
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
        for file in self._source.files():
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
            return self._key.open(self._source.read("checkpoint"))[0] > self._size
        except (ValueError, OSError):
            return False


def _plain(error: ValueError) -> str:
    return "not text" if isinstance(error, UnicodeDecodeError) else str(error)
