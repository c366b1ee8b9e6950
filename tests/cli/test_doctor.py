"""`doctor`: whatever is wrong is told, with its fix; whatever else is there is looked at all the same."""

import hashlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from exchange.control.database import revisions
from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable
from exchange.settings import read_settings
from exchange.signing.keys import new_secret, new_signing_key
from exchange.site import owned
from exchange.wiring import examining
from exchange.wiring.examining import Examined, Finding
from exchange.wiring.examining_stores import CHECKS, SITE_CHECKS, examine_site, policy_engine
from tests.control.failing import fails
from tests.simulator import ASKED, AUDITOR, CHECKER, DATASET, MEMBERS, Ran, Site, run

HELD: dict[str, bool] = {"test_it": True}


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    """The policy engine starts a process and runs all tests of the shipped policy, the port needs a socket: once is
    enough for each.
    """

    def no_port(_: Examined) -> Iterator[Finding]:
        yield examining.unused("port", "port_none")

    with (
        mock.patch("exchange.policy.regorus.RegorusEngine.test", return_value=HELD),
        mock.patch.dict(SITE_CHECKS, {"port": no_port}),
    ):
        yield


def _checks(ran: Ran) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for row in ran.json:
        found.setdefault(row["check"], []).append(row)
    return found


def _wrong(ran: Ran) -> set[tuple[str, str]]:
    return {(row["check"], row["code"]) for row in ran.json if row["state"] == "wrong"}


def _content(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every file with its mode, its time and its digest."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in folder.rglob("*")
    }


def test_a_sound_site_is_told_to_be_one(site: Site) -> None:
    """0, every check has its line, and nothing is changed by it; no token, in both languages."""
    for words, who in ((("lookup", DATASET, *ASKED), CHECKER), (("audit", "who-saw"), AUDITOR)):
        assert site.run(*words, who=who, stdin=MEMBERS[0]).code == 0
    before = _content(site.root)
    ran = site.run("doctor", "--json")
    assert (ran.code, _wrong(ran)) == (0, set()), ran.stdout
    assert _content(site.root) == before
    expected = {*SITE_CHECKS, *CHECKS} - {"folders", "keys", "encodings"}
    assert set(_checks(ran)) >= expected
    assert {row["check"] for row in ran.json if row["state"] == "unused"} == {"port"}
    assert len(_checks(ran)["seal_key"]) == 4
    english, chinese = site.run("doctor"), site.run("doctor", more={"LANG": "zh_CN.UTF-8"})
    assert english.stdout.count("\n") == chinese.stdout.count("\n") == len(ran.json)
    assert "未发现问题" in chinese.stderr
    assert "正常    审计日志：" in chinese.stdout


def test_no_site_is_told_and_the_machine_looked_at(tmp_path: Path) -> None:
    """In any folder: what is of the machine, and that there is no site."""
    ran = run(["doctor", "--site", str(tmp_path), "--json"], {})
    assert (ran.code, _wrong(ran)) == (2, {("settings", "no_site")})
    assert "program" in _checks(ran)
    assert list(tmp_path.iterdir()) == []


def test_who_holds_the_site_is_told(site: Site) -> None:
    """And everything else is looked at beside it."""
    with owned(site.root, "exchange serve", 1):
        ran = site.run("doctor", "--json")
    [lock] = _checks(ran)["lock"]
    assert (ran.code, lock["state"]) == (0, "ok")
    assert f"exchange serve (process {os.getpid()})" in lock["what"]
    assert "no process" in _checks(site.run("doctor", "--json"))["lock"][0]["what"]


