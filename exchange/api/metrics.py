"""What is counted and measured, in the names and units of Prometheus. No label holds a name of a person or subject."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from exchange import __version__
from exchange.errors import ExchangeError, Tampered

if TYPE_CHECKING:
    from exchange.wiring import Exchange
    from exchange.wiring.witnessing import Seen

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The metrics of one serving process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("exchange_build_info", "Version of the exchange.", ["version"], registry=registry).labels(
            __version__
        ).set(1)
        route = ["method", "route", "status"]
        self.requests = Counter("exchange_http_requests", "Answered requests.", route, registry=registry)
        self.seconds = Histogram(
            "exchange_http_request_duration_seconds", "Time to the end of the answer.", ["route"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.received = Counter("exchange_http_request_bytes", "Bytes of bodies received.", registry=registry)
        self.sent = Counter("exchange_http_response_bytes", "Bytes of bodies sent.", registry=registry)
        self.in_flight = Gauge("exchange_http_requests_in_flight", "Requests being worked on.", registry=registry)
        self.cut_off = Counter("exchange_http_clients_cut_off", "Slow clients cut off.", registry=registry)
        self.problems = Counter("exchange_problems", "Problems answered.", ["code"], registry=registry)
        self.released = Counter("exchange_released_records", "Records released.", registry=registry)
        self.published = Counter("exchange_published_records", "Records by their fate.", ["fate"], registry=registry)
        self._entries = Gauge("exchange_audit_entries", "Entries under the published checkpoint.", registry=registry)
        self._stopped = Gauge(
            "exchange_audit_stopped", "1 while no entry gets into a checkpoint, so nothing is released.",
            registry=registry,
        )  # fmt: skip
        self._events = Gauge("exchange_control_events", "Control events.", registry=registry)
        self._unmirrored: Gauge | None = None
        self._witnesses: dict[str, Gauge] | None = None
        self._leads = Gauge("exchange_audit_sequencer", "1: the log's sequencer is here.", registry=registry)
        self._unseen = Gauge("exchange_audit_lag_entries", "Entries committed and not seen here.", registry=registry)
        self._waiting = Gauge("exchange_audit_waiting_entries", "Entries without an index yet.", registry=registry)
        self._waited = Gauge(
            "exchange_audit_lag_seconds", "How long the oldest entry without an index has waited.", registry=registry
        )
        self._behind = Gauge(
            "exchange_control_lag_events", "Control events that this process takes in with its next question.",
            registry=registry,
        )  # fmt: skip

    def _mirror(self) -> Gauge:
        """Made only where there is a mirror: no figure stands for none."""
        if self._unmirrored is None:
            help_text = "Control events that are not mirrored to Kafka yet."
            self._unmirrored = Gauge("exchange_control_mirror_behind_events", help_text, registry=self._registry)
        return self._unmirrored

    def _witnessed(self, seen: "Mapping[str, Seen]") -> None:
        """How far each witness has signed, when, and whether it was to be had and agreed the last time."""
        if self._witnesses is None:
            words = (("entries", "Size that the witness signed last."), ("time_seconds", "When it did, by its clock."))
            more = (("failed", "1: it was not to be had."), ("disagrees", "1: it has seen another log than this."))
            self._witnesses = {
                name: Gauge(f"exchange_witness_{name}", help_text, ["witness"], registry=self._registry)
                for name, help_text in (*words, *more)
            }
        for name, one in seen.items():
            told = {"entries": one.size, "time_seconds": (one.time_ns or 0) / 1_000_000_000}
            told |= {"failed": one.problem is not None, "disagrees": isinstance(one.problem, Tampered)}
            for what, value in told.items():
                self._witnesses[what].labels(name).set(value)

    def text(self, exchange: "Exchange") -> bytes:
        """All of them, in Prometheus's text format; how far this process's view is behind is asked of the stores."""
        try:
            exchange.audit.check()
            self._stopped.set(0)
        except ExchangeError:
            self._stopped.set(1)
        with suppress(ExchangeError):  # of an engine that is down: the last figure stands, and /readyz says what is
            self._entries.set(exchange.audit.size)
            self._leads.set(exchange.audit.leads)
            self._behind.set(exchange.control.lag())  # before the model takes them in
            self._events.set(exchange.control.model().position)
            if exchange.mirror is not None:
                self._mirror().set(exchange.mirror.behind())
            if exchange.witnessing is not None:
                self._witnessed(exchange.witnessing.seen())
            lag = exchange.audit.lag()
            self._unseen.set(lag.unseen)
            self._waiting.set(lag.waiting)
            self._waited.set(lag.waiting_s)
        return generate_latest(self._registry)
