"""While `exchange serve` holds a site, every command works through it as it would without it."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from exchange.audit.verify import verify
from exchange.avro.records import Codec
from exchange.site import VKEY
from tests.cli.test_commands import WORDS
from tests.simulator import (
    ADAPTER,
    ASKED,
    AUDITOR,
    AUTHORITY,
    CHECKER,
    CONSUMER,
    DATASET,
    MEMBERS,
    PROVIDER,
    SYSTEM,
    Ran,
    Site,
    row,
)

pytestmark = [pytest.mark.whole, pytest.mark.enable_socket]

PEOPLE = (AUDITOR, CHECKER, PROVIDER, CONSUMER, AUTHORITY)
MANY = 21_000
# What differs between any two sites: random ids and tokens, times, signatures.
_RANDOM = re.compile(
    r"xt1\.\S+?(?=[\"\s])|\b[0-9a-f]{16}\b|\b[0-9a-f]{32,}\b|[A-Za-z0-9+/]{40,}=*|\b\d{19}\b"
    r"|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S*|(?:\d{5} ){7}\d{5}"
)


class Served:
    """A process of `exchange serve` on a site, and what it has logged."""

    def __init__(self, site: Site) -> None:
        self.log = site.folder / "served.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "exchange", "serve", "--port", "0"],
                env=site.environment(None),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while b"serving http" not in self.log.read_bytes():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)

    @property
    def url(self) -> str:
        """Its address."""
        found = re.search(r"serving (\S+)", self.log.read_text())
        assert found is not None
        return found[1]

    def lines(self, route: str) -> list[dict[str, Any]]:
        """What it has logged of requests to a route."""
        lines = [json.loads(one) for one in self.log.read_text().splitlines() if one.startswith("{")]
        return [one for one in lines if one.get("route") == route]

    def ended(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def served(site: Site) -> Iterator[Served]:
    """The site served, until the end of the block."""
    server = Served(site)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            assert server.ended() == 0, server.log.read_text()


def _said(site: Site, ran: Ran) -> tuple[int, str, str]:
    """Exit code, error code and what was printed, without what differs between any two sites."""
    out = ran.stdout.replace(str(site.folder), "FOLDER")
    return ran.code, ran.error_code, _RANDOM.sub("#", out)


def test_every_command_does_the_same_through_a_server(made: Site, tmp_path: Path) -> None:
    """Each as five people, one after the other, on two copies of a site: same exit codes, same answers."""
    alone, behind = made.copy(tmp_path / "a"), made.copy(tmp_path / "b")
    asked = {name: words for name, words in WORDS.items() if name != "register"}
    told: dict[tuple[str, str], list[Any]] = {}
    for name, words in asked.items():
        for who in PEOPLE:
            given = words.format(folder=alone.folder, site=alone.root).split()
            ran = alone.run(*name.split(), *given, "--json", who=who, stdin=MEMBERS[0])
            told[name, who] = [_said(alone, ran)]
    with served(behind):
        for name, words in asked.items():
            for who in PEOPLE:
                given = words.format(folder=behind.folder, site=behind.root).split()
                ran = behind.run(*name.split(), *given, "--json", who=who, stdin=MEMBERS[0])
                told[name, who].append(_said(behind, ran))
    for what, (one, other) in told.items():
        assert (what, other) == (what, one)
    assert {one[0][0] for one in told.values()} >= {0, 1, 2}
    kinds = [(kind, body.get("action")) for _, kind, body in alone.entries() if kind != "schema"]
    assert [(kind, body.get("action")) for _, kind, body in behind.entries() if kind != "schema"] == kinds
    assert verify(behind.data / "audit", (behind.root / VKEY).read_text().strip()).ok


def test_commands_as_processes_through_a_server(site: Site) -> None:
    """Publishing, reading, a policy, a token into a file, the register; by the address, with ledgers elsewhere."""
    more = site.rows([row(person, 77_00) for person in MEMBERS], "more.csv")
    with served(site) as server:
        sent = site.process("publish", str(site.folder / ADAPTER), str(more), "--json", who=SYSTEM)
        assert (sent.code, sent.json["taken"], sent.json["dead_letters"]) == (0, 2, 0), sent.stderr
        again = site.process("publish", str(site.folder / ADAPTER), str(more), "--json", who=SYSTEM)
        assert (again.code, again.json["taken"], again.json["already"]) == (0, 0, 0)
        found = site.process("read", DATASET, *ASKED, who=CHECKER)
        assert [one["monthly_benefit_fen"] for one in found.records] == [10_000, 20_000, 7_700, 7_700]
        assert site.process("policy", "submit", "--json", who=CONSUMER).error_code == "wrong_state"  # it is active
        file = site.folder / "token"
        assert site.process("token", "issue", CHECKER, "--out", str(file), "--json", who=CHECKER).code == 0
        assert file.stat().st_mode & 0o777 == 0o600
        assert site.process("status", "--token", f"file:{file}").code == 0
        assert site.process("register", str(site.folder / "register.json"), "--json", who=AUTHORITY).json == {
            "added": []
        }
        key = site.root / "keys" / "seal-ny.renshe.key"
        changed = site.rows([row(person, 88_00) for person in MEMBERS], "changed.csv")
        sealed = ["publish", str(site.folder / ADAPTER), str(changed), "--seal-key", str(key), "--json"]
        sent = site.process(*sealed, who=SYSTEM)
        assert (sent.code, sent.json["taken"]) == (0, 2), sent.stderr
        elsewhere = {"EXCHANGE_SITE": server.url, "EXCHANGE_LEDGERS": str(site.folder / "ledgers")}
        lost = site.process("publish", str(site.folder / ADAPTER), str(more), "--json", who=SYSTEM, more=elsewhere)
        assert (lost.code, lost.error_code) == (2, "ledger_behind")
        adapter = site.folder / "other.toml"
        adapter.write_text((site.folder / ADAPTER).read_text().replace("ny.renshe/pension", "ny.renshe/other"))
        sent = site.process("publish", str(adapter), str(more), "--json", who=SYSTEM, more=elsewhere)
        assert (sent.code, sent.json["taken"]) == (0, 2), sent.stderr
        state = {"EXCHANGE_SITE": server.url, "XDG_STATE_HOME": str(site.folder / "state")}
        adapter.write_text((site.folder / ADAPTER).read_text().replace("ny.renshe/pension", "ny.renshe/third"))
        assert site.process("publish", str(adapter), str(more), who=SYSTEM, more=state).code == 0
    assert (site.folder / "ledgers" / "ny.renshe--other.db").exists()
    assert (site.folder / "state" / "exchange" / "ledgers" / "ny.renshe--third.db").exists()
    delegated = {(body["source"], body["delegate"]) for _, _, body in site.entries("record_commit")}
    assert ("ny.renshe/pension", False) in delegated
    assert ("ny.renshe/other", False) not in delegated
    assert {one.name for one in (site.data / "ledgers").iterdir()} == {"ny.renshe--pension.db"}


def test_a_token_of_another_department(site: Site) -> None:
    """Refused through the server as without it, and audited; one that nobody has, too."""
    with served(site):
        foreign = site.process("publish", str(site.folder / ADAPTER), str(site.folder / "pension.csv"), who=CHECKER)
        assert (foreign.code, foreign.error_code) == (1, "not_the_owner")
        wrong = site.process("status", "--token", "env:T", more={"T": "xt1.0123456789abcdef." + "A" * 43})
        assert (wrong.code, wrong.error_code) == (1, "token_unknown")
    reasons = [body["reasons"] for _, _, body in site.entries("refusal")]
    assert reasons == [["not_the_owner"], ["token_unknown"]]


def test_a_site_is_served_once(site: Site) -> None:
    """A second server says who serves it and exits 3; the first goes on."""
    with served(site) as server:
        second = site.process("serve", "--port", "0", "--json")
        assert (second.code, second.error_code) == (3, "site_in_use")
        assert str(server.process.pid) in second.stderr
        assert "serve" in second.stderr
        assert site.process("status", who=CHECKER).code == 0


def _many(site: Site) -> Path:
    return site.rows([row(f"{431126000000000001 + 10 * number}", number) for number in range(MANY)], "many.csv")


def _stored(site: Site) -> list[str]:
    """The persons of all readable records."""
    with site.opened() as exchange:
        codec = Codec(exchange.contract(DATASET).schemas[-1])
        stored = exchange.log.read(DATASET, 0, 0, exchange.publish_parts.marks.committed(DATASET, 0))
        return [codec.decode(value)["person_id"] for value in stored.values]


def test_a_server_that_is_killed_between_two_batches_loses_and_doubles_nothing(site: Site) -> None:
    """The command says that it is not there, and what was acknowledged stays; publishing again sends the rest."""
    file, before = _many(site), _stored(site)
    words = [sys.executable, "-m", "exchange", "publish", str(site.folder / ADAPTER), str(file), "--json"]
    with served(site) as server:
        sending = subprocess.Popen(words, env=site.environment(SYSTEM), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while len(server.lines("/v1/datasets/{name}/records")) < 2 and sending.poll() is None:
            time.sleep(0.005)
        server.ended(signal.SIGKILL)
        out, err = sending.communicate(timeout=60)
        assert (sending.returncode, out) == (3, b""), err
        assert json.loads(err.splitlines()[-1])["code"] == "server_unreachable"
    taken = len(_stored(site)) - len(before)
    assert 10_000 <= taken < MANY
    with served(site):
        again = site.process("publish", str(site.folder / ADAPTER), str(file), "--json", who=SYSTEM)
        assert (again.code, again.json["taken"]) == (0, MANY - taken), again.stderr
    stored = _stored(site)
    assert len(stored) == len(set(stored)) == len(before) + MANY
    assert verify(site.data / "audit", (site.root / VKEY).read_text().strip()).ok


def test_reading_from_a_server_that_stops(site: Site) -> None:
    """What was printed is whole and audited, whether the reader came to the end or was told that nobody is there."""
    assert site.publish(_many(site)).code == 0
    site.run("case", "members", "case-1", who=CHECKER, stdin="\n".join(set(_stored(site))))
    words = [sys.executable, "-m", "exchange", "read", DATASET, *ASKED]
    with served(site) as server:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
        reading = subprocess.Popen(words, env=site.environment(CHECKER), **pipes)  # type: ignore[call-overload]
        assert reading.stdout is not None
        first = reading.stdout.read(1)
        assert server.ended() == 0
        out, err = reading.communicate(timeout=60)
    assert reading.returncode in {0, 3}, err
    printed = [json.loads(line) for line in (first + out).splitlines()]
    released = sum(body["released"] for _, _, body in site.entries("release"))
    assert 0 < len(printed) <= released
    assert verify(site.data / "audit", (site.root / VKEY).read_text().strip()).ok


def _spoken(site: Site, token: str, *pieces: bytes) -> list[str]:
    """The status lines that come where the body waits to be asked for (RFC 9110, section 10.1.1), in chunks."""
    head = [
        f"POST /v1/datasets/{DATASET}/records?source=ny.renshe/waits&first=1 HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        "Content-Type: application/x-ndjson",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Connection: close",
    ]
    seen = b""
    with closing(socket.socket(socket.AF_UNIX)) as line:
        line.settimeout(30)
        line.connect(str(next(iter(site.data.glob("serve.sock")))))
        line.sendall("\r\n".join([*head, "", ""]).encode())
        while b"\r\n\r\n" not in seen:
            seen += line.recv(65_536)
        if seen.startswith(b"HTTP/1.1 100"):
            for piece in (*pieces, b""):
                line.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        while more := line.recv(65_536):
            seen += more
    return re.findall(r"HTTP/1\.1 (\d+)", seen.decode())


def test_a_body_waits_until_it_is_asked_for(site: Site) -> None:
    """Whoever may not publish is told so before he sends it; a body in chunks is whole when its end has come."""
    value = {"person_id": MEMBERS[0], "region_code": "4", "scheme": "RESIDENT", "status": "ENDED"}
    none = dict.fromkeys(("monthly_benefit_fen", "last_paid_month", "employer_uscc", "bank_account"))
    body = json.dumps({**value, **none}).encode() + b"\n"
    tokens = {who: (site.folder / "tokens" / f"{who}.token").read_text().strip() for who in (SYSTEM, CHECKER)}
    with served(site):
        assert _spoken(site, tokens[SYSTEM], body[:20], body[20:], body) == ["100", "200"]
        assert _spoken(site, tokens[CHECKER], body) == ["403"]
        assert _spoken(site, "xt1.0123456789abcdef.x", body) == ["401"]
    assert len(_stored(site)) == 7
