"""A site whose policy engine is an OPA server: from the setting to the answer, with real processes."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.control import commands as c
from exchange.control.policies import spread
from exchange.errors import Invalid, Refused, Unavailable
from exchange.policy import Bundle
from exchange.settings import new_settings
from exchange.wiring import engines
from exchange.wiring.desk import LocalDesk
from exchange.wiring.engines import opa_servers
from exchange.wiring.examining import Examined, Finding
from exchange.wiring.examining_stores import policy_engine
from exchange.wiring.readiness import missing
from tests.api.serving import asked, served
from tests.control.failing import fails
from tests.policy.opa_servers import Opa, free_port
from tests.simulator import AUTHORITY, CONSUMER, PROVIDER, Site

READY = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"


def _settings(port: int) -> dict[str, str]:
    return {"EXCHANGE_ENGINES_POLICY": f"opa+http://127.0.0.1:{port}", "EXCHANGE_POLICY_OPA_SPREAD_SECONDS": "0"}


def test_settings_that_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address beyond this machine without TLS, a malformed one, a client that is not installed: each by its code."""

    def servers_of(url: str) -> object:
        return opa_servers(new_settings(tmp_path, {"origin": "o", "engines.policy": url}))

    assert servers_of("opa+http://localhost:8181,127.0.0.1:8182")
    with fails(Invalid, "opa_insecure", "engines.policy"):
        servers_of("opa+http://10.1.2.3:8181")
    with fails(Invalid, "setting_wrong"):
        servers_of("opa+https://opa.example")
    monkeypatch.setattr(engines, "find_spec", lambda _name: None)
    with fails(Invalid, "opa_missing", "engines.policy"):
        servers_of("opa+https://opa.example:8181")


@pytest.mark.whole  # two policies are tested and tried
@pytest.mark.enable_socket
def test_nothing_becomes_active_that_no_server_has(site: Site) -> None:
    """Neither submitted nor approved, and nobody but who may approve is kept waiting for it; reads are refused."""
    with site.opened() as exchange:
        document = exchange.control.document(exchange.control.model().active_policy or "")
        other = Bundle(document["modules"], {**document["codes"], "more": {}})
        waiting = str(LocalDesk(exchange, exchange.control.model().principals[PROVIDER]).submit_policy(other).about)
    with site.opened(_settings(free_port())) as exchange:
        model = exchange.control.model()
        before = exchange.audit.size
        desk = LocalDesk(exchange, model.principals[AUTHORITY])
        with fails(Unavailable, "policy_not_spread"):
            desk.execute(c.ApprovePolicy(waiting))
        with fails(Unavailable, "policy_not_spread"):
            desk.submit_policy(Bundle(document["modules"], {**document["codes"], "another": {}}))
        assert exchange.control.model() is model
        assert exchange.audit.size == before
        for who, code in ((PROVIDER, "same_person"), (CONSUMER, None)):
            expected = fails(Refused, code) if code else fails(Unavailable, "policy_not_spread")
            with expected:
                LocalDesk(exchange, model.principals[who]).execute(c.ApprovePolicy(waiting))
        with fails(Invalid, "unknown_policy"):
            desk.execute(c.ApprovePolicy("sha256:" + "0" * 64))
        told = {what: error.code for what, error in missing(exchange)}
        assert told == {"policy": "policy_unavailable"}
        assert set(spread(model)) == {model.active_policy, waiting}


@pytest.mark.enable_socket
def test_doctor_asks_the_servers(site: Site) -> None:
    """Each has its line; one that is not there is named."""
    port = free_port()
    examined = Examined(site.root, _settings(port), time.time_ns, lambda: True)
    [found] = policy_engine(examined)
    assert (found.check, found.about, found.state) == ("engines.policy", f"127.0.0.1:{port}", "wrong")
    assert found.error is not None
    assert (found.error.code, found.error.facts["detail"]) == ("policy_not_spread", "unreachable")


def _eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.opa
@pytest.mark.enable_socket
@pytest.mark.processes
def test_a_served_site_on_an_opa_server(site: Site, tmp_path: Path) -> None:
    """`exchange serve` gives OPA its policies; reads go on while a new policy becomes active, stop while OPA is gone,
    and come back with it; `/readyz` and `doctor` say each time how it is.
    """
    port, folder = free_port(), tmp_path / "opa"
    setting = {"EXCHANGE_ENGINES_POLICY": f"opa+http://127.0.0.1:{port}", "EXCHANGE_HTTP_PORT": "0"}

    def ready() -> list[str]:
        _, _, body = asyncio.run(asked(running.port, READY))
        return [f"{one['what']} {one['code']}" for one in json.loads(body)["missing"]]

    def doctor() -> Finding:
        [found] = policy_engine(Examined(site.root, setting, time.time_ns, lambda: True))
        return found

    with served(site, engines_policy=setting["EXCHANGE_ENGINES_POLICY"], access_plan_seconds=0) as running:
        assert ready() == ["policy policy_unavailable"]
        ran = site.run("policy", "opa-config", str(folder), "--url", f"http://127.0.0.1:{running.port}")
        assert ran.code == 0, ran.stderr
        opa = Opa(folder, None, port=port)
        try:
            _eventually(lambda: ready() == [])
            assert doctor().state == "ok"
            assert len(site.read().records) == 2
            codes, stop = [], threading.Event()

            def read_on() -> None:
                while not stop.is_set():
                    codes.append(site.read().error_code)

            reader = threading.Thread(target=read_on)
            revision = _other_policy(site)
            reader.start()
            done = site.process("policy", "approve", revision, who=AUTHORITY)
            until = len(codes) + 2
            _eventually(lambda: len(codes) > until)
            stop.set()
            reader.join()
            assert done.code == 0, done.stderr
            assert set(codes) == {""}
            assert doctor().facts["revision"] == revision

            opa.kill()
            assert site.read().error_code == "question_refused"
            assert ready() == ["policy policy_unavailable"]
            assert doctor().state == "wrong"
            opa.start()
            _eventually(lambda: ready() == [])
            assert len(site.read().records) == 2
        finally:
            opa.kill()


def _other_policy(site: Site) -> str:
    """A policy that says the same in other words, submitted."""
    codes = site.root / "policies" / "codes.json"
    codes.write_text(json.dumps({**json.loads(codes.read_text("utf-8")), "more": {}}), "utf-8")
    ran = site.process("policy", "submit", "--json", who=CONSUMER)
    assert ran.code == 0, ran.stderr
    return str(ran.json[0]["about"])
