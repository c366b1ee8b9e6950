"""A site as large as one gets: two gateways, a sequencer and one that stands by, an OPA server, an intake worker with a
stock producer before it; each a process, each to be struck.
"""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests import services
from tests.simulator import DATASET, MEMBERS, PROVIDER, SYSTEM, Site
from tests.torture.servers import producer
from tests.torture.servers.drill import BACK_S, Struck, wait
from tests.torture.servers.stack import PARTITIONS, Ledger, Stack, free_port, prepared
from tests.torture.servers.victims import Program, Victim, admin_of
from tests.torture.servers.witness import Broken, need

PLAN_S: Final = 2  # access.plan_seconds of its gateways
TAKEOVER_S: Final = 5.0  # issue 5
_OUTAGE_S: Final = 6.0
_PATIENCE_S: Final = 60.0
_USER: Final = "department"


@dataclass
class OpaServer:
    """`opa run --server`, which pulls the site's policies from the first gateway."""

    binary: Path
    folder: Path
    port: int
    name: str = "opa"
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> float:
        """Back when it answers and has the policies."""
        options = ["--addr", f"127.0.0.1:{self.port}", "--config-file", "opa.json", "--log-level", "error"]
        with (self.folder / "opa.log").open("ab") as out:
            self.process = subprocess.Popen(
                [str(self.binary), "run", "--server", "--skip-version-check", *options],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        _answers(self.port, "/health?bundles")
        return time.monotonic()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def proceed(self) -> float:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        return time.monotonic()


@contextmanager
def town(scheme: str = "kafka") -> Iterator[Stack]:
    """All of it, started, until the end of the block."""
    binary, port = services.opa(), free_port()
    more = {
        "EXCHANGE_AUDIT_SEQUENCER": "never",
        "EXCHANGE_ENGINES_POLICY": f"opa+http://127.0.0.1:{port}",
        "EXCHANGE_ACCESS_PLAN_SECONDS": str(PLAN_S),
    }
    with prepared(scheme=scheme, more=more) as made:
        site, folder = made.site, made.site.folder
        opened = _must(site, "intake", "open", DATASET, "--user", _USER, "--partitions", str(PARTITIONS), "--json")
        other = Site(folder / "second")
        other.folder.mkdir()
        _must(site, "init", str(other.root), "--gateway-of", str(site.root))
        _must(site, "policy", "opa-config", str(folder / "opa"), "--url", f"http://127.0.0.1:{made.port}")
        del made.victims["policy"]  # the OPA server is in its place
        opa, second = OpaServer(binary, folder / "opa", port), free_port()
        worker = Program("intake", ("intake", "run", DATASET), site, {"EXCHANGE_TOKEN": site.token(SYSTEM)})
        worker.output = folder / "intake.ledger"
        sequencers = [Program(name, ("sequence",), site) for name in ("sequencer", "sequencer-2")]
        gateways = [made.gateway, Program("gateway-2", ("serve", "--port", str(second)), other, more)]
        made.served = {"gateway": made.port, "gateway-2": second}
        every: list[Victim] = [*gateways[1:], *sequencers, worker, opa]
        made.victims |= {victim.name: victim for victim in every}
        try:
            sequencers[0].start()
            _said(sequencers[0], "sequencer of")
            sequencers[1].start()
            gateways[0].start()
            _answers(made.port, "/readyz", 503)
            opa.start()
            gateways[1].start()
            _answers(second, "/readyz")
            worker.start()
            made.ledgers["intake"] = Ledger(worker.output)
            _produce(made, json.loads(opened.splitlines()[-1]))
            yield made
        finally:
            if opa.process is not None:
                opa.kill()


def _produce(made: Stack, opened: dict[str, Any]) -> None:
    """Starts the producer."""
    ledger = Ledger(made.site.folder / "producer.ledger")
    (schema,) = sorted((made.site.root / "schemas" / "ny.renshe" / DATASET).glob("*.avsc"))[-1:]
    login = {**admin_of(made.kafka), "sasl.username": _USER, "sasl.password": made.kafka.passwords[_USER]}
    del login["log_level"]
    orders = {
        "ledger": str(ledger.file),
        "login": login,
        "topic": opened["topic"],
        "schema_id": opened["schema_id"],
        "schema": json.loads(schema.read_text("utf-8")),
        "persons": list(MEMBERS),
        "partitions": PARTITIONS,
        "pause": 0.05,
        "waiting": 20,
    }
    made.ledgers["producer"] = ledger
    command = [sys.executable, "-m", producer.__name__, json.dumps(orders)]
    made.clients["producer"] = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=services.ROOT)


