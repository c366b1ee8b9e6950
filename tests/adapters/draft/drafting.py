"""One file, drafted, its draft written and read back, its rows read through it and checked against its schema."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.draft import Draft, draft_file, write_draft
from adapters.files.adapter import FilesAdapter
from adapters.files.config import load_config
from exchange.contracts.check import Checker
from exchange.contracts.contract import Contract, load
from exchange.source import Rejected


@dataclass(frozen=True)
class Drafted:
    """What came of a file: `values` are the records that got in."""

    draft: Draft
    contract: Contract
    values: Sequence[dict[str, Any]]
    letters: Sequence[Rejected]
    folder: Path

    @property
    def said(self) -> set[str]:
        """The keys of all that the draft says."""
        reasons = [reason for one in self.draft.fields for reason in one.reasons]
        return {reason.key for reason in (*reasons, *self.draft.notes)}

    @property
    def fields(self) -> dict[str, tuple[str, str, bool]]:
        """Each field's type, class, and whether it may be null."""
        return {one.field: (one.type, one.security_class, one.nullable) for one in self.draft.fields}


def drafted(file: Path, folder: Path) -> Drafted:
    """Drafts a file and publishes it as far as an adapter and the check of its contract go."""
    draft = draft_file(file)
    where, config = write_draft(draft, folder)
    contract = load(where)
    checker = Checker(contract, contract.schemas[-1])
    values: list[dict[str, Any]] = []
    letters: list[Rejected] = []
    for batch in FilesAdapter(load_config(config), [file], folder / "ledger.db").batches(0, 10_000):
        checked = checker.check(batch)
        by_sequence = dict(zip(batch.sequences, batch.values, strict=True))
        values += [dict(by_sequence[sequence]) for sequence in checked.sequences]
        letters += checked.rejected
    return Drafted(draft, contract, values, letters, folder)
