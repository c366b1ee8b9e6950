"""Bringing a site's control database to the revision that this program needs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from exchange.control.database import found_revision, revisions, upgrade
from exchange.settings import read_settings
from exchange.site import owned
from exchange.wiring.clock import clock_of
from exchange.wiring.engines import database_of


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The revision that was found ("-": none yet), and those that lead from it to this program's, oldest first."""

    found: str
    steps: Sequence[str]


def planned_upgrade(root: Path, environment: Mapping[str, str]) -> Upgrade:
    """What `upgrade_site` would do. Nothing is changed, and nobody's lock is needed.

    Raises:
        Invalid: no site, wrong settings, `control_database_newer`.
        Unavailable, Tampered: the database is missing, busy or damaged.
    """
    settings = read_settings(root, environment)
    with ExitStack() as stack:
        return _planned(found_revision(database_of(settings, stack)))


def upgrade_site(root: Path, environment: Mapping[str, str], now_ns: Callable[[], int]) -> Upgrade:
    """Runs the missing revisions in one transaction, with the site's data held; what was done.

    Raises:
        As `planned_upgrade`; `site_in_use`. A revision that fails leaves the database as it was.
    """
    settings = read_settings(root, environment)
    with ExitStack() as stack:
        stack.enter_context(owned(settings.root, "exchange db upgrade", clock_of(settings, now_ns)()))
        database = database_of(settings, stack)
        plan = _planned(found_revision(database))
        if plan.steps:
            upgrade(database)
        # A crash here: all steps are in, or none is.
        return plan


def _planned(found: str) -> Upgrade:
    known = revisions()
    return Upgrade(found, known[known.index(found) + 1 :] if found in known else known)
