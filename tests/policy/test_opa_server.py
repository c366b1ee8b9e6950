"""What the engine on OPA servers does when one is stale, gone, slow, hostile: each ends in a refusal or an answer."""

import hmac
import json
import os
import signal
import socket
import ssl
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_socket

from exchange.errors import Invalid, Refused, Unavailable
from exchange.names import canonical
from exchange.policy import Bundle, opa_bundle, revisions
from exchange.policy.opa_bundle import Archive, archive, authorization
from exchange.policy.opa_server import MAX_ANSWER, OpaServer, OpaServerEngine, servers
from exchange.policy.revisions import Shelf
from exchange.signing.keys import BundleKey, new_bundle_key
from tests.policy.engines import bundle, question
from tests.policy.opa_servers import Opa, SpreadEngine, World, configured, free_port, world

QUESTION: Final = canonical(question())
OLD: Final = bundle('plan := {"old": input.id}')
NEW: Final = bundle('plan := {"new": input.id}')
on_opa = [pytest.mark.opa, pytest.mark.enable_socket]


def refusal(engine: OpaServerEngine, asked: bytes = QUESTION) -> tuple[str, str]:
    """Code and detail of the refusal that a question gets."""
    with pytest.raises(Refused) as refused:
        engine.evaluate(asked)
    return refused.value.code, str(refused.value.facts.get("detail", ""))


def eventually(holds: Callable[[], bool]) -> None:
    """Waits until it does; the test's own time limit ends it."""
    while not holds():
        time.sleep(0.02)


# A server of sockets, which counts what it is sent and answers as it is told.

Answering = Callable[[socket.socket], None]


class Scripted:
    """Takes connections and gives each request to `answering`; `requests` are those that came."""

    def __init__(self, answering: Answering) -> None:
        self.requests: list[bytes] = []
        self._answering = answering
        self._open: set[socket.socket] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open = {connection}
            with connection:
                while request := _request(connection):
                    self.requests.append(request)
                    try:
                        self._answering(connection)
                    except OSError:
                        break

    def close(self) -> None:
        """Ends it."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:  # that the client has not closed: it leaves that to the collector of garbage
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()


def _request(connection: socket.socket) -> bytes:
    """One whole request; empty at the end of input."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            part = connection.recv(65_536)
        except OSError:
            return b""
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@contextmanager
def scripted(answering: Answering, deadline_s: float = 0.1, network_s: float = 0.3) -> Iterator[Any]:
    """An engine that asks such a server by `OLD`, and the server."""
    server = Scripted(answering)
    engine = OpaServerEngine(_servers(server.port), deadline_s, network_s, Shelf())
    engine.load(OLD)
    try:
        yield engine, server
    finally:
        engine.close()
        server.close()


def _servers(*ports: int) -> list[OpaServer]:
    return servers("opa+http", "//" + ",".join(f"127.0.0.1:{port}" for port in ports))


def answer(document: object, status: str = "200 OK", **headers: str) -> Answering:
    """Answers this document, whole."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{key}: {one}" for key, one in headers.items())]
    whole = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    return lambda connection: connection.sendall(whole)


def silent(_: socket.socket) -> None:
    """Answers nothing."""


def hang_up(connection: socket.socket) -> None:
    """Takes the request and closes."""
    connection.shutdown(socket.SHUT_RDWR)


def dripping(connection: socket.socket) -> None:
    """Goes on for ever, a little at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


