"""OPA servers as policy engine: OPA's REST API, v1, through opa-python-client.

OPA pulls the revisions as a signed bundle (`opa_bundle`); a question goes to the packages of one of them
(`revisions`). The client gives sessions and addresses; its own calls follow redirects, read an answer of any size and
take a question as objects, so the one call that is made here is ours, over its session.
"""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address
from itertools import count
from re import compile as pattern
from time import monotonic, sleep
from typing import Any, Final

import requests
from opa_client import OpaClient
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, HTTPError, MaxRetryError, NewConnectionError, ReadTimeoutError

from exchange.errors import Invalid, Refused, Unavailable
from exchange.policy import Bundle, modules
from exchange.policy.opa_binary import place_of
from exchange.policy.regorus import RegorusEngine
from exchange.policy.revisions import Shelf, package_of
from exchange.policy.supervised import MAX_QUESTION, Lost, parsed

MAX_ANSWER: Final = 1 << 20
_POOL: Final = 64  # connections that are kept to each server
_REST_S: Final = 1.0  # a server that could not be had is asked last for so long
_LOOK_S: Final = 0.1  # between two looks at whether a server has a revision
_OPTIONS: Final = "?strict-builtin-errors=true"
_HEADERS: Final = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_SERVER: Final = pattern(r"([a-z0-9.-]+|\[[0-9a-f:.]+\]):([0-9]{1,5})")
_LAST_PORT: Final = 65_535


class _Unreached(Exception):
    """There was no connection: nothing was sent."""


class _Client(OpaClient):  # type: ignore[misc]  # it has no types
    """The client, whose session asks once, of that server and of nothing between: no retries, proxies or `.netrc`."""

    def _init_session(self) -> requests.Session:
        session: requests.Session = super()._init_session()
        session.trust_env = False
        # Even where it follows no redirect, requests reads all of its body to say where it would go.
        session.get_redirect_target = lambda _answer: None  # type: ignore[method-assign, assignment]
        session.mount(self.schema, HTTPAdapter(pool_maxsize=_POOL, max_retries=0))
        return session

    def post(self, path: str, body: bytes, connect_s: float, until: float) -> tuple[int, bytes]:
        """Status and body of one request.

        Raises:
            _Unreached: it was not sent. Lost: it was, or may have been, and there is no answer.
        """
        url, left = f"{self.root_url}/data/{path}", max(until - monotonic(), 0.001)
        try:
            with self._session.post(
                url,
                data=body,
                headers=_HEADERS,
                timeout=(min(connect_s, left), left),
                stream=True,
                allow_redirects=False,
            ) as answer:
                return answer.status_code, _read(answer, until)
        except requests.ConnectionError as error:
            if _unsent(error):
                raise _Unreached from None
            raise Lost("crashed") from None
        except (requests.Timeout, ReadTimeoutError, TimeoutError):
            raise Lost("deadline") from None
        except (requests.RequestException, HTTPError, OSError):
            raise Lost("crashed") from None


def _read(answer: requests.Response, until: float) -> bytes:
    data = bytearray()
    while part := answer.raw.read1(65_536, decode_content=False):
        data += part
        if len(data) > MAX_ANSWER:
            raise Lost("answer_too_large")
        if monotonic() > until:
            raise Lost("deadline")
    return bytes(data)


def _unsent(error: requests.ConnectionError) -> bool:
    """Whether it failed while it connected, certificates included: then no byte of the question has left."""
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else None
    told = reason.args[0] if reason is not None and reason.args else None
    return isinstance(reason, ConnectTimeoutError | NewConnectionError) or isinstance(
        told, ssl.SSLCertVerificationError
    )


