"""Damaged stores, keys, settings and hints: one clear error that names the place, and nothing is lost or released."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import simulator
from tests.cli.test_bad_input import READ, one_clear_error
from tests.simulator import (
    AUDITOR,
    CHECKER,
    DATASET,
    MEMBERS,
    PERSONS,
    Site,
    row,
)

pytestmark = pytest.mark.torture  # damage and its repair: the second part of `make test`


def _cut(file: Path, keep: float) -> None:
    with file.open("r+b") as stream:
        stream.truncate(int(file.stat().st_size * keep))


def _scramble(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for at in range(0, len(data), 97):
        data[at] ^= 0xFF
    file.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": lambda file: file.unlink(),
    "empty": lambda file: _cut(file, 0),
    "cut off at the half": lambda file: _cut(file, 0.5),
    "no SQLite": lambda file: file.write_bytes(b"not a database, certainly not one" * 400),
    "scrambled": _scramble,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["control.db", "records.db"])
def test_a_damaged_store_stops_everything(site: Site, name: str, damage: str) -> None:
    """Reading, looking up, the auditor's question: one error each, and nothing is released; put back, all is well."""
    kept = site.folder / "kept"
    shutil.copy(site.data / name, kept)
    DAMAGES[damage](site.data / name)
    for words, who in ((READ, CHECKER), (("lookup", *READ[1:]), CHECKER), (("audit", "who-saw"), AUDITOR)):
        ran = site.run(*words, who=who, stdin="\n".join(MEMBERS))
        assert ran.code in {3, 4}, (words, ran)
        one_clear_error(ran, ran.error_code)
    assert "release" not in site.run("audit", "verify", "--json").json["entries"]
    shutil.copy(kept, site.data / name)
    assert len(site.read().records) == len(MEMBERS)


@pytest.mark.parametrize(("name", "code"), [("control.db", "audit_log_damaged"), ("records.db", "log_behind_commits")])
def test_an_older_copy_of_a_store_is_found(site: Site, name: str, code: str) -> None:
    """Put back over the newer one, it opens no site: what was revoked since would be permitted again."""
    shutil.copy(site.data / name, site.folder / "older")
    assert site.publish(site.rows([row(PERSONS[0], 7)], "next.csv")).code == 0
    shutil.copy(site.folder / "older", site.data / name)
    one_clear_error(site.read(), code)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["state.db", "subjects.db"])
def test_a_damaged_derived_store_answers_nothing_wrong(site: Site, name: str, damage: str) -> None:
    """What is derived is either found to be damaged or made anew; deleted, it gives the answer it gave before."""
    words, who = (("lookup", *READ[1:]), CHECKER) if name == "state.db" else (("audit", "who-saw"), AUDITOR)
    before = site.run(*words, who=who, stdin=MEMBERS[0])
    assert before.code == 0
    DAMAGES[damage](site.data / name)
    ran = site.run(*words, who=who, stdin=MEMBERS[0])
    if ran.code:
        assert ran.code in {3, 4}
        one_clear_error(ran, ran.error_code, name)
    else:
        assert (
            ran.out == before.out if name == "state.db" else "auditor's question" in ran.stdout
        )  # the question before
    for left in site.data.glob(name + "*"):
        left.unlink()
    again = site.run(*words, who=who, stdin=MEMBERS[0])
    assert again.code == 0
    assert MEMBERS[0] not in again.stderr


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", ["checkpoint", "tile/entries", "tile/0"])
def test_a_damaged_audit_log_stops_everything(site: Site, what: str, damage: str) -> None:
    """A tile or checkpoint gone, cut off or changed: nothing is released, and the verifier names it too."""
    site.run("case", "close", "case-1", "--reason", "so that there are two tiles' widths", who=CHECKER)
    file = site.data / "audit" / what
    if file.is_dir():
        file = max((file / "000.p").iterdir(), key=lambda one: int(one.name))
    DAMAGES[damage](file)
    ran = site.run(*READ, who=CHECKER)
    verdict = site.run("audit", "verify", "--json")
    if (what, damage) != ("checkpoint", "gone"):  # that file is published anew from the lock row
        assert ran.code in {3, 4}, ran
        one_clear_error(ran, ran.error_code, what.partition("/")[0])
        assert (verdict.code, verdict.json["ok"]) == (4, False)
    assert ran.out == b""


