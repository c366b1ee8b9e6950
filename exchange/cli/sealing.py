"""A department's own seal over what it sends: checked and sealed on this side, so that its key stays here."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exchange.contracts.check import Checker
from exchange.contracts.contract import Contract
from exchange.signing.keys import SigningKey
from exchange.signing.seals import rejected_leaf, seal, seal_leaves, to_document
from exchange.source import SourceBatch

if TYPE_CHECKING:
    from exchange.wiring.desk import Desk


@dataclass(frozen=True)
class Sealer:
    """Checks batches of one source against the dataset's schema and seals what came of it."""

    contract: Contract
    source: str
    key: SigningKey

    @classmethod
    def of(cls, desk: "Desk", dataset: str, source: str, own_key: Path) -> "Sealer":
        """With the contract that the exchange has, and the key in this file."""
        return cls(Contract.from_document(desk.contract(dataset)), source, SigningKey.load(own_key))

    def sealed(self, batch: SourceBatch) -> tuple[SourceBatch, str]:
        """The batch as it has to be sent, what does not fit among its rejections; and the header with its seal.

        The exchange makes the same leaves of it and takes it only where its own have the root that is signed.
        """
        contract, name = self.contract, self.contract.dataset
        schema = contract.schemas[-1]
        checked = Checker(contract, schema).check(batch)
        hashes = seal_leaves(name, self.source, checked.sequences, schema.fingerprint, checked.bodies)
        leaves = dict(zip(checked.sequences, hashes, strict=True))
        for one in checked.rejected:
            leaves[one.sequence] = rejected_leaf(name, self.source, one.sequence, one.code)
        made = seal(
            self.key,
            [leaves[sequence] for sequence in sorted(leaves)],
            dataset=name,
            department=contract.department,
            delegate=False,
            now_ns=time.time_ns,
        )
        good = set(checked.sequences)
        columns = zip(batch.sequences, batch.values, batch.places, strict=True)
        kept = [column for column in columns if column[0] in good]
        sequences, values, places = (list(one) for one in zip(*kept, strict=True)) if kept else ([], [], [])
        return SourceBatch(sequences, values, places, checked.rejected), json.dumps(to_document(made))
