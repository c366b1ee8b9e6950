"""A gateway's runs: each opens with an entry that names the end of the one before; so no release can be missing."""

import hmac
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from exchange import __version__
from exchange.audit.entries import counters_digest, make
from exchange.audit.log import AuditLog
from exchange.errors import Invalid, Tampered, Unavailable

GATEWAY: Final = "embedded"  # the one gateway of a site whose data one process owns
_TOLD: Final = frozenset({"gateway_run", "release", "refusal"})  # the kinds that tell of runs
_GROWN: Final = 50_000  # entries, read in about a second

_End = tuple[bytes, dict[str, int]]  # a run, and the last counter of each agreement or dataset


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
        for _, kind, body in self._audit.entries(start, self._audit.size, _TOLD):
            if kind == "gateway_run" and body["gateway"] == self._gateway:
                run, counters = body["run"], {}
            elif kind != "gateway_run" and body["counter"] is not None and body["run"] == run:
                what = body["agreement"] or body["dataset"]
                counters[what] = max(body["counter"], counters.get(what, 0))
        return run, counters


class Ends:
    """The end of every gateway's last run, as the log stood when it was first asked. Any thread may ask.

    How far it has looked, and what it found, is kept in a file of the site: the next process reads what came after that
    and nothing before. The file counts only when its text has the digest by the site's key, and the log still begins
    with the tree whose size and root it names: one that is missing, damaged, older than the key, another site's or
    written by hand costs a look at the whole log, and one that is old a look at what came since.
    """

    def __init__(self, audit: AuditLog, file: Path | None = None, key: bytes = b"") -> None:
        self._audit, self._file, self._key = audit, file, key
        self._lock = threading.Lock()
        self._first: dict[str, _End] | None = None
        self._looked = _Looked()
        self._going_on: threading.Thread | None = None

    def of(self, gateway: str) -> tuple[bytes | None, dict[str, int]]:
        """The last run of a gateway that has not begun one since, and its counters; (None, {}) for a new one.

        The first call reads what the file does not know, and others wait for it.
        """
        with self._lock:
            if self._first is None:
                self._audit.settle()
                self._looked = self._kept() or _Looked()
                self._look()
                self._first = {name: (run, dict(counters)) for name, (run, counters) in self._looked.ends.items()}
            return self._first.get(gateway, (None, {}))

    def keep_up(self, size: int) -> None:
        """Looks on, on a thread of its own, where the log (of now this size) has grown much since it was looked at: so
        that after a kill little is left to read.
        """
        if self._first is not None and size - self._looked.size >= _GROWN and self._lock.acquire(blocking=False):
            try:
                if self._going_on is None or not self._going_on.is_alive():
                    self._going_on = threading.Thread(target=self._look_on, name="audit-runs", daemon=True)
                    self._going_on.start()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Looks a last time, so that the next process finds little left."""
        if self._first is not None:
            self._look_on()

    def _look_on(self) -> None:
        with self._lock, suppress(Unavailable, Tampered):  # whoever needs the log learns it there
            self._look()

    def _look(self) -> None:
        """Takes in what the log has now, and keeps it."""
        size = self._audit.size
        if size > self._looked.size:
            for _, kind, body in self._audit.entries(self._looked.size, size, _TOLD):
                self._looked.take(kind, body)
            self._looked.size = size
            self._keep()

    def _keep(self) -> None:
        if self._file is None:
            return
        ends = {name: [run.hex(), counters] for name, (run, counters) in self._looked.ends.items()}
        root = self._audit.root(self._looked.size).hex()
        text = json.dumps({"size": self._looked.size, "root": root, "ends": ends})
        draft = self._file.with_suffix(".new")
        with suppress(OSError):
            draft.write_text(f"{self._digest(text)}\n{text}", "utf-8")
            draft.replace(self._file)
        # A crash here, or a disk that does not take it: the next process reads on from the former one.

    def _kept(self) -> "_Looked | None":
        """What the file says; None where it is not to be believed."""
        if self._file is None:
            return None
        try:
            digest, _, text = self._file.read_text("utf-8").partition("\n")
            if not hmac.compare_digest(digest, self._digest(text)):
                return None
            document = json.loads(text)
            ends = {name: (bytes.fromhex(run), counters) for name, (run, counters) in document["ends"].items()}
            size, root = int(document["size"]), bytes.fromhex(document["root"])
            if size > self._audit.size or self._audit.root(size) != root:
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return _Looked(size, ends)

    def _digest(self, text: str) -> str:
        return hmac.digest(
            self._key, b"exchange.runs/1\0" + self._audit.origin.encode() + text.encode(), "sha256"
        ).hex()


class _Looked:
    """The ends of runs among the first `size` entries of the log."""

    def __init__(self, size: int = 0, ends: "dict[str, _End] | None" = None) -> None:
        self.size, self.ends = size, ends or {}
        self._counters = dict(self.ends.values())

    def take(self, kind: str, body: Mapping[str, Any]) -> None:
        """The next entry of one of the kinds that tell of runs."""
        if kind == "gateway_run":
            former, _ = self.ends.get(body["gateway"], (b"", {}))
            self._counters.pop(former, None)
            self._counters[body["run"]] = {}
            self.ends[body["gateway"]] = (body["run"], self._counters[body["run"]])
        elif body["counter"] is not None and body["run"] in self._counters:
            what, counters = body["agreement"] or body["dataset"], self._counters[body["run"]]
            counters[what] = max(body["counter"], counters.get(what, 0))
