"""The demo's real servers: a place of its own that is gone afterwards, and what is said when there are none."""

import json
import shutil
from pathlib import Path

import pytest

from exchange.cli import servers
from exchange.cli.demo import MARK, claimed
from exchange.cli.servers import NOTED, real_servers
from exchange.errors import Unavailable
from exchange.log.kafka.clients import own_rights
from exchange.settings import new_settings
from exchange.wiring.engines import kafka_client
from tests import services, simulator
from tests.services_postgres import Server

GONE = "there is no Java: install a JRE, 17 or newer (Debian: default-jre-headless)"


def scripts(folder: Path, monkeypatch: pytest.MonkeyPatch, **bodies: str) -> Path:
    """A `deploy/local` of these shell scripts; each notes the words it was called with."""
    local = folder / "deploy" / "local"
    local.mkdir(parents=True)
    for name, body in bodies.items():
        script = local / f"{name}.sh"
        script.write_text(f'#!/bin/sh\necho "{name} $1" >>{folder}/calls\n{body}\n', "utf-8")
        script.chmod(0o755)
    monkeypatch.setattr(servers, "LOCAL", local)
    return folder / "calls"


def test_without_the_repository_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed exchange has no scripts: the settings of one's own servers are named instead, in both languages."""
    monkeypatch.setattr(servers, "LOCAL", tmp_path / "nowhere")
    for language, word in (("zh", "克隆"), ("en", "--set engines.log")):
        ran = simulator.run(["demo", str(tmp_path / "demo"), "--engines", "real", "--lang", language], {})
        assert ran.code == 2
        assert "\ndemo_no_servers: " in ran.stderr
        assert word in ran.stderr


def test_a_server_that_cannot_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the script's own sentence about what is missing; what had been started before it is stopped again, and a
    former demo is still there.
    """
    former = claimed(tmp_path / "demo")
    (former / "report.html").write_text("x", "utf-8")
    calls = scripts(
        tmp_path,
        monkeypatch,
        postgres="[ $1 = status ] && exit 1; exit 0",
        kafka=f'[ $1 = start ] || exit 1; echo "kafka.sh: {GONE}" >&2; exit 3',
    )
    ran = simulator.run(["demo", str(tmp_path / "demo"), "--engines", "real", "--lang", "en"], {})
    assert ran.code == 3
    assert "\ndemo_server: " in ran.stderr
    assert GONE in ran.stderr
    assert "deploy/local/kafka.sh" in ran.stderr
    assert (former / "report.html").is_file()
    assert calls.read_text("utf-8").splitlines()[-2:] == ["postgres stop", "kafka stop"]


def test_an_opa_that_cannot_be_built_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the others; with another policy engine by `--set` none is built, and the demo goes on."""
    missing = "go is not installed: see https://go.dev/doc/install"
    calls = scripts(
        tmp_path,
        monkeypatch,
        postgres="exit 0",
        kafka='[ $1 = status ] && exit 0; echo "kafka.sh: it has no address" >&2; exit 3',
        opa=f'echo "opa.sh: {missing}" >&2; exit 3',
    )
    for words, script, sentence in (
        ((), "deploy/local/opa.sh", missing),
        (("--set", "engines.policy=regorus:"), "deploy/local/kafka.sh", "it has no address"),
    ):
        calls.unlink(missing_ok=True)
        ran = simulator.run(["demo", str(tmp_path / "demo"), "--engines", "real", "--lang", "en", *words], {})
        assert ran.code == 3
        assert "\ndemo_server: " in ran.stderr
        assert script in ran.stderr
        assert sentence in ran.stderr
        assert ("opa " in calls.read_text("utf-8")) == (not words)


def test_a_demo_that_left_an_opa_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the folder stops the server whose number lies in it."""
    calls = scripts(tmp_path, monkeypatch, opa="exit 0")
    folder = claimed(tmp_path / "demo")
    (folder / "opa").mkdir()
    (folder / "opa" / "opa.pid").write_text("1", "utf-8")
    claimed(folder)
    assert calls.read_text("utf-8") == "opa stop\n"
    assert not (folder / "opa").exists()


def test_a_script_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that fails."""
    scripts(tmp_path, monkeypatch, postgres="[ $1 = status ] && exit 1; exec sleep 60", kafka="exit 1")
    monkeypatch.setattr(servers, "_PATIENCE_S", 0.5)
    with pytest.raises(Unavailable) as caught, real_servers(tmp_path / "demo", claimed, {}, keep=True):
        pass
    assert (caught.value.code, caught.value.where) == ("demo_server", "deploy/local/postgres.sh")


def test_a_wrong_setting_takes_nothing_away(tmp_path: Path) -> None:
    """A former demo stays until the next one can be played."""
    folder = claimed(tmp_path / "demo")
    (folder / "report.html").write_text("x", "utf-8")
    for pair, code in (("engines.logs=kafka://x:1/y", "setting_unknown"), ("engines.log", "command_line")):
        ran = simulator.run(["demo", str(folder), "--set", pair, "--lang", "en"], {})
        assert (ran.code, ran.error_code) == (2, code)
    assert (folder / "report.html").is_file()


@pytest.mark.kafka
@pytest.mark.postgres
def test_its_place_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: Server) -> None:
    """Database, topics and access lists; kept when that is wanted, and then dropped by the next demo in the folder.
    Servers that ran before are not stopped.
    """
    kafka = services.kafka()
    if kafka.folder is None:
        pytest.skip("no kafka of our own: its administrator's password is not known")
    calls = scripts(
        tmp_path, monkeypatch, postgres=f"echo '{postgres_server.url}'", kafka=f"echo '{kafka.url}'", opa="exit 0"
    )
    shutil.copytree(kafka.folder / "secrets", tmp_path / "build" / "services" / "kafka" / "secrets")
    places = []
    for keep in (True, False):
        with real_servers(tmp_path / "demo", claimed, {}, keep=keep) as (folder, given):
            places.append(json.loads((folder / NOTED).read_text("utf-8")))
            settings = new_settings(folder / "site", {**given, "name": "x", "origin": "x.invalid/x"})
            client, place = kafka_client(settings, *settings.engine("log"))
            client.allow(place.principal, own_rights(place.prefix, place.topic("a")))
            client.create(place.topic("a"), 1, {})
            client.close()
            names = {one[0] for one in postgres_server.execute("SELECT datname FROM pg_database")}
            assert names & {one["database"] for one in places} == {places[-1]["database"]}
    names = {one[0] for one in postgres_server.execute("SELECT datname FROM pg_database")}
    assert not names & {one["database"] for one in places}
    client, _ = kafka_client(settings, *settings.engine("log"))
    assert not [name for name in client.topics() for one in places if name.startswith(one["prefix"])]
    client.close()
    assert not (folder / NOTED).exists()
    assert "stop" not in calls.read_text("utf-8")
    assert (folder / MARK).is_file()
