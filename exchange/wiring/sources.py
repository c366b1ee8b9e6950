"""Sources that feed a dataset: an adapter made of its configuration, checked against the dataset before it reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from exchange.errors import Invalid

if TYPE_CHECKING:
    from adapters.files.adapter import FilesAdapter
    from exchange.wiring.desk import Desk


def files_adapter(config: Path, files: Sequence[Path], ledgers: Path, desk: "Desk") -> "tuple[FilesAdapter, str]":
    """The files adapter that a TOML file describes, its ledger in that folder, and the dataset that it feeds.

    Raises:
        Invalid: `adapter_fields_differ`: it fills other fields than the dataset's: every record would fail.
    """
    from adapters.files.adapter import FilesAdapter
    from adapters.files.config import load_config
    from exchange.names import check
    from exchange.site import ledger

    read = load_config(config)
    filled = {column.field for column in read.columns} | {*read.constants, *read.absent}
    needed = set(desk.dataset(read.dataset)["record_fields"])
    if filled != needed:
        unknown, missing = (", ".join(sorted(some)) or "-" for some in (filled - needed, needed - filled))
        raise Invalid("adapter_fields_differ", where=config.name, unknown=unknown, missing=missing)
    place = ledger(ledgers, check("source", read.source))
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FilesAdapter(read, files, place), read.dataset
