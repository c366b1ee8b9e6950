"""HTTP/1.1 as uvicorn speaks it, with bounds to what a connection may keep waiting: the head of a request, the taking
of an answer. What lies between, a request's body and the work on it, is bounded by the edge.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from exchange.api.edge import FULL, TRANSPORT

_LEAST_TAKEN: Final = 1_024  # bytes a second; who takes less takes next to nothing


@dataclass(frozen=True, slots=True)
class Patience:
    """`head_s` for a head to come, `slow_s` for next to nothing to be taken of an answer, `connections` at once;
    `on_cut_off` learns of everybody who was cut off.
    """

    on_cut_off: Callable[[], None]
    head_s: float
    slow_s: float
    connections: int


class PatientProtocol(H11Protocol):
    """One connection."""

    def __init__(self, patience: Patience, **given: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(**given)
        self._patience = patience
        self._full = False
        self._due: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """The head of the first request is due. A connection too many is answered too, but only told so."""
        super().connection_made(transport)
        self._full = len(self.connections) > self._patience.connections
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        super().connection_lost(exc)
        self._head_came()
        if self._taking is not None:
            self._taking.cancel()

    def data_received(self, data: bytes) -> None:
        """The first byte of a further request makes its head due."""
        if not self._answering():
            self._expect_head()
        super().data_received(data)

    def handle_events(self) -> None:
        """A request has begun when its head is there; the edge may cut off its connection."""
        super().handle_events()
        if self._answering():
            self._head_came()
            extensions: dict[str, Any] = {TRANSPORT: self.transport, FULL: self._full}
            self.cycle.scope["extensions"] = extensions

    def pause_writing(self) -> None:
        """The client is behind with taking."""
        super().pause_writing()
        self._expect_taking()

    def on_response_complete(self) -> None:
        """The whole answer is handed over, but maybe not taken yet."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._expect_taking()

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever its annotation says
        return cycle is not None and not cycle.response_complete

    def _expect_head(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(self._patience.head_s, self._cut_off)

    def _head_came(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _expect_taking(self) -> None:
        if self._taking is None:
            left = self.transport.get_write_buffer_size()
            self._taking = self.loop.call_later(self._patience.slow_s, self._check_taken, left)

    def _check_taken(self, before: int) -> None:
        """Cuts off who took next to nothing of what was left; of an answer still growing the edge sees to that."""
        self._taking = None
        left = self.transport.get_write_buffer_size()
        if left and not self._answering() and before - left < min(before, _LEAST_TAKEN * self._patience.slow_s):
            self._cut_off()
        elif left:
            self._expect_taking()

    def _cut_off(self) -> None:
        self._patience.on_cut_off()
        self.transport.abort()
