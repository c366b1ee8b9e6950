"""A gateway's runs: each opens with an entry that names the end of the one before; so no release can be missing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from exchange import __version__
from exchange.audit.entries import counters_digest, make
from exchange.audit.log import AuditLog

_RUN_BYTES: Final = 16


class GatewayRuns:
    """Where this gateway's last run began, kept in a file of the site.

    The file is only a hint to where in the log to look: a missing or damaged one costs a look at the whole log, and
    the counters themselves are always taken from the log.
    """

    def __init__(self, file: Path, audit: AuditLog, now_ns: Callable[[], int]) -> None:
        self._file, self._audit, self._now_ns = file, audit, now_ns

    def start(self, run: bytes) -> None:
        """Writes the opening entry of this run; it is in a checkpoint on return."""
        previous, counters = self._last(self._hint())
        entry = make(
            "gateway_run",
            run,
            self._now_ns(),
            run=run,
            previous=previous,
            previous_counters_digest=None if previous is None else counters_digest(counters),
            version=__version__,
        )
        receipt = self._audit.append(entry)
        self._file.write_text(json.dumps({"index": receipt.index}), "utf-8")

    def _hint(self) -> int:
        try:
            index = json.loads(self._file.read_text("utf-8"))["index"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return index if isinstance(index, int) and 0 <= index < self._audit.size else 0

    def _last(self, start: int) -> tuple[bytes | None, dict[str, int]]:
        """The newest run in the log from `start` on, and the last counters that it used."""
        run: bytes | None = None
        counters: dict[str, int] = {}
        for _, kind, body in self._audit.entries(start, self._audit.size):
            if kind == "gateway_run":
                run, counters = body["run"], {}
            elif kind in {"release", "refusal"} and body["counter"] is not None and body["run"] == run:
                counters[body["agreement"] or body["dataset"]] = body["counter"]
        return run, counters
