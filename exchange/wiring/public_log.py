"""The published audit log for who may read it: its hashes for anybody or for auditors, its entries for auditors."""

import threading
from typing import TYPE_CHECKING, Final

from exchange.audit.publication import ENTRIES, Place
from exchange.control.model import Principal
from exchange.errors import Refused

if TYPE_CHECKING:
    from exchange.wiring.exchange import Exchange

_HOUR_NS: Final = 3_600_000_000_000


class PublicLog:
    """The published log of this site. Any thread may use it.

    Hashes say how much happens here and when, and nothing else. Entries hold no id and no record, but which fields of
    which subject's tag went to whom: only an auditor reads them, and that is an entry of the log. One for an hour's
    reading, by each process, not one for each bundle: whoever follows the log would else make it grow by reading it.
    """

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange, self._published = exchange, exchange.publication
        self._noting = threading.Lock()
        self._noted_ns: dict[str, int] = {}

    @property
    def is_public(self) -> bool:
        """Whether anybody may read checkpoint and tiles (not entries)."""
        return self._exchange.settings.text("audit.public") == "hashes"

    def admit(self, who: Principal) -> None:
        """Lets an auditor pass; anybody else is `Refused("auditor_required")`, and that is audited."""
        if "auditor" not in who.roles:
            self._exchange.refuse(who, "audit log", Refused("auditor_required"))

    def checkpoint(self) -> bytes:
        """See `Publication.checkpoint`."""
        return self._published.checkpoint()

    def tile(self, place: Place) -> bytes:
        """See `Publication.read`."""
        return self._published.read(place)

    def entries(self, who: Principal, place: Place) -> bytes:
        """A bundle of entries for an auditor; raises as `admit` and as `Publication.read`.

        The reading is in a checkpoint before the first bundle of an hour is answered.
        """
        self.admit(who)
        bundle = self._published.read(place)
        self._note(who)
        return bundle

    def _note(self, who: Principal) -> None:
        with self._noting:
            now_ns = self._exchange.now_ns()
            noted_ns = self._noted_ns.get(who.id)
            if noted_ns is None or not 0 <= now_ns - noted_ns < _HOUR_NS:
                self._exchange.note_query(who, f"log_{ENTRIES}", size=self._published.size)
                # A crash here: the entry is there, and nothing was answered.
                self._noted_ns[who.id] = now_ns