@pytest.mark.parametrize(
    "content", [b"", b"name = ", b"\xff\xfe", b"[engines\n", b"= 3", b'format = 9\norigin = "a"\n', b"\x00" * 100]
)
def test_settings_cut_off_or_wrong_open_no_site(site: Site, content: bytes) -> None:
    """The error names the file; the data are not touched."""
    (site.root / "exchange.toml").write_bytes(content)
    ran = site.run(*READ, who=CHECKER)
    assert ran.code == 2
    one_clear_error(ran, ran.error_code, "exchange.toml")


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("orgin = 'x'", "setting_unknown", "origin"),
        ("[policy]\ndeadline = 5", "setting_unknown", "policy.deadline_ms"),
        ("[policy]\ndeadline_ms = 0", "setting_wrong", "1 … 60000"),
        ("time_zone = 'Mars/Base'", "setting_wrong", "time_zone"),
        ("[keys]\nsubject = 'abcdef'", "secret_in_plain", ""),
        ("[keys]\naudit = 'env:KEY'", "secret_not_in_file", "keys.audit"),
        ("[engines]\ncontrol = 'mysql:x'", "engine_unknown", "mysql:x"),
        ("[engines]\ncontrol = 'postgresql:x'", "postgresql_url", ""),
        ("[engines]\nlog = 'pulsar:localhost'", "engine_unknown", "pulsar:localhost"),
        (
            "[engines]\nlog = 'kafka://localhost'\n[kafka.security]\nprotocol = 'PLAINTEXT'",
            "setting_wrong",
            "HOST:PORT",
        ),
        ("[engines]\nlog = 'kafka://a.example:9092'", "secret_unreadable", "keys/kafka.password"),
        ("[engines]\npolicy = 'cedar:'", "engine_unknown", "cedar:"),
        ("[engines]\npolicy = 'opa:no/such/opa'", "question_refused", ""),
    ],
)
def test_a_wrong_setting_is_named(site: Site, line: str, code: str, told: str) -> None:
    """With the nearest one where it is unknown; a policy engine that is not there refuses."""
    with (site.root / "exchange.toml").open("a") as file:
        file.write(f"\n{line}\n")
    ran = site.run(*READ, who=CHECKER)
    one_clear_error(ran, code, told)


@pytest.mark.parametrize("key", ["subject", "actor", "audit"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut off at the half", "scrambled", "others"])
def test_a_key_that_is_wrong_or_seen_by_others_is_not_used(site: Site, key: str, damage: str) -> None:
    """Its file is named, and nothing is released in the meantime."""
    file = site.root / "keys" / f"{key}.key"
    if damage == "others":
        file.chmod(0o640)
    else:
        DAMAGES[damage](file)
    ran = site.run("lookup", *READ[1:], who=CHECKER, stdin=MEMBERS[0])
    assert ran.code == 2
    one_clear_error(ran, ran.error_code, f"{key}.key")
    assert ran.error_code.startswith("key_")


def test_another_sites_keys_open_nothing(site: Site, tmp_path: Path) -> None:
    """A checkpoint key of another log; a seal key that is not the department's."""
    other = Site(tmp_path / "other")
    other.folder.mkdir()
    assert other.run("init", str(other.root), "--department", "ny.renshe").code == 0
    shutil.copy(other.root / "keys" / "seal-ny.renshe.key", site.root / "keys")
    one_clear_error(site.publish(site.rows([row(PERSONS[0], 7)], "n.csv")), "seal_key_differs", "seal-ny.renshe.key")
    shutil.copy(other.root / "keys" / "audit.key", site.root / "keys")
    ran = site.run(*READ, who=CHECKER)
    assert ran.code in {2, 4}
    one_clear_error(ran, ran.error_code)


@pytest.mark.parametrize("content", [b'{"index": -5}', b'{"index": 10000}', b"\xff"])
def test_hints_that_are_wrong_cost_nothing(site: Site, content: bytes) -> None:
    """The lock's text and the gateway's hint are only that."""
    site.read()
    (site.data / "lock").write_bytes(content)
    (site.data / "gateway.json").write_bytes(content)
    assert len(site.read().records) == len(MEMBERS)
    with site.opened():
        (site.data / "lock").write_bytes(content)
        one_clear_error(site.run(*READ, who=CHECKER), "site_in_use", str(site.root))
    assert site.run("audit", "verify").code == 0


@pytest.mark.parametrize("damage", ["empty", "cut off at the half", "no SQLite", "gone"])
def test_a_damaged_ledger_sends_nothing_twice(site: Site, damage: str) -> None:
    """The adapter's memory is refused, or its loss is said; no record is taken under a second event id."""
    (ledger,) = (site.data / "ledgers").glob("*.db")
    DAMAGES[damage](ledger)
    ran = site.publish()
    assert ran.code in {2, 3, 4}, ran
    one_clear_error(ran, ran.error_code)
    figures = {(one["what"], one["name"]): one["count"] for one in site.run("status", "--json", who=AUDITOR).json}
    assert figures["records", DATASET] == len(PERSONS)


def test_a_site_that_cannot_be_written_says_so(site: Site) -> None:
    """A read-only data folder is unavailable, not a traceback (root may write anywhere)."""
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    for folder in (site.data, site.data / "audit"):
        folder.chmod(0o500)
    ran = simulator.run(READ, site.environment(CHECKER))
    assert ran.code == 3
    one_clear_error(ran, ran.error_code)
