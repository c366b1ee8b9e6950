"""A decision: the question to the worker process and back, checked and completed into a plan."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import regorus

from exchange.control.questions import facts
from exchange.names import canonical
from exchange.plan import Question
from exchange.policy import modules
from exchange.policy.bundle import load_bundle
from exchange.policy.decide import decide
from exchange.policy.opa_bundle import archive
from exchange.policy.opa_server import OpaServerEngine, servers
from exchange.policy.revisions import Shelf
from exchange.policy.worker import evaluate, load
from exchange.signing.keys import new_bundle_key
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
            served = dict(_on_opa(exchange, question, place, decisions))
    return {"regorus alone (baseline)": alone, "decision by regorus": whole, **served}


def _on_opa(exchange: Exchange, question: Question, place: Path, decisions: int) -> Iterator[tuple[str, Any]]:
    """The same decision on an OPA server of this machine, by one thread and by eight; nothing where OPA is not."""
    binary = Path(".tools/bin/opa")
    if not binary.is_file():
        return
    bundle = load_bundle(standing("policies"))
    packed = place / "bundle.tar.gz"
    packed.write_bytes(archive([bundle], new_bundle_key(place / "bundle.key")).body)
    with _served(binary, packed) as server:
        engine = OpaServerEngine(servers("opa+http", f"//{server}"), 1.0, 1.0, Shelf())
        engine.load(bundle)
        model = exchange.control.model()

        def decided() -> None:
            if not decide(engine, question, bundle.revision, model.epochs["policy"]).allowed:
                raise AssertionError("refused")

        yield "decision by an OPA server", _timed(decided, decisions)
        with ThreadPoolExecutor(8) as pool:
            begun = time.perf_counter()
            list(pool.map(lambda _: decided(), range(decisions)))
            rate = round(decisions / (time.perf_counter() - begun))
        yield "the same, 8 at once", {"median": "", "99 %": "", "per second": rate}
        engine.close()


@contextmanager
def _served(binary: Path, packed: Path) -> Iterator[str]:
    """An OPA server with this bundle, by its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = free.getsockname()
    address = f"{place[0]}:{place[1]}"
    words = [str(binary), "run", "--server", "--addr", address, "--skip-verify", "--bundle", str(packed)]
    with subprocess.Popen([*words, "--log-level", "error"], stderr=subprocess.DEVNULL) as opa:
        try:
            for _ in range(200):
                with suppress(OSError), socket.create_connection(place):
                    break
                time.sleep(0.05)
            yield address
        finally:
            opa.kill()


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
    median, most = round(percentile(found, 0.5), 3), round(percentile(found, 0.99), 3)
    return {"median": median, "99 %": most, "per second": round(count / (sum(found) / 1e3))}
