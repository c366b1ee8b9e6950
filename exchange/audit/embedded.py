"""The embedded `AuditStore`: rows in the control database, everything else in files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from exchange.audit.files import STAGING, DiskFiles, Files, put
from exchange.audit.rows import LogRows
from exchange.audit.store import Head
from exchange.errors import Invalid, Tampered

_CHECKPOINT: Final = "checkpoint"


class EmbeddedAuditStore(LogRows):
    """An `AuditStore` on a folder and a migrated control database. Any thread may use it."""

    def __init__(self, folder: Path, engine: Engine, files: Files | None = None) -> None:
        super().__init__(engine)
        self._files = files or DiskFiles(folder)
        self._folder = folder

    def lead(self) -> bool:
        """See `AuditStore.lead`: whoever holds the site's folder is the only one."""
        return True

    def resign(self) -> bool:
        """See `AuditStore.resign`: after a failed fsync only a new process reads what the disk has."""
        return False

    def listen(self, wake: Callable[[], None]) -> None:
        """See `AuditStore.listen`: there is no other process."""

    def call(self) -> None:
        """See `AuditStore.call`: there is no other process."""

    def begin(self, head: Head) -> None:
        """See `AuditStore.begin`."""
        if self.head() is not None or set(self._files.names(".")) - {STAGING} or self._files.names(STAGING):
            raise Invalid("audit_exists", where=str(self._folder))
        self._files.make_folder(STAGING)
        # A crash here leaves an empty folder `staging` and no log: beginning again is allowed.
        with self._transaction() as connection:
            if not self._begin(connection, head):
                raise Invalid("audit_exists", where=str(self._folder))
        # A crash here: the log is there; opening it publishes its first checkpoint.

    def stage(self, name: str, bundle: bytes) -> None:
        """See `AuditStore.stage`."""
        put(self._files, [(f"{STAGING}/{name}", bundle)])

    def staged(self, name: str) -> bytes | None:
        """See `AuditStore.staged`."""
        return self._files.read(f"{STAGING}/{name}")

    def unstage(self) -> None:
        """See `AuditStore.unstage`."""
        for name in self._files.names(STAGING):
            self._files.remove(f"{STAGING}/{name}")

    def write(self, files: Mapping[str, bytes]) -> None:
        """See `AuditStore.write`."""
        new = []
        for path, data in files.items():
            found = self._files.read(path)
            if found is None:
                new.append((path, data))
            elif found != data:
                raise Tampered("audit_log_damaged", where=path, detail="a tile has other bytes than were staged for it")
        put(self._files, new)

    def read(self, path: str) -> bytes | None:
        """See `AuditStore.read`."""
        return self._files.read(path)

    def prune(self, paths: Sequence[str]) -> None:
        """See `AuditStore.prune`."""
        for path in paths:
            self._files.remove_folder(f"{path}.p")

    def publish(self, checkpoint: bytes) -> None:
        """See `AuditStore.publish`."""
        put(self._files, [(_CHECKPOINT, checkpoint)])

    def published(self) -> bytes | None:
        """See `AuditStore.published`."""
        return self._files.read(_CHECKPOINT)

    def close(self) -> None:
        """See `AuditStore.close`: every connection went back after its use, the engine is the caller's."""
