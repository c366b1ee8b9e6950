"""A decision: the question to the worker process and back, checked and completed into a plan."""

import time
from collections.abc import Callable
from typing import Any

import regorus

from exchange.control.questions import facts
from exchange.names import canonical
from exchange.plan import Question
from exchange.policy import modules
from exchange.policy.bundle import load_bundle
from exchange.policy.worker import evaluate, load
from exchange.wiring import Exchange, standing
from tests.bench import site
from tests.bench.clock import folder, percentile


def measured(decisions: int) -> dict[str, Any]:
    """Milliseconds (median, 99 %): a whole decision, and regorus alone in this process with the same question."""
    with folder() as place:
        site.make(place / "site")
        with site.opened(place / "site") as exchange:
            question = _question(exchange)
            model = exchange.control.model()
            if not exchange.decide(question, model).allowed:
                raise AssertionError(exchange.decide(question, model).codes)
            whole = _timed(lambda: exchange.decide(question, model), decisions)
            engine, body = _engine(), canonical(question.document)
            alone = _timed(lambda: evaluate(engine, b"Q", body), decisions)
    return {"regorus alone (baseline)": alone, "decision": whole}


def _question(exchange: Exchange) -> Question:
    who = site.who(exchange, f"svc.{site.CONSUMER}")
    document = facts(exchange.control.model(), who, site.FREE, id="q-0", now_ns=time.time_ns())
    return Question.from_document(document)


def _engine() -> "regorus.Engine":
    bundle = load_bundle(standing("policies"))
    return load(canonical({"modules": dict(modules.running(bundle.modules)), "codes": dict(bundle.codes)}))


def _timed(work: Callable[[], object], count: int) -> dict[str, float]:
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        work()
        found.append((time.perf_counter() - begun) * 1e3)
    return {"median": round(percentile(found, 0.5), 3), "99 %": round(percentile(found, 0.99), 3)}