class OpaServer:
    """One server. `where` is what people know it by, HOST:PORT."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self.where = f"{client.host}:{client.port}"
        self.rests_until = 0.0

    def ask(self, revision: str, body: bytes, connect_s: float, until: float) -> object:
        """What a revision's policy answers, as a list of no plan or one; None where it has not got that revision.

        Raises:
            Refused: `policy_error`, `policy_unavailable` (the server lets nobody ask). _Unreached, Lost.
        """
        answer = self._result(f"{package_of(revision)}.answer", body, connect_s, until)
        if not isinstance(answer, dict) or answer.get("revision") != revision:
            return None
        return answer.get("plan")

    def lacks(self, revision: str, patience_s: float) -> str:
        """Why it cannot be asked by this revision just now; empty: it can."""
        try:
            found = self._result(f"{package_of(revision)}.revision", b"{}", patience_s, monotonic() + patience_s)
        except _Unreached:
            return "unreachable"
        except Lost as lost:
            return lost.cause
        except Refused as refused:
            return str(refused.facts["detail"])
        return "" if found == revision else "stale"

    def not_ready(self, revision: str, detail: str) -> Unavailable:
        """The error that says so."""
        return Unavailable("policy_not_spread", where=self.where, server=self.where, revision=revision, detail=detail)

    def _result(self, rule: str, body: bytes, connect_s: float, until: float) -> object:
        """The value of a rule; None where it is not defined."""
        status, content = self._client.post(rule.replace(".", "/") + _OPTIONS, body, connect_s, until)
        if status in {401, 403}:
            raise Refused("policy_unavailable", detail="unauthorized")
        document = parsed(content)
        if status != requests.codes.ok or not isinstance(document, dict):
            raise Refused("policy_error", where=place_of(document), detail="evaluation")
        return document.get("result")

    def close(self) -> None:
        """Closes its connections."""
        self._client.close_connection()


def servers(scheme: str, place: str, *, ca: str = "", token: str = "") -> list[OpaServer]:
    """The servers of `opa+http` or `opa+https` and `//HOST:PORT,HOST:PORT`; no connection is made yet.

    `ca` is the file of their certificate authority (PEM), else the well-known ones are trusted; `token` a bearer token.

    Raises:
        Invalid: `setting_wrong` for a malformed address, `opa_insecure` for one of another machine without TLS.
    """
    found = [_SERVER.fullmatch(one) for one in place.removeprefix("//").split(",")]
    if not place.startswith("//") or not all(one and 0 < int(one[2]) <= _LAST_PORT for one in found):
        raise Invalid("setting_wrong", where="settings", name="engines.policy", expected=f"{scheme}://HOST:PORT,…")
    hosts = [(one[1], int(one[2])) for one in found if one]
    secure = scheme == "opa+https"
    for host, _ in hosts:
        if not secure and not on_this_machine(host):
            raise Invalid("opa_insecure", where="engines.policy", host=host)
    return [
        OpaServer(_Client(host, port, ssl=(ca or True) if secure else False, token=token or None, retries=0))
        for host, port in hosts
    ]


def on_this_machine(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class OpaServerEngine:
    """A `PolicyEngine` on OPA servers, any of which may answer: `load` only says by which revision they are asked.

    A question is sent once. Where no connection is to be had, or the server has not got the revision and so evaluated
    nothing, the next one is asked; where no answer came, none is. All that is within `deadline_s + network_s`.

    Tests of a bundle, and whether it compiles, are tried on the embedded engine: a draft has no place on a server that
    answers for others, and OPA compiles what it is given together with all it has.
    """

    def __init__(self, servers: Sequence[OpaServer], deadline_s: float, network_s: float, shelf: Shelf) -> None:
        self.servers, self._deadline_s, self._network_s = servers, deadline_s, network_s
        self._shelf = shelf
        self._revision: str | None = None
        self._turns = count()

    def load(self, bundle: Bundle | None) -> None:
        """Makes this the revision that the servers are asked by; whether they have it, `offering` tells.

        Raises:
            Invalid: what `modules.check` raises; the former revision stays.
        """
        if bundle is not None:
            modules.check(bundle.modules, bundle.codes)
        self._revision = None if bundle is None else bundle.revision

    @contextmanager
    def offering(self, bundle: Bundle, patience_s: float) -> Iterator[None]:
        """Every server has this bundle while the block lasts; it stands in the bundle that they pull, on the shelf.

        Raises:
            Invalid: `policy_unparsable`, and what `modules.check` raises.
            Unavailable: `policy_not_spread`: a server has not got it after `patience_s`.
        """
        modules.check(bundle.modules, bundle.codes)
        with suppress(Unavailable), closing(RegorusEngine(self._deadline_s)) as embedded:
            embedded.load(bundle)  # where there is no regorus, a bundle that does not compile does not spread
        with self._shelf.holding(bundle):
            self._await(bundle.revision, patience_s)
            yield

    def _await(self, revision: str, patience_s: float) -> None:
        until = monotonic() + patience_s
        for server in self.servers:
            while detail := server.lacks(revision, self._network_s):
                if monotonic() > until:
                    raise server.not_ready(revision, detail)
                sleep(_LOOK_S)

    def evaluate(self, question: bytes) -> Mapping[str, Any]:
        """The document that the policy gives for a question in canonical JSON.

        Raises:
            Refused: `policy_unavailable` (no bundle; `unreachable`: no server; `stale`: none that has the revision),
                `policy_undefined`, `policy_error`.
        """
        revision = self._revision
        if revision is None:
            raise Refused("policy_unavailable", detail="no_policy")
        if len(question) > MAX_QUESTION:
            raise Refused("policy_error", detail="question_too_large")
        plans = self._asked(revision, b'{"input":' + question + b"}")
        if not plans:
            raise Refused("policy_undefined")
        if not isinstance(plans, list) or len(plans) != 1 or not isinstance(plans[0], dict):
            raise Refused("policy_error", detail="answer_no_object")
        return plans[0]

    def _asked(self, revision: str, body: bytes) -> object:
        until, connect_s = monotonic() + self._deadline_s + self._network_s, self._network_s / len(self.servers)
        detail = "unreachable"
        for server in self._in_turn():
            try:
                plans = server.ask(revision, body, connect_s, until)
            except _Unreached:
                plans = None
            except Lost as lost:
                server.rests_until = monotonic() + _REST_S
                raise Refused("policy_error", detail=lost.cause) from None
            else:
                detail = "stale"
            if plans is not None:
                server.rests_until = 0.0
                return plans
            server.rests_until = monotonic() + _REST_S
        raise Refused("policy_unavailable", detail=detail)

    def _in_turn(self) -> list[OpaServer]:
        """All servers, each question beginning with another one; last those that could not answer a moment ago."""
        first, now = next(self._turns) % len(self.servers), monotonic()
        ordered = [*self.servers[first:], *self.servers[:first]]
        return sorted(ordered, key=lambda server: server.rests_until > now)

    def test(self, bundle: Bundle) -> Mapping[str, bool]:
        """Runs the rules named `test_…` on the embedded engine, which agrees with OPA on what a bundle may hold.

        Raises:
            Invalid, Unavailable: as `RegorusEngine.test` does.
        """
        with closing(RegorusEngine(self._deadline_s)) as embedded:
            return embedded.test(bundle)

    def close(self) -> None:
        """Closes the connections and leaves no policy in force; it may be called again."""
        self.load(None)
        for server in self.servers:
            server.close()
