"""What keeps an exchange from publishing and releasing now: each engine is asked something that costs little."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from exchange.errors import ExchangeError

if TYPE_CHECKING:
    from exchange.wiring.exchange import Exchange


def missing(exchange: "Exchange") -> Iterator[tuple[str, ExchangeError]]:
    """What is not there: its setting's name (`engines.log`), or `policy` where no revision is active; and why."""
    asked: dict[str, Callable[[], object]] = {
        "engines.control": exchange.control.model,
        "engines.log": exchange.log.topics,
        "engines.state": lambda: exchange.state.current_to("", 0),
        "engines.audit": exchange.audit.check,
        "clock.file": exchange.now_ns,
        "policy": exchange.check_policy,
    }
    for what, ask in asked.items():
        try:
            ask()
        except ExchangeError as error:
            yield what, error