def _scrambled(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for at in range(0, len(data), 97):
        data[at] ^= 0xFF
    file.write_bytes(data)


def _page(file: Path) -> None:
    """A page that is no page any more, behind a header that is right."""
    data = file.read_bytes()
    size = int.from_bytes(data[16:18], "big")
    file.write_bytes(data[: 2 * size] + b"\xff" * size + data[3 * size :])


def _sql(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as plain, plain:
        plain.execute(statement)


def _add(file: Path, text: str) -> None:
    file.write_text(file.read_text("utf-8") + text, "utf-8")


def _other_key(file: Path) -> None:
    file.unlink()
    new_signing_key(file)


def _other_secret(file: Path, length: int) -> None:
    file.unlink()
    new_secret(file, lambda _: bytes(length))


def _lost(folder: Path) -> None:
    shutil.rmtree(folder)


def _rolled_back(site: Site) -> None:
    """The control database of before, beside a log that has gone on."""
    shutil.copy(site.data / "control.db", site.folder / "older.db")
    assert site.read().code == 0
    shutil.copy(site.folder / "older.db", site.data / "control.db")


def _later_format(site: Site) -> None:
    file = site.root / "exchange.toml"
    file.write_text(file.read_text("utf-8").replace("format = 1", "format = 2"), "utf-8")


Damage = Callable[[Site], object]
CONTROL, LOG, STATE, SUBJECTS, KEYS = "data/control.db", "data/records.db", "data/state.db", "data/subjects.db", "keys"
DAMAGES: dict[str, tuple[Damage, set[tuple[str, str]]]] = {
    "an unknown key": (lambda s: _add(s.root / "exchange.toml", "x = 1\n"), {("settings", "setting_unknown")}),
    "no settings": (
        lambda s: (s.root / "exchange.toml").write_text("= 1", "utf-8"),
        {("settings", "settings_unparsable"), ("keys.audit", "key_not_the_logs")},
    ),
    "a later format": (_later_format, {("settings", "site_format")}),
    "open keys": (lambda s: (s.root / KEYS).chmod(0o755), {("folder", "folder_open_to_others")}),
    "an open key": (
        lambda s: (s.root / KEYS / "actor.key").chmod(0o644),
        {("keys.actor", "key_readable_by_others")},
    ),
    "a file of another user": (lambda s: os.chown(s.root / LOG, 12_345, -1), {("owners", "files_of_another")}),
    "no folder": (lambda s: _lost(s.root / "adapters"), {("folder", "folder_missing")}),
    "no data": (
        lambda s: _lost(s.root / "data"),
        {
            *(("folder", "folder_missing"), ("checkpoint", "audit_missing"), ("disk_reserve", "system")),
            *(("engines.control", "control_database_missing"), ("audit_log", "system")),
        },
    ),
    "no keys": (
        lambda s: _lost(s.root / "keys"),
        {
            *(("folder", "folder_missing"), ("checkpoint", "system"), ("seal_key", "key_unreadable")),
            *((f"keys.{one}", "key_unreadable") for one in ("subject", "actor", "pseudonym", "audit")),
        },
    ),
    "a short key": (
        lambda s: _other_secret(s.root / KEYS / "subject.key", 31),
        {("keys.subject", "key_malformed")},
    ),
    "another log key": (
        lambda s: _other_key(s.root / KEYS / "audit.key"),
        {("keys.audit", "key_not_the_logs")},
    ),
    "another vkey": (
        lambda s: (s.root / KEYS / "audit.vkey").write_text("x", "utf-8"),
        {("keys.audit", "key_not_the_logs"), ("checkpoint", "audit_key_malformed")},
    ),
    "a key in a variable": (
        lambda s: _add(s.root / "exchange.toml", '[keys]\nactor = "env:X"\n'),
        {("keys.actor", "secret_not_in_file")},
    ),
    "another checkpoint": (
        lambda s: (s.data / "audit" / "checkpoint").write_bytes(b"x"),
        {("checkpoint", "audit_note_invalid")},
    ),
    "a seal key lost": (
        lambda s: (s.root / KEYS / "seal-ny.renshe.key").unlink(),
        {("seal_key", "key_unreadable")},
    ),
    "another seal key": (
        lambda s: _other_key(s.root / KEYS / "seal-ny.renshe.key"),
        {("seal_key", "seal_key_differs")},
    ),
    "no control": (lambda s: (s.root / CONTROL).unlink(), {("engines.control", "control_database_missing")}),
    "control scrambled": (lambda s: _scrambled(s.root / CONTROL), {("engines.control", "control_database_damaged")}),
    "control cut off": (
        lambda s: os.truncate(s.root / CONTROL, 20_000),
        {("engines.control", "control_database_damaged")},
    ),
    "control of a later revision": (
        lambda s: _sql(s.root / CONTROL, "UPDATE alembic_version SET version_num = '9999'"),
        {("engines.control", "control_database_newer")},
    ),
    "control of an older revision": (
        lambda s: _sql(s.root / CONTROL, f"UPDATE alembic_version SET version_num = '{revisions()[0]}'"),
        {("engines.control", "control_database_revision")},
    ),
    "an event lost": (
        lambda s: _sql(s.root / CONTROL, "DELETE FROM events WHERE position = 5"),
        {("seal_key", "events_missing")},
    ),
    "no records": (lambda s: (s.root / LOG).unlink(), {("commit_marks", "log_behind_commits")}),
    "a page of the records": (lambda s: _page(s.root / LOG), {("engines.log", "log_damaged")}),
    "records of another kind": (
        lambda s: _sql(s.root / LOG, "PRAGMA application_id = 7"),
        {("engines.log", "log_damaged")},
    ),
    "records cut off": (lambda s: os.truncate(s.root / LOG, 40_000), {("engines.log", "log_damaged")}),
    "records of a later format": (
        lambda s: _sql(s.root / LOG, "PRAGMA user_version = 7"),
        {("engines.log", "log_format")},
    ),
    "no database as state": (
        lambda s: (s.root / STATE).write_bytes(b"garbage" * 999),
        {("engines.state", "state_damaged")},
    ),
    "no database as index": (
        lambda s: (s.root / SUBJECTS).write_bytes(b"garbage" * 999),
        {("subject_index", "subject_index_damaged")},
    ),
    "an index of a later format": (
        lambda s: _sql(s.root / SUBJECTS, "PRAGMA user_version = 7"),
        {("subject_index", "subject_index_format")},
    ),
    "an older lock row": (
        _rolled_back,
        {("audit_log", "audit_log_damaged")},
    ),
    "a policy that does not parse": (
        lambda s: (s.root / "policies" / "x.txt").write_text("x", "utf-8"),
        {("policies", "policy_file_refused")},
    ),
    "a contract that does not parse": (
        lambda s: _add(s.root / "schemas" / "ny.renshe" / DATASET / "contract.yaml", "\nnope: [\n"),
        {("schemas", "contract_unreadable")},
    ),
    "another engine": (
        lambda s: _add(s.root / "exchange.toml", '[engines]\nlog = "duckdb:x"\n'),
        {("engines.log", "engine_unknown")},
    ),
    "a file ahead of the clock": (
        lambda s: os.utime(s.root / CONTROL, (time.time() + 9_999, time.time() + 9_999)),
        {("clock", "clock_wrong")},
    ),
    "a full disk": (
        lambda s: _add(s.root / "exchange.toml", f"[storage]\nreserve_mb = {1 << 30}\n"),
        {("disk_reserve", "disk_reserve")},
    ),
}


QUICK = {
    "a file of another user",
    "no settings",
    "open keys",
    "no data",
    "no keys",
    "another log key",
    "a page of the records",
    "no records",
}
# Damage, as in `test_damaged_site`: the second part of `make test` plays most of it.
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.torture) for name in DAMAGES]


