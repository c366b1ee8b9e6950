"""The last verification of the audit log: run beside what is served, kept in memory and in the site's data."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from exchange.site import VKEY
from exchange.wiring.engines import audit_store_of, database_of

if TYPE_CHECKING:
    from exchange.wiring.exchange import Exchange

FILE: Final = "data/verification.json"
_PATIENCE_S: Final = 3.0


class Verifications:
    """Runs the offline verifier over the site's own log, one at a time. Any thread may use it."""

    def __init__(self, exchange: "Exchange") -> None:
        settings = exchange.settings
        scheme, place = settings.engine("audit")
        self._folder = settings.path(place) if scheme == "file" else None
        self._exchange = exchange
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

        key = self._key.read_text("utf-8").strip()
        with self._as_folder(key) as folder:
            verdict = verify(folder, key, (), self._progress)
        told = {**verdict.to_document(), "time_ns": self._now_ns()}
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(told), "utf-8")
        draft.replace(self._file)
        # A crash before this: the former verdict stands, or none; it is a hint for people, and proves nothing.
        self._last = told

    @contextmanager
    def _as_folder(self, key: str) -> Iterator[Path]:
        """The log as a folder: its own, or, from a server, one that is written for this verification."""
        if self._folder is not None:
            yield self._folder
            return
        from exchange.audit.export import export

        exchange = self._exchange
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="verify-", dir=self._file.parent)))
            store = audit_store_of(exchange.settings, database_of(exchange.settings, stack))
            stack.callback(store.close)
            export(store, folder / "log", key, lambda _: None)
            yield folder / "log"

    def _progress(self, done: int, size: int) -> None:
        self._done = (done, size)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        told = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("format") == "exchange.verdict/1" else None
