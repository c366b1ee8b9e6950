"""The audit log's sequencer as a process of its own, for an exchange whose gateways are several."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from exchange.audit.log import AuditLog
from exchange.control.database import check_revision
from exchange.errors import Invalid
from exchange.settings import read_settings
from exchange.wiring.clock import clock_of
from exchange.wiring.engines import audit_log_of, check_shared, database_of
from exchange.wiring.witnessing import witnessing_of


@contextmanager
def open_sequencer(root: Path, environment: Mapping[str, str], now_ns: Callable[[], int]) -> Iterator[AuditLog]:
    """The log, open in a process that does nothing else: it leads, or stands by and takes the place when it is free.
    Where it leads, it has the witnesses sign.

    It touches no data of the folder, so it needs nobody's lock: it may run beside `exchange serve` of the same site.

    Raises:
        Invalid: `engine_not_shared`: the log is a file, and whoever owns the folder is its sequencer;
            `sequencer_never`: the settings forbid it; no site, wrong settings or keys.
        Unavailable, Tampered: as `AuditLog`.
    """
    settings = read_settings(root, environment)
    now_ns = clock_of(settings, now_ns)
    check_shared(settings, "control", "audit")
    if settings.text("audit.sequencer") == "never":
        raise Invalid("sequencer_never", where=settings.origins["audit.sequencer"])
    with ExitStack() as stack:
        database = database_of(settings, stack)
        check_revision(database)
        audit = audit_log_of(settings, database, now_ns)
        stack.callback(audit.close)
        witnesses = witnessing_of(settings, audit, now_ns)
        if witnesses is not None:
            stack.enter_context(witnesses.running(settings.number("audit.witness_seconds")))
        yield audit