@pytest.mark.parametrize("name", EACH)
def test_each_damage_is_told_where_it_is(site: Site, name: str) -> None:
    """2, the check and code that say it, a fix for each, and every other check has its line as before."""
    damage, expected = DAMAGES[name]
    if name == "a file of another user" and os.geteuid():
        pytest.skip("only root gives files away")
    damage(site)
    ran = site.run("doctor", "--json")
    assert (ran.code, _wrong(ran)) == (2, expected)
    assert set(_checks(ran)) >= {*SITE_CHECKS, *CHECKS} - {
        "folders",
        "keys",
        "encodings",
        "seal_key",
        "policies",
        "schemas",
    }
    assert all(row["do"] for row in ran.json if row["state"] == "wrong")


def test_a_fault_is_told_with_its_fix_below_it(site: Site) -> None:
    """And how many there are, in the language asked for."""
    (site.root / KEYS).chmod(0o755)
    told = site.run("doctor", more={"LANG": "zh_CN.UTF-8"})
    lines = told.stdout.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("有误")]
    assert lines[at + 1] == f"  → chmod 700 {site.root / KEYS}"
    assert told.stderr == "发现 1 处问题\n"


def test_files_that_were_not_submitted_are_told_with_the_command(site: Site) -> None:
    """A policy or contract that differs from what counts is no fault: the line names the command."""
    codes = site.root / "policies" / "codes.json"
    codes.write_text(codes.read_text("utf-8").replace("{", '{"more": {},', 1), "utf-8")
    contract = site.root / "schemas" / "ny.renshe" / DATASET / "contract.yaml"
    text = contract.read_text("utf-8")
    contract.write_text(text.replace("steward: ", "steward: other.", 1), "utf-8")
    other = site.root / "schemas" / "ny.renshe" / "hrss.pension_copy"
    shutil.copytree(contract.parent, other)
    (other / "contract.yaml").write_text(text.replace(DATASET, "hrss.pension_copy"), "utf-8")
    ran = site.run("doctor", "--json")
    found = {(row["check"], row["about"]): row["what"] for row in ran.json}
    assert ran.code == 0, ran.stdout
    assert "exchange policy submit" in found["policies", ""]
    assert "exchange dataset submit" in found["schemas", DATASET]
    assert "was not submitted" in found["schemas", "hrss.pension_copy"]


