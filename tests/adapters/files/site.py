"""A department's folder for tests: a small configuration, files in it, and one run of the adapter."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.files.adapter import FilesAdapter
from adapters.files.config import parse_config
from exchange.source import Rejected, SourceBatch

PERSONS: dict[str, Any] = {
    "source": "ny.test/persons",
    "dataset": "ps.person",
    "key": ["person_id"],
    "columns": {
        "公民身份号码": {"field": "person_id", "type": "id"},
        "姓名": {"field": "name", "type": "name"},
        "月待遇": {"field": "benefit", "type": "fen"},
    },
}
HEADER = "公民身份号码,姓名,月待遇\n"
ID = "431126198001010013"
OTHER = "11010519491231002X"


@dataclass
class Run:
    """What one run of the adapter gave."""

    values: dict[int, dict[str, Any]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    notes: Sequence[str] = ()
    batches: list[SourceBatch] = field(default_factory=list)
    mark: int = 0

    @property
    def codes(self) -> list[str]:
        """The codes of what was refused, in order."""
        return [rejected.code for rejected in self.rejected]


def run(
    folder: Path, content: str | bytes, document: dict[str, Any] | None = None, *, mark: int = 0, limit: int = 100
) -> Run:
    """Write `content` as the folder's one file and let the adapter read it."""
    file = folder / "persons.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    adapter = FilesAdapter(parse_config(document or PERSONS, where="t.toml"), [file], folder / "ledger.db")
    found = Run(mark=mark)
    for batch in adapter.batches(mark, limit):
        found.batches.append(batch)
        found.values.update(zip(batch.sequences, map(dict, batch.values), strict=True))
        found.rejected.extend(batch.rejected)
        found.mark = max([*batch.sequences, *(rejected.sequence for rejected in batch.rejected)])
    found.notes = adapter.notes
    return found
