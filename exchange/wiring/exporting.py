"""The audit log of a site as a folder, wherever the site keeps it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from exchange.audit.export import export
from exchange.audit.note import Checkpoint
from exchange.settings import read_settings
from exchange.site import VKEY
from exchange.wiring.engines import audit_store_of, database_of


def export_log(root: Path, environment: Mapping[str, str], folder: Path, done: Callable[[int], None]) -> Checkpoint:
    """Writes the site's published log into the folder, as `export` does. It needs nobody's lock: what is published
    stays as it is.

    Raises:
        Invalid: no site, wrong settings.
        Unavailable, Tampered: as `export`; the control database is down.
    """
    settings = read_settings(root, environment)
    with ExitStack() as stack:
        store = audit_store_of(settings, database_of(settings, stack))
        stack.callback(store.close)
        return export(store, folder, (settings.root / VKEY).read_text("utf-8").strip(), done)
