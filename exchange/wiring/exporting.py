"""The audit log of a site as a folder, wherever the site keeps it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from exchange.audit.export import export
from exchange.audit.note import Checkpoint
from exchange.settings import Settings, read_settings
from exchange.wiring.engines import audit_store_of, database_of, log_key


def export_log(root: Path, environment: Mapping[str, str], folder: Path, done: Callable[[int], None]) -> Checkpoint:
    """Writes the site's published log into the folder, as `export` does. It needs nobody's lock: what is published
    stays as it is.

    Raises:
        Invalid: no site, wrong settings.
        Unavailable, Tampered: as `export`; the control database is down.
    """
    return exported(read_settings(root, environment), folder, done)


def exported(settings: Settings, folder: Path, done: Callable[[int], None] = lambda _: None) -> Checkpoint:
    """The same for a site whose settings were read."""
    with ExitStack() as stack:
        store = audit_store_of(settings, database_of(settings, stack))
        stack.callback(store.close)
        return export(store, folder, log_key(settings), done)
