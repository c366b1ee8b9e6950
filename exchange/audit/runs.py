"""A gateway's runs: each opens with an entry that names the end of the one before; so no release can be missing."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from exchange import __version__
from exchange.audit.entries import counters_digest, make
from exchange.audit.log import AuditLog
from exchange.errors import Invalid

GATEWAY: Final = "embedded"  # the one gateway of a site whose data one process owns


class GatewayRuns:
    """Where this gateway's last run began, kept in a file of the site.

    The file is only a hint to where in the log to look: a missing, damaged or foreign one costs a look at the whole
    log, and the counters themselves are always taken from the log. A process with many gateways looks once for all of
    them: `ends` knows the end of each one's last run before this process.
    """

    def __init__(
        self,
        file: Path,
        audit: AuditLog,
        now_ns: Callable[[], int],
        gateway: str = GATEWAY,
        ends: "Ends | None" = None,
    ) -> None:
        self._file, self._audit, self._now_ns, self._gateway, self._ends = file, audit, now_ns, gateway, ends

    def start(self, run: bytes) -> None:
        """Writes the opening entry of this run; it is in a checkpoint on return.

        Raises:
            Unavailable: the run has not begun, or nobody will know of it: take another.
        """
        self._audit.settle()  # what the last run submitted before it died belongs to its end
        known = self._ends.of(self._gateway) if self._ends is not None else None
        self._ends = None  # of the process before: a second run here follows the first
        previous, counters = known or self._last(self._hint())
        entry = make(
            "gateway_run",
            run,
            self._now_ns(),
            run=run,
            gateway=self._gateway,
            previous=previous,
            previous_counters_digest=None if previous is None else counters_digest(counters),
            version=__version__,
        )
        receipt = self._audit.append(entry)
        # A crash here, or a disk that takes no hint: the next run finds this one from an older place on.
        with suppress(OSError):
            self._file.write_text(json.dumps({"index": receipt.index}), "utf-8")

    def _hint(self) -> int:
        """The index of an opening entry of this gateway, or 0."""
        try:
            index = json.loads(self._file.read_text("utf-8"))["index"]
            kind, body = self._audit.entry(index) if type(index) is int and index >= 0 else ("", {})
        except (OSError, ValueError, KeyError, TypeError, RecursionError, Invalid):
            return 0
        return index if kind == "gateway_run" and body["gateway"] == self._gateway else 0

    def _last(self, start: int) -> tuple[bytes | None, dict[str, int]]:
        """This gateway's newest run in the log from `start` on, and the last counters that it used."""
        run: bytes | None = None
        counters: dict[str, int] = {}
        for _, kind, body in self._audit.entries(start, self._audit.size):
            if kind == "gateway_run" and body["gateway"] == self._gateway:
                run, counters = body["run"], {}
            elif kind in {"release", "refusal"} and body["counter"] is not None and body["run"] == run:
                what = body["agreement"] or body["dataset"]
                counters[what] = max(body["counter"], counters.get(what, 0))
        return run, counters


class Ends:
    """The end of every gateway's last run, as the log stood when it was first asked. Any thread may ask."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._lock = threading.Lock()
        self._found: dict[str, tuple[bytes | None, dict[str, int]]] | None = None

    def of(self, gateway: str) -> tuple[bytes | None, dict[str, int]]:
        """The last run of a gateway that has not begun one since, and its counters; (None, {}) for a new one.

        The first call reads the whole log, and others wait for it.
        """
        with self._lock:
            if self._found is None:
                self._audit.settle()
                self._found = self._read()
            return self._found.get(gateway, (None, {}))

    def _read(self) -> dict[str, tuple[bytes | None, dict[str, int]]]:
        found: dict[str, tuple[bytes | None, dict[str, int]]] = {}
        counters_of: dict[bytes, dict[str, int]] = {}
        for _, kind, body in self._audit.entries(0, self._audit.size):
            if kind == "gateway_run":
                former, _ = found.get(body["gateway"], (None, {}))
                counters_of.pop(former or b"", None)
                counters_of[body["run"]] = {}
                found[body["gateway"]] = (body["run"], counters_of[body["run"]])
            elif kind in {"release", "refusal"} and body["counter"] is not None and body["run"] in counters_of:
                what, counters = body["agreement"] or body["dataset"], counters_of[body["run"]]
                counters[what] = max(body["counter"], counters.get(what, 0))
        return found
