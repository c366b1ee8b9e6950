"""Another gateway's folder, the sequencer's process, and how far a gateway is behind: real processes on servers."""

import asyncio
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.audit.entries import Entry, make
from exchange.settings import read_settings
from tests import simulator
from tests.api.serving import asked, lookup, served
from tests.simulator import AUDITOR, Site
from tests.torture.gateways import on_servers, sequencing

SERVERS = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.enable_socket]


def test_what_one_process_owns_has_no_second_gateway(site: Site) -> None:
    """Embedded engines are named, and nothing is made."""
    new = site.folder / "new"
    ran = site.run("init", str(new), "--gateway-of", str(site.root), "--json")
    assert (ran.code, ran.error["code"], ran.error["where"]) == (2, "engine_not_shared", "engines.control")
    assert not new.exists()
    assert site.run("sequence").error_code == "engine_not_shared"
    for value, code in (("never", "engine_not_shared"), ("sometimes", "setting_wrong"), ("auto", "")):
        assert site.run("status", who=AUDITOR, more={"EXCHANGE_AUDIT_SEQUENCER": value}).error_code == code


@pytest.mark.parametrize(
    "words", [("--standby",), ("--gateway-of", ".", "--sample"), ("--gateway-of", ".", "--origin", "other.example")]
)
def test_a_gateway_is_not_a_new_exchange(site: Site, words: tuple[str, ...]) -> None:
    """What describes a new site does not go with it, nor the other way round."""
    assert site.run("init", str(site.folder / "new"), *words).error_code == "command_line"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestOnServers:
    """One exchange on Kafka and PostgreSQL for all of these."""

    pytestmark = SERVERS

    @pytest.fixture(name="first")
    def _first(self, postgres: str, tmp_path: Path) -> Site:
        (tmp_path / "first").mkdir()
        return simulator.build(tmp_path / "first", **on_servers(postgres, tmp_path))

    def test_a_gateways_folder(self, first: Site, tmp_path: Path) -> None:
        """It has the settings in force but for where the first listens, the keys of a gateway and of the departments,
        private, and the log's key only as a standby; the folder it was made of is in use meanwhile, and stays as it is.
        """
        more = {"EXCHANGE_HTTP_PORT": "9999", "EXCHANGE_HTTP_THREADS": "7"}
        with first.opened():
            for name, words in (("second", []), ("third", ["--standby"])):
                ran = first.run(
                    "init", str(tmp_path / name), "--gateway-of", str(first.root), *words, "--json",
                    more={**more, "EXCHANGE_SITE": "/nowhere"},
                )  # fmt: skip
                assert ran.code == 0, ran.stderr
                assert ran.json["standby"] is bool(words)
        own, second, third = (read_settings(root, {}) for root in (first.root, tmp_path / "second", tmp_path / "third"))
        differ = {name for name in own.values if second.values[name] != own.values[name]}
        assert differ == {"http.threads", "audit.sequencer"}
        assert (second.text("audit.sequencer"), third.text("audit.sequencer")) == ("never", "auto")
        keys = {file.name for file in (tmp_path / "second" / "keys").iterdir()}
        assert keys == {file.name for file in (first.root / "keys").iterdir()} - {"audit.key"}
        assert (tmp_path / "third" / "keys" / "audit.key").read_bytes() == (first.root / "keys/audit.key").read_bytes()
        assert {_mode(file) for file in (tmp_path / "third" / "keys").glob("*.key")} == {0o600}
        assert [_mode(tmp_path / "second" / name) for name in ("keys", "data")] == [0o700, 0o700]
        assert first.run("init", str(tmp_path / "second"), "--gateway-of", str(first.root)).error_code == "site_exists"
        assert first.run("sequence", "--site", str(tmp_path / "second")).error_code == "sequencer_never"
        found = first.run("doctor", "--json", "--site", str(tmp_path / "second")).json
        assert {one["check"]: one["state"] for one in found}["keys.audit"] == "unused"
        wrong = {"EXCHANGE_ORIGIN": "other.example"}
        assert first.run("init", str(tmp_path / "x"), "--gateway-of", str(first.root), more=wrong).code == 2
        assert not (tmp_path / "x").exists()

    def test_a_second_sequencer_takes_the_place_of_one_that_was_killed(self, first: Site, tmp_path: Path) -> None:
        """It stands by, and leads once the first is gone: what a gateway submits meanwhile gets its receipt within
        the 5 s that it waits. A signal ends it in order.
        """
        second = Site(tmp_path / "second")
        second.folder.mkdir()
        assert first.run("init", str(second.root), "--gateway-of", str(first.root)).code == 0
        with sequencing(first) as leader, sequencing(first) as standby, second.opened() as gateway:
            assert gateway.audit.leads is False
            before = gateway.audit.append(_query(1)).index
            leader.kill()
            assert gateway.audit.append(_query(2)).index == before + 1  # else `audit_unavailable`
            assert standby.stderr is not None
            assert standby.stderr.readline().endswith(": leads\n")
            standby.send_signal(signal.SIGTERM)
            assert standby.wait(60) == 0
            assert standby.stderr.readline().startswith("stopped; ")

    def test_the_lag_is_a_metric(self, first: Site) -> None:
        """It rises while the sequencer does not go on, in every gateway's figures, and falls when it does."""
        with sequencing(first) as sequencer, served(first, audit_sequencer="never") as gateway:
            assert _figures(gateway.port)["exchange_audit_waiting_entries"] == 0
            assert _figures(gateway.port)["exchange_audit_sequencer"] == 0
            os.kill(sequencer.pid, signal.SIGSTOP)
            try:
                asking = threading.Thread(target=lambda: asyncio.run(asked(gateway.port, lookup(first))))
                asking.start()
                _until(lambda: _figures(gateway.port)["exchange_audit_waiting_entries"] > 0)
                begun = _figures(gateway.port)["exchange_audit_lag_seconds"]
                _until(lambda: _figures(gateway.port)["exchange_audit_lag_seconds"] > begun + 0.2)
            finally:
                os.kill(sequencer.pid, signal.SIGCONT)
            asking.join(30)
            lags = ("exchange_audit_waiting_entries", "exchange_audit_lag_seconds", "exchange_audit_lag_entries")
            _until(lambda: all(_figures(gateway.port)[name] == 0 for name in lags))
            assert _figures(gateway.port)["exchange_control_lag_events"] == 0


def _query(number: int) -> Entry:
    return make("audit_query", number.to_bytes(16, "big"), time.time_ns(), actor="a", department="b", query="who_saw")


def _figures(port: int) -> dict[str, float]:
    """The gauges of a gateway that have no label."""
    _, _, body = asyncio.run(asked(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
    pairs = [line.split(" ") for line in body.decode().splitlines() if line.startswith("exchange_") and "{" not in line]
    return {name: float(value) for name, value in pairs}


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)