def elsewhere(connection: socket.socket) -> None:
    """A redirect with more behind it than anybody takes."""
    connection.sendall(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\n\r\n")
    while True:
        connection.sendall(b"1" * 65_536)


def endless(connection: socket.socket) -> None:
    """As much as anybody takes."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"1" * 65_536)


SOUND: Final = {"result": {"revision": OLD.revision, "plan": [{"a": 1}]}}


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("answering", "told"),
    [
        (silent, ("policy_error", "deadline")),
        (hang_up, ("policy_error", "crashed")),
        (dripping, ("policy_error", "deadline")),
        (endless, ("policy_error", "answer_too_large")),
        (elsewhere, ("policy_error", "answer_too_large")),
        (answer(b"x" * (MAX_ANSWER + 1)), ("policy_error", "answer_too_large")),
        (answer(b"not json"), ("policy_error", "answer_not_canonical")),
        (answer([1]), ("policy_error", "evaluation")),
        (
            answer({"result": {"revision": OLD.revision, "plan": [{"a": 1.5}]}}),
            ("policy_error", "answer_not_canonical"),
        ),
        (answer(b"\x1f\x8b\x08", **{"Content-Encoding": "gzip"}), ("policy_error", "answer_not_canonical")),
        (answer({"code": "internal_error"}, "500 Internal Server Error"), ("policy_error", "evaluation")),
        (answer(SOUND, "502 Bad Gateway"), ("policy_error", "evaluation")),
        (answer(SOUND, "307 Temporary Redirect", Location="http://127.0.0.1:1/"), ("policy_error", "evaluation")),
        (answer({}, "401 Unauthorized"), ("policy_unavailable", "unauthorized")),
        (answer({}), ("policy_unavailable", "stale")),
        (answer({"result": None}), ("policy_unavailable", "stale")),
        (answer({"result": {"plan": [{"a": 1}]}}), ("policy_unavailable", "stale")),
        (answer({"result": {"revision": NEW.revision, "plan": [{"a": 1}]}}), ("policy_unavailable", "stale")),
        (answer({"result": {"revision": OLD.revision}}), ("policy_unavailable", "stale")),
        (answer({"result": {"revision": OLD.revision, "plan": []}}), ("policy_undefined", "")),
        (answer({"result": {"revision": OLD.revision, "plan": [[]]}}), ("policy_error", "answer_no_object")),
        (answer({"result": {"revision": OLD.revision, "plan": {"a": 1}}}), ("policy_error", "answer_no_object")),
        (answer({"result": {"revision": OLD.revision, "plan": [{}, {}]}}), ("policy_error", "answer_no_object")),
    ],
)
def test_what_is_no_answer_is_a_refusal_and_asked_once(answering: Answering, told: tuple[str, str]) -> None:
    """Nothing that a server may say, or not say, is a plan but a plan of the revision that was asked for; and whatever
    it says, the question was sent once.
    """
    with scripted(answering) as (engine, server):
        assert refusal(engine) == told
        assert len(server.requests) == 1


@pytest.mark.enable_socket
def test_a_request_says_what_it_must_and_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The question as it is, to its revision's answer, with the token; neither a proxy nor `.netrc` of the environment
    has a part in it; the connection is used again.
    """
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    for name, value in (("HOME", str(tmp_path)), ("http_proxy", "http://127.0.0.1:1"), ("HTTP_PROXY", "x://y")):
        monkeypatch.setenv(name, value)
    with scripted(answer(SOUND)) as (_, server):
        asked = servers("opa+http", f"//127.0.0.1:{server.port}", token="t-1")
        engine = OpaServerEngine(asked, 0.1, 0.5, Shelf())
        engine.load(OLD)
        assert [engine.evaluate(QUESTION) for _ in range(3)] == [{"a": 1}] * 3
        engine.close()
        assert len(server.requests) == 3
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        path = revisions.package_of(OLD.revision).replace(".", "/")
        first, *lines = head.decode().split("\r\n")
        assert first == f"POST /v1/data/{path}/answer?strict-builtin-errors=true HTTP/1.1"
        assert "authorization: bearer t-1" in [line.lower() for line in lines]
        assert body == b'{"input":' + QUESTION + b"}"


@pytest.mark.enable_socket
def test_next_server_where_nothing_was_sent_or_evaluated() -> None:
    """One that cannot be connected to, or has not got the revision, costs nothing; one that took the question and gave
    no answer costs it a refusal, and no other is asked.
    """
    dead = free_port()
    with scripted(answer({})) as (_, stale), scripted(answer(SOUND)) as (_, good), scripted(hang_up) as (_, flaky):
        for ports in ((dead, good.port), (stale.port, good.port), (dead, stale.port, good.port)):
            engine = OpaServerEngine(_servers(*ports), 0.1, 0.5, Shelf())
            engine.load(OLD)
            assert [engine.evaluate(QUESTION) for _ in range(6)] == [{"a": 1}] * 6
            engine.close()
        seen = len(good.requests)
        engine = OpaServerEngine(_servers(flaky.port, good.port), 0.1, 0.5, Shelf())
        engine.load(OLD)
        assert refusal(engine) == ("policy_error", "crashed")
        assert (len(flaky.requests), len(good.requests)) == (1, seen)
        assert [engine.evaluate(QUESTION) for _ in range(4)] == [{"a": 1}] * 4  # which rests now
        assert len(flaky.requests) == 1
        engine.close()
        engine = OpaServerEngine(_servers(dead, free_port()), 0.1, 0.5, Shelf())
        engine.load(OLD)
        assert refusal(engine) == ("policy_unavailable", "unreachable")
        engine.close()


@pytest.mark.enable_socket
def test_many_threads_do_not_wait_for_each_other() -> None:
    """Of many questions to a server that hangs each is refused by its own deadline, none after another's."""
    with scripted(silent, 0.2, 0.2) as (engine, _):
        began = time.monotonic()
        threads = [threading.Thread(target=refusal, args=(engine,)) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 0.4 * 30 / 3


@pytest.mark.enable_socket
def test_question_beyond_its_bound_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused here."""
    monkeypatch.setattr("exchange.policy.opa_server.MAX_QUESTION", len(QUESTION) - 1)
    with scripted(answer(SOUND)) as (engine, server):
        assert refusal(engine) == ("policy_error", "question_too_large")
        assert server.requests == []


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("answering", "detail"),
    [
        (answer({}), "stale"),
        (answer({"result": OLD.revision}), "stale"),
        (answer({}, "403 Forbidden"), "unauthorized"),
        (answer({}, "500 Internal Server Error"), "evaluation"),
        (hang_up, "crashed"),
        (silent, "deadline"),
    ],
)
def test_what_is_not_spread_is_not_offered(answering: Answering, detail: str) -> None:
    """The block is not entered while one server has not got the bundle; the error names the server."""
    with scripted(answer({"result": NEW.revision})) as (_, ready), scripted(answering) as (_, server):
        engine = OpaServerEngine(_servers(ready.port, server.port), 0.1, 0.2, Shelf())
        with pytest.raises(Unavailable) as lacking, engine.offering(NEW, 0.0):
            pytest.fail("it was offered")
        assert lacking.value.code == "policy_not_spread"
        assert (lacking.value.where, lacking.value.facts["detail"]) == (f"127.0.0.1:{server.port}", detail)
        engine.close()


def test_addresses() -> None:
    """HOST:PORT, several with commas; without TLS only this machine's own."""
    for place in ("//127.0.0.1:8181", "//localhost:1,[::1]:65535", "//127.9.9.9:80"):
        assert [one.where for one in servers("opa+http", place)] == place[2:].split(",")
    assert servers("opa+https", "//opa.example.org:8181")[0].where == "opa.example.org:8181"
    for place in (
        "127.0.0.1:1",
        "//127.0.0.1",
        "//:1",
        "//127.0.0.1:0",
        "//127.0.0.1:65536",
        "//a:1/x",
        "//u@a:1",
        "//a:1,",
    ):
        with pytest.raises(Invalid, match="setting_wrong"):
            servers("opa+https", place)
    for place in ("//opa.example.org:1", "//10.0.0.1:1", "//127.0.0.1:1,[2001:db8::1]:1", "//localhost.example.org:1"):
        with pytest.raises(Invalid, match="opa_insecure"):
            servers("opa+http", place)


@pytest.mark.enable_socket
def test_certificates_are_checked(tmp_path: Path) -> None:
    """Over TLS a server of another authority is never sent a question: as if there were none; with its authority it is
    asked.
    """
    certificate, key = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = socket.create_server(("127.0.0.1", 0))
    requests: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                plain, _ = listening.accept()
                with context.wrap_socket(plain, server_side=True) as connection:
                    while request := _request(connection):
                        requests.append(request)
                        connection.sendall(_sound())
            except ssl.SSLError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    place = f"//127.0.0.1:{listening.getsockname()[1]}"
    with ExitStack() as stack:
        for ca, told in (("", None), (str(certificate), {"a": 1})):
            engine = OpaServerEngine(servers("opa+https", place, ca=ca), 0.5, 0.5, Shelf())
            stack.callback(engine.close)
            engine.load(OLD)
            if told is None:
                assert refusal(engine) == ("policy_unavailable", "unreachable")
                assert requests == []
            else:
                assert engine.evaluate(QUESTION) == told
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def _sound() -> bytes:
    body = json.dumps(SOUND).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "opa")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(encoding))
    form = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return files


