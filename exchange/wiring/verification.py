"""The last verification of the audit log: run beside what is served, kept in memory and in the site's data."""

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exchange.site import VKEY

if TYPE_CHECKING:
    from exchange.wiring.exchange import Exchange

FILE: Final = "data/verification.json"
_COPY: Final = "data/log-for-verification"
_PATIENCE_S: Final = 3.0


class Verifications:
    """Runs the offline verifier over the site's own log, one at a time. Any thread may use it."""

    def __init__(self, exchange: "Exchange") -> None:
        self._settings = settings = exchange.settings
        scheme, folder = settings.engine("audit")
        self._copied = scheme != "file"  # a log in rows is written out first, each time only what is new of it
        self._folder = settings.path(_COPY if self._copied else folder)
        self._key, self._file, self._now_ns = settings.path(VKEY), settings.path(FILE), exchange.now_ns
        self._lock = threading.Lock()
        self._running: threading.Thread | None = None
        self._done = (0, 0)
        self._last = _read(self._file)

    def last(self) -> dict[str, Any] | None:
        """The last verdict (`exchange.verdict/1`) with its `time_ns`; with `running` where one runs now, which says
        how many entries of how many are done. None: never yet.
        """
        with self._lock:
            if self._running is not None and self._running.is_alive():
                return {**(self._last or {}), "running": self._done}
            return self._last

    def begin(self) -> None:
        """Begins one unless one runs; returns at its end, or after a few seconds."""
        with self._lock:
            if self._running is None or not self._running.is_alive():
                self._done = (0, 0)
                self._running = threading.Thread(target=self._run, name="verification", daemon=True)
                self._running.start()
            running = self._running
        running.join(_PATIENCE_S)

    def _run(self) -> None:
        from exchange.audit.verify import verify
        from exchange.wiring.exporting import exported

        if self._copied:
            exported(self._settings, self._folder)
        verdict = verify(self._folder, self._key.read_text("utf-8").strip(), (), self._progress)
        told = {**verdict.to_document(), "time_ns": self._now_ns()}
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(told), "utf-8")
        draft.replace(self._file)
        # A crash before this: the former verdict stands, or none; it is a hint for people, and proves nothing.
        self._last = told

    def _progress(self, done: int, size: int) -> None:
        self._done = (done, size)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        told = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("format") == "exchange.verdict/1" else None
