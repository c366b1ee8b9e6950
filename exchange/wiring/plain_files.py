"""The files of a site that are no store: settings, keys, schemas, policies, adapters, ledgers."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from exchange.errors import Unavailable
from exchange.settings import FILE, Settings
from exchange.site import FOLDERS, VKEY
from exchange.wiring.archive import Writer
from exchange.wiring.snapshots import copied_raw

_SECRETS: Final = ("keys.subject", "keys.actor", "keys.pseudonym", "keys.audit")
_MORE_SECRETS: Final = ("kafka.sasl.password", "postgresql.password")
_TLS_KEY: Final = "http.certificate_key"  # a path, where the site has one
_SMALL: Final = 1 << 20
_DERIVED: Final = frozenset({"lock", "segments", "subjects.db"})  # of the folder data
_BESIDE: Final = ("-wal", "-shm", "-journal", ".new")


class PlainFiles:
    """A site's plain files; `places` are its stores' by engine, relative to it, where they lie in its folder."""

    def __init__(self, settings: Settings, places: Mapping[str, str], scratch: Path) -> None:
        self._settings, self._scratch = settings, scratch
        self._stores = {place for name, place in places.items() if name != "audit"}
        self._audit = settings.path(places["audit"]) if "audit" in places else None

    def write(self, writer: Writer, prefix: str, progress: Callable[[int], None], *, keys: bool) -> None:
        """Puts every file into an archive, its name after the prefix, the settings last.

        Raises:
            Unavailable: `backup_busy`: a publisher writes its ledger all the time.
            Invalid: `backup_name`.
        """
        for place in self._files():
            if place != FILE and (keys or not self._is_secret(place)):
                self._add(writer, prefix, place)
                progress(writer.written)
        self._add(writer, prefix, FILE)

    def left_out(self) -> list[str]:
        """What the site has and no backup of it: keys that lie elsewhere, by their reference, and links."""
        inside = set(self._files())
        absent = [place for place in self._listed() if self._settings.path(place).is_symlink()]
        for name in _SECRETS:
            scheme, _, place = self._settings.text(name).partition(":")
            if scheme != "file" or Path(place).as_posix() not in inside:
                absent.append(self._settings.text(name))
        return absent

    def secrets(self) -> list[str]:
        """The site's keys, by their place."""
        return [place for place in self._files() if self._is_secret(place)]

    def _is_secret(self, place: str) -> bool:
        named = (str(self._settings.values.get(name, "")) for name in (*_SECRETS, *_MORE_SECRETS, _TLS_KEY))
        referred = {Path(one.removeprefix("file:")).as_posix() for one in named if one}
        return place in referred or (place.startswith("keys/") and place != VKEY)

    def _files(self) -> Iterator[str]:
        """Every file of the site that is no store of the exchange's, relative to it; links are passed over."""
        for place in self._listed():
            path = self._settings.path(place)
            derived = place.startswith("data/") and path.name in _DERIVED
            if path.is_file() and not path.is_symlink() and not derived and place not in self._stores:
                yield place
        yield FILE

    def _listed(self) -> Iterator[str]:
        """All that lies in the site's folders, but the audit log's, which changes while one looks."""
        root = self._settings.root
        for top in FOLDERS:
            for folder, folders, names in os.walk(root / top):  # what is gone meanwhile it passes over
                links = [name for name in folders if Path(folder, name).is_symlink()]
                folders[:] = sorted(name for name in folders if Path(folder, name) != self._audit)
                for name in sorted([*names, *links]):
                    if not name.endswith(_BESIDE):
                        yield Path(folder, name).relative_to(root).as_posix()

    def _add(self, writer: Writer, prefix: str, place: str) -> None:
        path = self._settings.path(place)
        if place.startswith("data/") and path.suffix == ".db":
            self._add_raw(writer, prefix + place, path)
            return
        try:
            with path.open("rb") as file:
                small = file.read(_SMALL)
                size = os.fstat(file.fileno()).st_size
                if size <= len(small):  # one look, so that one which is written anew meanwhile is no error
                    writer.add_bytes(prefix + place, small)
                else:
                    file.seek(0)
                    writer.add(prefix + place, file, size)
        except FileNotFoundError:
            return  # gone since its folder was listed

    def _add_raw(self, writer: Writer, name: str, path: Path) -> None:
        """A ledger: its adapter may hold it for as long as it publishes."""
        parts = copied_raw(path, self._scratch)
        if parts is None:
            raise Unavailable("backup_busy", where=path.name)
        for end, part in zip(("", "-wal"), parts, strict=True):
            if part is not None:
                with closing(part):
                    writer.add(name + end, part, part.seek(0, 2) - part.seek(0))
