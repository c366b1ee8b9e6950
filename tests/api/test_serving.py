"""`exchange serve` as a process: where it listens, what it does with clients that hold back, and how it ends."""

import asyncio
import datetime as dt
import ipaddress
import json
import signal
import socket
import ssl
import stat
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.api.serving import Served, answer, asked, lookup, request, served
from tests.simulator import ASKED, AUDITOR, CHECKER, DATASET, Site

pytestmark = [pytest.mark.whole, pytest.mark.processes, pytest.mark.enable_socket]
_HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
_PARALLEL: Final = 50


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder / "cert.pem", folder / "key.pem"


def _audited(site: Site) -> set[int]:
    """The indexes of the release entries, after the offline verifier has found nothing wrong with the log."""
    verdict = site.run("audit", "verify", str(site.data / "audit"), "--key", str(site.root / "keys" / "audit.vkey"))
    assert verdict.code == 0, verdict.stdout
    return {index for index, _, _ in site.entries("release")}


async def _many(content: bytes, port: int, count: int) -> list[Any]:
    return await asyncio.gather(*(asked(port, content) for _ in range(count)), return_exceptions=True)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["--host", "0.0.0.0"], 2, "serve_address_refused"),
        (["--host", "::"], 2, "serve_address_refused"),
        (["--host", "192.0.2.1"], 2, "serve_address_refused"),
        (["--host", ""], 0, ""),
        (["--host", "0.0.0.0", "--certificate", "none.pem"], 2, "serve_certificate_wrong"),
        (["--host", "192.0.2.1", "--behind-proxy"], 3, "serve_address_taken"),
        (["--host", "no such host", "--behind-proxy"], 3, "serve_address_taken"),
        (["--port", "-1"], 2, "setting_wrong"),
        (["--port", "70000"], 2, "setting_wrong"),
    ],
)
def test_where_it_may_listen(site: Site, words: list[str], code: int, error: str) -> None:
    """Another address than this machine's own needs TLS, here or in front of it; each refusal has its code."""
    if not code:
        with served(site, *words) as running:
            assert f"http://127.0.0.1:{running.port}" in running.lines[0]
        return
    ran = site.process("serve", "--port", "0", *words)
    assert ran.code == code, ran.stderr
    assert ran.error_code == error


