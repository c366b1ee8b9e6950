"""HTTP from the command line to an exchange that serves: by its Unix socket, or by its address."""

import http.client
import json
import select
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from exchange.errors import ExchangeError, Invalid, Refused, Tampered, Unavailable
from exchange.messages import Language, describe

_TIMEOUT_S: Final = 120.0
_FAMILIES: Final = {family.family: family for family in (Invalid, Refused, Unavailable, Tampered)}
_LARGEST: Final = 1 << 30


class Wire:
    """Requests to one exchange under one token. A connection is kept; one that was dropped is made anew.

    Every method raises what the server's problem says, as if it had been found here; else `Unavailable`:
    `server_unreachable`, `server_unexpected`, `server_cut_off`.
    """

    def __init__(self, place: str, token: str, language: Language) -> None:
        self._place, self._token, self._language = place, token, language
        self._connection: http.client.HTTPConnection | None = None

    def json(
        self,
        method: str,
        path: Iterable[str],
        body: object = None,
        query: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever JSON says
        """The JSON that the server answers; `path` in parts, each of which may hold any character."""
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        _, _, answer = self.send(method, path, content, query, {"Content-Type": "application/json", **(headers or {})})
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            raise Unavailable("server_unexpected", where=self._place, detail="no JSON") from None

    def send(
        self,
        method: str,
        path: Iterable[str],
        content: bytes | None = None,
        query: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        again: bool = False,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers (names in lower case) and body of an answer that is no problem. `again` says that sending the
        request twice does what sending it once does.
        """
        parts = list(path)
        if any(part in {"", ".", ".."} or "/" in part for part in parts):
            raise Invalid("page_unknown")  # nothing is called so, and no server is asked what such an address means
        target = "/v1/" + "/".join(quote(part, safe="") for part in parts)
        if query:
            target += "?" + urlencode(query, doseq=True)  # type: ignore[arg-type]  # pairs or a mapping
        own = {"Authorization": f"Bearer {quote(self._token, safe='')}", "Accept-Language": self._language}
        repeatable = again or method == "GET"
        status, told, body = self._exchanged(method, target, content, {**own, **(headers or {})}, repeatable=repeatable)
        if status >= 300:  # RFC 9110, section 15; where a redirection leads to is none of the server's business
            raise self._problem(status, body)
        return status, told, body

    def _exchanged(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str], *, repeatable: bool
    ) -> tuple[int, Mapping[str, str], bytes]:
        if self._connection is not None and _gone(self._connection):
            self.close()
        kept = self._connection is not None
        try:
            connection = self._connection = self._connection or _connection(self._place)
            connection.request(method, target, content, dict(headers))
            answer = connection.getresponse()
            body = answer.read(_LARGEST)
            if answer.length:  # of what was announced; `read` says nothing of it when it is asked for a number of bytes
                raise http.client.IncompleteRead(body, answer.length)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            # A kept connection that the server had closed meanwhile: only what changes nothing is sent once more.
            if kept and repeatable:
                return self._exchanged(method, target, content, headers, repeatable=False)
            raise self._unreachable(error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an address that is none
            self.close()
            raise self._unreachable(error) from None
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    def close(self) -> None:
        """Drops the connection; a further request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _unreachable(self, error: Exception) -> Unavailable:
        if isinstance(error, http.client.IncompleteRead):
            return Unavailable("server_cut_off", where=self._place, bytes=len(error.partial))
        detail = getattr(error, "strerror", None) or type(error).__name__
        return Unavailable("server_unreachable", where=self._place, detail=detail)

    def _problem(self, status: int, body: bytes) -> ExchangeError:
        """The server's error, as this side's own."""
        try:
            document = json.loads(body)
            code, family = str(document["code"]), _FAMILIES[document["family"]]
            facts = {str(name): str(value) for name, value in document["facts"].items()}
            error = family(code, where=str(document.get("where", "")), **facts)
            describe(error, self._language)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return Unavailable("server_unexpected", where=self._place, detail=f"HTTP {status}")
        return error


class _UnixConnection(http.client.HTTPConnection):
    """HTTP/1.1 through a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


def _gone(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed a connection that lay idle: what is sent there may not be sent again."""
    return connection.sock is None or bool(select.select([connection.sock], [], [], 0)[0])


def _connection(place: str) -> http.client.HTTPConnection:
    if place.startswith("unix:"):
        return _UnixConnection(place.removeprefix("unix:"))
    parts = urlsplit(place)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.netloc, timeout=_TIMEOUT_S, context=ssl.create_default_context())
    return http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_S)