def takeover(made: Stack) -> list[Struck]:
    """The sequencer that leads is killed, and the one that stands by goes on within 5 s; then the only one there is,
    and the service goes on when it is back.
    """
    first = _leader(made)
    at = time.monotonic()
    made.victims[first].kill()
    done = [_back(made, first, "killed, one stands by", at, at, TAKEOVER_S, first)]
    at = time.monotonic()
    second = "sequencer-2" if first == "sequencer" else "sequencer"
    made.victims[second].kill()
    time.sleep(1.0)
    done.append(_back(made, second, "killed, no other", at, made.victims[second].start(), BACK_S, first))
    made.victims[first].start()
    return done


def opa_outage(made: Stack) -> Struck:
    """Without OPA, questions are refused as soon as the plans that are kept have run out; with it they are answered."""
    at = time.monotonic()
    made.victims["opa"].kill()
    time.sleep(_OUTAGE_S)
    made.ledgers["reader"].news()
    later = [line for line in made.ledgers["reader"].lines if line["began"] > at]
    kept = [line for line in later if "index" in line]
    need(all(line["began"] <= at + PLAN_S for line in kept), f"released {PLAN_S} s after OPA was killed: {kept[-1:]}")
    told = {line["code"] for line in later if line["began"] > at + PLAN_S and "code" in line}
    need(told == {"question_refused"}, f"without OPA a reader is told {told}")
    return _back(made, "opa", f"killed, {len(kept)} under a kept plan", at, made.victims["opa"].start(), BACK_S)


def _back(made: Stack, name: str, fault: str, at: float, returned: float, most_s: float, *down: str) -> Struck:
    """The service since a return, within so many seconds."""
    published, read = wait(made, returned, f"{name} {fault}", down=down)
    done = Struck(name, fault, returned - at, published - returned, read - returned)
    need(max(done.published_s, done.read_s) <= most_s, f"not back within {most_s:.0f} s: {done}")
    return done


def _leader(made: Stack) -> str:
    """Which sequencer said last that it leads."""
    for name in ("sequencer", "sequencer-2"):
        victim = made.victims[name]
        assert isinstance(victim, Program)
        said = [line for line in victim.log.read_text("utf-8").splitlines() if line]
        if said and said[-1].startswith("sequencer of"):
            return name
    raise Broken("no sequencer leads")


def _must(site: Site, *words: str) -> str:
    ran = site.run(*words, who=PROVIDER)
    if ran.code:
        raise Broken(f"{words[:2]}: {ran.stderr}")
    return ran.stdout


def _said(program: Program, begin: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not any(line.startswith(begin) for line in program.log.read_text("utf-8").splitlines()):
        need(program.lives and time.monotonic() < deadline, f"{program.name}: {program.log.read_text('utf-8')}")
        time.sleep(0.05)


def _answers(port: int, path: str, *also: int) -> None:
    """Until somebody answers there with 200, or with one of these."""
    deadline = time.monotonic() + _PATIENCE_S
    status = 0
    while status not in {200, *also}:
        need(time.monotonic() < deadline, f"127.0.0.1:{port}{path} answers {status}")
        time.sleep(0.05)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            status = connection.getresponse().status
        connection.close()