def test_another_address_with_a_certificate_or_a_proxy(site: Site) -> None:
    """With either it serves; with a certificate it speaks TLS 1.2 at the least, and not plain HTTP."""
    certificate, key = _certificate(site.folder)
    words = ["--host", "0.0.0.0", "--certificate", str(certificate), "--certificate-key", str(key)]
    with served(site, *words) as running:
        context = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(("127.0.0.1", running.port), 10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(_HEALTH)
            assert secure.recv(100).startswith(b"HTTP/1.1 200")
        with socket.create_connection(("127.0.0.1", running.port), 10) as plain:
            plain.sendall(_HEALTH)
            assert not plain.recv(100).startswith(b"HTTP")
        assert running.ended() == 0
    with served(site, "--host", "0.0.0.0", "--behind-proxy") as running:
        assert asyncio.run(asked(running.port, _HEALTH))[0] == 200
    certificate.write_text(key.read_text())
    assert site.process("serve", *words).error_code == "serve_certificate_wrong"


def test_a_port_that_is_taken(site: Site) -> None:
    """3 and an error that names it; the site is free again."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ran = site.process("serve", "--port", str(other.getsockname()[1]))
    assert (ran.code, ran.error_code) == (3, "serve_address_taken")
    assert site.read().code == 0


def test_the_command_line_finds_the_server(site: Site) -> None:
    """The lock file names the socket, which is its owner's alone; commands go through it and give the same bytes."""
    wanted = site.read().out
    with served(site) as running:
        holder = json.loads((site.data / "lock").read_text())
        assert holder["pid"] == running.process.pid
        assert holder["socket"] == str(site.data / "serve.sock")
        assert stat.S_IMODE(Path(holder["socket"]).stat().st_mode) == 0o600
        assert site.read().out == wanted
        assert site.process("read", DATASET, *ASKED, who=CHECKER).out == wanted
        assert site.run("case", "list", who=CHECKER).code == 0
        assert site.run("audit", "checkpoint", who=CHECKER).error_code == "auditor_required"
        assert site.run("audit", "checkpoint", who=AUDITOR).code == 0
        assert running.ended() == 0
        assert not Path(holder["socket"]).exists()
    assert site.read().out == wanted


def test_a_site_with_a_long_path(made: Site, tmp_path: Path) -> None:
    """A path that no Unix socket can have: the socket lies elsewhere, its owner's alone, and is gone at the end."""
    site = made.copy(tmp_path / ("long" * 30))
    with served(site) as running:
        holder = json.loads((site.data / "lock").read_text())
        assert len(holder["socket"]) < 100
        assert stat.S_IMODE(Path(holder["socket"]).stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(holder["socket"]).parent.stat().st_mode) == 0o700
        assert site.read().code == 0
        assert running.ended() == 0
        assert not Path(holder["socket"]).parent.exists()


def _received(answers: list[Any]) -> set[int]:
    """The entries of the answers that came; none of those came in part."""
    whole = [one for one in answers if isinstance(one, tuple)]
    cut = [one for one in answers if not isinstance(one, tuple)]
    assert all(isinstance(one, OSError | EOFError | asyncio.IncompleteReadError) for one in cut)
    assert not [one for one in cut if isinstance(one, asyncio.IncompleteReadError) and b"HTTP/1.1 200" in one.partial]
    assert {status for status, _, _ in whole} <= {200, 503}
    good = [one for one in whole if one[0] == 200]
    assert all(body.count(b"\n") == 2 for _, _, body in good)
    return {int(headers["exchange-index"]) for _, headers, _ in good}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_end_in_the_middle_of_many_lookups(site: Site, number: int) -> None:
    """Every answer is whole or none; whatever was received is in the log, which verifies; SIGTERM ends with 0."""

    async def played(running: Served) -> list[Any]:
        working = asyncio.create_task(_many(lookup(site), running.port, _PARALLEL))
        while not [one for one in running.logged if one.get("status") == 200]:
            await asyncio.sleep(0.005)
        ended = asyncio.to_thread(running.ended, number)
        return list(await asyncio.gather(working, ended))

    with served(site) as running:
        answers, code = asyncio.run(played(running))
    assert code == (0 if number != signal.SIGKILL else -signal.SIGKILL)
    received = _received(answers)
    assert received
    assert received <= _audited(site)
    with served(site) as running:  # the socket of one that was killed is no obstacle
        assert asyncio.run(asked(running.port, lookup(site)))[0] == 200
        assert site.read().code == 0


def test_clients_that_hold_back_keep_nobody_waiting(site: Site) -> None:
    """200 that send half a head, some that send half a body or take nothing: a healthy client is answered meanwhile,
    and each of the others is cut off after its time.
    """
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
    body = request(site, "POST", f"/v1/datasets/{DATASET}/lookup", b"x", more="Content-Length: 1000\r\n")[:-1]
    body = body.replace(b"Content-Length: 1\r\n", b"")

    async def half(port: int, content: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(content)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def played(port: int) -> tuple[list[bytes], list[bytes], int]:
        heads = [asyncio.create_task(half(port, head)) for _ in range(200)]
        heads.append(asyncio.create_task(half(port, b"")))
        bodies = [asyncio.create_task(half(port, body)) for _ in range(20)]
        await asyncio.sleep(0.2)
        healthy = 0
        while not all(one.done() for one in (*heads, *bodies)):
            status, _, _ = await asked(port, lookup(site))
            healthy += status == 200
        return [one.result() for one in heads], [one.result() for one in bodies], healthy

    with served(site, http_head_seconds=2, http_body_seconds=2) as running:
        heads, bodies, healthy = asyncio.run(asyncio.wait_for(played(running.port), 60))
        assert heads == [b""] * 201
        assert all(b" 408 " in one.partition(b"\r\n")[0] and b"body_slow" in one for one in bodies)
        assert healthy
        assert running.ended() == 0


def test_a_client_that_takes_its_answer_by_drops_is_cut_off(site: Site) -> None:
    """The whole answer is made and waits in memory: not for longer than `http.slow_seconds` of next to nothing."""
    most = request(site, "GET", "/openapi.json")

    async def played(port: int) -> None:
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            plain.connect(("127.0.0.1", port))
            plain.sendall(most * 40)  # pipelined, so that more waits than the kernel takes
            plain.setblocking(False)
            told = b""
            while b"exchange_http_clients_cut_off_total 1.0" not in told:
                await asyncio.get_running_loop().sock_recv(plain, 1)
                _, _, told = await asked(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                await asyncio.sleep(0.1)

    with served(site, http_slow_seconds=1) as running:
        asyncio.run(asyncio.wait_for(played(running.port), 60))
        assert running.ended() == 0


def test_more_connections_than_it_takes(site: Site) -> None:
    """503 with when to come again, a problem like any other; the first ones go on, and there is room again later."""

    async def played(port: int) -> None:
        first = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        for reader, writer in first:
            writer.write(_HEALTH)
            assert (await answer(reader))[0] == 200
        for _ in range(3):
            status, headers, body = await asked(port, lookup(site))
            assert (status, headers["retry-after"], headers["connection"]) == (503, "2", "close")
            assert json.loads(body)["code"] == "server_busy"
        for reader, writer in first:
            writer.write(_HEALTH)
            assert (await answer(reader))[0] == 200
            writer.close()
        await asyncio.sleep(0.2)
        assert (await asked(port, lookup(site)))[0] == 200

    with served(site, http_connections=10) as running:
        asyncio.run(played(running.port))
        assert "server_busy" in [one.get("code") for one in running.logged]


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",  # no Host
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\r\n c\x00\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    ],
)
def test_what_is_no_request(site_served: Served, content: bytes) -> None:
    """400 and the end of the connection; nothing of it stands in the log."""
    status, headers, _ = asyncio.run(asked(site_served.port, content))
    assert (status, headers["connection"]) == (400, "close")
    assert asyncio.run(asked(site_served.port, _HEALTH))[0] == 200


def test_two_lengths_are_one_request(site_served: Served) -> None:
    """A request that hides another in its body (smuggling) is answered once, and no second answer follows."""
    hidden = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    content = (
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        % (5 + len(hidden))
        + hidden
    )
    status, _, _ = asyncio.run(asked(site_served.port, content))
    assert status in {400, 405}


@pytest.fixture(scope="module")
def site_served(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One server for what does not hurt it."""
    with served(made.copy(tmp_path_factory.mktemp("served") / "exchange")) as running:
        yield running


def test_its_log_is_lines_of_json(site: Site) -> None:
    """Everything on standard output; no line on standard error but those for people."""
    with served(site) as running:
        asyncio.run(asked(running.port, lookup(site)))
        asyncio.run(asked(running.port, b"\x00\r\n\r\n"))
        assert running.ended() == 0
    kinds = [set(one) for one in running.logged]
    assert any("route" in one for one in kinds)
    assert any("message" in one for one in kinds)
    assert [line for line in running.lines if "Traceback" in line] == []


@pytest.mark.parametrize("missing", ["policy", "record log", "audit log"])
def test_what_it_is_not_ready_for(site: Site, missing: str) -> None:
    """`/readyz` names what is missing, with its code and what to do; `/healthz` is answered all the same."""
    broken = {"policy": None, "record log": site.data / "records.db", "audit log": site.data / "audit"}[missing]
    more: dict[str, object] = {"engines_policy": "opa:/none/opa"} if broken is None else {}
    with served(site, **more) as running:
        if broken is not None:
            broken.rename(broken.with_name("gone"))
            broken.write_bytes(b"not a database, nor a folder" * 100)
        status, _, body = asyncio.run(asked(running.port, lookup(site)))
        status, _, body = asyncio.run(asked(running.port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"))
        told = {one["what"]: one["code"] for one in json.loads(body)["missing"]}
        if missing == "policy":
            assert (status, told) == (503, {"policy": "policy_not_ready"})
        if missing == "audit log":
            assert (status, told) == (503, {"engines.audit": "audit_stopped"})
        assert asyncio.run(asked(running.port, _HEALTH))[0] == 200
        assert asyncio.run(asked(running.port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200


def test_a_file_that_cannot_be_read_is_said_at_the_start(site: Site) -> None:
    """A record log that is none: no server, one error, exit code 4 or 3."""
    (site.data / "records.db").write_bytes(b"no database" * 1_000)
    ran = site.process("serve", "--port", "0")
    assert ran.code in {3, 4}
    assert ran.error_code.startswith("log_")
