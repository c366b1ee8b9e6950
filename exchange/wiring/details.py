"""Details of an open exchange's audit entries: one is shown with its entry, those whose period is over are deleted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from exchange.audit import details
from exchange.audit.details import CLASSES, DetailClass
from exchange.audit.entries import make
from exchange.control.model import Principal
from exchange.errors import ExchangeError, Invalid, Refused, Tampered

if TYPE_CHECKING:
    from exchange.wiring.exchange import Exchange

_OF_KIND: Final[dict[str, DetailClass]] = {"decision": "decision", "audit_query": "query"}
_DAY_NS: Final = 86_400_000_000_000
_LOOK_S: Final = 3_600.0


def detail(exchange: "Exchange", who: Principal, index: int) -> dict[str, Any]:
    """What the details of the entry at an index hold: their class, until when they are kept, the content of each by
    what it is; `deleted` says which are gone because their period is over. In a checkpoint before it is answered.

    Raises:
        Refused: `auditor_required`, audited. Invalid: `audit_entry_unknown`; `detail_none`: the entry has none.
        Tampered: `detail_damaged`; `detail_missing`: it is not there, and its period is not over.
    """
    if "auditor" not in who.roles:
        exchange.refuse(who, "audit detail", Refused("auditor_required"))
    kind, body = exchange.audit.entry(index)
    names = details.named(body)
    if not names:
        raise Invalid("detail_none", where=str(index))
    until = int(body["time_ns"]) + _days(exchange, _OF_KIND[kind]) * _DAY_NS
    found = {field: details.read(exchange.database, name) for field, name in names.items()}
    gone = sorted(field.removesuffix("_digest") for field, one in found.items() if one is None)
    exchange.note_query(who, "detail", parameters={"index": index}, results=len(found) - len(gone))
    if gone and exchange.now_ns() < until:
        raise Tampered("detail_missing", where=str(index), name=", ".join(gone))
    content = {name: value for one in found.values() if one is not None for name, value in one.items()}
    return {"index": index, "class": _OF_KIND[kind], "until_ns": until, "content": content, "deleted": gone}


def expire(exchange: "Exchange", who: Principal | None = None) -> dict[str, int]:
    """Deletes the details whose class's period is over: how many, by class. `who` is an auditor, or None for the
    exchange itself. Nothing younger can be deleted: the period is the site's setting, and has a least value.

    Raises:
        Refused: `auditor_required`, audited.
    """
    if who is not None and "auditor" not in who.roles:
        exchange.refuse(who, "audit expire", Refused("auditor_required"))
    done: dict[str, int] = {}
    for kind in CLASSES:
        now, days = exchange.now_ns(), _days(exchange, kind)
        before = now - days * _DAY_NS
        count = details.due(exchange.database, kind, before)
        if count:
            entry = make(
                "detail_expiry",
                exchange.random_bytes(16),
                now,
                **{"class": kind, "before_ns": before, "count": count, "days": days},
                actor=exchange.actors.name(who.id) if who else None,
                department=who.department if who else None,
            )
            exchange.audit.append(entry)
            # A crash here: the log says that they are gone, and they are not: the next call deletes them, and says so.
            details.remove(exchange.database, kind, before)
        done[kind] = count
    return done


@contextmanager
def expiring(exchange: "Exchange") -> Iterator[None]:
    """While the block lasts, what is due is deleted at its beginning and once an hour."""
    stop = threading.Event()

    def run() -> None:
        while True:
            with suppress(ExchangeError):  # what keeps the log or the database from working is told elsewhere
                expire(exchange)
            if stop.wait(_LOOK_S):
                return

    thread = threading.Thread(target=run, name="details-expiry", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _days(exchange: "Exchange", kind: DetailClass) -> int:
    return exchange.settings.number(f"audit.details.{kind}_days")
