"""The files adapter: the rows of files that differ from what was last sent, each under a sequence of its own."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.files import cells
from adapters.files.config import FilesConfig
from adapters.files.forms import open_file
from adapters.files.ledger import Ledger, open_ledger
from adapters.files.mapping import Item, Mapper
from adapters.files.rows import RawRow, is_summary
from exchange.source import Place, Rejected, SourceBatch


class FilesAdapter:
    """The files of one source, in this order, against the ledger at this path; see `exchange.source.Adapter`.

    A row is known by its key and by which of the rows with that key it is in this run; without a key in the
    configuration, by its file's name and its number there. Files hold what is, not what has gone: a row that is no
    longer there gives no event. A row that cannot be read takes a sequence too and is told once.
    """

    def __init__(self, config: FilesConfig, files: Sequence[Path], ledger: Path) -> None:
        self._config = config
        self._files = tuple(files)
        self._ledger = ledger
        self._notes: list[str] = []

    @property
    def source(self) -> str:
        """The name of this source of events."""
        return self._config.source

    @property
    def notes(self) -> Sequence[str]:
        """Of the last run: a guessed encoding, columns without a field, ids of a wrong check digit, …, en | zh."""
        return tuple(self._notes)

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        """New and changed rows, at most `limit` (good and refused) in a batch, sequences from `mark` + 1 on.

        Raises:
            Invalid: a file that cannot be read on (`file_…`, with file and row), `ledger_unreadable`,
                `ledger_behind`. Rows before that place were handed out already and stay valid.
            Unavailable: `ledger_busy`, `ledger_unwritable`.
        """
        self._notes = []
        send_again = self._config.lost_ledger == "send_again"
        with open_ledger(self._ledger, self.source, mark, send_again=send_again) as (ledger, lost):
            if lost:
                self._notes.append("ledger lost, every row is sent again | 台账丢失，全部重新报送")
            draft = _Draft()
            for item, occurrence in self._to_send(ledger):
                draft.add(item, ledger.send(item.key, occurrence, item.content))
                if draft.size >= limit:
                    ledger.commit()  # a crash after this: above the mark, forgotten, and sent again
                    yield draft.batch()
                    draft = _Draft()
            if draft.size:
                ledger.commit()
                yield draft.batch()

    def _to_send(self, ledger: Ledger) -> Iterator[tuple[Item, int]]:
        counts: Counter[str] = Counter()
        for item in self._items(ledger, counts, self._notes):
            occurrence = ledger.meet(item.key)
            if not ledger.sent(item.key, occurrence, item.content):
                yield item, occurrence
            elif item.value is None:
                counts["known"] += 1
        self._note_counts(counts)
        # Rows taken out of a file may leave an earlier row of their key as its last: it holds again, as a new event.
        last = ledger.outlived()
        if last:
            met: Counter[bytes] = Counter()
            for item in self._items(ledger, Counter(), []):
                if item.key in last:
                    met[item.key] += 1
                    if met[item.key] == last[item.key] and item.value is not None:
                        yield item, last[item.key]

    def _items(self, ledger: Ledger, counts: Counter[str], notes: list[str]) -> Iterator[Item]:
        for path in self._files:
            with closing(open_file(path, self._config)) as file:
                headers = file.headers()
                mapper = Mapper(self._config, headers, ledger.salt, counts)
                if headers.unmapped:
                    notes.append(f"{path.name}: columns without a field | 未映射的列: {', '.join(headers.unmapped)}")
                yield from map(mapper.item, self._records(file.rows(headers.width), counts))
                notes.extend(file.notes)

    def _records(self, rows: Iterator[RawRow], counts: Counter[str]) -> Iterator[RawRow]:
        words = self._config.skip
        for row in rows:
            if words and is_summary(row.cells, words):
                counts["skipped"] += 1
            else:
                yield row

    def _note_counts(self, counts: Counter[str]) -> None:
        if wrong := counts[cells.WRONG_CHECK]:
            self._notes.append(f"ids with a wrong check digit, taken as they are | 校验码不符（照收）: {wrong}")
        if skipped := counts["skipped"]:
            self._notes.append(f"rows of totals and remarks, left out | 合计、说明等非记录行，未取: {skipped}")
        if known := counts["known"]:
            self._notes.append(f"rows refused before and still there | 此前已拒收且仍未改正的行: {known}")


@dataclass
class _Draft:
    """A batch that is being filled."""

    sequences: list[int] = field(default_factory=list)
    values: list[Mapping[str, Any]] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.sequences) + len(self.rejected)

    def add(self, item: Item, sequence: int) -> None:
        if item.value is None:
            self.rejected.append(Rejected(sequence, item.place, item.code, item.shape))
        else:
            self.sequences.append(sequence)
            self.values.append(item.value)
            self.places.append(item.place)

    def batch(self) -> SourceBatch:
        return SourceBatch(self.sequences, self.values, self.places, self.rejected)