# On a real OPA.


@pytest.fixture(scope="module", name="around")
def _around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    pytest_socket.enable_socket()
    with world(tmp_path_factory.mktemp("opa")) as made:
        yield made


@pytest.fixture(name="engine")
def _engine(around: World) -> Iterator[SpreadEngine]:
    engine = around.engine(0.5)
    yield engine
    engine.close()


class TestReal:
    """One OPA for all of these; each leaves it running."""

    pytestmark = on_opa

    def test_stale(self, around: World, engine: SpreadEngine) -> None:
        """An OPA whose bundle server is down answers by what it has, and nothing by what came after; then it does."""
        engine.load(OLD)
        unseen = bundle('plan := {"unseen": input.id}')  # by that OPA, whatever ran before
        around.bundles.down = True
        try:
            with pytest.raises(Unavailable, match="policy_not_spread"), engine.offering(unseen, 0.3):
                pytest.fail("it was offered")
            assert engine.evaluate(QUESTION) == {"old": "q-1"}
            OpaServerEngine.load(engine, unseen)
            assert refusal(engine) == ("policy_unavailable", "stale")
            around.bundles.keep(unseen)
        finally:
            around.bundles.down = False
        eventually(lambda: not around.opa.server().lacks(unseen.revision, 1.0))
        assert engine.evaluate(QUESTION) == {"unseen": "q-1"}

    def test_former_revision_is_still_asked(self, around: World, engine: SpreadEngine) -> None:
        """A question in flight is answered by the policy that was active when it was asked."""
        engine.load(OLD)
        engine.load(NEW)
        OpaServerEngine.load(engine, OLD)
        assert engine.evaluate(QUESTION) == {"old": "q-1"}
        assert len(around.bundles.kept) == 2

    def test_killed_and_started_again(self, around: World, engine: SpreadEngine) -> None:
        """While it is gone, and until it has pulled again, questions are refused; then they are answered."""
        engine.load(OLD)
        around.opa.kill()
        try:
            for _ in range(3):
                assert refusal(engine) == ("policy_unavailable", "unreachable")
            around.bundles.down = True
            around.opa.start()
            assert refusal(engine) == ("policy_unavailable", "stale")
        finally:
            around.bundles.down = False
        eventually(lambda: not around.opa.server().lacks(OLD.revision, 1.0))
        assert engine.evaluate(QUESTION) == {"old": "q-1"}

    def test_paused(self, around: World, engine: SpreadEngine) -> None:
        """A server that hangs: refused about the deadline, each time; when it goes on, so do the answers."""
        engine.load(OLD)
        os.kill(around.opa.process, signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert [refusal(engine) for _ in range(2)] == [("policy_error", "deadline")] * 2
            assert time.monotonic() - began < 20 * 2 * (0.5 + 0.5)
        finally:
            os.kill(around.opa.process, signal.SIGCONT)
        assert engine.evaluate(QUESTION) == {"old": "q-1"}

    @pytest.mark.parametrize("how", ["unsigned", "wrong key", "changed", "added", "other algorithm", "none"])
    def test_signature_is_verified(self, around: World, engine: SpreadEngine, tmp_path: Path, how: str) -> None:
        """A bundle that is not signed, or by another key, or is not what was signed, is not taken: the former stays."""
        engine.load(OLD)
        new = bundle(f'plan := {{"new": "{how}"}}')
        sound = archive([OLD, new], around.key)
        around.bundles.other = _forged([OLD, new], around.key, tmp_path, how)
        try:
            said = len(around.opa.log)
            eventually(lambda: "Bundle load failed" in around.opa.log[said:])
            assert around.opa.server().lacks(new.revision, 1.0) == "stale"
            assert engine.evaluate(QUESTION) == {"old": "q-1"}
            around.bundles.other = sound
            eventually(lambda: not around.opa.server().lacks(new.revision, 1.0))
        finally:
            around.bundles.other = None

    def test_odd_code_tables_are_hashed_as_opa_does(self, engine: SpreadEngine) -> None:
        """Texts and numbers that JSON encoders write differently."""
        odd = {"é\u2028\u2029\x7f\x01\b\f": "<&>\U0001f600\\/", "n": 2**63, "z": [{}, [], None, True, -5], "\uffff": 2}
        engine.load(Bundle({"plan.rego": "package exchange\n\nplan := data.codes\n"}, {**odd, "\U0001f600": 1}))
        assert engine.evaluate(QUESTION) == {**odd, "\U0001f600": 1}

    def test_a_bundle_that_opa_cannot_compile_is_not_offered(self, engine: SpreadEngine) -> None:
        """What the embedded engine lets pass and OPA does not (a type that cannot be) keeps what is active."""
        engine.load(OLD)
        untyped = bundle('plan := {"a": count(7)} if input.id == "never"')
        with pytest.raises(Unavailable, match="policy_not_spread"), engine.offering(untyped, 1.0):
            pytest.fail("it was offered")
        assert engine.evaluate(QUESTION) == {"old": "q-1"}

    def test_authorization(self, around: World, tmp_path: Path) -> None:
        """With the policy that `opa-config` writes, OPA answers whoever has the token, about revisions alone."""
        (tmp_path / "opa").mkdir()
        (tmp_path / "opa" / "authz.rego").write_text(authorization("t-1"))
        words = ("--authentication=token", "--authorization=basic", "authz.rego")
        opa = Opa(tmp_path / "opa", configured(around.bundles.url, around.key), *words)
        try:
            allowed = SpreadEngine([opa.server(token="t-1")], 0.5, around.bundles)
            allowed.load(OLD)
            assert allowed.evaluate(QUESTION) == {"old": "q-1"}
            for token in ("", "t-2"):
                other = OpaServerEngine([opa.server(token=token)], 0.5, 0.5, around.bundles.shelf)
                other.load(OLD)
                assert refusal(other) == ("policy_unavailable", "unauthorized")
                other.close()
            client = allowed.servers[0]._client
            for path in ("policies", "data", "data/system", "config"):
                assert client._session.get(f"{client.root_url}/{path}", timeout=5).status_code == 401
            assert client._session.put(f"{client.root_url}/data/revisions/x", json=1, timeout=5).status_code == 401
            allowed.close()
        finally:
            opa.kill()


def _forged(held: list[Bundle], key: BundleKey, folder: Path, how: str) -> Archive:
    if how == "wrong key":
        return archive(held, new_bundle_key(folder / "other.key"))
    files: dict[str, bytes] = {}
    for one in held:
        files |= revisions.files(one)
    files[".manifest"] = canonical({"revision": "forged", "roots": [revisions.ROOT], "rego_version": 1})
    token = opa_bundle._signature(files, key)
    if how == "changed":
        path = next(path for path in files if path.endswith("exchange/plan.rego"))
        files[path] += b"\n"
    if how == "added":
        files["revisions/more/x.rego"] = b"package revisions.more\n"
    if how in {"other algorithm", "none"}:  # the public key as a secret, or no signature at all
        _, payload, signature = token.split(".")
        head = {"alg": "none" if how == "none" else "HS256", "kid": opa_bundle.KEY_ID}
        text = _coded(json.dumps(head).encode()) + "." + payload
        made = b"" if how == "none" else hmac.digest(key.public_pem.encode(), text.encode(), "sha256")
        token = f"{text}.{_coded(made)}"
        assert urlsafe_b64decode(signature + "==")
    if how != "unsigned":
        files[".signatures.json"] = canonical({"signatures": [token]})
    return Archive(opa_bundle._packed(files), f'"{how}"')


def _coded(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
