"""The composition root: settings → engines by URL → one exchange.

Every command is a process of its own, so what only some of them need is imported where they need it.
"""

from exchange.wiring.exchange import Exchange, open_exchange
from exchange.wiring.making import MadeSite, make_site, standing

__all__ = ["Exchange", "MadeSite", "make_site", "open_exchange", "standing"]