def _examined(site: Site, **changes: Any) -> Examined:
    return replace(Examined(site.root, {}, time.time_ns, lambda: True), **changes)


def _only(findings: Any) -> Finding:
    [one] = findings
    assert isinstance(one, Finding)
    return one


@pytest.mark.parametrize("now_s", [0, 1_600_000_000, 5_000_000_000])
def test_a_clock_that_cannot_be_right(made: Site, now_s: int) -> None:
    """Before this program was made, or in the next century."""
    with fails(Invalid, "clock_wrong"):
        list(examining.clock(_examined(made, now_ns=lambda: now_s * 10**9)))


def test_a_clock_behind_the_last_commit(site: Site) -> None:
    """It would keep expired rights alive: nothing is committed before it has caught up."""
    ran = run(["doctor", "--json", "--site", str(site.root)], {}, later_ns=-3_600 * 10**9)
    assert {("audit_clock", "clock_wrong"), ("clock", "clock_wrong")} == _wrong(ran)


def test_encodings_that_lose_characters() -> None:
    """A locale or file names that are not UTF-8 are wrong, the codec of old exports must have rare characters."""
    plain = Examined(Path(), {}, time.time_ns, lambda: True)
    assert [one.state for one in examining.encodings(plain, "utf8", "UTF-8")] == ["ok"] * 3
    found = list(examining.encodings(plain, "ANSI_X3.4-1968", "latin-1"))
    assert [one.state for one in found] == ["wrong", "wrong", "ok"]
    assert {one.error.code for one in found if one.error} == {"encoding_wrong"}


def test_the_disk_is_measured_against_its_reserve(made: Site) -> None:
    """Room, no room, and no reserve, which is not used."""
    assert _only(examining.disk(_examined(made), lambda _: 1 << 40)).state == "ok"
    with fails(Unavailable, "disk_reserve"):
        list(examining.disk(_examined(made), lambda _: 1))
    none = _examined(made, environment={"EXCHANGE_STORAGE_RESERVE_MB": "0"})
    assert _only(examining.disk(none, lambda _: 1)).state == "unused"


def _serving(site: Site, port: int, host: str = "127.0.0.1") -> Examined:
    settings = read_settings(site.root, {})
    given = replace(settings, values={**settings.values, "http.host": host, "http.port": port})
    examined = _examined(site)
    examined.__dict__["read"] = (given, [])
    return examined


@pytest.mark.enable_socket
def test_the_port_is_free_or_served(site: Site) -> None:
    """Free: well. Taken by another program: wrong. Taken while `exchange serve` holds the site: it is that one's; where
    nobody answers then, it was started at another address.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with fails(Unavailable, "port_unusable", f"127.0.0.1:{port}"):
            list(examining.port(_serving(site, port)))
        with owned(site.root, "exchange serve", 1):
            assert _only(examining.port(_serving(site, port))).said == "port_served"
    assert _only(examining.port(_serving(site, port))).said == "port_free"
    assert _only(examining.port(_serving(site, 0))).state == "unused"
    with owned(site.root, "exchange serve", 1):
        assert _only(examining.port(_serving(site, port))).said == "port_elsewhere"
    with fails(Unavailable, "port_unusable"):
        list(examining.port(_serving(site, port, "192.0.2.1")))


def test_a_check_that_fails_stops_no_other(made: Site) -> None:
    """Whatever it raises; and what stands in the way of several is told once."""

    def broken(_: Examined) -> Any:
        raise ZeroDivisionError

    def missing(_: Examined) -> Any:
        raise Unavailable("control_database_missing", where="x")

    def unreadable(_: Examined) -> Any:
        raise PermissionError(13, "Permission denied", "/x/y")

    checks = {"keys": broken, "port": missing, "lock": missing, "clock": unreadable, "program": examining.program}
    found = list(examining.examine(_examined(made), checks))
    assert [(one.check, one.state, one.error.code if one.error else one.said) for one in found] == [
        ("keys", "wrong", "check_failed"),
        ("port", "wrong", "control_database_missing"),
        ("lock", "unused", "needs"),
        ("clock", "wrong", "system"),
        ("program", "ok", "program"),
    ]


def test_a_large_file_is_looked_at_in_part(made: Site) -> None:
    """A look has a limit; the line says that it was reached."""
    with mock.patch("exchange.log.database._STEPS", 1):
        found = list(examine_site(made.root, {}, time.time_ns, lambda: False))
    assert {one.check for one in found if one.said == "database_in_part"} >= {"engines.control", "engines.log"}
    assert not [one for one in found if one.state == "wrong"]


def test_an_engine_that_answers_wrongly(made: Site) -> None:
    """A test of the shipped policy that does not hold, none at all, an engine that nobody knows."""
    for results in ({"test_it": False}, {}):
        with (
            mock.patch("exchange.policy.regorus.RegorusEngine.test", return_value=results),
            fails(Tampered, "policy_engine_wrong"),
        ):
            list(policy_engine(_examined(made)))
    for place, code in (("x:", "engine_unknown"), ("opa:/no/such", "policy_engine_missing")):
        with pytest.raises(ExchangeError) as caught:
            list(policy_engine(_examined(made, environment={"EXCHANGE_ENGINES_POLICY": place})))
        assert caught.value.code == code


@pytest.mark.whole
@pytest.mark.processes
def test_a_real_engine_answers_beside_a_process_at_work(site: Site) -> None:
    """As a process of its own, the policy engine too, while another one publishes; it takes nothing away."""
    from tests.cli.test_backup import _turn, _working

    with _working(site) as worker:
        for _ in range(3):
            assert _turn(worker) > 0
            done = subprocess.run(
                [sys.executable, "-m", "exchange", "doctor"],
                env=site.environment(None, {"EXCHANGE_HTTP_PORT": "0"}),
                cwd=site.folder,
                capture_output=True,
                check=False,
                text=True,
            )
            assert done.returncode == 0, done.stdout
            assert "policy engine: regorus answers" in done.stdout
            assert "held by test" in done.stdout
    assert site.run("audit", "verify").code == 0
    assert site.read().code == 0
